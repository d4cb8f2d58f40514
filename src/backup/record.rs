//! The one user-record line: in backups, in imports and in exports.

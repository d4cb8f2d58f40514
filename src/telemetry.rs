//! Logs: JSON or text, to standard error, without secrets.

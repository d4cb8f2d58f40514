//! The backup engine: seals records into objects, writes them to the targets, reads and verifies them, plans restores.
//!
//! Rules: nothing that lies on a target is believed before its MAC and its place are checked; memory is bounded by
//! chunks, never by departments. File formats are this module's own and are frozen by golden tests.

pub mod chain;
pub mod changes;
pub mod chunker;
pub mod divergence;
pub mod error;
pub mod fanout;
mod fold;
mod gather;
pub mod journal;
pub mod journal_read;
pub mod kept_before;
pub mod known;
#[cfg(test)]
mod known_tests;
mod last_known;
mod listing;
pub mod manifest;
mod marker;
mod merge;
pub mod merging;
pub mod merkle;
mod overlay;
pub mod past;
pub mod patch;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod prune;
mod read_ahead;
mod read_back;
pub mod record;
pub mod renumber;
pub mod repair;
pub mod repository;
pub mod rescan;
pub mod scrub;
pub mod scrub_snapshot;
pub mod seal;
pub mod segment;
mod shared_base;
pub mod sides;
pub mod snapshot;
pub mod state;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod undo;
pub mod vault;
pub mod verify;
pub mod word;
mod word_read;
pub mod write;

pub use error::BackupError;
pub use fanout::require_quorum;
pub use marker::marker_of;
pub use repository::Repository;
pub use snapshot::Snapshot;

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
mod listing;

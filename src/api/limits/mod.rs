//! What keeps one client, or all of them together, from asking for more than a replica can do.
//!
//! Rule: every limit is counted in the memory of one replica, and that memory is bounded whatever is sent.

mod meter;
mod room;
mod shed;

pub(super) use meter::Meter;
pub(super) use room::connections;
pub(super) use shed::{Gate, shed};

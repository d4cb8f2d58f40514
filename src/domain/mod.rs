//! Values and decisions: what a user, a department, a backup and a restore are.
//!
//! Rule: nothing in here does I/O, awaits, or derives a wire format. JSON shapes live in `api`, BSON shapes in
//! `store::documents`, file shapes in `backup`.

pub mod audit;
pub mod backup;
pub mod balance;
pub mod barrier;
pub mod basis;
pub mod cause;
pub mod clock;
pub mod copies;
pub mod damage;
pub mod department;
pub mod divergence;
pub mod drift;
pub mod epoch;
pub mod exam;
pub mod history;
pub mod idempotency;
pub mod ids;
pub mod plan;
pub mod range;
pub mod rate;
pub mod renames;
pub mod restore;
pub mod retention;
pub mod step_down;
pub mod text;
pub mod token;
pub mod undo;
#[cfg(test)]
mod undo_tests;
pub mod user;
pub mod window;

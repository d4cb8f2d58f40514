//! The integration tests, in one binary: replicas as processes, real MongoDB, real ZooKeeper, directories as targets.
//!
//! `make test` starts the shared parts and names them in `ROLLKEEPER_TEST_*`; the tests of `tidy` need none.

mod bad_fields;
mod bad_headers;
mod bad_import;
mod bad_input;
mod bad_objects;
mod bad_targets;
mod deleting;
mod departments;
mod diverged;
mod documents;
mod emptied;
mod events;
mod failover;
mod faults;
mod fence;
mod fuzz;
#[expect(dead_code, reason = "the harness offers more than the tests of today need")]
mod harness;
mod hashing;
mod jobs;
mod journal;
mod journal_damage;
mod journal_faults;
mod model;
mod openapi;
mod outages;
mod past;
mod restores_cancel;
mod restores_departments;
mod restores_into;
mod restores_modes;
mod restores_moments;
mod restores_names;
mod restores_plan;
mod restores_trouble;
mod restores_undo;
mod restores_users;
mod restores_writers;
mod retention;
mod retention_journal;
mod schedule;
mod shutdown;
mod simulation;
mod streams;
mod tidy;
mod told;
mod users;
mod vault;
mod vault_damage;
mod verify;

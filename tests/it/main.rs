//! The integration tests, in one binary: replicas as processes, real MongoDB, real ZooKeeper, directories as targets.
//!
//! `make test` starts the shared parts and names them in `ROLLKEEPER_TEST_*`; the tests of `tidy` need none.

mod departments;
mod failover;
mod faults;
mod fence;
#[expect(dead_code, reason = "the harness offers more than the tests of today need")]
mod harness;
mod openapi;
mod outages;
mod restores_cancel;
mod restores_departments;
mod restores_modes;
mod restores_names;
mod restores_plan;
mod restores_trouble;
mod restores_users;
mod restores_writers;
mod tidy;
mod users;

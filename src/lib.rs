//! rollkeeper keeps user records behind a REST API, and backups of them that can be proved.
//!
//! The map, from the edge inwards: `cli` → `api` → `app` → `tasks` → `backup` → {`store`, `targets`} → `config` →
//! `domain`, with `cluster` beside `store` and `targets`; none of those three imports another. ARCHITECTURE.md walks
//! through it; the tidy test keeps it so.

pub mod api;
pub mod app;
pub mod backup;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod domain;
pub mod shutdown;
pub mod store;
pub mod targets;
pub mod tasks;
pub mod telemetry;

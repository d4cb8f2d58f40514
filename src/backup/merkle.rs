//! The Merkle root over a snapshot's records without `rev`, `version` and `updated_at`.

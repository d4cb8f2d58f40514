//! Reads the configuration from file, environment and flags, and checks it.

//! The `rollkeeper` program.

fn main() {}

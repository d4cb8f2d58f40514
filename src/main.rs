//! The `rollkeeper` program.

use std::process::ExitCode;

/// Gives memory back after a big backup or restore, which the allocator of the C library hardly does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: MongoDB's driver takes the process-wide provider when it makes its first connection.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("rollkeeper: a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    rollkeeper::cli::run()
}

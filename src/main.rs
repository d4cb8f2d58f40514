//! The `rollkeeper` program.

use std::process::ExitCode;

/// The allocator of the C library keeps what many threads have freed, so memory would grow from job to job.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // First of all: MongoDB's driver takes the process-wide provider when it makes its first connection.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("rollkeeper: a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    rollkeeper::cli::run()
}

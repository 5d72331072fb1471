//! `iot-hub`: every service of the hub in one process.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Gives memory back soon (`.cargo/config.toml` says how soon); the C library's keeps what large bodies took, in pieces.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    iot_hub::cli::main()
}

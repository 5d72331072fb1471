//! The processes of the hub: `iot-hub`, with every service in it, and one process for each service of the distributed stack.
//!
//! **Invariant:** this crate only wires: what the services do is in their libraries, the same in every way to run them.

mod address_file;
mod backup;
mod check;
pub mod cli;
mod config;
mod control;
mod demo;
mod detection;
mod hub;
mod logging;
pub mod service;
mod signals;
mod supervise;

use std::process::ExitCode;

pub use hub::Services;
use tikv_jemallocator::Jemalloc;

/// Gives memory back soon (`.cargo/config.toml` says how soon); the C library's keeps what large bodies took, in pieces.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What a program ends with: a failure is said on standard error in words for the person at the terminal.
fn exit(program: &str, result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("{program}: {error:#}");
        ExitCode::FAILURE
    })
}

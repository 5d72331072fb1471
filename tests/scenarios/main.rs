//! Scenarios: what must hold whatever happens, on the real program and over HTTP.

mod arrival;
mod backup;
mod command_line;
mod corrupted_tail;
mod dead_letters;
mod deletion;
mod demo;
mod disks;
mod feeder;
mod hostile_input;
mod kill_nine;
mod operations;
mod readme;
mod real_data;
mod samples;
mod sensor_types;
mod stopping;

use std::path::Path;

use harness::Launch;

/// The program under test.
const IOT_HUB: &str = env!("CARGO_BIN_EXE_iot-hub");

/// How to start a hub over a data folder.
fn launch(data: &Path) -> Launch {
    Launch::new(IOT_HUB, data)
}

/// A temporary folder.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

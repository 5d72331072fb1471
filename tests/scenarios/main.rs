//! Scenarios on the embedded stack: what must hold whatever happens, on the real program and over HTTP.

mod arrival;
mod backup;
mod command_line;
mod corrupted_tail;
mod damaged_block;
mod dead_letters;
mod deletion;
mod demo;
mod detection;
mod disks;
mod feeder;
mod hostile_input;
mod hosts;
mod kill_nine;
mod load;
mod local_times;
mod operations;
mod readme;
mod real_data;
mod replays;
mod runs;
mod samples;
mod sensor_types;
#[path = "stack/embedded.rs"]
mod stack;
mod stopping;

use stack::{IOT_HUB, launch};

/// A temporary folder.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

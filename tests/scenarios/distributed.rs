//! Scenarios on the distributed stack: the same bodies on a process per service, real Kafka and real Elasticsearch, and what only can
//! go wrong there.

mod arrival;
mod dead_letters;
mod deletion;
mod detection;
mod differential;
mod faults;
mod feeder;
mod foreign_clients;
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
mod secured;
mod sensor_types;
#[path = "stack/distributed.rs"]
mod stack;
mod stopping;

use stack::launch;

/// A temporary folder.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

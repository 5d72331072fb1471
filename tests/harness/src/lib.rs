//! Drives the real programs from outside, as a user and an unkind world do: starts, kills, fills disks, and looks at answers.
//!
//! **Invariant:** the harness knows a hub by its command line, its REST API and its data folder alone; it panics with the last
//! status where something it waits for does not happen.

mod answer;
mod disk;
mod feeder;
mod hub;
mod metrics;
mod model;
mod process;
mod seed;
mod wait;

pub use answer::Answer;
pub use disk::{SmallDisk, can_mount};
pub use feeder::feeder_binary;
pub use hub::{Ended, Hub, Launch};
pub use metrics::Metrics;
pub use model::{Model, Row};
pub use process::run_to_end;
pub use seed::seeded;
pub use wait::{a_moment, wait_for};

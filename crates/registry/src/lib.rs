//! Sensor types and sensors, as the compacted topic `registry` says.
//!
//! Every service holds a [`Registry`]: a background task follows the topic and applies its documents to a state in memory, from
//! which reads are answered. A change is checked against the state, appended, and answered once the follower has applied it; so the
//! same code works where other processes change the registry as well.
//!
//! **Invariant:** all state is what the topic says; whoever reads it comes to the same state, before and after compaction. The rules,
//! among them how numbers are given out and which of two registrations holds, are in the module `state`.

mod document;
mod error;
mod follower;
mod order;
mod pace;
mod registry;
mod sensors;
mod state;
mod type_file;

pub use error::{FirstReadingRefusal, RegistryError};
pub use order::SensorsQuery;
pub use registry::{Change, FirstReadings, Lookup, Registry, Removal, SensorDraft, Settings};
pub use type_file::{TypeFileError, built_in_types, load_folder, parse_toml};

//! Sensor types and sensors, as the compacted topic `registry` says.

mod error;
mod registry;
mod type_file;

pub use error::{FirstReadingRefusal, RegistryError};
pub use registry::{Change, Lookup, Registry, SensorDraft, Settings};
pub use type_file::{TypeFileError, built_in_types, load_folder, parse_toml};

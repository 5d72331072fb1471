//! Sensor types as TOML files: the four built in and those of a folder.

use std::path::{Path, PathBuf};

use domain::{SensorTypeDraft, SensorTypeId};

/// What is wrong with the file of a sensor type.
#[derive(Debug, thiserror::Error)]
pub enum TypeFileError {
    /// The file or folder can't be read.
    #[error("`{}` can't be read: {source}", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Keys of the file break rules, one a line.
    #[error("{file}: {faults}")]
    Faults {
        /// The file.
        file: String,
        /// Each key, value and rule.
        faults: String,
    },
}

/// The sensor types that come with the hub: `emb`, `seismic`, `air` and `power`.
pub fn built_in_types() -> Vec<(SensorTypeId, SensorTypeDraft)> {
    unimplemented!()
}

/// Reads one sensor type of TOML: `id = "emb"` and the keys of [`SensorTypeDraft`]; `file` is its name for messages.
///
/// # Errors
/// [`TypeFileError::Faults`] with every key at fault.
pub fn parse_toml(_text: &str, _file: &str) -> Result<(SensorTypeId, SensorTypeDraft), TypeFileError> {
    unimplemented!()
}

/// Reads every `*.toml` file of a folder, by file name.
///
/// # Errors
/// The [`TypeFileError`] of the first file at fault, or of two that define the same id.
pub fn load_folder(_dir: &Path) -> Result<Vec<(SensorTypeId, SensorTypeDraft)>, TypeFileError> {
    unimplemented!()
}

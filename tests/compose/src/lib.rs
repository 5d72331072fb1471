//! What `compose/` says, as its tests read it: the saved objects of Kibana, and the queries that its panels send to Elasticsearch.

mod elasticsearch;
mod objects;
mod panel;

use std::path::{Path, PathBuf};

pub use elasticsearch::Elasticsearch;
pub use objects::{Object, Objects};
pub use panel::{Bars, Panel};

/// The folder `compose` of the project.
///
/// # Panics
/// Where it is not there.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../compose").canonicalize().expect("the project has the folder")
}

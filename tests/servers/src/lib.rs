//! Real servers for the tests: Apache Kafka and Elasticsearch, in the versions that are pinned for `compose/` too.
//!
//! [`kafka`] and [`elasticsearch`] answer with servers that all test processes of a user share: the first process that asks starts one,
//! and it ends by itself, with its data, when no process has used it for half a minute. So each test works in topics and indices with
//! names of its own. [`Kafka::start_own`] and [`Elasticsearch::start_own`] start a server that one test may kill, `start_secured` one that
//! asks for TLS and a password.
//!
//! The programs come out of Maven's registry, once, into a cache: the folder in `IOT_HUB_SERVERS`, else `/var/cache/iot-hub-servers` for
//! root, else `iot-hub-servers` in the user's cache folder. A server that can't be had makes the test fail with what is missing.
//!
//! **Invariant:** who uses a server holds a shared lock on its file `users`, and only who holds that lock alone ends it. The system drops
//! the locks of a process however it ends, so a kill leaves nothing behind that the next run would trip over.

mod cache;
mod elasticsearch;
mod folder;
mod java;
mod kafka;
mod maven;
mod own;
mod ports;
mod process;
mod security;
mod shared;
mod wait;

use std::{path::Path, process::Command, sync::OnceLock};

use anyhow::Result;

pub use elasticsearch::Elasticsearch;
pub use kafka::Kafka;
pub use own::Own;
pub use security::{Identity, Security};

/// The Kafka that all test processes share, started where it does not run.
///
/// # Panics
/// With what is missing, where it can't be had or does not start.
pub fn kafka() -> Kafka {
    static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
    or_panic(SHARED.get_or_init(|| shared::acquire::<Kafka>().map_err(|error| format!("{error:#}"))))
}

/// The Elasticsearch that all test processes share, started where it does not run. It asks for no password.
///
/// # Panics
/// With what is missing, where it can't be had or does not start.
pub fn elasticsearch() -> Elasticsearch {
    static SHARED: OnceLock<Result<Elasticsearch, String>> = OnceLock::new();
    or_panic(SHARED.get_or_init(|| shared::acquire::<Elasticsearch>().map_err(|error| format!("{error:#}"))))
}

fn or_panic<S: Clone>(server: &Result<S, String>) -> S {
    server.clone().unwrap_or_else(|error| panic!("a server that this test needs can't be had: {error}"))
}

/// A kind of server.
pub trait Server: Clone + Sized {
    /// Its name, for folders and messages.
    const NAME: &'static str;

    /// The version that is run.
    fn version() -> &'static str;

    /// Its settings but for ports and folders.
    fn settings() -> &'static str;

    /// The server at two ports: the one that clients use, and one for itself.
    fn at(ports: [u16; 2]) -> Self;

    /// Makes what is missing in its folder, its data excepted, and gives the command that runs it.
    ///
    /// # Errors
    /// Where its program can't be had, with what is missing.
    fn prepare(&self, folder: &Path) -> Result<Command>;

    /// Says whether it takes requests.
    ///
    /// # Errors
    /// With its last status, where it does not.
    fn probe(&self) -> Result<(), String>;
}

/// The version of a server, by the tag of its image in `compose/compose.yaml`.
fn version_of(image: &str) -> &'static str {
    let lines = include_str!("../../../compose/compose.yaml").lines();
    let images = lines.filter_map(|line| line.trim().strip_prefix("image: ")?.rsplit_once(':'));
    let tag = images.into_iter().find_map(|(name, tag)| (name == image).then_some(tag));
    tag.expect("`compose/compose.yaml` runs every server")
}

//! A server that all test processes share.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
};

use anyhow::{Context, Result};

use crate::{
    Server, cache,
    folder::{Folder, Patience},
    ports, process,
};

/// The time between two test binaries that use a server is not to end it.
const PATIENCE: Patience = Patience { looks: "30", pause_s: "1" };

/// The shared server of a kind, started where none runs; it is used until this process ends.
pub(crate) fn acquire<S: Server>() -> Result<S> {
    let folder = Folder::open(cache::folder()?.join(folder_name::<S>()))?;
    // One process starts it, the others wait here. The keeper ends a server under the lock that comes first.
    let users = folder.lock("users")?;
    users.lock_shared()?;
    let starting = folder.lock("starting")?;
    starting.lock()?;
    let server = running::<S>(&folder).map_or_else(|| start(&folder), Ok)?;
    // The system drops the lock when this process ends, however that happens.
    mem::forget(users);
    Ok(server)
}

/// Differs where program or settings do, so that two trees with other ones do not meet.
fn folder_name<S: Server>() -> String {
    let mut hasher = DefaultHasher::new();
    S::settings().hash(&mut hasher);
    format!("shared-{}-{}-{:016x}", S::NAME, S::version(), hasher.finish())
}

/// The server that runs, once it answers; `None` where it does not live, or has just died.
fn running<S: Server>(folder: &Folder) -> Option<S> {
    let runs = folder.take_keeper().ok()?.is_none();
    let server = runs.then(|| folder.ports().ok()).flatten().map(S::at)?;
    folder.wait_until_it_answers(&server).ok().map(|()| server)
}

fn start<S: Server>(folder: &Folder) -> Result<S> {
    let keeper = folder.take_keeper()?.context("it runs and does not answer; it ends by itself when nobody uses it")?;
    process::kill_leftovers(&folder.server())?;
    if folder.server().exists() {
        fs::remove_dir_all(folder.server())?;
    }
    let ports = [ports::free()?, ports::free()?];
    folder.set_ports(ports)?;
    let server = S::at(ports);
    folder.start(&server, keeper, PATIENCE)?;
    Ok(server)
}

//! A server of one test's own, which it may kill, stop, suspend and start again.

use std::{
    fs::{self, File},
    ops::Deref,
    process::id,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::{
    Server, cache,
    folder::{Folder, Patience},
    ports, process,
    wait::wait_for,
};

/// The end of the test ends the server.
const PATIENCE: Patience = Patience { looks: "3", pause_s: "0.2" };
/// How long a server may take to end when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A server of one test's own; it is killed and its data deleted with this value, and when the test's process ends in any way.
///
/// It keeps its data and its ports through [`kill`](Self::kill), [`stop`](Self::stop) and [`start`](Self::start). All of them panic with
/// what happened where they fail.
#[derive(Debug)]
pub struct Own<S: Server> {
    server: S,
    folder: Folder,
    _users: File,
}

impl<S: Server> Own<S> {
    pub(crate) fn launch(server: impl FnOnce([u16; 2]) -> S) -> Result<Self> {
        let (folder, users) = folder(S::NAME)?;
        let ports = [ports::free()?, ports::free()?];
        folder.set_ports(ports)?;
        let own = Self { server: server(ports), folder, _users: users };
        own.try_start()?;
        Ok(own)
    }

    /// Starts it again, and waits until it answers.
    ///
    /// # Panics
    /// Where it runs, or does not answer.
    pub fn start(&self) {
        self.try_start().unwrap_or_else(|error| panic!("can't start {}: {error:#}", S::NAME));
    }

    /// Kills it without warning.
    pub fn kill(&self) {
        self.end(Signal::KILL);
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&self) {
        self.end(Signal::TERM);
    }

    /// Stops it where it stands: its connections stay open and nothing is answered, until [`resume`](Self::resume).
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`suspend`](Self::suspend).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn try_start(&self) -> Result<()> {
        let keeper = self.folder.take_keeper()?.context("it runs already")?;
        self.folder.start(&self.server, keeper, PATIENCE)
    }

    fn signal(&self, signal: Signal) {
        let sent = self.folder.pid().and_then(|pid| process::signal(pid, signal));
        sent.unwrap_or_else(|error| panic!("{error:#}"));
    }

    fn end(&self, signal: Signal) {
        self.signal(signal);
        self.wait_until_it_ended().unwrap_or_else(|error| panic!("{error:#}"));
    }

    fn wait_until_it_ended(&self) -> Result<()> {
        wait_for("the end of the server", STOP_TIMEOUT, || {
            let keeper = self.folder.take_keeper().map_err(|error| error.to_string())?;
            keeper.map(drop).ok_or_else(|| "it runs".to_owned())
        })
    }
}

impl<S: Server> Deref for Own<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.server
    }
}

impl<S: Server> Drop for Own<S> {
    fn drop(&mut self) {
        let killed = self.folder.pid().and_then(|pid| process::signal(pid, Signal::KILL));
        let ended = killed.and_then(|()| self.wait_until_it_ended());
        if let Err(error) = ended.or_else(|_| process::kill_leftovers(&self.folder.server())) {
            eprintln!("a server goes on: {error:#}");
            return;
        }
        let _ = fs::remove_dir_all(self.folder.path());
    }
}

/// A new folder, used by this process; those that nobody uses any more go.
fn folder(name: &str) -> Result<(Folder, File)> {
    let cache = cache::folder()?;
    let making = cache::lock_file(&cache.join("own.lock"))?;
    making.lock()?;
    for entry in fs::read_dir(&cache)? {
        let path = entry?.path();
        let is_own = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("own-"));
        if is_own && path.is_dir() {
            remove_unused(Folder::open(path)?)?;
        }
    }
    let paths = (0..).map(|number: u32| cache.join(format!("own-{name}-{}-{number}", id())));
    let path = paths.into_iter().find(|path| !path.exists()).context("a name for a folder")?;
    let folder = Folder::open(path)?;
    let users = folder.lock("users")?;
    users.lock_shared()?;
    Ok((folder, users))
}

/// Deletes the folder of a server that ended while its test did, in which no keeper was there to do so.
fn remove_unused(folder: Folder) -> Result<()> {
    let users = folder.lock("users")?;
    if users.try_lock().is_ok() && folder.take_keeper()?.is_some() {
        process::kill_leftovers(&folder.server())?;
        fs::remove_dir_all(folder.path())?;
    }
    Ok(())
}

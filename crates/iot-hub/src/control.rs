//! The control socket: how `iot-hub backup` asks the hub that uses a data folder, one JSON object a line.
//!
//! **Invariant:** only the user who runs the hub can connect: the socket appears under its name with its rights already set.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, fs::DirBuilderExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use embedded::Folder;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{address_file, backup::check_target, signals::stopped};

/// Name of the socket in the data folder.
const SOCKET: &str = "control.sock";
/// The longest path of a socket that the system takes, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long clients may take to hear that the hub is stopping.
const STOP_GRACE: Duration = Duration::from_millis(200);
/// Time between two lines about the progress of a copy.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What a client asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// A consistent copy of the data folder.
    Backup {
        /// Absolute path of a folder that is empty or not there yet.
        to: PathBuf,
    },
}

/// What the hub answers: progress any number of times, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// So much is copied.
    Progress {
        /// Bytes so far.
        size_bytes: u64,
    },
    /// The copy is complete and durable.
    Done(Copied),
    /// The copy can't be made.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// A complete copy.
#[derive(Debug, Serialize, Deserialize)]
pub struct Copied {
    /// Its size.
    pub size_bytes: u64,
}

/// The path by which a data folder's socket is bound and reached; valid as long as the directory handle beside it, if any, is open.
///
/// # Errors
/// When the path is too long for a socket and the system has no shorter name for it.
pub fn socket_path(data: &Path) -> anyhow::Result<(PathBuf, Option<File>)> {
    short_path(data, SOCKET)
}

fn short_path(folder: &Path, name: &str) -> anyhow::Result<(PathBuf, Option<File>)> {
    let path = folder.join(name);
    if path.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok((path, None));
    }
    let directory = File::open(folder).with_context(|| format!("can't open `{}`", folder.display()))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    if !short.exists() {
        bail!(
            "path `{}` is too long for a socket ({SOCKET_PATH_BYTES_MAX} bytes); choose a shorter one",
            path.display()
        );
    }
    Ok((short.join(name), Some(directory)))
}

/// The hub's end of the socket.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Binds the socket; one that a killed hub left is replaced. The caller holds the data folder.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn bind(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(SOCKET);
        let private = data.join("control.new");
        let bind = || -> anyhow::Result<UnixListener> {
            if private.exists() {
                fs::remove_dir_all(&private)?;
            }
            DirBuilder::new().mode(0o700).create(&private)?;
            let (unfinished, _directory) = short_path(&private, SOCKET)?;
            let listener = UnixListener::bind(&unfinished)?;
            fs::set_permissions(private.join(SOCKET), Permissions::from_mode(0o600))?;
            fs::rename(private.join(SOCKET), &path)?;
            fs::remove_dir(&private)?;
            Ok(listener)
        };
        let listener = bind().with_context(|| format!("can't open the control socket `{}`", path.display()))?;
        Ok(Self { listener, path })
    }

    /// Answers clients until told to stop; a copy that is being made then is broken off.
    pub async fn run(self, folder: Arc<Folder>, data: PathBuf, mut stop: watch::Receiver<bool>) {
        let one_at_a_time = Arc::new(Semaphore::new(1));
        let mut clients = JoinSet::new();
        loop {
            let client = tokio::select! {
                client = self.listener.accept() => client,
                _ = clients.join_next(), if !clients.is_empty() => continue,
                () = stopped(&mut stop) => break,
            };
            let Ok((client, _)) = client else { continue };
            let Ok(turn) = Arc::clone(&one_at_a_time).try_acquire_owned() else {
                drop(refuse(client, "another copy is being made; try again when it is complete").await);
                continue;
            };
            let (folder, data, stop) = (Arc::clone(&folder), data.clone(), stop.clone());
            clients.spawn(async move {
                if let Err(error) = answer(client, folder, &data, stop).await {
                    tracing::warn!(error = format!("{error:#}"), "a client of the control socket went away");
                }
                drop(turn);
            });
        }
        drop(tokio::time::timeout(STOP_GRACE, clients.join_all()).await);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        address_file::remove(&self.path);
    }
}

async fn refuse(mut client: UnixStream, reason: impl Into<String>) -> anyhow::Result<()> {
    send(&mut client, &Reply::Refused { reason: reason.into() }).await
}

async fn send(client: &mut UnixStream, reply: &Reply) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(reply)?;
    line.push('\n');
    client.write_all(line.as_bytes()).await?;
    Ok(())
}

async fn answer(
    mut client: UnixStream,
    folder: Arc<Folder>,
    data: &Path,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new((&mut client).take(REQUEST_BYTES_MAX));
    tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await.context("no request in time")??;
    let Request::Backup { to } = match domain::from_json(line.as_bytes()) {
        Ok(request) => request,
        Err(error) => return refuse(client, format!("request `{}`: {error}", line.trim_end())).await,
    };
    if let Err(error) = check_target(data, &to) {
        return refuse(client, format!("{error:#}")).await;
    }
    tracing::info!(to = %to.display(), "copying the data folder");
    let (progress, so_far) = watch::channel(0);
    let mut copy = tokio::task::spawn_blocking(move || {
        folder.backup(&to, &mut |size_bytes| {
            progress.send_replace(size_bytes);
        })
    });
    let mut every = tokio::time::interval(PROGRESS_EVERY);
    let report = loop {
        tokio::select! {
            report = &mut copy => break report?,
            _ = every.tick() => {
                let size_bytes = *so_far.borrow();
                send(&mut client, &Reply::Progress { size_bytes }).await?;
            }
            () = stopped(&mut stop) => return refuse(client, "the hub is stopping").await,
        }
    };
    match report {
        Ok(report) => {
            tracing::info!(report.bytes, "copied the data folder");
            send(&mut client, &Reply::Done(Copied { size_bytes: report.bytes })).await
        }
        Err(error) => refuse(client, error.to_string()).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn socket_is_private_and_reached_under_a_long_path() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for name in ["short".to_owned(), "long".repeat(40)] {
            let data = root.path().join(name);
            fs::create_dir(&data).expect("a folder");
            fs::create_dir(data.join("control.new")).expect("what a killed hub left");
            let control = Control::bind(&data).expect("a socket");
            let mode = fs::metadata(&control.path).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let (path, _directory) = socket_path(&data).expect("a path");
            std::os::unix::net::UnixStream::connect(path).expect("somebody listens");
            drop(control);
            assert_eq!(fs::read_dir(&data).expect("it is there").count(), 0);
        }
    }
}

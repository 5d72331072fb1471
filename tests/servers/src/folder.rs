//! The folder that one server lives in.
//!
//! `server/` holds what goes with the server: its settings, data, ports and process id. `server.log` is what the program said last. `users`
//! and `keeper` are locks: see `keep.sh`.

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

use crate::{Server, cache::lock_file, wait::wait_for};

/// The script that keeps a server.
const KEEP: &str = include_str!("../keep.sh");
/// How long a server may take until it answers, on a machine with other things to do.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// How much of what a server said is repeated where it does not start.
const LOG_LINES: usize = 30;

/// How often the keeper looks whether a server is used, and after how many looks it ends one that is not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) looks: &'static str,
    pub(crate) pause_s: &'static str,
}

/// The folder of a server, and what can be asked of it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder where it is not there.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("can't make `{}`", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where what goes with the server is.
    pub(crate) fn server(&self) -> PathBuf {
        self.0.join("server")
    }

    /// A file of the folder to be locked.
    pub(crate) fn lock(&self, name: &str) -> Result<File> {
        lock_file(&self.0.join(name))
    }

    /// The keeper's lock, where no keeper runs.
    pub(crate) fn take_keeper(&self) -> Result<Option<File>> {
        let keeper = self.lock("keeper")?;
        match keeper.try_lock() {
            Ok(()) => Ok(Some(keeper)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).context("can't lock `keeper`"),
        }
    }

    /// The ports that the server was given.
    pub(crate) fn ports(&self) -> Result<[u16; 2]> {
        let text = fs::read_to_string(self.server().join("ports")).context("the server has no ports")?;
        let (first, second) = text.split_once(' ').context("two ports")?;
        Ok([first.parse()?, second.parse()?])
    }

    /// Notes the ports that the server is given.
    pub(crate) fn set_ports(&self, [first, second]: [u16; 2]) -> Result<()> {
        fs::create_dir_all(self.server())?;
        Ok(fs::write(self.server().join("ports"), format!("{first} {second}"))?)
    }

    /// The id of the server's process, which leads a group of its own.
    pub(crate) fn pid(&self) -> Result<i32> {
        let text = fs::read_to_string(self.server().join("pid")).context("the server has no process")?;
        text.trim().parse().context("a process id")
    }

    /// Starts the server under a keeper, to whom the lock goes, and waits until it answers.
    pub(crate) fn start<S: Server>(&self, server: &S, keeper: File, patience: Patience) -> Result<()> {
        let command = server.prepare(&self.server())?;
        self.keep(&command, keeper, patience)?;
        self.wait_until_it_answers(server)
    }

    /// Runs a command under a keeper, to whom the lock goes.
    fn keep(&self, command: &Command, keeper: File, patience: Patience) -> Result<()> {
        let mut keep = Command::new("setsid");
        keep.args(["sh", "-c", KEEP, "keep.sh"]).arg(&self.0).args([patience.looks, patience.pause_s]);
        keep.arg(command.get_program()).args(command.get_args());
        keep.envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
        keep.stdin(keeper).stdout(Stdio::null()).stderr(Stdio::null());
        keep.spawn().context("can't run `setsid sh`, of util-linux")?;
        Ok(())
    }

    /// Waits until the server answers; an error with what it said where it ends instead.
    pub(crate) fn wait_until_it_answers<S: Server>(&self, server: &S) -> Result<()> {
        let answers = wait_for(&format!("an answer of {}", S::NAME), START_TIMEOUT, || {
            if let Ok(Some(_)) = self.take_keeper() {
                return Ok(Err(anyhow!("{} has ended", S::NAME)));
            }
            server.probe().map(Ok)
        });
        answers.and_then(|answers| answers).with_context(|| format!("it said:\n{}", self.log_tail()))
    }

    /// The last lines of what the server said.
    fn log_tail(&self) -> String {
        let log = fs::read(self.0.join("server.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A Java property on a command line.
pub(crate) fn property(name: &str, value: impl AsRef<OsStr>) -> std::ffi::OsString {
    let mut property = std::ffi::OsString::from(format!("-D{name}="));
    property.push(value);
    property
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { looks: "2", pause_s: "0.1" };
    const TIMEOUT: Duration = Duration::from_secs(20);

    fn command(program: &str, argument: &str) -> Command {
        let mut command = Command::new(program);
        command.arg(argument);
        command
    }

    /// A folder in which a keeper runs the command.
    fn kept(command: &Command) -> Result<(tempfile::TempDir, Folder)> {
        let cache = tempfile::tempdir()?;
        let folder = Folder::open(cache.path().join("one"))?;
        folder.set_ports([1, 2])?;
        let keeper = folder.take_keeper()?.context("no keeper runs")?;
        folder.keep(command, keeper, PATIENCE)?;
        Ok((cache, folder))
    }

    fn wait_until_the_keeper_has_ended(folder: &Folder) -> Result<()> {
        wait_for("the end of the keeper", TIMEOUT, || {
            folder.take_keeper().map_err(|error| error.to_string())?.map(drop).ok_or_else(|| "it runs".to_owned())
        })
    }

    #[test]
    fn server_that_nobody_uses_ends_with_its_files() -> Result<()> {
        let (_cache, folder) = kept(&command("sleep", "1000"))?;
        let pid = wait_for("the start", TIMEOUT, || folder.pid().map_err(|error| error.to_string()))?;
        wait_until_the_keeper_has_ended(&folder)?;
        assert!(!folder.server().exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        Ok(())
    }

    #[test]
    fn server_in_use_outlives_the_patience() -> Result<()> {
        let (_cache, folder, users) = folder_in_use()?;
        let script = "sleep 1; touch \"$0\"; sleep 1000";
        let mark = folder.path().join("mark");
        let mut late = command("sh", "-c");
        late.arg(script).arg(&mark);
        folder.keep(&late, folder.take_keeper()?.context("no keeper runs")?, PATIENCE)?;
        wait_for("a life of five patiences", TIMEOUT, || mark.exists().then_some(()).ok_or_else(String::new))?;
        assert!(folder.take_keeper()?.is_none());
        users.unlock()?;
        wait_until_the_keeper_has_ended(&folder)
    }

    fn folder_in_use() -> Result<(tempfile::TempDir, Folder, File)> {
        let cache = tempfile::tempdir()?;
        let folder = Folder::open(cache.path().join("one"))?;
        folder.set_ports([1, 2])?;
        let users = folder.lock("users")?;
        users.lock_shared()?;
        Ok((cache, folder, users))
    }

    #[test]
    fn files_of_a_server_that_died_stay_for_its_next_start() -> Result<()> {
        let (_cache, folder) = kept(&command("sh", "exit"))?;
        wait_until_the_keeper_has_ended(&folder)?;
        assert_eq!(folder.ports()?, [1, 2]);
        assert!(folder.take_keeper()?.is_some());
        Ok(())
    }
}

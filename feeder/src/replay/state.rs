//! What a replay remembers between two runs, in a small file.
//!
//! **Invariant:** the file is replaced as a whole and is on disk before the next line is sent, so that after a crash at most
//! the post that was not yet acknowledged here is sent again.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::replay::source::Position;

const FORMAT_VERSION: u32 = 1;

/// Which replay a state belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The hub's URL.
    pub hub: String,
    /// The sensor.
    pub sensor: String,
    /// Its type.
    pub sensor_type: String,
    /// The files in the order given, absolute.
    pub files: Vec<PathBuf>,
}

impl Identity {
    /// Returns the file that holds this replay's state when the user names none: `feeder/{sensor}-{hash}.json` in
    /// `$XDG_STATE_HOME/iot-hub`, else in `$HOME/.local/state/iot-hub`. The hash is of the whole identity.
    ///
    /// # Errors
    ///
    /// When neither variable is set.
    pub fn default_path(&self) -> anyhow::Result<PathBuf> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_STATE_HOME")
            .or_else(|| Some(set("HOME")?.join(".local/state")))
            .context("state: neither XDG_STATE_HOME nor HOME is set: name a file with --state")?;
        Ok(base.join("iot-hub").join("feeder").join(self.file_name()))
    }

    fn file_name(&self) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let files = self.files.iter().map(|path| path.as_os_str().as_encoded_bytes());
        let parts = [self.hub.as_bytes(), self.sensor.as_bytes(), self.sensor_type.as_bytes()];
        for part in parts.into_iter().chain(files) {
            for byte in part.iter().chain(&[0]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        format!("{}-{hash:016x}.json", self.sensor)
    }
}

/// How far a replay has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Which replay this is.
    pub identity: Identity,
    /// How far each file is acknowledged, in the order of the files.
    pub positions: Vec<Position>,
    /// Readings accepted so far, over all runs.
    pub accepted: u64,
    /// Readings refused so far, over all runs.
    pub refused: u64,
}

impl State {
    /// The state of a replay that has not begun.
    pub fn new(identity: Identity) -> Self {
        let positions = vec![Position::START; identity.files.len()];
        Self { version: FORMAT_VERSION, identity, positions, accepted: 0, refused: 0 }
    }
}

/// A state file, held by one process at a time.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl StateFile {
    /// Takes hold of a state file, which need not exist yet.
    ///
    /// # Errors
    ///
    /// When another replay holds it, or its folder cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let context = || format!("state `{name}`: cannot be written");
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).with_context(context)?;
        }
        let lock_path = with_suffix(path, ".lock");
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path).with_context(context)?;
        if lock.try_lock().is_err() {
            bail!("state `{name}`: another feeder is replaying with it");
        }
        Ok(Self { path: path.to_owned(), lock_path, _lock: lock })
    }

    /// Reads what an earlier run of this replay left; `None` when it left nothing.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is damaged, or belongs to another replay.
    pub fn load(&self, identity: &Identity) -> anyhow::Result<Option<State>> {
        let name = self.path.display();
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("state `{name}`: cannot be read")),
        };
        let state: State = serde_json::from_slice(&bytes)
            .with_context(|| format!("state `{name}`: is not a replay's state; --restart begins again"))?;
        if state.version != FORMAT_VERSION || state.positions.len() != state.identity.files.len() {
            bail!("state `{name}`: version `{}` is not known; --restart begins again", state.version);
        }
        let was = &state.identity;
        for (what, was, is) in [
            ("hub", &was.hub, &identity.hub),
            ("sensor", &was.sensor, &identity.sensor),
            ("sensor type", &was.sensor_type, &identity.sensor_type),
        ] {
            if was != is {
                bail!("state `{name}`: belongs to a replay with {what} `{was}`, not `{is}`; --restart begins again");
            }
        }
        if was.files != identity.files {
            bail!("state `{name}`: belongs to a replay of other files; --restart begins again");
        }
        Ok(Some(state))
    }

    /// Replaces the file and waits until that is on disk.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn save(&self, state: &State) -> anyhow::Result<()> {
        let context = || format!("state `{}`: cannot be written", self.path.display());
        let next = with_suffix(&self.path, ".next");
        let mut file = File::create(&next).with_context(context)?;
        file.write_all(&serde_json::to_vec_pretty(state).with_context(context)?).with_context(context)?;
        file.sync_all().with_context(context)?;
        std::fs::rename(&next, &self.path).with_context(context)?;
        sync_folder(&self.path).with_context(context)
    }

    /// Removes the file: the replay is complete, or begins again.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn clear(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("state `{}`: cannot be removed", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // A lock file left behind does no harm: the lock itself ends with the process.
        let _ = std::fs::remove_file(&self.lock_path);
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            hub: "http://127.0.0.1:8080".to_owned(),
            sensor: "emb3".to_owned(),
            sensor_type: "emb".to_owned(),
            files: vec!["/data/a.csv".into(), "/data/b.csv".into()],
        }
    }

    fn in_folder(folder: &tempfile::TempDir) -> StateFile {
        StateFile::open(&folder.path().join("new/state.json")).expect("opened")
    }

    #[test]
    fn state_is_read_as_it_was_saved_and_gone_when_cleared() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = in_folder(&folder);
        assert_eq!(file.load(&identity()).expect("readable"), None);
        let mut state = State::new(identity());
        state.positions[1] = Position { offset: 17, line: 3, fingerprint: u64::MAX };
        state.accepted = 2;
        file.save(&state).expect("saved");
        assert_eq!(file.load(&identity()).expect("readable"), Some(state));
        file.clear().expect("cleared");
        file.clear().expect("cleared twice");
        assert_eq!(file.load(&identity()).expect("readable"), None);
    }

    #[test]
    fn state_of_another_replay_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = in_folder(&folder);
        file.save(&State::new(identity())).expect("saved");
        for (change, named) in [
            (Identity { sensor: "emb2".to_owned(), ..identity() }, "sensor `emb3`, not `emb2`"),
            (Identity { hub: "http://other".to_owned(), ..identity() }, "hub `http://127.0.0.1:8080`"),
            (Identity { files: vec!["/data/a.csv".into()], ..identity() }, "other files"),
        ] {
            let error = file.load(&change).expect_err(named).to_string();
            assert!(error.contains(named) && error.contains("--restart"), "{error}");
        }
    }

    #[test]
    fn damaged_state_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = in_folder(&folder);
        std::fs::write(&file.path, "{\"version\":1").expect("written");
        assert!(file.load(&identity()).is_err());
    }

    #[test]
    fn second_feeder_with_the_same_state_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let first = in_folder(&folder);
        let error = StateFile::open(&first.path).expect_err("held").to_string();
        assert!(error.contains("another feeder"), "{error}");
        drop(first);
        in_folder(&folder);
    }

    #[test]
    fn each_replay_has_its_own_file_name() {
        let other = Identity { hub: "http://127.0.0.1:8081".to_owned(), ..identity() };
        assert_eq!(identity().file_name(), identity().file_name());
        assert_ne!(identity().file_name(), other.file_name());
        assert!(identity().file_name().starts_with("emb3-"));
    }
}

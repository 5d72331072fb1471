//! The data folder: one database under `db/`, a `format` file beside it, one process at a time.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
    config::CompressionPolicy,
};
use ports::{Clock, Findings, Log, PortError, Store};

use crate::{
    backup::{self, BackupReport},
    disk::Disk,
    error::{from_database, from_write},
    findings::{self, EmbeddedFindings},
    log::{self, Bounds, EmbeddedLog},
    store::{self, EmbeddedStore},
};

/// Version of everything in the folder. Until the first release it may change without a way to read the one before.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";
const DATABASE_FOLDER: &str = "db";
/// Threads that flush and compact: one that compacts beside one that flushes.
const WORKERS: usize = 2;
/// Memory for what a keyspace has not yet sorted on disk; several times that while the disk is behind.
const MEMTABLE_BYTES: u64 = 4 << 20;
/// The size from which a value that stays is kept apart from its key.
const APART_BYTES_MIN: u32 = 128;
/// The journal at which the database writes out what still needs it.
const JOURNALS_BYTES_MAX: u64 = 192 << 20;
/// Removals in one batch.
const REMOVALS_AT_ONCE: usize = 8_192;

/// Bounds of a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long the log keeps records after their arrival, at least.
    pub log_retention: Duration,
    /// The most bytes of records in the log; then appends are refused.
    pub log_size_max: u64,
    /// Bytes of the disk to keep free: appends are refused when there are fewer.
    pub disk_reserve: u64,
    /// Memory for what was read from disk, in bytes.
    pub cache_size: u64,
    /// Size in bytes, over all sensor types, at which rows in memory are folded into blocks; twice that is held at the most.
    pub memtable_size_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_retention: Duration::from_secs(7 * 24 * 3600),
            log_size_max: 32 << 30,
            disk_reserve: 256 << 20,
            cache_size: 24 << 20,
            memtable_size_max: 24 << 20,
        }
    }
}

/// Why a data folder can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "data folder `{0}` is in use by another process; stop that one first, or give this one a folder of its own"
    )]
    InUse(PathBuf),
    /// There is none.
    #[error("there is no data folder `{0}`")]
    NoFolder(PathBuf),
    /// It holds something else.
    #[error("folder `{0}` holds files that are not a hub's; give an empty folder or one that a hub made")]
    Foreign(PathBuf),
    /// A hub of another version made it.
    #[error("data folder `{path}` has format version `{found}`, and this hub reads version {FORMAT}")]
    FormatVersion {
        /// The folder.
        path: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// It can't be written.
    #[error("data folder `{path}` can't be written")]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What it holds can't be trusted.
    #[error("data folder `{path}` is damaged; restore a backup, or look at it with `iot-hub check`")]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What was found.
        source: fjall::Error,
    },
    /// Its contents can't be read.
    #[error(transparent)]
    Storage(PortError),
}

/// An open data folder: the ports on one disk.
pub struct Folder {
    database: Database,
    keyspaces: Vec<Keyspace>,
    log: Arc<EmbeddedLog>,
    store: Arc<EmbeddedStore>,
    findings: Arc<EmbeddedFindings>,
}

impl Folder {
    /// Opens a folder, making it where it is not there; works off what a crash left.
    ///
    /// # Errors
    /// [`OpenError`], each saying what to do.
    pub fn open(path: &Path, settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        prepare_folder(path)?;
        let database = open_database_with(path, settings.cache_size)?;
        let keyspaces = OpenKeyspaces::open(&database).map_err(OpenError::Storage)?;
        let disk = Arc::new(Disk::new(path, database.clone(), settings.disk_reserve));
        let all = keyspaces.all();
        let bounds = Bounds { retention: settings.log_retention, size_max: settings.log_size_max };
        let log = EmbeddedLog::open(database.clone(), keyspaces.log, clock, Arc::clone(&disk), bounds);
        let findings = EmbeddedFindings::new(database.clone(), keyspaces.findings, Arc::clone(&disk));
        let shared = store::Shared::new(database.clone(), keyspaces.store, disk, settings.memtable_size_max);
        let store = EmbeddedStore::open(shared).map_err(OpenError::Storage)?;
        let log = Arc::new(log.map_err(OpenError::Storage)?);
        Ok(Self { database, keyspaces: all, log, store: Arc::new(store), findings: Arc::new(findings) })
    }

    /// The log in this folder.
    pub fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log) as _
    }

    #[cfg(test)]
    pub(crate) fn embedded_log(&self) -> &EmbeddedLog {
        &self.log
    }

    /// The store in this folder.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as _
    }

    /// The findings in this folder.
    pub fn findings(&self) -> Arc<dyn Findings> {
        Arc::clone(&self.findings) as _
    }

    /// Applies the log's retention now; it is applied every ten seconds anyway.
    ///
    /// # Errors
    /// `Unavailable` while the folder is being closed.
    pub async fn apply_log_retention(&self) -> Result<(), PortError> {
        self.log.apply_retention().await
    }

    /// Copies the folder as it is at this moment into a new one, while it is in use; `progress` is told the bytes copied so far.
    ///
    /// # Errors
    /// `Rejected` where `to` is there and not empty; `DiskFull`, `Unavailable`; what was copied until then is removed.
    pub fn backup(&self, to: &Path, progress: &mut dyn FnMut(u64)) -> Result<BackupReport, PortError> {
        backup::copy(&self.database, &self.keyspaces, to, progress)
    }

    /// Finishes what is under way and syncs all. The ports of this folder refuse from then on.
    ///
    /// # Errors
    /// `DiskFull` or `Corrupt` where the last sync failed; nothing acknowledged is lost by that.
    pub fn close(self) -> Result<(), PortError> {
        self.findings.close();
        self.store.close();
        self.log.close();
        self.database.persist(PersistMode::SyncAll).map_err(|e| from_write("the last sync", e))
    }
}

/// What the values of a keyspace are like.
#[derive(Clone, Copy)]
enum Values {
    Plain,
    /// They leave little to a compressor.
    Packed,
    /// The same, and they stay: apart from their keys, so that merging the keys of old and new ones does not copy all values again.
    PackedForLong,
}

impl Values {
    fn options(self) -> KeyspaceCreateOptions {
        let options = KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let packed =
            |options: KeyspaceCreateOptions| options.data_block_compression_policy(CompressionPolicy::disabled());
        match self {
            Self::Plain => options,
            Self::Packed => packed(options),
            Self::PackedForLong => {
                let apart = KvSeparationOptions::default()
                    .separation_threshold(APART_BYTES_MIN)
                    .compression(CompressionType::None);
                packed(options).with_kv_separation(Some(apart))
            }
        }
    }
}

/// All keyspaces of a folder.
pub(crate) struct OpenKeyspaces {
    pub log: log::Keyspaces,
    pub store: store::Keyspaces,
    pub findings: findings::Keyspaces,
}

impl OpenKeyspaces {
    /// Opens them, making those that are not there.
    pub fn open(database: &Database) -> Result<Self, PortError> {
        let open = |name: &str, values: Values| {
            let options = || values.options();
            database.keyspace(name, options).map_err(|e| from_database(&format!("opening keyspace `{name}`"), e))
        };
        let log = log::Keyspaces {
            records: open("log-records", Values::Plain)?,
            document_keys: open("log-document-keys", Values::Plain)?,
            topics: open("log-topics", Values::Plain)?,
            groups: open("log-groups", Values::Plain)?,
        };
        let store = store::Keyspaces {
            types: open("store-types", Values::Plain)?,
            sensors: open("store-sensors", Values::Plain)?,
            staged: open("store-staged", Values::Packed)?,
            blocks: open("store-blocks", Values::PackedForLong)?,
            arrivals: open("store-arrivals", Values::Plain)?,
        };
        let findings = findings::Keyspaces {
            anomalies: open("findings-anomalies", Values::Plain)?,
            runs: open("findings-runs", Values::Plain)?,
            shares: open("findings-shares", Values::Plain)?,
        };
        Ok(Self { log, store, findings })
    }

    /// All of them, for copying.
    pub fn all(&self) -> Vec<Keyspace> {
        let (log, store, findings) = (&self.log, &self.store, &self.findings);
        let all = [
            &log.records,
            &log.document_keys,
            &log.topics,
            &log.groups,
            &store.types,
            &store.sensors,
            &store.staged,
            &store.blocks,
            &store.arrivals,
            &findings.anomalies,
            &findings.runs,
            &findings.shares,
        ];
        all.into_iter().cloned().collect()
    }
}

/// Makes the folder and its format file, or checks those that are there.
pub(crate) fn prepare_folder(path: &Path) -> Result<(), OpenError> {
    let not_writable = |source| OpenError::NotWritable { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(not_writable)?;
    let format_file = path.join(FORMAT_FILE);
    match fs::read_to_string(&format_file) {
        Ok(text) => return check_format(path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(not_writable(error)),
    }
    // A crash between the two steps below leaves the draft alone.
    let draft = path.join("format.new");
    let foreign = fs::read_dir(path).map_err(not_writable)?.flatten().any(|entry| {
        let name = entry.file_name();
        name != "format.new" && name != "lost+found"
    });
    if foreign {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    fs::write(&draft, format!("iot-hub data folder, format {FORMAT}\n")).map_err(not_writable)?;
    fs::File::open(&draft).and_then(|file| file.sync_all()).map_err(not_writable)?;
    fs::rename(&draft, &format_file).map_err(not_writable)?;
    fs::File::open(path).and_then(|folder| folder.sync_all()).map_err(not_writable)
}

fn check_format(path: &Path, text: &str) -> Result<(), OpenError> {
    let found = text.trim().strip_prefix("iot-hub data folder, format ").unwrap_or("unknown");
    if found == FORMAT.to_string() {
        return Ok(());
    }
    Err(OpenError::FormatVersion { path: path.to_owned(), found: found.chars().take(40).collect() })
}

/// Opens the database of a folder that must be there.
pub(crate) fn open_database(path: &Path) -> Result<Database, OpenError> {
    match fs::read_to_string(path.join(FORMAT_FILE)) {
        Ok(text) => check_format(path, &text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::Foreign(path.to_owned())),
        Err(source) => return Err(OpenError::NotWritable { path: path.to_owned(), source }),
    }
    open_database_with(path, Settings::default().cache_size)
}

pub(crate) fn open_database_with(path: &Path, cache_size: u64) -> Result<Database, OpenError> {
    let builder = Database::builder(path.join(DATABASE_FOLDER))
        .worker_threads(WORKERS)
        .cache_size(cache_size)
        .max_journaling_size(JOURNALS_BYTES_MAX);
    builder.open().map_err(|error| match error {
        fjall::Error::Locked => OpenError::InUse(path.to_owned()),
        fjall::Error::Io(source) => OpenError::NotWritable { path: path.to_owned(), source },
        source => OpenError::Damaged { path: path.to_owned(), source },
    })
}

/// Removes all keys with a prefix, in batches.
pub(crate) fn remove_prefix(database: &Database, keyspace: &Keyspace, prefix: &[u8]) -> Result<(), PortError> {
    const DOING: &str = "removing stored data";
    loop {
        let mut batch = database.batch();
        for item in keyspace.prefix(prefix).take(REMOVALS_AT_ONCE) {
            batch.remove(keyspace, item.key().map_err(|e| from_database(DOING, e))?);
        }
        if batch.is_empty() {
            return Ok(());
        }
        batch.commit().map_err(|e| from_write(DOING, e))?;
    }
}

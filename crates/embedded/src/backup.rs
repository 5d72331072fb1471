//! Copies a data folder as it is at one moment, while it is in use.
//!
//! **Invariant:** all keyspaces are read at one snapshot of the database, so that the copy is a prefix of the journal: positions
//! are never ahead of rows. The `format` file comes last; without it nobody takes the copy for a data folder.

use std::{fs, path::Path};

use fjall::{Database, Keyspace, PersistMode, Readable};
use ports::{ErrorKind, PortError};

use crate::{
    error::from_database,
    folder::{OpenKeyspaces, open_database_with, prepare_folder},
};

/// Between two reports of progress.
const PROGRESS_BYTES: u64 = 4 << 20;
/// Memory for reading, in bytes: each byte of the copy is read once.
const CACHE_BYTES: u64 = 4 << 20;

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Keys copied.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Copies the keyspaces into a new folder.
pub(crate) fn copy(
    database: &Database,
    keyspaces: &[Keyspace],
    to: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<BackupReport, PortError> {
    let shown = to.display();
    let occupied = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(PortError::new(
            ErrorKind::Rejected,
            format!("backup target `{shown}` is not empty; give a new folder"),
        ));
    }
    let cannot = |e: std::io::Error| {
        PortError::new(ErrorKind::Unavailable, format!("backup target `{shown}` can't be written")).with_source(e)
    };
    fs::create_dir_all(to).map_err(cannot)?;
    let draft = to.join("copying");
    let result = copy_into(database, keyspaces, &draft, progress);
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            let _ = fs::remove_dir_all(&draft);
            return Err(error);
        }
    };
    fs::rename(draft.join("db"), to.join("db")).map_err(cannot)?;
    fs::rename(draft.join("format"), to.join("format")).map_err(cannot)?;
    fs::remove_dir_all(&draft).map_err(cannot)?;
    fs::File::open(to).and_then(|folder| folder.sync_all()).map_err(cannot)?;
    Ok(report)
}

fn copy_into(
    database: &Database,
    keyspaces: &[Keyspace],
    draft: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<BackupReport, PortError> {
    let failed = |error: crate::OpenError| PortError::new(ErrorKind::Unavailable, error.to_string());
    prepare_folder(draft).map_err(failed)?;
    let copy = open_database_with(draft, CACHE_BYTES).map_err(failed)?;
    let targets = OpenKeyspaces::open(&copy)?.all();
    let snapshot = database.snapshot();
    let mut report = BackupReport::default();
    let mut reported = 0;
    let doing = |e| from_database("copying the data folder", e);
    for (source, target) in keyspaces.iter().zip(&targets) {
        let mut ingestion = target.start_ingestion().map_err(doing)?;
        for item in snapshot.iter(source) {
            let (key, value) = item.into_inner().map_err(doing)?;
            report.entries += 1;
            report.bytes += (key.len() + value.len()) as u64;
            ingestion.write(key, value).map_err(doing)?;
            if report.bytes - reported >= PROGRESS_BYTES {
                reported = report.bytes;
                progress(reported);
            }
        }
        ingestion.finish().map_err(doing)?;
    }
    copy.persist(PersistMode::SyncAll).map_err(doing)?;
    Ok(report)
}

//! Keeps some of the disk free, so that what was accepted can be worked off and a full disk never meets a half-done write.

use std::path::{Path, PathBuf};

use fjall::Database;
use ports::{ErrorKind, PortError};

/// Who asks for room: the last of the reserve is for those that finish what was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// New records: refused as soon as the reserve is touched.
    Accept,
    /// Storing what was accepted: goes on until half of the reserve is left. The rest is for the database, which merges its files by
    /// writing new ones first and can't be made to wait.
    Finish,
}

/// Watches the free space of the file system that holds the data folder.
pub struct Disk {
    folder: PathBuf,
    database: Database,
    reserve: u64,
}

impl Disk {
    /// Watches the file system of `folder`, of which `reserve` bytes are to stay free.
    pub fn new(folder: &Path, database: Database, reserve: u64) -> Self {
        Self { folder: folder.to_owned(), database, reserve }
    }

    /// Says whether there is room.
    ///
    /// # Errors
    /// `DiskFull`, naming the free and the wanted bytes; `Unavailable` where the file system does not answer.
    pub fn check(&self, need: Need) -> Result<(), PortError> {
        let stat = rustix::fs::statvfs(&self.folder).map_err(|error| {
            PortError::new(ErrorKind::Unavailable, "the free disk space can't be read").with_source(error)
        })?;
        // What the database has in memory takes its room on the disk soon.
        let free = stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(self.database.write_buffer_size());
        let wanted = if need == Need::Accept { self.reserve } else { self.reserve / 2 };
        if free >= wanted {
            return Ok(());
        }
        let message =
            format!("the disk of the data folder has {free} bytes free, fewer than the {wanted} to be kept free");
        Err(PortError::new(ErrorKind::DiskFull, message))
    }
}

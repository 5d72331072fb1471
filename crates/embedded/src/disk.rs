//! Keeps some of the disk free, so that what was accepted can be worked off and a full disk never meets a half-done write.

use std::path::{Path, PathBuf};

use ports::{ErrorKind, PortError};

/// Who asks for room: the last of the reserve is for those that finish what was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// New records: refused as soon as the reserve is touched.
    Accept,
    /// Storing what was accepted: goes on until a quarter of the reserve is left.
    Finish,
}

/// Watches the free space of the file system that holds the data folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    reserve: u64,
}

impl Disk {
    /// Watches the file system of `folder`, of which `reserve` bytes are to stay free.
    pub fn new(folder: &Path, reserve: u64) -> Self {
        Self { folder: folder.to_owned(), reserve }
    }

    /// Says whether there is room.
    ///
    /// # Errors
    /// `DiskFull`, naming the free and the wanted bytes; `Unavailable` where the file system does not answer.
    pub fn check(&self, need: Need) -> Result<(), PortError> {
        let stat = rustix::fs::statvfs(&self.folder).map_err(|error| {
            PortError::new(ErrorKind::Unavailable, "the free disk space can't be read").with_source(error)
        })?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let wanted = if need == Need::Accept { self.reserve } else { self.reserve / 4 };
        if free >= wanted {
            return Ok(());
        }
        let message =
            format!("the disk of the data folder has {free} bytes free, fewer than the {wanted} to be kept free");
        Err(PortError::new(ErrorKind::DiskFull, message))
    }
}

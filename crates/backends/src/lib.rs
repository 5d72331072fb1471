//! Opens the log and the store of a hub, wherever they are.
//!
//! **Invariant:** only this crate asks which backend is configured; everybody else has the two ports.

use std::{path::PathBuf, sync::Arc};

use embedded::Folder;
use ports::{Clock, Log, PortError, Store};

/// Where log and store are, and what they go by.
#[derive(Debug, Clone)]
pub enum Settings {
    /// Both in a data folder, for one process.
    Embedded {
        /// The data folder.
        folder: PathBuf,
        /// Its bounds.
        settings: embedded::Settings,
    },
}

/// Why log and store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder can't be used.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
}

/// An open log and an open store.
pub struct Backends {
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
    folder: Option<(PathBuf, Arc<Folder>)>,
}

impl Backends {
    /// Opens both.
    ///
    /// # Errors
    /// [`OpenError`], each saying what to do.
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        match settings {
            Settings::Embedded { folder: path, settings } => {
                let folder = Folder::open(path, settings.clone(), clock)?;
                let (log, store) = (folder.log(), folder.store());
                Ok(Self { log, store, folder: Some((path.clone(), Arc::new(folder))) })
            }
        }
    }

    /// The log.
    pub fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log)
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The data folder and its path, where both are in one: to be copied while it is in use.
    pub fn folder(&self) -> Option<(PathBuf, Arc<Folder>)> {
        self.folder.clone()
    }

    /// Finishes what is under way; the ports refuse from then on. Answers false where somebody still copies the data folder, so that
    /// it can't be closed in order; nothing acknowledged is lost by that.
    ///
    /// # Errors
    /// `DiskFull` or `Corrupt` where the last sync failed; nothing acknowledged is lost by that, either.
    pub fn close(self) -> Result<bool, PortError> {
        drop((self.log, self.store));
        let Some((_, folder)) = self.folder else { return Ok(true) };
        match Arc::into_inner(folder) {
            Some(folder) => folder.close().map(|()| true),
            None => Ok(false),
        }
    }
}

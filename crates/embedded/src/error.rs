//! Failures of the disk and of the database as errors of the ports.

use std::io;

use ports::{ErrorKind, PortError};

use crate::codec::Malformed;

/// Says what a failed database call means for the caller. After a failed write the database takes no more of them (`Corrupt`), because
/// nobody knows what reached the disk: only opening the folder again tells.
pub fn from_database(doing: &str, error: fjall::Error) -> PortError {
    let kind = match &error {
        fjall::Error::Io(error) if is_disk_full(error) => ErrorKind::DiskFull,
        _ => ErrorKind::Corrupt,
    };
    PortError::new(kind, format!("{doing} failed")).with_source(error)
}

/// Says that something stored makes no sense.
pub fn from_malformed(what: &str, error: Malformed) -> PortError {
    PortError::new(ErrorKind::Corrupt, format!("{what} can't be read")).with_source(error)
}

/// A thread that should be there is gone.
pub fn stopped() -> PortError {
    PortError::new(ErrorKind::Unavailable, "the data folder is being closed")
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Runs blocking work off the async threads.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(PortError::new(ErrorKind::Corrupt, "a storage task ended early").with_source(error)),
    }
}

/// Runs blocking work that borrows, on this thread, telling the runtime so where it can make up for it.
pub fn blocking_here<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

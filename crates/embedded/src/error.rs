//! Failures of the disk and of the database as errors of the ports.

use std::{cell::RefCell, error::Error as _, io};

use ports::{ErrorKind, PortError};

use crate::codec::Malformed;

/// Says what a failed read of the database means for the caller: what it asked for can't be read (`Corrupt`), unless it is the process that
/// lacks files or memory (`Unavailable`).
pub fn from_database(doing: &str, error: fjall::Error) -> PortError {
    let kind = match io_error(&error) {
        Some(error) if is_disk_full(error) => ErrorKind::DiskFull,
        Some(error) if lacks_resources(error) => ErrorKind::Unavailable,
        _ if matches!(error, fjall::Error::Poisoned) => ErrorKind::Failed,
        _ => ErrorKind::Corrupt,
    };
    PortError::new(kind, format!("{doing} failed")).with_source(error)
}

/// Says what a failed write of the database means for the caller. After it the database takes no more of them (`Failed`), because nobody
/// knows what reached the disk: only opening the folder again tells.
pub fn from_write(doing: &str, error: fjall::Error) -> PortError {
    let error = from_database(doing, error);
    match error.kind() {
        ErrorKind::DiskFull => error,
        _ => error.into_kind(ErrorKind::Failed),
    }
}

fn io_error(error: &fjall::Error) -> Option<&io::Error> {
    match error {
        fjall::Error::Io(error) => Some(error),
        fjall::Error::Storage(error) => error.source()?.downcast_ref(),
        _ => None,
    }
}

/// The key of an entry and its value, each as far as it can be read: where values are kept apart from their keys, the one may be without the other.
pub fn entry(guard: fjall::Guard) -> fjall::Result<(fjall::UserKey, fjall::Result<fjall::UserValue>)> {
    let key = RefCell::new(None);
    let read = guard.into_inner_if(|its| {
        key.replace(Some(its.clone()));
        true
    });
    match (read, key.into_inner()) {
        (Ok((key, Some(value))), _) => Ok((key, Ok(value))),
        (Err(error), Some(key)) => Ok((key, Err(error))),
        (Err(error), None) => Err(error),
        (Ok((_, None)), _) => unreachable!("the value is always asked for"),
    }
}

/// Says that something stored makes no sense.
pub fn from_malformed(what: &str, error: Malformed) -> PortError {
    PortError::new(ErrorKind::Corrupt, format!("{what} can't be read")).with_source(error)
}

/// A thread that should be there is gone.
pub fn stopped() -> PortError {
    PortError::new(ErrorKind::Unavailable, "the data folder is being closed")
}

fn lacks_resources(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    errno.is_some_and(|errno| {
        [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOMEM].contains(&errno)
    })
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

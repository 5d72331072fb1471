//! The file that says where the REST API of a running process listens, for scripts.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// A file with the bound address, there as long as this value lives.
#[derive(Debug)]
pub struct AddressFile(PathBuf);

impl AddressFile {
    /// Writes the file; whoever reads it sees all of it or none.
    ///
    /// # Errors
    /// When its folder can't be written to.
    pub fn write(path: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        let unfinished = path.with_added_extension("new");
        fs::write(&unfinished, format!("{address}\n"))
            .and_then(|()| fs::rename(&unfinished, path))
            .with_context(|| format!("can't write `{}`", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Takes a file away, if it is there; a failure is said, not fatal.
pub fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "can't remove the file");
        }
        _ => (),
    }
}

//! What stands in the data folder beside log and store while a hub runs: the address of its REST API.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// Name of the file with the bound address of the REST API.
pub const ADDRESS: &str = "address";

/// The file `address` of a data folder, there as long as this value lives.
#[derive(Debug)]
pub struct AddressFile(PathBuf);

impl AddressFile {
    /// Writes the file; whoever reads it sees all of it or none.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn write(data: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        let path = data.join(ADDRESS);
        let unfinished = data.join("address.new");
        fs::write(&unfinished, format!("{address}\n"))
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| format!("can't write `{}`", path.display()))?;
        Ok(Self(path))
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

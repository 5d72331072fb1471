//! The folder that programs are kept in, and how one gets there once, whoever asks at the same time.

use std::{
    env,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::process::geteuid;

/// The cache. Root's is not in its home, as Elasticsearch runs as another user, who must get there.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = match env::var_os("IOT_HUB_SERVERS") {
        Some(folder) => PathBuf::from(folder),
        None if geteuid().is_root() => PathBuf::from("/var/cache/iot-hub-servers"),
        None => user_cache()?.join("iot-hub-servers"),
    };
    fs::create_dir_all(&folder).with_context(|| format!("can't make the cache `{}`", folder.display()))?;
    folder.canonicalize().with_context(|| format!("can't open the cache `{}`", folder.display()))
}

fn user_cache() -> Result<PathBuf> {
    let named = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let at_home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    named.or_else(at_home).context("no cache folder: set IOT_HUB_SERVERS")
}

/// The folder of that name in the cache; where it is not there yet, `fetch` fills it.
pub(crate) fn once(name: &str, fetch: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = folder()?;
    let kept = cache.join(name);
    let lock = lock_file(&cache.join(format!("{name}.lock")))?;
    lock.lock()?;
    if !kept.exists() {
        let part = cache.join(format!("{name}.part"));
        if part.exists() {
            fs::remove_dir_all(&part)?;
        }
        fs::create_dir_all(&part)?;
        fetch(&part)?;
        fs::rename(&part, &kept)?;
    }
    Ok(kept)
}

/// A file to be locked.
pub(crate) fn lock_file(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("can't open `{}`", path.display()))
}

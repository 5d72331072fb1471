//! `iot-hub backup`: asks the hub that uses the data folder for a copy, or makes it where no hub runs.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use embedded::Folder;
use indicatif::{ProgressBar, ProgressStyle};
use ports::SystemClock;

use crate::control::{Copied, Reply, Request, socket_path};

/// Copies the data folder to `to`.
///
/// # Errors
/// When the target is not empty, the folder can't be opened, or the copy fails; what was copied by then stays for a look.
pub fn run(data: &Path, to: &Path) -> anyhow::Result<()> {
    let data = data.canonicalize().with_context(|| format!("can't open the data folder `{}`", data.display()))?;
    let to = std::path::absolute(to).with_context(|| format!("can't use the target `{}`", to.display()))?;
    check_target(&data, &to)?;
    let bar = bar(Some(size_of(&data)));
    let copied = match connect(&data)? {
        Some(hub) => ask(hub, &to, &bar)?,
        None => copy(&data, &to, &bar)?,
    };
    bar.finish_and_clear();
    println!("copied {} to `{}`", bytesize::ByteSize(copied.size_bytes), to.display());
    println!("to verify it: iot-hub check --data {}", to.display());
    Ok(())
}

/// Refuses a target that holds something already, or that lies in the data folder itself.
///
/// # Errors
/// With the rule that the target breaks.
pub fn check_target(data: &Path, to: &Path) -> anyhow::Result<()> {
    if to.to_str().is_none() {
        bail!("target `{}` is not UTF-8; choose another name", to.display());
    }
    let parent = to.ancestors().skip(1).find_map(|ancestor| ancestor.canonicalize().ok());
    if to.canonicalize().ok().or(parent).is_some_and(|place| place.starts_with(data)) {
        bail!("target `{}` lies in the data folder `{}`; choose one outside", to.display(), data.display());
    }
    match fs::read_dir(to).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => bail!("target `{}` is not empty; choose a new folder", to.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("can't use the target `{}`", to.display())),
    }
}

/// A bar that counts bytes, of about `size_bytes` where that is known; hidden where standard error is no terminal.
pub fn bar(size_bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match size_bytes {
        Some(size_bytes) => {
            (ProgressBar::new(size_bytes), "{bar:40} {bytes} of about {total_bytes}, {bytes_per_sec}, {eta} left")
        }
        None => (ProgressBar::no_length(), "{spinner} {bytes}, {bytes_per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("a template that is tested to parse"))
}

/// The size of all files of a folder; what can't be read counts nothing.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The hub that uses the folder; `None` where nobody listens.
fn connect(data: &Path) -> anyhow::Result<Option<UnixStream>> {
    let (path, _directory) = socket_path(data)?;
    match UnixStream::connect(&path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't speak to the hub that uses `{}`", data.display())),
    }
}

fn ask(mut hub: UnixStream, to: &Path, bar: &ProgressBar) -> anyhow::Result<Copied> {
    let mut request = serde_json::to_string(&Request::Backup { to: PathBuf::from(to) })?;
    request.push('\n');
    hub.write_all(request.as_bytes()).context("can't speak to the hub")?;
    for line in BufReader::new(hub).lines() {
        match domain::from_json(line.context("the hub went away before the copy was complete")?.as_bytes())? {
            Reply::Progress { size_bytes } => bar.set_position(size_bytes),
            Reply::Done(copied) => return Ok(copied),
            Reply::Refused { reason } => bail!("the hub can't make the copy: {reason}"),
        }
    }
    bail!("the hub stopped before the copy was complete; remove `{}` and try again", to.display())
}

fn copy(data: &Path, to: &Path, bar: &ProgressBar) -> anyhow::Result<Copied> {
    if fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_none()) {
        bail!("folder `{}` is empty: there is nothing to copy", data.display());
    }
    let folder = Folder::open(data, embedded::Settings::default(), Arc::new(SystemClock))?;
    let report = folder.backup(to, &mut |size_bytes| bar.set_position(size_bytes));
    folder.close()?;
    Ok(Copied { size_bytes: report?.bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_in_use_or_inside_the_data_folder_is_refused() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let data = root.path().canonicalize().expect("it is there").join("data");
        let (empty, full) = (root.path().join("empty"), root.path().join("full"));
        for folder in [&data, &empty, &full] {
            fs::create_dir(folder).expect("a folder");
        }
        fs::write(full.join("file"), "").expect("a file");
        for good in [&empty, &root.path().join("new"), &root.path().join("new/deep")] {
            check_target(&data, good).expect("a good target");
        }
        for bad in [full.clone(), full.join("file"), data.clone(), data.join("new/deep")] {
            check_target(&data, &bad).expect_err("a target that can't be used");
        }
    }

    #[test]
    fn bars_have_valid_templates() {
        bar(None).finish();
        bar(Some(1)).finish();
    }
}

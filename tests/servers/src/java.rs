//! A Java that is new enough for a server.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Where systems keep their Javas.
const SYSTEM_FOLDER: &str = "/usr/lib/jvm";

/// The home of a Java of at least that version: the newest of those that the environment and the system name.
pub(crate) fn home(version_min: u32) -> Result<PathBuf> {
    let known = candidates().into_iter().filter_map(|home| Some((java_version(&home)?, home)));
    let found = known.filter(|(version, _)| *version >= version_min).max();
    found.map(|(_, home)| home).with_context(|| {
        format!(
            "Java {version_min} or later is needed, and none is in ES_JAVA_HOME, JAVA_HOME, {SYSTEM_FOLDER} or PATH; install one, on \
             Debian 13 by `apt-get install openjdk-21-jdk-headless`, on others from Eclipse Temurin"
        )
    })
}

fn candidates() -> Vec<PathBuf> {
    let named = ["ES_JAVA_HOME", "JAVA_HOME"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let system = fs::read_dir(SYSTEM_FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    let in_path = env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let of_path = in_path.filter_map(|folder| {
        let java = folder.join("java").canonicalize().ok()?;
        java.parent()?.parent().map(Path::to_owned)
    });
    named.chain(system).chain(of_path).collect()
}

/// The feature version of the Java with that home, by its file `release`.
fn java_version(home: &Path) -> Option<u32> {
    let release = fs::read_to_string(home.join("release")).ok()?;
    home.join("bin/java").exists().then_some(())?;
    parse_release(&release)
}

fn parse_release(release: &str) -> Option<u32> {
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\""))?;
    version.split(['.', '"', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_a_release_is_its_first_number() {
        assert_eq!(parse_release("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"25.0.3\"\n"), Some(25));
        assert_eq!(parse_release("JAVA_VERSION=\"21\"\n"), Some(21));
        assert_eq!(parse_release("IMPLEMENTOR=\"x\"\n"), None);
    }
}

//! The programs of the project, built as the tests are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

/// What goes into the image.
const OF_IMAGE: &[&str] = &["iot-hub", "ingest-api", "qc-consumer", "ad-jobs", "feeder"];

/// Where a program is.
pub fn built(name: &str) -> PathBuf {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let is_it = |path: &&PathBuf| path.file_name().is_some_and(|file| file == name);
    let found = BUILT.get_or_init(build).iter().find(is_it).cloned();
    found.unwrap_or_else(|| panic!("no program `{name}` was built"))
}

fn build() -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // As the tests of the workspace have built them, so that nothing is built twice.
    build.args(["test", "--workspace", "--no-run", "--locked", "--message-format", "json", "--quiet"]);
    let output = build.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo writes text");
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect()
}

/// Lays the programs, without what debuggers read, where the image takes them from.
pub fn lay_into(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder for programs");
    for name in OF_IMAGE {
        let stripped = Command::new("strip").arg("-o").arg(folder.join(name)).arg(built(name)).status();
        assert!(stripped.is_ok_and(|status| status.success()), "can't strip `{name}`");
    }
}

//! The feeder's program, which belongs to another package than the scenarios.

use std::{path::PathBuf, process::Command};

use serde_json::Value;

/// Builds the feeder, or finds it built, and answers where it is.
///
/// # Panics
/// Where it does not build.
pub fn feeder_binary() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--package", "feeder", "--bin", "feeder", "--message-format", "json", "--quiet"]);
    let output = build.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo writes text");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the program it has built")
}

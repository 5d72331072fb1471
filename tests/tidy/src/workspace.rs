//! The files of the workspace, as text.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A text file of the workspace.
pub struct TextFile {
    /// Its path from the workspace's root, with `/`.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl TextFile {
    /// Says whether the whole file is test code.
    pub fn is_test(&self) -> bool {
        let inside = |folder: &str| self.path.starts_with(folder) || self.path.contains(&format!("/{folder}"));
        inside("tests/") || inside("benches/") || inside("contracts/") || self.path.ends_with("/tests.rs")
    }

    /// Its lines, numbered from 1, each with whether it is test code: a test file's all are, others' are from `#[cfg(test)] mod` on.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let mut in_tests = self.is_test();
        let mut test_item = false;
        self.text.lines().enumerate().map(move |(index, line)| {
            in_tests |= test_item && line.trim_start().starts_with("mod ") && line.ends_with('{');
            test_item = line.trim() == "#[cfg(test)]";
            (index + 1, line, in_tests)
        })
    }
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there")
}

/// All files whose names end in one of `endings`, in order; builds, hidden folders and what is not text left out.
pub fn files(endings: &[&str]) -> Vec<TextFile> {
    let mut found = Vec::new();
    collect(&root(), "", endings, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no file ends in {endings:?}");
    found
}

/// The text of one file.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with every fault, one a line.
pub fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} fault(s):\n{}", faults.len(), faults.join("\n"));
}

fn collect(folder: &Path, under: &str, endings: &[&str], found: &mut Vec<TextFile>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let entry = entry.expect("a readable folder");
        let name = entry.file_name().into_string().expect("names are text");
        let path = format!("{under}{name}");
        let kind = entry.file_type().expect("a file has a type");
        if kind.is_dir() && !name.starts_with('.') && !["target", "corpus", "artifacts"].contains(&name.as_str()) {
            collect(&entry.path(), &format!("{path}/"), endings, found);
        }
        if kind.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(entry.path()).unwrap_or_else(|error| panic!("{path}: {error}"));
            found.push(TextFile { path, text });
        }
    }
}

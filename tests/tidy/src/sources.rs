//! What every source file looks like.

use crate::workspace::{TextFile, assert_none, files};

/// The most lines of a file; about 400 is the aim.
const FILE_LINES_MAX: usize = 500;
/// The most lines of a function; about 40 is the aim.
const FUNCTION_LINES_MAX: usize = 70;
/// This folder names what it forbids.
const THIS: &str = "tests/tidy/src/";

/// Words with a better one in the glossary, and places that only one machine has.
const FORBIDDEN: &[(&str, &str)] = &[
    ("device_id", "`sensor_id`"),
    ("device profile", "sensor type"),
    ("timeseries", "datastream"),
    ("datapoint", "reading or value"),
    ("outlier", "anomaly"),
    ("job execution", "run"),
    ("/root/", "a path from the workspace's root"),
    ("/home/", "a path from the workspace's root"),
    ("/work/", "a path from the workspace's root"),
];

/// Where JSON and TOML may be read other than through `domain::Objects`, and why no array can pass for an object there.
const READS_BY_ITSELF: &[(&str, &str)] = &[
    ("feeder/", "knows nothing of ours; reads what the hub and the feeder itself wrote"),
    ("ad-jobs/src/nab/", "reads maps"),
    ("crates/checks/examples/", "reads a text of its own"),
    ("crates/distributed/src/store/", "reads what Elasticsearch answers"),
    ("crates/domain/src/objects.rs", "is what the others read through"),
    ("crates/registry/src/type_file.rs", "reads a table first"),
    ("ingest-api/src/api/runs.rs", "reads names and any value"),
    ("ingest-api/src/definition.rs", "reads members first"),
];

fn rust() -> Vec<TextFile> {
    files(&[".rs"])
}

/// Every line for which `fault` answers a rule, outside this folder.
fn faulty_lines(files: &[TextFile], fault: impl Fn(&TextFile, &str, bool) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| !file.path.starts_with(THIS)) {
        for (number, line, in_tests) in file.lines() {
            if let Some(rule) = fault(file, line, in_tests) {
                faults.push(format!("{}:{number}: {rule}", file.path));
            }
        }
    }
    faults
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = rust().into_iter().filter(|file| !file.text.starts_with("//! "));
    assert_none(silent.map(|file| format!("{}: does not start with `//! `", file.path)).collect());
}

#[test]
fn files_and_functions_are_short() {
    let mut faults = Vec::new();
    for file in rust() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.path));
        }
        for (number, length) in functions(&file.text) {
            if length > FUNCTION_LINES_MAX {
                faults
                    .push(format!("{}:{number}: function of {length} lines, at most {FUNCTION_LINES_MAX}", file.path));
            }
        }
    }
    assert_none(faults);
}

/// First line and length of each function, by the indentation that `cargo fmt` gives it.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        let code = line.trim_start();
        let indentation = line.len() - code.len();
        let words: Vec<&str> = code.split(' ').take(5).collect();
        let is_head = !code.starts_with("//") && words.contains(&"fn") && !code.ends_with([';', '}']);
        match open {
            None if is_head => open = Some((index, indentation)),
            Some((start, outer)) if indentation == outer && (code == "}" || code.ends_with(';')) => {
                found.push((start + 1, index - start + 1));
                open = None;
            }
            _ => (),
        }
    }
    found
}

#[test]
fn function_lengths_are_counted() {
    let text = "fn a() {\n    b();\n}\n\ntrait T {\n    fn c(\n        &self,\n    );\n    fn d(&self) {}\n}\n";
    assert_eq!(functions(text), [(1, 3), (6, 3)]);
}

#[test]
fn nothing_is_left_undone_or_skipped() {
    let marks = ["#[ignore", "todo!", "unimplemented!", "TODO", "FIXME", "dbg!("];
    assert_none(faulty_lines(&rust(), |_, line, _| {
        marks.iter().find(|mark| line.contains(**mark)).map(|mark| format!("`{mark}`"))
    }));
}

#[test]
fn unwrap_is_for_tests() {
    assert_none(faulty_lines(&rust(), |_, line, in_tests| {
        (!in_tests && line.contains(".unwrap()")).then(|| "`unwrap()` outside tests".to_owned())
    }));
}

#[test]
fn an_array_is_never_read_as_an_object() {
    let reads = ["serde_json::from_slice", "serde_json::from_str", "serde_json::from_value", "toml::from_str"];
    assert_none(faulty_lines(&rust(), |file, line, in_tests| {
        let may = in_tests || READS_BY_ITSELF.iter().any(|(place, _)| file.path.starts_with(place));
        let read = reads.iter().find(|read| !may && line.contains(**read))?;
        Some(format!("`{read}` takes an array for a struct; read through `domain::from_json` or `domain::Objects`"))
    }));
}

#[test]
fn tests_wait_for_something_and_never_sleep_for_long() {
    let blocks = |line: &str| line.contains("thread::sleep(");
    let is_long = |line: &str| line.contains("sleep(") && (line.contains("from_secs(") || line.contains("from_mins("));
    assert_none(faulty_lines(&rust(), |_, line, in_tests| {
        let sleeps = in_tests && (blocks(line) || is_long(line));
        sleeps.then(|| "a test sleeps for long or blocks its thread; wait for what it needs, in short steps".to_owned())
    }));
}

#[test]
fn words_are_those_of_the_glossary() {
    let texts = files(&[".rs", ".md", ".toml", ".yml", ".sh"]);
    let texts: Vec<TextFile> = texts.into_iter().filter(|file| file.path != "ARCHITECTURE.md").collect();
    assert_none(faulty_lines(&texts, |_, line, _| {
        let line = line.to_lowercase();
        let (word, better) = FORBIDDEN.iter().find(|(word, _)| line.contains(word))?;
        Some(format!("`{word}`: say {better}"))
    }));
}

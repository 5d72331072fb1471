//! The program from outside: what it prints of the published program's own series, and how it refuses.
//!
//! The series lie beside the project, in `../shared/reference/shesd`; where they do not, the tests that need them say so.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

fn reference(file: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/shesd").join(file);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: ../shared/reference/shesd is not there");
    None
}

fn ad_jobs(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ad-jobs")).args(arguments).output().expect("the program starts")
}

/// The first column but the header, and the column of expectations.
fn columns(csv: &str, expected: &str) -> Vec<(usize, f64)> {
    let mut lines = csv.lines();
    let place = lines.next().and_then(|header| header.split(',').position(|name| name == expected));
    let place = place.expect("a column of expectations");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        (cells[0].parse().expect("an index"), cells[place].parse().expect("a number"))
    };
    lines.map(row).collect()
}

#[test]
fn strict_mode_prints_the_rows_and_expectations_of_the_reference() {
    let (Some(input), Some(output)) = (reference("raw/raw_data.csv"), reference("raw/vec_both_m0.02_a0.05_e.csv"))
    else {
        return;
    };
    let input = input.display().to_string();
    let printed = ad_jobs(&["detect", "--csv", &input, "--period", "1440", "--mode", "strict", "--max-anoms", "0.02"]);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let expected = std::fs::read_to_string(output).expect("a text");
    let printed = String::from_utf8(printed.stdout).expect("UTF-8");
    assert_eq!(columns(&printed, "expected"), columns(&expected, "expected_value"));
}

#[test]
fn guarded_mode_is_the_default_and_finds_the_spike_of_a_real_month() {
    let Some(input) = reference("emb/inputs/EMB3_2017_02.csv") else { return };
    let input = input.display().to_string();
    let printed =
        ad_jobs(&["detect", "--csv", &input, "--period", "24", "--column", "sec", "--valid-range", "5,100000"]);
    let printed = String::from_utf8(printed.stdout).expect("UTF-8");
    let kinds: Vec<String> =
        printed.lines().skip(1).map(|line| line.split(',').step_by(2).take(2).collect::<Vec<_>>().join(" ")).collect();
    for row in ["184 point", "185 point", "186 point", "187 outage"] {
        assert!(kinds.contains(&row.to_owned()), "{kinds:?}");
    }
    assert!(kinds.len() <= 7, "{kinds:?}");
}

#[test]
fn what_cannot_be_done_is_said_with_value_and_rule() {
    let check = |arguments: &[&str], message: &str| {
        let output = ad_jobs(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(message), "{error}");
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("short.csv");
    std::fs::write(&file, "value\n1\n2\n3\n").expect("a file");
    let file = file.display().to_string();
    check(&["detect", "--csv", &file, "--mode", "strict"], "--period is needed in strict mode");
    check(
        &["detect", "--csv", &file, "--mode", "strict", "--period", "24"],
        "`3` points: must be more than two periods, at least `49`",
    );
    check(&["detect", "--csv", &file, "--max-anoms", "0.5"], "--max-anoms is `0.5`: must be from 0 to less than 0.5");
    check(&["detect", "--csv", &file, "--valid-range", "9,5"], "LOW <= HIGH");
    check(&["detect", "--csv", "nowhere.csv"], "can't read `nowhere.csv`: No such file");
    check(&["nab", "--data", "nowhere", "--out", "."], "can't read `nowhere/combined_windows.json`: No such file");
}

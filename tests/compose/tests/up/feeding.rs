//! Months of two boreholes, and how they go in.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::programs;

/// A month of one sensor.
pub struct Month {
    sensor: &'static str,
    file: PathBuf,
    /// Where the file is, if it is ours.
    _folder: Option<tempfile::TempDir>,
}

/// Anomalies of each borehole, from an independent implementation (ioos_qc 3.0.0).
const KNOWN_ANOMALIES: [(&str, f64); 2] = [("emb2", 485.0), ("emb3", 47.0)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/emb")
}

/// How many anomalies a sensor has, where its months are real.
pub fn known_anomalies(sensor: &str) -> Option<f64> {
    let known = KNOWN_ANOMALIES.iter().find(|(name, _)| *name == sensor).map(|(_, known)| *known);
    known.filter(|_| root().exists())
}

/// The months of the boreholes beside the project; where they are not there, months that are made up.
pub fn months() -> Vec<Month> {
    let root = root();
    let mut months: Vec<Month> = ["emb2", "emb3"].into_iter().flat_map(|sensor| of_folder(sensor, &root)).collect();
    if months.is_empty() {
        println!("up: the borehole data of `../shared/data/emb` are not beside this workspace; made-up months go in");
        months =
            ["emb2", "emb3"].into_iter().flat_map(|sensor| (1..=3).map(move |month| made_up(sensor, month))).collect();
    }
    months
}

fn of_folder(sensor: &'static str, root: &Path) -> Vec<Month> {
    let entries = fs::read_dir(root.join(sensor)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files.into_iter().map(|file| Month { sensor, file, _folder: None }).collect()
}

/// Hourly readings with a missing value on every tenth and a bad one on every seventeenth line.
fn made_up(sensor: &'static str, month: u32) -> Month {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(format!("{sensor}-{month}.csv"));
    let mut text = String::new();
    for hour in 0..28 * 24 {
        let level = if hour % 17 == 0 { 99_999.0 } else { 25.0 + f64::from(hour % 40) / 100.0 };
        let gas = if hour % 10 == 0 { "(na)".to_owned() } else { (880 + hour % 9).to_string() };
        let (day, hour) = (hour / 24 + 1, hour % 24);
        writeln!(text, "2017-{month:02}-{day:02},{hour:02}:00:00,870,7.3,{level},11.3,{gas}").expect("text grows");
    }
    fs::write(&file, text).expect("a file of readings");
    Month { sensor, file, _folder: Some(folder) }
}

/// Posts a month to a hub, as patiently as the feeder is.
pub fn replay(month: &Month, hub: &str) {
    let state = tempfile::tempdir().expect("a temporary folder");
    let mut feeder = Command::new(programs::built("feeder"));
    feeder.args(["replay", "--sensor", month.sensor, "--type", "emb", "--as-fast-as-possible", "--hub", hub]);
    feeder.args(["--give-up-after", "2m", "--state"]).arg(state.path().join("state")).arg(&month.file);
    let output = feeder.stdin(Stdio::null()).output().expect("the feeder runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

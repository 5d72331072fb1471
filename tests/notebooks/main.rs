//! The notebooks, executed as a scientist would: with Jupyter, against a hub that has real readings, through its REST API alone.
//!
//! Their Python packages come from PyPI into a folder of the build's, the first time and where `notebooks/requirements.txt` changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use harness::{Hub, Launch};
use serde_json::Value;

/// The sensor of which real months are posted.
const SENSOR: &str = "emb3";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a program to its end.
///
/// # Panics
/// With what it said, where it fails or is not there.
fn succeed(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "{shown}: {}\n{}{}", output.status, said[0], said[1]);
    said.concat()
}

/// The folder of programs of a Python environment that has what the notebooks need.
fn environment() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("notebooks");
    let requirements = workspace().join("notebooks/requirements.txt");
    let wanted = fs::read_to_string(&requirements).expect("the requirements");
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return folder.join("bin");
    }
    succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    succeed(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--requirement"]).arg(&requirements));
    fs::write(&installed, wanted).expect("the environment is there");
    folder.join("bin")
}

/// The real months of the sensor, if they are there; says so if not.
fn months() -> Option<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(workspace().join("../shared/data/emb").join(SENSOR)) else {
        println!("notebooks: NOT RUN: the borehole data of `../shared/data/emb` are not beside this workspace");
        return None;
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Some(files)
}

/// Executes a copy of a notebook; answers with its outputs.
fn execute(name: &str, hub: &Hub, folder: &Path) -> Vec<Value> {
    let copy = folder.join(name);
    fs::copy(workspace().join("notebooks").join(name), &copy).expect("the notebook");
    let mut jupyter = Command::new(environment().join("jupyter"));
    // Neither settings nor fonts of the user have a part in it.
    let jupyter = jupyter.env("HUB", hub.url("")).env("MPLCONFIGDIR", folder).env("JUPYTER_CONFIG_DIR", folder);
    succeed(jupyter.args(["execute", "--inplace", "--timeout=300"]).arg(&copy));
    let notebook: Value = serde_json::from_slice(&fs::read(&copy).expect("the notebook")).expect("JSON");
    let cells = notebook["cells"].as_array().expect("cells");
    cells.iter().filter_map(|cell| cell["outputs"].as_array()).flatten().cloned().collect()
}

fn text(output: &Value) -> String {
    let lines = output["text"].as_array().into_iter().flatten();
    lines.filter_map(Value::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn figure_4_shows_the_anomalies_of_a_real_borehole() {
    let Some(months) = months() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hub = Launch::new(env!("CARGO_BIN_EXE_iot-hub"), folder.path().join("data")).start().await;
    let mut accepted = 0;
    for month in months {
        let path = format!("/v1/readings/emb?sensor_id={SENSOR}");
        let answer = hub.post(&path, "text/csv", fs::read(month).expect("a readable file")).await.expect(202).json();
        accepted += answer["accepted"].as_u64().expect("a count");
    }
    hub.processed("emb", accepted).await;
    let outputs = execute("figure-4.ipynb", &hub, folder.path());
    let figures = outputs.iter().filter_map(|output| output["data"]["image/png"].as_str());
    assert!(figures.filter(|figure| figure.len() > 10_000).count() >= 2, "both figures are drawn");
    let said: String = outputs.iter().map(text).collect();
    println!("{said}");
    let conductance = said.split("marks: {'sec': ").nth(1).and_then(|rest| rest.split(',').next());
    let marks: u32 = conductance.and_then(|marks| marks.parse().ok()).expect("the count of what is marked");
    assert!((3..=6).contains(&marks), "spike, outage, at most three others and what is between them: {said}");
}

#[test]
fn notebooks_are_kept_without_outputs() {
    for entry in fs::read_dir(workspace().join("notebooks")).expect("the notebooks").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "ipynb") {
            continue;
        }
        let notebook: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        for cell in notebook["cells"].as_array().expect("cells").iter().filter(|cell| cell["cell_type"] == "code") {
            let is_clean = cell["outputs"].as_array().is_some_and(Vec::is_empty) && cell["execution_count"].is_null();
            assert!(is_clean, "{}: cell {} has outputs", path.display(), cell["id"]);
        }
    }
}

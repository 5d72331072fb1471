//! The tour of the README: what it prints is what happens.

use std::{fs, path::Path, process::Command};

use harness::Hub;

use crate::{folder, launch};

/// Where the README's hub listens.
const README_URL: &str = "http://127.0.0.1:8080";

/// A command of the README with the output that it shows.
#[derive(Default)]
struct Step {
    command: String,
    output: String,
}

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).expect("the README is there")
}

/// The insides of all code blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// The commands of a console block: `$ ` starts one, four spaces go on with it, all else is output.
fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), output: String::new() });
            continue;
        }
        let step = steps.last_mut().expect("a block starts with a command");
        let goes_on = step.output.is_empty() && line.starts_with("    ");
        let part = if goes_on { &mut step.command } else { &mut step.output };
        part.push_str(if goes_on { "\n" } else { "" });
        part.push_str(line);
        part.push_str(if goes_on { "" } else { "\n" });
    }
    steps
}

/// How many readings of `emb` a command says that it had accepted.
fn accepted(step: &Step) -> u64 {
    let count = step.output.strip_prefix("{\"accepted\":").and_then(|rest| rest.split(',').next()?.parse().ok());
    count.filter(|_| step.command.contains("/v1/readings/emb")).unwrap_or_default()
}

async fn run(step: &Step, hub: &Hub, folder: &Path) {
    let command = step.command.replace(README_URL, &hub.url(""));
    let output = Command::new("bash").args(["-c", &command]).current_dir(folder).output().expect("bash is there");
    let said = String::from_utf8(output.stdout).expect("a text");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    if !step.output.is_empty() {
        assert_eq!(said.trim(), step.output.trim(), "{command}");
    }
}

#[tokio::test]
async fn tour_of_the_readme_prints_what_it_says() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("readme: NOT RUN: curl is not installed");
        return;
    }
    let (data, files) = (folder(), folder());
    let hub = launch(data.path()).start().await;
    let readme = readme();
    let steps: Vec<Step> = blocks(&readme, "console").into_iter().flat_map(steps).collect();
    assert!(steps.len() > 5, "the tour is gone");
    let mut appended = 0;
    for step in &steps {
        run(step, &hub, files.path()).await;
        appended += accepted(step);
        hub.processed("emb", appended).await;
    }
    assert!(appended > 3, "the tour posts readings");
}

#[tokio::test]
async fn sensor_type_of_the_readme_is_one() {
    let (data, types) = (folder(), folder());
    let readme = readme();
    fs::write(types.path().join("soil.toml"), blocks(&readme, "toml")[0]).expect("a file");
    let hub = launch(data.path()).flag("--sensor-types").flag(types.path()).start().await;
    let body = "2024-05-01T06:00:00Z,31.5\n";
    hub.post("/v1/readings/soil?sensor_id=plot7", "text/csv", format!("phenomenon_time,moisture\n{body}"))
        .await
        .expect(202);
}

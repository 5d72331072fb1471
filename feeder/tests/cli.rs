//! The `feeder` command against a hub that is busy, resets connections, loses answers and refuses lines.

mod fake_hub;
mod in_process;

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use fake_hub::{FakeHub, Turn};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with CSV files and a state.
struct Desk {
    folder: TempDir,
    files: Vec<PathBuf>,
}

impl Desk {
    fn with(files: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut paths = Vec::new();
        for (index, text) in files.iter().enumerate() {
            let path = folder.path().join(format!("{index}.csv"));
            std::fs::write(&path, text).expect("written");
            paths.push(path);
        }
        Self { folder, files: paths }
    }

    fn replay(&self, hub: &FakeHub, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_feeder"));
        command.args(["replay", "--sensor", "emb3", "--hub", &hub.url, "--state"]);
        command.arg(self.state()).args(arguments.split_whitespace()).args(&self.files);
        command
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }
}

fn run(mut command: Command) -> Output {
    command.output().expect("the feeder starts")
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the feeder starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn assert_complete(output: &Output) {
    assert!(output.status.success() && stdout(output).contains("complete"), "{}{}", stdout(output), stderr(output));
}

/// `count` lines of an hour each.
fn lines(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("2017-01-{:02},{:02}:00:00,{index},7.34", index / 24 + 1, index % 24)).collect()
}

#[test]
fn every_line_is_posted_once_as_it_is_in_the_file() {
    let desk = Desk::with(&[
        "2017-01-01,00:00:00,1,2\r\n\r\n2017-01-01,01:00:00,(na),\u{e4}\r\n2017-01-01,02:00:00,3,4",
        "a,b\nc,d\n",
    ]);
    let hub = FakeHub::start([]);
    assert_complete(&run(desk.replay(&hub, "--as-fast-as-possible --batch 2")));
    let kept = hub.kept();
    let bodies: Vec<_> = kept.iter().map(|post| post.body.as_str()).collect();
    assert_eq!(
        bodies,
        ["2017-01-01,00:00:00,1,2\r\n2017-01-01,01:00:00,(na),\u{e4}\r\n", "2017-01-01,02:00:00,3,4", "a,b\nc,d\n"]
    );
    assert!(
        kept.iter().all(|post| post.line == "POST /v1/readings/emb?sensor_id=emb3" && post.content_type == "text/csv")
    );
    assert!(!desk.state().exists(), "a complete replay leaves nothing behind");
}

#[test]
fn busy_hub_and_broken_connections_lose_and_double_nothing() {
    let all = lines(40);
    let desk = Desk::with(&[&all.join("\n")]);
    let hub = FakeHub::start([
        Turn::Accept,
        Turn::Answer(503, "0", ""),
        Turn::Answer(429, "0", "{\"detail\":\"slow down\"}"),
        Turn::Reset,
        Turn::Accept,
        Turn::Reset,
        Turn::Reset,
        Turn::Answer(502, "", "bad gateway"),
    ]);
    let output = run(desk.replay(&hub, "--as-fast-as-possible --batch 10"));
    assert_complete(&output);
    assert_eq!(hub.kept_lines(), all);
    assert!(stdout(&output).contains("complete: 40 accepted, 0 refused, 6 retries"), "{}", stdout(&output));
    assert!(stderr(&output).contains("status 429: slow down; trying again"), "{}", stderr(&output));
}

#[test]
fn lost_answer_repeats_only_the_post_it_was_for() {
    let all = lines(30);
    let desk = Desk::with(&[&all.join("\r\n")]);
    let hub = FakeHub::start([Turn::Accept, Turn::LoseAnswer]);
    assert_complete(&run(desk.replay(&hub, "--as-fast-as-possible --batch 10")));
    assert_eq!(hub.kept_lines(), [&all[..20], &all[10..]].concat());
}

#[test]
fn connection_that_the_hub_closed_while_idle_is_opened_again() {
    let all = lines(4);
    let desk = Desk::with(&[&all.join("\n")]);
    let hub = FakeHub::start([Turn::AcceptAndClose, Turn::AcceptAndClose, Turn::AcceptAndClose]);
    assert_complete(&run(desk.replay(&hub, "--every 1ms")));
    assert_eq!(hub.kept_lines(), all);
}

#[test]
fn killed_replay_goes_on_after_the_last_answer() {
    let all = lines(50);
    let desk = Desk::with(&[&all[..25].join("\n"), &all[25..].join("\n")]);
    let hub = FakeHub::start([Turn::Accept, Turn::Accept, Turn::Accept, Turn::Hold]);
    let mut feeder = start(desk.replay(&hub, "--as-fast-as-possible --batch 10"));
    for _ in 0..4 {
        hub.wait_for_post();
    }
    feeder.kill().expect("killed");
    feeder.wait().expect("ended");
    assert_eq!(hub.kept_lines(), all[..25], "the fourth post was not answered for");
    let output = run(desk.replay(&hub, "--as-fast-as-possible --batch 10"));
    assert_complete(&output);
    assert_eq!(hub.kept_lines(), all);
    assert!(stdout(&output).contains("25 accepted") && stdout(&output).contains("resumed after 25 lines"));
}

#[test]
fn interrupted_replay_saves_where_it_is_and_continues() {
    let all = lines(3);
    let desk = Desk::with(&[&all.join("\n")]);
    let hub = FakeHub::start([]);
    let feeder = start(desk.replay(&hub, "--every 1h"));
    hub.wait_for_post();
    let killed = Command::new("kill").args(["-INT", &feeder.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let output = feeder.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stdout(&output).contains("stopped") && stdout(&output).contains("1 accepted"), "{}", stdout(&output));
    assert_complete(&run(desk.replay(&hub, "--every 1ms")));
    assert_eq!(hub.kept_lines(), all);
}

#[test]
fn refused_lines_are_listed_with_file_line_field_value_and_reason() {
    let desk = Desk::with(&["1,bad\n2,3\n\n4,bad\n", "bad\nbad\n"]);
    let hub = FakeHub::start([Turn::RefuseBad, Turn::RefuseBad]);
    let output = run(desk.replay(&hub, "--as-fast-as-possible"));
    assert_complete(&output);
    let text = stdout(&output);
    for (file, line) in [(0, 1), (0, 4), (1, 1), (1, 2)] {
        let expected = format!("refused: {}:{line}: ph: `bad`: is not a number", desk.files[file].display());
        assert!(text.contains(&expected), "{expected} is not in {text}");
    }
    assert!(text.contains("complete: 1 accepted, 4 refused"), "{text}");
}

#[test]
fn refused_post_stops_with_the_hubs_words_and_can_be_continued() {
    let all = lines(20);
    let desk = Desk::with(&[&all.join("\n")]);
    let hub = FakeHub::start([Turn::Accept, Turn::Answer(507, "", "{\"detail\":\"the disk is full\"}")]);
    let output = run(desk.replay(&hub, "--as-fast-as-possible --batch 10"));
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("lines 11 to 20") && text.contains("status 507: the disk is full"), "{text}");
    assert_complete(&run(desk.replay(&hub, "--as-fast-as-possible --batch 10")));
    assert_eq!(hub.kept_lines(), all);
}

#[test]
fn hub_that_does_not_answer_for_every_line_is_not_trusted() {
    let desk = Desk::with(&[&lines(3).join("\n")]);
    let hub = FakeHub::start([Turn::Answer(202, "", "{\"accepted\":2,\"rejected\":[]}")]);
    let output = run(desk.replay(&hub, "--as-fast-as-possible"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("answered for `2` readings of the 3 lines"), "{}", stderr(&output));
}

#[test]
fn file_that_changed_is_refused_until_restarted() {
    let all = lines(20);
    let desk = Desk::with(&[&all.join("\n")]);
    let hub = FakeHub::start([Turn::Accept, Turn::Answer(400, "", "")]);
    assert_eq!(run(desk.replay(&hub, "--as-fast-as-possible --batch 10")).status.code(), Some(1));
    std::fs::write(&desk.files[0], all.join("\n").replace("7.34", "7.35")).expect("written");
    let output = run(desk.replay(&hub, "--as-fast-as-possible"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("changed before line `11`"), "{}", stderr(&output));
    assert_complete(&run(desk.replay(&hub, "--as-fast-as-possible --restart")));
    assert_eq!(hub.kept_lines().len(), 30);
}

#[test]
fn header_goes_with_each_post_and_is_no_reading() {
    let desk = Desk::with(&["date,time,sec,ph\r\na,1\r\nb,2\r\nc,3\r\n"]);
    let hub = FakeHub::start([]).with_header();
    let output = run(desk.replay(&hub, "--as-fast-as-possible --batch 2"));
    assert_complete(&output);
    let bodies: Vec<_> = hub.kept().into_iter().map(|post| post.body).collect();
    assert_eq!(bodies, ["date,time,sec,ph\r\na,1\r\nb,2\r\n", "date,time,sec,ph\r\nc,3\r\n"]);
    assert!(stdout(&output).contains("3 accepted"), "{}", stdout(&output));
}

#[test]
fn type_is_the_registered_one_and_another_is_refused() {
    let desk = Desk::with(&["a,1\n"]);
    let hub = FakeHub::start([]).with_sensor_type("power");
    assert_complete(&run(desk.replay(&hub, "--every 1ms")));
    assert_eq!(hub.kept()[0].line, "POST /v1/readings/power?sensor_id=emb3");
    let output = run(desk.replay(&hub, "--type emb"));
    assert!(stderr(&output).contains("sensor `emb3` is of type `power`, not `emb`"), "{}", stderr(&output));
    let unknown = FakeHub::start([]);
    let output = run(desk.replay(&unknown, "--type lava"));
    assert!(stderr(&output).contains("no sensor type `lava`"), "{}", stderr(&output));
}

#[test]
fn speed_posts_what_is_due_together_and_in_order() {
    let all = lines(48);
    let desk = Desk::with(&[&all.join("\n")]);
    let hub = FakeHub::start([]);
    assert_complete(&run(desk.replay(&hub, "--speed 10000000x")));
    assert_eq!(hub.kept_lines(), all);
}

fn simulate(hub: &FakeHub, folder: &TempDir, arguments: &str) -> (Output, Option<Value>) {
    let report = folder.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_feeder"));
    command.args(["simulate", "--type", "power", "--hub", &hub.url, "--report"]).arg(&report);
    command.args(arguments.split_whitespace());
    let output = run(command);
    let report = std::fs::read(&report).ok().map(|bytes| serde_json::from_slice(&bytes).expect("JSON"));
    (output, report)
}

#[test]
fn hub_that_never_answers_is_given_up_after_the_time_asked_for() {
    let desk = Desk::with(&["2017-02-08,15:00:00,904,7.34\n"]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let url = format!("http://{}", closed.expect("a free port"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_feeder"));
    command.args(["replay", "--sensor", "emb3", "--hub", &url, "--give-up-after", "150ms", "--state"]);
    command.arg(desk.state()).args(&desk.files);
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("gave up after 150ms"), "{}", stderr(&output));
}

/// The readings a hub keeps, sorted, each as its JSON text.
fn readings(hub: &FakeHub) -> Vec<String> {
    let mut all = Vec::new();
    for post in hub.kept() {
        match serde_json::from_str(&post.body).expect("JSON") {
            Value::Array(readings) => all.extend(readings.iter().map(ToString::to_string)),
            reading => all.push(reading.to_string()),
        }
    }
    all.sort();
    all
}

#[test]
fn simulation_repeats_whatever_its_batches_and_connections_are() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (one, other) = (FakeHub::start([]), FakeHub::start([]));
    let settings =
        "--sensors 10 --rate 1/s --duration 20s --as-fast-as-possible --faults missing=0.1,spikes=0.1 --seed 9";
    let (output, report) = simulate(&one, &folder, &format!("{settings} --batch 7 --connections 3"));
    assert!(output.status.success(), "{}", stderr(&output));
    let (output, _) = simulate(&other, &folder, &format!("{settings} --batch 1 --connections 1"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(readings(&one), readings(&other));
    let report = report.expect("a report");
    assert_eq!((report["accepted"].as_u64(), report["settings"]["seed"].as_u64()), (Some(200), Some(9)));
    assert_eq!(report["queryable"]["stored"], 200, "{report}");
    let missing = readings(&one).iter().map(|reading| reading.matches("null").count()).sum::<usize>();
    assert_eq!(report["faults_made"]["missing"].as_u64(), Some(missing as u64));
    assert!(readings(&one)[0].contains("2020-01-01T00:00:00Z"));
}

#[test]
fn simulation_retries_what_was_not_answered_for() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let hub = FakeHub::start([Turn::Answer(503, "0", ""), Turn::Reset, Turn::Accept, Turn::Answer(429, "0", "")]);
    let (output, report) =
        simulate(&hub, &folder, "--sensors 5 --duration 4h --as-fast-as-possible --batch 5 --connections 1");
    assert!(output.status.success(), "{}", stderr(&output));
    let report = report.expect("a report");
    assert_eq!(readings(&hub).len(), 20);
    assert_eq!(
        report["retries"],
        serde_json::json!({"too_many_requests": 1, "unavailable": 1, "network": 1}),
        "{report}"
    );
    assert_eq!(report["requests"], 4);
}

#[test]
fn simulation_registers_then_backfills_then_goes_on_live() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let hub = FakeHub::start([]);
    let arguments =
        "--sensors 2 --backfill 5h --rate 100/s --duration 30ms --register --group lancashire --sensor-prefix bore-";
    let (output, report) = simulate(&hub, &folder, arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let requests = hub.requests();
    let registered: Vec<_> = requests.iter().filter(|request| request.line.starts_with("PUT ")).collect();
    assert_eq!(registered.len(), 2);
    let sensor: Value = serde_json::from_str(&registered[0].body).expect("JSON");
    assert_eq!((&sensor["sensor_type"], &sensor["group"]), (&Value::from("power"), &Value::from("lancashire")));
    assert!((sensor["place"]["latitude"].as_f64().expect("a number") - 53.8).abs() <= 0.2, "{sensor}");
    assert_eq!(readings(&hub).len(), 2 * (5 + 3), "{:?}", report);
}

#[test]
fn simulation_says_what_it_cannot_do() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let hub = FakeHub::start([Turn::Answer(404, "", "{\"detail\":\"sensor type `power` is gone\"}")]);
    let (output, report) = simulate(&hub, &folder, "--duration 1h --as-fast-as-possible");
    assert_eq!((output.status.code(), report), (Some(1), None));
    assert!(stderr(&output).contains("status 404: sensor type `power` is gone"), "{}", stderr(&output));
    let (output, _) = simulate(&hub, &folder, "--duration 1h --as-fast-as-possible --start 2100-01-01T00:00:00Z");
    assert!(stderr(&output).contains("ends after now"), "{}", stderr(&output));
}

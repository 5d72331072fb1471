//! Times without an offset, when clocks go back: each reading keeps a time of its own, or is refused by name.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use harness::{Hub, feeder_binary};
use serde_json::json;

use crate::{folder, launch};

/// Quarter-hours of 26 October 2025 in Paris, from 01:45 to 03:00, as a logger writes them whose clock goes back at 03:00.
const QUARTERS: [&str; 10] = ["01:45", "02:00", "02:15", "02:30", "02:45", "02:00", "02:15", "02:30", "02:45", "03:00"];
/// What they are in UTC.
const EXPECTED: [&str; 10] = ["23:45", "00:00", "00:15", "00:30", "00:45", "01:00", "01:15", "01:30", "01:45", "02:00"];

/// A hub that knows gauges, whose loggers write the local time of Paris.
async fn hub(data: &Path) -> Hub {
    let hub = launch(data).start().await;
    let gauge = json!({
        "sampling_interval": "15m",
        "properties": [{"id": "level", "unit": "m", "required": true}],
        "csv": {"columns": ["date", "time", "level"], "time_zone": "Europe/Paris"},
    });
    hub.put("/v1/sensor-types/gauge", &gauge).await.expect(201);
    hub
}

fn line((number, time): (usize, &&str)) -> String {
    format!("2025-10-26,{time}:00,{number}\n")
}

/// Hour and minute of each stored reading of a sensor, in UTC, and its value.
async fn stored(hub: &Hub, sensor: &str) -> Vec<(String, u64)> {
    let page = hub.get(&format!("/v1/readings/gauge?sensor_id={sensor}")).await.expect(200).json();
    let items = page["items"].as_array().expect("items").clone();
    let time = |item: &serde_json::Value| item["phenomenon_time"].as_str().expect("a time")[11..16].to_owned();
    items.iter().map(|item| (time(item), item["level"].as_u64().expect("a whole number"))).collect()
}

fn expected() -> Vec<(String, u64)> {
    EXPECTED.iter().zip(0..).map(|(time, level)| ((*time).to_owned(), level)).collect()
}

#[tokio::test]
async fn an_hour_that_comes_twice_keeps_both_passes() {
    let data = folder();
    let hub = hub(data.path()).await;
    let lines: Vec<String> = QUARTERS.iter().enumerate().map(line).collect();
    let reversed: Vec<String> = lines.iter().rev().cloned().collect();
    let named: Vec<String> = lines.iter().map(|line| format!("named,{line}")).collect();
    for (path, body) in [
        ("/v1/readings/gauge?sensor_id=up", lines.concat()),
        ("/v1/readings/gauge?sensor_id=down", reversed.concat()),
        ("/gauge", named.concat()),
    ] {
        let answer = hub.post(path, "text/csv", body).await.expect(202).json();
        assert_eq!(answer, json!({"accepted": 10, "rejected": []}), "{path}");
    }
    hub.processed("gauge", 30).await;
    for sensor in ["up", "down", "named"] {
        assert_eq!(stored(&hub, sensor).await, expected(), "{sensor}");
    }
}

#[tokio::test]
async fn a_line_whose_pass_nothing_tells_is_refused_by_name_until_the_request_says_it() {
    let data = folder();
    let hub = hub(data.path()).await;
    let path = "/v1/readings/gauge?sensor_id=g";
    let body = "2025-10-26,01:45,0\n2025-10-26,02:30,1\n2025-10-26,03:00,2\n";
    let answer = hub.post(path, "text/csv", body).await.expect(202).json();
    assert_eq!(answer["accepted"], 2, "{answer}");
    let refused = &answer["rejected"][0];
    assert_eq!((&refused["index"], &refused["field"]), (&1.into(), &"phenomenon_time".into()), "{answer}");
    let reason = refused["reason"].as_str().expect("a reason");
    assert!(reason.contains("Europe/Paris") && reason.contains("repeated_hour=first"), "{reason}");
    for (pass, level) in [("second", 3), ("first", 4)] {
        let line = format!("2025-10-26,02:30,{level}\n");
        hub.post(&format!("{path}&repeated_hour={pass}"), "text/csv", line).await.expect(202);
    }
    let refused =
        hub.post(&format!("{path}&repeated_hour=third"), "text/csv", "2025-10-26,02:30,1\n").await.expect(400);
    assert!(refused.text().contains("`repeated_hour` = `third`"), "{}", refused.text());
    hub.processed("gauge", 4).await;
    let times = [("00:30", 4), ("01:30", 3)].map(|(time, level)| (time.to_owned(), level));
    assert_eq!(stored(&hub, "g").await[1..3], times);
}

#[tokio::test]
async fn the_feeder_keeps_both_passes_over_posts_and_files() {
    let feeder = feeder_binary();
    let (data, files) = (folder(), folder());
    let hub = hub(data.path()).await;
    let lines: Vec<String> = QUARTERS.iter().enumerate().map(line).collect();
    fs::write(files.path().join("a.csv"), lines[..3].concat()).expect("a file");
    fs::write(files.path().join("b.csv"), lines[3..].concat()).expect("a file");
    for (sensor, pace) in
        [("single", ["--every", "1ms"]), ("paced", ["--speed", "1000000x"]), ("batched", ["--batch", "4"])]
    {
        let mut command = Command::new(&feeder);
        command.args(["replay", "--type", "gauge", "--sensor", sensor, "--hub", &hub.url("")]).args(pace);
        if sensor == "batched" {
            command.arg("--as-fast-as-possible");
        }
        let state = files.path().join(sensor);
        command.args(["--state".as_ref(), state.as_os_str()]).args(["a.csv", "b.csv"]).current_dir(files.path());
        let output = command.stdin(Stdio::null()).output().expect("the feeder starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("complete: 10 accepted, 0 refused"), "{sensor}: {said}");
    }
    hub.processed("gauge", 30).await;
    for sensor in ["single", "paced", "batched"] {
        assert_eq!(stored(&hub, sensor).await, expected(), "{sensor}");
    }
}

#[tokio::test]
async fn a_leap_second_is_refused_and_takes_no_other_seconds_place() {
    let data = folder();
    let hub = hub(data.path()).await;
    let body = r#"[{"sensor_id":"emb3","phenomenon_time":"2016-12-31T23:59:59Z","sec":1},
        {"sensor_id":"emb3","phenomenon_time":"2016-12-31T23:59:60Z","sec":2},
        {"sensor_id":"emb3","phenomenon_time":"2017-01-01T00:00:00Z","sec":3}]"#;
    let answer = hub.post("/v1/readings/emb", "application/json", body).await.expect(202).json();
    assert_eq!(answer["accepted"], 2, "{answer}");
    assert_eq!(answer["rejected"][0]["value"], "2016-12-31T23:59:60Z", "{answer}");
    assert!(answer["rejected"][0]["reason"].as_str().is_some_and(|reason| reason.contains("leap second")), "{answer}");
    let lines = "2016-12-31,23:59:59,1\n2016-12-31,23:59:60,2\n";
    let answer = hub.post("/v1/readings/gauge?sensor_id=g", "text/csv", lines).await.expect(202).json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["index"]), (&1.into(), &1.into()), "{answer}");
    hub.processed("emb", 2).await;
    let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
    assert!(csv.contains("emb3,2016-12-31T23:59:59Z,1,") && csv.lines().count() == 3, "{csv}");
}

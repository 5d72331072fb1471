//! What whoever runs a hub looks at: metrics, health, the documentation of the API.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::{folder, launch, samples::Sample};

/// Asks promtool for an opinion of metrics; `None` where it is not installed.
fn promtool(metrics: &str) -> Option<String> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().ok()?;
    process.stdin.take().expect("it is piped").write_all(metrics.as_bytes()).expect("promtool reads");
    let output = process.wait_with_output().expect("promtool ends");
    Some([output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

/// The rules that promtool goes by and that a text shows: help and type of each metric, names with their unit last.
fn faults(metrics: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let named = |kind: &str, name: &str| metrics.contains(&format!("# {kind} {name} "));
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap_or((line, ""));
        if !named("HELP", name) {
            faults.push(format!("{name} has no help"));
        }
        if (kind == "counter") != name.ends_with("_total") {
            faults.push(format!("{name} is a {kind}: a counter, and it alone, ends in _total"));
        }
        let has_short_unit =
            ["_ms", "_millis", "_milliseconds", "_kb", "_mb", "_minutes"].iter().any(|unit| name.contains(unit));
        if has_short_unit {
            faults.push(format!("{name} is not in base units"));
        }
    }
    faults
}

#[tokio::test]
async fn promtool_finds_nothing_to_say_about_the_metrics() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
    hub.post("/v1/readings/emb", "application/json", "{").await.expect(400);
    hub.processed("emb", 1).await;
    let mut all = String::new();
    for answer in hub.metrics_of_all().await {
        assert!(answer.header("content-type").starts_with("text/plain"), "{}", answer.header("content-type"));
        let metrics = answer.text();
        assert_eq!(faults(&metrics), Vec::<String>::new());
        match promtool(&metrics) {
            Some(said) => assert_eq!(said.trim(), ""),
            None => {
                assert!(std::env::var_os("TEST_PROMTOOL").is_none(), "promtool is required and not there");
                println!("operations: promtool is not installed; its rules were checked without it");
            }
        }
        all += &metrics;
    }
    for name in [
        "iot_hub_readings_appended_total{topic=\"readings.emb\"} 1",
        "iot_hub_readings_pending{topic=\"readings.emb\"} 0",
        "iot_hub_freshness_seconds_bucket",
        "iot_hub_http_request_duration_seconds_bucket",
    ] {
        assert!(all.contains(name), "`{name}` is not in:\n{all}");
    }
}

#[tokio::test]
async fn health_and_documentation_are_there() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    hub.get("/health/live").await.expect(200);
    hub.get("/health/ready").await.expect(200);
    let openapi = hub.get("/openapi.json").await.expect(200).json();
    for path in ["/v1/readings/{sensor_type}", "/v1/sensor-types/{id}", "/v1/sensors/{id}", "/v1/dead-letters"] {
        assert!(openapi["paths"][path].is_object(), "`{path}` is not in the description of the API");
    }
    let docs = hub.get("/docs").await;
    assert!([200, 301, 302, 303, 307, 308].contains(&docs.status), "{}", docs.status);
    hub.get("/docs/").await.expect(200);
}

#[tokio::test]
async fn change_asked_for_by_a_foreign_page_is_refused() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let body = Sample::plain("emb3", 1, 1).json();
    let post = |origin: String| {
        let request = hub.request("POST", "/v1/readings/emb").header("content-type", "application/json");
        request.header("origin", origin).body(body.clone())
    };
    hub.answer(post("https://evil.example".to_owned())).await.expect(403);
    hub.answer(post(hub.url(""))).await.expect(202);
}

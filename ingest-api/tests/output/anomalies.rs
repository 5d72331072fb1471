//! Anomalies by their filters, in pages and formats.

use domain::{Anomaly, AnomalyKind, PropertyId, RunId, SensorId, SensorTypeId, Severity, Timestamp};
use ports::Findings;
use serde_json::{Value, json};

use crate::hub::{HOUR, Hub, START, items};

fn anomaly(sensor: &str, hour: i64) -> Anomaly {
    Anomaly {
        sensor_type: SensorTypeId::parse("emb").expect("an id"),
        sensor_id: SensorId::parse(sensor).expect("an id"),
        property: PropertyId::parse("sec").expect("an id"),
        phenomenon_time: Timestamp::from_micros(START + hour * HOUR),
        until: None,
        kind: AnomalyKind::Point,
        value: Some(904.0),
        expected: Some(845.5),
        score: 0.75,
        severity: Severity::of(0.75),
        detector: "s-h-esd".to_owned(),
        detector_version: 1,
        settings: "00000000000000ff".to_owned(),
        run: RunId::parse("one").expect("an id"),
        found_at: Timestamp::from_micros(START + 100 * HOUR),
    }
}

async fn hub() -> Hub {
    let hub = Hub::empty().await;
    hub.put_sensor("emb", "emb2").await;
    hub.put_sensor("emb", "emb3").await;
    let outage = Anomaly {
        kind: AnomalyKind::Outage,
        detector: "outage".to_owned(),
        until: Some(Timestamp::from_micros(START + 5 * HOUR)),
        value: None,
        expected: None,
        score: 1.0,
        severity: Severity::of(1.0),
        ..anomaly("emb3", 3)
    };
    let of_ph = Anomaly { property: PropertyId::parse("ph").expect("an id"), ..anomaly("emb3", 1) };
    let later = Anomaly { run: RunId::parse("two").expect("an id"), ..anomaly("emb3", 10) };
    hub.findings.record(&[anomaly("emb3", 0), anomaly("emb2", 0), of_ph, outage, later]).await.expect("recorded");
    hub
}

/// The hours of the anomalies of an answer.
fn hours(answer: &Value) -> Vec<i64> {
    let hour = |item: &Value| {
        let time = Timestamp::parse(item["phenomenon_time"].as_str().expect("a time")).expect("a time");
        (time.as_micros() - START) / HOUR
    };
    items(answer).iter().map(hour).collect()
}

#[tokio::test]
async fn filters_leave_out_what_is_not_wanted() {
    let hub = hub().await;
    for (query, expected) in [
        ("", vec![0, 0, 1, 3, 10]),
        ("sensor_type=emb", vec![0, 0, 1, 3, 10]),
        ("sensor_type=power", vec![]),
        ("sensor_id=emb2", vec![0]),
        ("sensor_id=emb3&property=sec", vec![0, 3, 10]),
        ("from=2017-02-08T16:00:00Z&to=2017-02-08T18:00:00Z", vec![1]),
        ("detector=outage", vec![3]),
        ("min_score=0.8", vec![3]),
        ("run=two", vec![10]),
    ] {
        let answer = hub.get(&format!("/v1/anomalies?{query}")).await.json();
        assert_eq!(hours(&answer), expected, "{query}");
        assert_eq!(answer["next_cursor"], Value::Null, "{query}");
    }
    let first = hub.get("/v1/anomalies?sensor_id=emb3&limit=1").await.json();
    let expected = json!({
        "id": "emb3/sec/2017-02-08T15:00:00Z/s-h-esd/00000000000000ff", "sensor_type": "emb", "sensor_id": "emb3", "property": "sec",
        "phenomenon_time": "2017-02-08T15:00:00Z", "kind": "point", "value": 904, "expected": 845.5, "score": 0.75, "severity": "medium",
        "detector": "s-h-esd", "detector_version": 1, "settings": "00000000000000ff", "run": "one", "found_at": "2017-02-12T19:00:00Z"
    });
    assert_eq!(items(&first)[0], expected);
}

#[tokio::test]
async fn pages_follow_each_other() {
    let hub = hub().await;
    let (mut path, mut seen) = ("/v1/anomalies?sensor_id=emb3&limit=2".to_owned(), Vec::new());
    for _ in 0..2 {
        let page = hub.get(&path).await.json();
        assert_eq!(items(&page).len(), 2);
        seen.extend(hours(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/anomalies?sensor_id=emb3&limit=2&cursor={cursor}");
        let other = hub.ask(&format!("/v1/anomalies?limit=2&cursor={cursor}")).await;
        assert_eq!(other.status, 400, "{}", other.text());
    }
    assert_eq!(seen, [0, 1, 3, 10]);
}

#[tokio::test]
async fn the_other_formats_answer_everything_at_once() {
    let hub = hub().await;
    let lines = hub.get("/v1/anomalies?format=ndjson").await.lines();
    let all = hub.get("/v1/anomalies").await.json();
    assert_eq!(&lines, items(&all));
    let csv = hub.get("/v1/anomalies?format=csv&sensor_id=emb3&property=sec&limit=2").await;
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"anomalies.csv\"");
    let expected = "\
id,sensor_type,sensor_id,property,phenomenon_time,until,kind,value,expected,score,severity,detector,detector_version,settings,run,found_at
emb3/sec/2017-02-08T15:00:00Z/s-h-esd/00000000000000ff,emb,emb3,sec,2017-02-08T15:00:00Z,,point,904,845.5,0.75,medium,s-h-esd,1,00000000000000ff,one,2017-02-12T19:00:00Z
emb3/sec/2017-02-08T18:00:00Z/outage/00000000000000ff,emb,emb3,sec,2017-02-08T18:00:00Z,2017-02-08T20:00:00Z,outage,,,1,high,outage,1,00000000000000ff,one,2017-02-12T19:00:00Z
";
    assert_eq!(csv.text(), expected);
    let many: Vec<Anomaly> = (100..2_600).map(|hour| anomaly("emb2", hour)).collect();
    hub.findings.record(&many).await.expect("recorded");
    let csv = hub.get("/v1/anomalies?format=csv&sensor_id=emb2").await;
    assert_eq!(csv.text().lines().count(), 1 + 1 + 2_500);
    let lines = hub.get("/v1/anomalies?format=ndjson&limit=1500").await.lines();
    assert_eq!(lines.len(), 1_500);
    let head = hub.request("HEAD", "/v1/anomalies?format=csv").send().await.expect("an answer");
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_for_anomalies_is_named() {
    let hub = hub().await;
    for (query, status, part) in [
        ("sensor_type=emc", 404, "`emc`"),
        ("sensor_id=emb9", 404, "`emb9`"),
        ("sensor_type=power&sensor_id=emb3", 400, "`emb`"),
        ("sensor_id=emb3&property=power", 400, "`power`"),
        ("min_score=2", 400, "from 0 to 1"),
        ("detector=S%20H", 400, "`S H`"),
        ("limit=0", 400, "`0`"),
        ("format=parquet", 400, "`parquet`"),
        ("format=csv&cursor=AA", 400, "format=json"),
        ("cursor=AA", 400, "next_cursor"),
        ("score=1", 400, "`score`"),
    ] {
        let answer = hub.ask(&format!("/v1/anomalies?{query}")).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert!(answer.text().contains(part), "{query}: {}", answer.text());
    }
}

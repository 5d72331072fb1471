//! What a wrong request is told.

use domain::{Flag, Rows};
use ingest_api::output::OutputApi;
use utoipa::OpenApi;

use crate::hub::{Hub, START, items, number, push};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_told_what_is_wrong() {
    let hub = Hub::with_rows().await;
    hub.put_sensor("power", "meter1").await;
    let control = "/v1/readings/emb?sensor_id=%00%1b[31m";
    let huge = format!("/v1/readings/emb?sensor_id={}", "a".repeat(10_000));
    let many = format!("/v1/readings/emb?sensor_id={}", (0..1_001).map(|n| format!("s{n},")).collect::<String>() + "s");
    let cases: &[(&str, u16, &[&str])] = &[
        ("/v1/readings/none", 404, &["sensor type `none`", "\"known\":[\"emb\",\"power\"]"]),
        ("/v1/readings/none/latest", 404, &["sensor type `none`"]),
        ("/v1/readings/emb?sensor_id=emb3,emb99", 404, &["sensor `emb99`", "/v1/sensors"]),
        ("/v1/readings/emb?sensor_id=meter1", 400, &["`meter1`", "of type `power`", "/v1/readings/power"]),
        ("/v1/readings/emb?sensor_id=a%2Fb", 400, &["`sensor_id`", "`a/b`", "a letter or digit"]),
        (control, 400, &["sensor_id"]),
        (&huge, 400, &["sensor_id"]),
        (&many, 400, &["at most 1,000 sensors"]),
        (
            "/v1/readings/emb?sensor=emb3&qc=bad",
            400,
            &["`sensor`", "known are sensor_id", "`bad`", "`normal` or `anomaly`"],
        ),
        ("/v1/readings/emb?qc=normal&qc=normal", 400, &["`qc`", "only once"]),
        ("/v1/readings/emb?from=yesterday", 400, &["`from`", "`yesterday`", "RFC 3339"]),
        ("/v1/readings/emb?from=2018-01-01T00:00:00Z&to=2017-01-01T00:00:00Z", 400, &["must not be after `to`"]),
        ("/v1/readings/emb?properties=sec,tdg", 400, &["`tdg`", "which has sec, ph"]),
        ("/v1/readings/emb?properties=", 400, &["`properties`"]),
        ("/v1/readings/emb?order=up", 400, &["`order`", "`asc` or `desc`"]),
        ("/v1/readings/emb?format=xml", 400, &["`format`", "`parquet`, `arrow`"]),
        ("/v1/readings/emb?limit=10001", 400, &["`limit`", "from 1 to 10,000"]),
        ("/v1/readings/emb?limit=0&format=csv", 400, &["`limit`", "from 1"]),
        ("/v1/readings/emb?limit=+5", 400, &["`limit`"]),
        ("/v1/readings/emb?cursor=hello", 400, &["`cursor`", "next_cursor"]),
        ("/v1/readings/emb?cursor=AQ&format=csv", 400, &["`cursor`", "`format=json` alone"]),
        ("/v1/readings/emb/latest?format=parquet", 400, &["`format`", "`json`, `ndjson`, `csv`"]),
        ("/v1/readings/emb/latest?qc=normal", 400, &["`qc`", "known are sensor_id, properties, format, limit, cursor"]),
        ("/v1/readings/emb/latest?limit=0", 400, &["`limit`", "from 1 to 10,000"]),
        ("/v1/readings/emb/latest?sensor_id=none", 404, &["`none`"]),
        ("/v1/readings/emb/latest?cursor=x", 400, &["`cursor`"]),
        ("/v1/datastreams/emb99/sec/buckets?interval=1h", 404, &["sensor `emb99`"]),
        ("/v1/datastreams/emb3/tdg/buckets?interval=1h", 404, &["`tdg`", "\"known\":[\"sec\",\"ph\"]"]),
        ("/v1/datastreams/emb3/sec/buckets", 400, &["`interval`", "`1us`"]),
        ("/v1/datastreams/emb3/sec/buckets?interval=1w", 400, &["`interval`", "`1w`"]),
        ("/v1/datastreams/emb3/sec/buckets?interval=1h&statistics=median", 400, &["`median`", "`stddev`"]),
    ];
    for (path, status, parts) in cases {
        let answer = hub.ask(path).await;
        assert_eq!(answer.status, *status, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        for part in *parts {
            assert!(answer.text().contains(part), "{path}: no `{part}` in {}", answer.text());
        }
        assert!(answer.body.len() < 4_000, "{path}: an answer in proportion");
        assert!(!answer.json()["detail"].to_string().contains('\u{1b}'));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_goes_with_its_query_alone() {
    let hub = Hub::with_rows().await;
    let first = hub.get("/v1/readings/emb?limit=2&qc=normal").await.json();
    let cursor = first["next_cursor"].as_str().expect("a next page");
    let next = hub.get(&format!("/v1/readings/emb?limit=3&qc=normal&cursor={cursor}")).await.json();
    assert_eq!(items(&next).len(), 3, "the limit may change");
    for other in ["", "&qc=anomaly", "&qc=normal&order=desc", "&qc=normal&properties=ph", "&qc=normal&sensor_id=emb3"] {
        let answer = hub.ask(&format!("/v1/readings/emb?limit=2{other}&cursor={cursor}")).await;
        assert_eq!(answer.status, 400, "{other}");
        assert!(answer.text().contains("other query parameters"), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_chooses_the_format_and_the_parameter_wins() {
    let hub = Hub::with_rows().await;
    let ask = async |path: &str, accept: &str| {
        let answer = hub.request("GET", path).header("accept", accept).send().await.expect("an answer");
        let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
        (answer.status().as_u16(), kind)
    };
    for (accept, kind) in [
        ("application/json", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/csv", "text/csv; charset=utf-8; header=present"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("text/html, */*;q=0.1", "application/json"),
    ] {
        assert_eq!(ask("/v1/readings/emb", accept).await, (200, kind.to_owned()), "{accept}");
    }
    assert_eq!(ask("/v1/readings/emb?format=json", "text/csv").await, (200, "application/json".to_owned()));
    for path in ["/v1/readings/emb", "/v1/readings/emb/latest", "/v1/datastreams/emb3/sec/buckets?interval=1h"] {
        assert_eq!(ask(path, "text/html").await, (406, "application/problem+json".to_owned()), "{path}");
    }
    let parquet = "application/vnd.apache.parquet";
    assert_eq!(ask("/v1/readings/emb/latest", parquet).await.0, 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_buckets_than_the_bound_are_refused_with_what_to_do() {
    let hub = Hub::empty().await;
    hub.put_sensor("power", "meter1").await;
    let mut rows = Rows::new(1);
    for second in 0..10_001 {
        push(&mut rows, START + second * 1_000_000, &[number(1.0)], &[Flag::Good]);
    }
    hub.write("power", "meter1", &rows).await;
    let path = "/v1/datastreams/meter1/power/buckets?interval=1s";
    let answer = hub.ask(path).await;
    assert_eq!(answer.status, 422);
    for part in ["10000 buckets", "longer interval", "`from` and `to`"] {
        assert!(answer.text().contains(part), "{}", answer.text());
    }
    let shorter = hub.get(&format!("{path}&from=2017-02-08T15:00:01Z&statistics=count")).await.json();
    assert_eq!(items(&shorter).len(), 10_000);
}

#[test]
fn every_route_is_described() {
    let document = serde_json::to_value(OutputApi::openapi()).expect("JSON");
    for path in [
        "/v1/readings/{sensor_type}",
        "/v1/readings/{sensor_type}/latest",
        "/v1/datastreams/{sensor_id}/{property}/buckets",
    ] {
        for method in ["get", "head"] {
            let operation = &document["paths"][path][method];
            assert!(operation["responses"]["200"]["content"]["text/csv"].is_object(), "{method} {path}: {operation}");
            assert!(operation["parameters"].as_array().is_some_and(|all| !all.is_empty()), "{method} {path}");
        }
    }
    assert!(document["components"]["schemas"]["ReadingsPage"].is_object());
}

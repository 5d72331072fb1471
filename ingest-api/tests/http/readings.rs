//! Readings in: every form, every refusal, every bound.

use std::{io::Write, time::Duration};

use ports::memory::{Call, Effect};
use reqwest::Method;
use serde_json::json;

use crate::hub::{self, GOOD, Hub, problem};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

#[tokio::test]
async fn readings_are_accepted_in_every_form() {
    let hub = Hub::start().await;
    let csv = "sensor_id,phenomenon_time,sec\nemb3,2017-02-08T16:00:00Z,904\n";
    let dialect = "2017-02-08,17:00:00,904,7.34,27.24,11.3,885\r\n";
    let zstd = zstd::bulk::compress(GOOD.as_bytes(), 3).expect("packed");
    for (path, media_type, coding, body) in [
        ("/v1/readings/emb", "application/json", None, GOOD.as_bytes().to_vec()),
        ("/v1/readings/emb", "application/json; charset=utf-8", None, format!("[{GOOD},{GOOD}]").into_bytes()),
        ("/v1/readings/emb", "", None, GOOD.as_bytes().to_vec()),
        ("/v1/readings/emb", "application/x-ndjson", None, format!("{GOOD}\n{GOOD}\n").into_bytes()),
        ("/v1/readings/emb", "text/csv", None, csv.as_bytes().to_vec()),
        ("/v1/readings/emb?sensor_id=emb3", "text/csv", None, dialect.as_bytes().to_vec()),
        ("/v1/readings/emb", "application/json", Some("gzip"), gzip(GOOD.as_bytes())),
        ("/v1/readings/emb", "application/json", Some("zstd"), zstd),
        ("/v1/readings/emb", "application/json", Some("identity"), GOOD.as_bytes().to_vec()),
        ("/emb", "text/plain", None, format!("emb3,{dialect}").into_bytes()),
        ("/emb", "application/x-www-form-urlencoded", None, format!("emb3,{}", dialect.trim()).into_bytes()),
        ("/emb", "application/octet-stream", None, format!("emb3,{}\n", dialect.trim()).into_bytes()),
    ] {
        let (status, answer) = hub.post(path, media_type, coding, body).await;
        assert_eq!(status, 202, "{path} {media_type} {coding:?}: {answer}");
        assert_eq!(answer["rejected"], json!([]), "{path} {media_type}");
    }
    assert_eq!(hub.readings("emb").await, 14);
    assert!(hub.ports.registry.sensor("emb3").is_some(), "its first reading registers a sensor");
}

#[tokio::test]
async fn only_bad_items_are_refused() {
    let hub = Hub::start().await;
    let body = format!(r#"[{GOOD},{{"sensor_id":"emb3","phenomenon_time":"2017-02-08T16:00:00Z","ph":"abc"}}]"#);
    let (status, answer) = hub.post("/v1/readings/emb", "application/json", None, body).await;
    let rejected = json!([{"index": 1, "field": "ph", "value": "abc", "reason": "must be a number or null"}]);
    assert_eq!((status.as_u16(), answer), (202, json!({"accepted": 1, "rejected": rejected})));
    let bad = r#"{"sensor_id":"emb3","phenomenon_time":"2017-02-08T16:00:00Z","depth":1}"#;
    let answer = hub.post("/v1/readings/emb", "application/json", None, bad).await;
    let problem = problem(answer, 422, "none of the `1` items is valid");
    assert_eq!((&problem["accepted"], &problem["rejected"][0]["field"]), (&json!(0), &json!("depth")));
    let many = format!("[{}]", vec!["7"; 2_000].join(","));
    let (_, answer) = hub.post("/v1/readings/emb", "application/json", None, many).await;
    assert_eq!(answer["rejected"].as_array().map(Vec::len), Some(1_000));
    assert_eq!(answer["rejected_count"], 2_000);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_told_why() {
    let hub = Hub::start().await;
    for (path, media_type, coding, body, status, detail) in [
        ("/v1/readings/emb", "application/json", None, &b"[{\n]"[..], 400, "line 2 column 1"),
        ("/v1/readings/emb", "application/json", None, b"", 400, "the body is empty"),
        ("/v1/readings/emb", "application/json", None, b"[]", 422, "there is no item"),
        ("/v1/readings/emb", "application/x-ndjson", None, b"\n", 422, "there is no item"),
        ("/v1/readings/emb", "text/csv", None, b"sensor_id,phenomenon_time,depth\n", 400, "column `depth`"),
        ("/v1/readings/emb", "text/csv", None, b"sensor_id,phenomenon_time,sec\n", 422, "there is no item"),
        ("/v1/readings/emb", "text/plain", None, b"x", 415, "media type `text/plain`"),
        ("/v1/readings/emb", "application/json", Some("br"), b"x", 415, "content encoding `br`"),
        ("/v1/readings/emb", "application/json", Some("gzip, gzip"), b"x", 415, "content encoding `gzip, gzip`"),
        ("/v1/readings/emb", "application/json", Some("gzip"), b"x", 400, "no gzip"),
        ("/v1/readings/emb", "application/json", Some("zstd"), b"x", 400, "no zstd"),
        ("/v1/readings/emb?sensor_id=a", "application/json", None, b"{}", 400, "`sensor_id`"),
        ("/v1/readings/emb?sensor=a", "text/csv", None, b"x", 400, "sensor"),
        ("/v1/readings/power?sensor_id=a", "application/json", None, b"x", 400, "`sensor_id`"),
        ("/v1/readings/emc", "application/json", None, b"{}", 404, "no sensor type `emc`"),
        ("/emc", "text/plain", None, b"x", 404, "no sensor type `emc`"),
        ("/emb", "text/plain", None, b"", 400, "the body is empty"),
        ("/emb", "text/plain", None, b"emb3,1,2", 422, "none of the `1` items"),
    ] {
        problem(hub.post(path, media_type, coding, body.to_vec()).await, status, detail);
    }
    assert_eq!(hub.readings("emb").await, 0);
}

#[tokio::test]
async fn hostile_bodies_are_refused_item_by_item_or_whole() {
    let hub = Hub::start().await;
    let item = |id: &str| format!(r#"{{"sensor_id":"{id}","phenomenon_time":"2017-02-08T15:00:00Z"}}"#);
    for id in ["a/b".to_owned(), "x".repeat(10_000), r"a\u0000b".to_owned(), "../../etc".to_owned(), "é".to_owned()] {
        let body = format!("[{GOOD},{}]", item(&id));
        let (status, answer) = hub.post("/v1/readings/emb", "application/json", None, body).await;
        assert_eq!((status.as_u16(), &answer["accepted"]), (202, &json!(1)), "{answer}");
        assert_eq!(answer["rejected"][0]["field"], "sensor_id");
        assert!(answer.to_string().len() < 1_000);
    }
    let deep = format!("[{{\"a\":{}", "[".repeat(1_000_000));
    problem(hub.post("/v1/readings/emb", "application/json", None, deep).await, 400, "recursion limit");
    let control = format!("[{GOOD}, \"\u{1}\"]");
    problem(hub.post("/v1/readings/emb", "application/json", None, control).await, 400, "control character");
    for path in
        ["/v1/sensors/a%2Fb", "/v1/sensors/%00", "/v1/sensors/%FF", &format!("/v1/sensors/{}", "x".repeat(10_000))]
    {
        let (status, body) = hub.send(Method::PUT, path, "application/json", r#"{"sensor_type":"emb"}"#).await;
        assert_eq!(status.as_u16(), 400, "{path}: {body}");
        assert!(body.to_string().len() < 1_000);
        problem(hub.send(Method::GET, path, "", "").await, 404, "");
    }
}

#[tokio::test]
async fn bodies_are_bounded_as_sent_and_as_unpacked() {
    let hub = Hub::start_with(|config| {
        config.body_size_max = 1024 * 1024;
        config.items_max = 10;
    })
    .await;
    let bomb = gzip(&vec![b' '; 50 * 1024 * 1024]);
    assert!(bomb.len() < 1024 * 1024);
    let answer = hub.post("/v1/readings/emb", "application/json", Some("gzip"), bomb).await;
    problem(answer, 413, "the unpacked body has more than `1048576` bytes");
    let bomb = zstd::bulk::compress(&vec![b' '; 50 * 1024 * 1024], 19).expect("packed");
    let answer = hub.post("/v1/readings/emb", "application/json", Some("zstd"), bomb).await;
    problem(answer, 413, "the unpacked body");
    let answer = hub.post("/v1/readings/emb", "application/json", None, vec![b' '; 1024 * 1024 + 1]).await;
    problem(answer, 413, "the body has more than");
    let chunks = (0..32).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
    let answer = hub.post("/v1/readings/emb", "application/json", None, vec![b' '; 64 * 1024 * 1024]).await;
    problem(answer, 413, "the body has more than");
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let request = hub.client.post(hub.url("/v1/readings/emb")).body(stream);
    problem(hub::answer(request).await, 413, "the body has more than");
    let many = format!("[{}]", ["7"; 11].join(","));
    problem(hub.post("/v1/readings/emb", "application/json", None, many).await, 413, "more than `10` items");
    let large = format!("[{GOOD}{}]", " ".repeat(1024 * 1024 - GOOD.len() - 2));
    assert_eq!(hub.post("/v1/readings/emb", "application/json", None, large).await.0, 202);
}

#[tokio::test]
async fn a_length_beyond_the_bound_is_refused_before_the_body_comes() {
    let hub = Hub::start().await;
    let answer = hub
        .raw(
            b"POST /v1/readings/emb HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
            Duration::from_secs(5),
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn what_the_log_says_reaches_the_client() {
    let hub = Hub::start_with(|config| config.workers = 1).await;
    hub.post("/v1/readings/emb", "application/json", None, GOOD).await;
    hub.faults.fail_next(Call::Append, 1, Effect::None);
    let answer = hub.post("/v1/readings/emb", "application/json", None, GOOD).await;
    let body = problem(answer, 503, "not available now");
    assert_eq!(body["type"], "urn:iot-hub:problem:unavailable");
    let full = Hub::start_full().await;
    let answer = full.post("/v1/readings/emb", "application/json", None, format!("[{GOOD},{GOOD}]")).await;
    problem(answer, 503, "as much waiting as it may hold");
}

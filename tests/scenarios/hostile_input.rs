//! Hostile input: every refusal names its fault, only the bad item of a batch is refused, and memory stays bounded.

use harness::{Answer, Hub};
use serde_json::Value;

use crate::{
    folder, launch,
    samples::{Sample, json_array},
};

/// The promise.
const MEMORY_MAX: u64 = 512 << 20;

/// A well-formed reading with one part replaced.
fn reading(part: &str, by: &str) -> String {
    Sample::plain("emb3", 1, 1).json().replace(part, by)
}

async fn post(hub: &Hub, media_type: &str, body: impl Into<Vec<u8>>) -> Answer {
    hub.post("/v1/readings/emb", media_type, body).await
}

/// Asserts a 4xx with problem details.
fn assert_refused(what: &str, answer: &Answer) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    assert!((400..500).contains(&answer.status), "{what}: {}: {}", answer.status, answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}: {}", answer.text());
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {}", answer.text());
    assert!(answer.body.len() < 64 << 10, "{what}: an answer of {} bytes", answer.body.len());
}

#[tokio::test]
async fn bad_items_are_refused_by_name_and_the_good_ones_kept() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let long = "x".repeat(10_000);
    let bad = [
        ("sensor_id", reading("emb3", "a/b")),
        ("sensor_id", reading("emb3", "a\\u0000b")),
        ("sensor_id", reading("emb3", "")),
        ("sensor_id", reading("emb3", &long)),
        ("sensor_id", reading("\"emb3\"", "null")),
        ("phenomenon_time", reading("2020-01-01T01:00:00Z", "1899-12-31T23:59:59Z")),
        ("phenomenon_time", reading("2020-01-01T01:00:00Z", "2999-01-01T00:00:00Z")),
        ("phenomenon_time", reading("2020-01-01T01:00:00Z", "yesterday")),
        ("phenomenon_time", reading("2020-01-01T01:00:00Z", "2020-02-30T00:00:00Z")),
        ("sec", reading("\"sec\":300.01", "\"sec\":1e999")),
        ("sec", reading("\"sec\":300.01", "\"sec\":\"abc\"")),
        ("sec", reading("\"sec\":300.01", "\"sec\":{}")),
        ("sec", reading("\"sec\":300.01", "\"sec\":1,\"sec\":1")),
        ("volts", reading("\"sec\":300.01", "\"volts\":1")),
    ];
    let good_ones = 2 * bad.len() as u64;
    for (field, bad) in bad {
        let good = [1, 2].map(|hour| Sample::plain("emb3", hour, 1).json());
        let body = format!("[{},{bad},{}]", good[0], good[1]);
        let answer = post(&hub, "application/json", body).await.expect(202).json();
        assert_eq!(answer["accepted"], 2, "{bad:.200}: {answer}");
        assert_eq!(answer["rejected"].as_array().map(Vec::len), Some(1), "{bad:.200}: {answer}");
        let refused = &answer["rejected"][0];
        assert_eq!((&refused["index"], &refused["field"]), (&1.into(), &field.into()), "{bad:.200}: {answer}");
        assert!(refused["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{answer}");
        let alone = post(&hub, "application/json", bad.as_str()).await.expect(422);
        assert_refused(field, &alone);
        assert_eq!(alone.json()["rejected"][0]["field"], field);
    }
    hub.processed("emb", good_ones).await;
    let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
    assert_eq!(csv.lines().count(), 3, "{csv}");
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let deep = "[".repeat(1_000_000);
    let deep_value = format!("{}{}", "{\"sensor_id\":".repeat(50_000), "1");
    let bodies: [(&str, &str, Vec<u8>); 12] = [
        ("cut short", "application/json", b"[{\"sensor_id\":".to_vec()),
        ("two values", "application/json", format!("{0} {0}", Sample::plain("a", 1, 1).json()).into_bytes()),
        ("deep array", "application/json", deep.into_bytes()),
        ("deep object", "application/json", deep_value.into_bytes()),
        ("a number", "application/json", b"5".to_vec()),
        ("an empty array", "application/json", b"[]".to_vec()),
        ("nothing", "application/json", Vec::new()),
        ("invalid UTF-8", "application/json", b"[{\"sensor_id\":\"\xff\xfe\"}]".to_vec()),
        ("invalid UTF-8", "text/csv", b"sensor_id,phenomenon_time,sec\n\xff,2020-01-01T00:00:00Z,1\n".to_vec()),
        ("no such column", "text/csv", b"sensor_id,phenomenon_time,volts\na,2020-01-01T00:00:00Z,1\n".to_vec()),
        ("a column twice", "text/csv", b"sensor_id,phenomenon_time,sec,sec\na,2020-01-01T00:00:00Z,1,1\n".to_vec()),
        ("zeros", "application/x-ndjson", vec![0; 100_000]),
    ];
    for (what, media_type, body) in bodies {
        assert_refused(what, &post(&hub, media_type, body).await);
    }
    assert_eq!(post(&hub, "image/png", "x").await.status, 415);
    assert_refused("media type", &post(&hub, "image/png", "x").await);
    assert_eq!(hub.post("/v1/readings/nothing", "application/json", "[]").await.status, 404);
    let long = format!("/v1/readings/{}", "x".repeat(10_000));
    assert!((400..500).contains(&hub.post(&long, "application/json", "[]").await.status));
    assert_eq!(hub.metrics().await.appended("emb"), 0);
}

#[tokio::test]
async fn huge_bodies_and_bombs_are_refused_in_little_memory() {
    let data = folder();
    let hub = launch(data.path()).key("HTTP__BODY_SIZE_MAX", "16MiB").start().await;
    let huge = vec![b' '; 64 << 20];
    let sent = hub.send(hub.request("POST", "/v1/readings/emb").header("content-type", "application/json").body(huge));
    // A hub may close the connection while a body beyond the bound is still on its way.
    if let Ok(answer) = sent.await {
        assert_eq!(answer.status, 413, "{}", answer.text());
    }
    for (coding, bomb) in [("gzip", gzip_bomb()), ("zstd", zstd_bomb())] {
        let compressed = bomb.len();
        let request = hub.request("POST", "/v1/readings/emb").header("content-type", "application/json");
        let answer = hub.answer(request.header("content-encoding", coding).body(bomb)).await;
        assert_eq!(answer.status, 413, "{coding} bomb of {compressed} bytes: {}", answer.text());
        let request = hub.request("POST", "/v1/readings/emb").header("content-type", "application/json");
        let answer = hub.answer(request.header("content-encoding", coding).body("this is not compressed")).await;
        assert_eq!(answer.status, 400, "{coding}: {}", answer.text());
    }
    let request = hub.request("POST", "/v1/readings/emb").header("content-type", "application/json");
    assert_eq!(hub.answer(request.header("content-encoding", "br").body("x")).await.status, 415);
    let peak = hub.memory_peak_bytes();
    println!("peak memory: {} MiB", peak >> 20);
    assert!(peak < MEMORY_MAX, "{} MiB", peak >> 20);
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
}

/// Readings of a body near the bound, whose bytes are half readings and half spaces.
const LARGE_BODY_READINGS: u32 = 60_000;
/// Posts of large bodies at once.
const LARGE_BODIES: usize = 48;
/// How often so many come at once.
const LARGE_BODIES_ROUNDS: usize = 4;
/// What a hub that has stored next to nothing may take of [`MEMORY_MAX`] for them; the rest is for what is known of sensors and readings.
const LARGE_BODIES_MEMORY_MAX: u64 = 448 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_from_many_clients_at_once_are_held_in_little_memory() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let samples: Vec<Sample> = (0..LARGE_BODY_READINGS).map(|n| Sample::plain("emb3", n % 1_000, n)).collect();
    let mut body = json_array(&samples).into_bytes();
    body.resize(16 << 20, b' ');
    let body: &'static [u8] = Box::leak(body.into_boxed_slice());
    for _ in 0..LARGE_BODIES_ROUNDS {
        let post = || hub.request("POST", "/v1/readings/emb").header("content-type", "application/json");
        let posts: Vec<_> = (0..LARGE_BODIES).map(|_| tokio::spawn(post().body(body).send())).collect();
        let mut accepted = 0;
        for post in posts {
            // A hub may close the connection of a body that it has no room for while it is still on its way.
            let Ok(answer) = post.await.expect("a post ends") else { continue };
            let status = answer.status().as_u16();
            assert!([202, 503].contains(&status), "{status}: {}", answer.text().await.unwrap_or_default());
            accepted += usize::from(status == 202);
        }
        assert!(accepted > 0, "no large body was taken");
    }
    let peak = hub.memory_peak_bytes();
    println!("peak memory: {} MiB", peak >> 20);
    assert!(peak < LARGE_BODIES_MEMORY_MAX, "{} MiB", peak >> 20);
}

/// A gigabyte of spaces, compressed.
fn gzip_bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    write_spaces(&mut encoder);
    encoder.finish().expect("memory takes all")
}

fn zstd_bomb() -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("a level");
    write_spaces(&mut encoder);
    encoder.finish().expect("memory takes all")
}

fn write_spaces(encoder: &mut impl std::io::Write) {
    let spaces = vec![b' '; 1 << 20];
    (0..1024).for_each(|_| encoder.write_all(&spaces).expect("memory takes all"));
}

#[tokio::test]
async fn queries_that_make_no_sense_are_refused_by_name() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    for (parameter, query) in [
        ("from", "from=yesterday"),
        ("to", "to=2020-13-01T00:00:00Z"),
        ("qc", "qc=good"),
        ("order", "order=random"),
        ("limit", "limit=0"),
        ("limit", "limit=99999999999999999999"),
        ("format", "format=xml"),
        ("properties", "properties=volts"),
        ("cursor", "cursor=%00%ff"),
        ("sensor_id", "sensor_id=a%2Fb"),
        ("colour", "colour=red"),
    ] {
        let answer = hub.get(&format!("/v1/readings/emb?{query}")).await;
        assert_refused(query, &answer);
        assert!(answer.text().contains(parameter), "{query}: {}", answer.text());
    }
}

//! The service over a real socket, with both ports in memory.

mod hub;

use std::{io::Write, time::Duration};

use hub::Hub;
use ports::memory::{Call, Effect};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GOOD: &str = r#"{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z","sec":904,"ph":7.34}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

/// Checks that an answer is a problem of this status, and answers its members.
#[track_caller]
fn problem(answer: (StatusCode, Value), status: u16, detail: &str) -> Value {
    let (given, body) = answer;
    assert_eq!(given.as_u16(), status, "{body}");
    assert_eq!(body["status"], status, "{body}");
    assert!(body["detail"].as_str().is_some_and(|text| text.contains(detail)), "{detail} in {body}");
    body
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
            b"POST /v1/readings/emb HTTP/1.1\r\nHost: hub\r\nContent-Length: 99999999999\r\n\r\n",
            Duration::from_secs(5),
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let hub = Hub::start_with(|config| {
        config.body_timeout = Duration::from_millis(200);
        config.head_timeout = Duration::from_millis(500);
    })
    .await;
    let answer = hub
        .raw(b"POST /v1/readings/emb HTTP/1.1\r\nHost: hub\r\nContent-Length: 10\r\n\r\n[", Duration::from_secs(5))
        .await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("the body did not come"), "{answer}");
    let answer = hub.raw(b"GET / HTTP/1.1\r\nHo", Duration::from_secs(10)).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_over_all_requests() {
    let hub = Hub::start_with(|config| config.in_flight_size_max = 1_000).await;
    let head = format!("POST /v1/readings/emb HTTP/1.1\r\nHost: hub\r\nContent-Length: 900\r\n\r\n{}", " ".repeat(890));
    let body = format!("{GOOD}{}", " ".repeat(400));
    let mut held = None;
    let (mut status, mut answer) = (StatusCode::ACCEPTED, Value::Null);
    hub::wait_for("a body to be received before another", async || {
        let mut stream = tokio::net::TcpStream::connect(hub.address).await.expect("connected");
        stream.write_all(head.as_bytes()).await.expect("sent");
        held = Some(stream);
        let request = hub.client.post(hub.url("/v1/readings/emb")).body(body.clone());
        let response = request.send().await.expect("an answer");
        status = response.status();
        let retry_after = response.headers().get("retry-after").cloned();
        answer = response.json().await.expect("JSON");
        status == 503 && retry_after.is_some_and(|value| value == "1")
    })
    .await;
    problem((status, answer), 503, "as many bytes of requests");
    let mut held = held.expect("a connection");
    held.write_all(&[b' '; 10]).await.expect("sent");
    let mut end = vec![0; 12];
    held.read_exact(&mut end).await.expect("an answer");
    assert_eq!(end, b"HTTP/1.1 400");
    drop(held);
    assert_eq!(hub.post("/v1/readings/emb", "application/json", None, body).await.0, 202);
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

#[tokio::test]
async fn sensors_are_bounded_and_bound_to_their_type() {
    let hub = Hub::start_sensors_max(2).await;
    let item = |id: &str| format!(r#"{{"sensor_id":"{id}","phenomenon_time":"2017-02-08T15:00:00Z"}}"#);
    let body = format!("[{},{},{},7,{}]", item("a"), item("b"), item("c"), item("a"));
    let (status, answer) = hub.post("/v1/readings/emb", "application/json", None, body).await;
    assert_eq!((status.as_u16(), &answer["accepted"]), (202, &json!(3)), "{answer}");
    let refused: Vec<_> = answer["rejected"].as_array().expect("a list").iter().map(|r| &r["index"]).collect();
    assert_eq!(refused, [2, 3]);
    assert!(answer["rejected"][0]["reason"].as_str().is_some_and(|text| text.contains("`2` sensors")), "{answer}");
    let answer = hub.post("/v1/readings/power", "application/json", None, item("a")).await;
    let body = problem(answer, 422, "none of the");
    assert_eq!(body["rejected"][0]["reason"], "the sensor is bound to sensor type `emb`");
    let put = hub.send(Method::PUT, "/v1/sensors/d", "application/json", r#"{"sensor_type":"emb"}"#).await;
    problem(put, 429, "`2` sensors");
}

#[tokio::test]
async fn sensor_types_are_made_changed_and_removed() {
    let hub = Hub::start().await;
    let draft = json!({"sampling_interval": "1h", "properties": [{"id": "depth", "unit": "m"}]});
    let put = async |path: &str, body: String| hub.send(Method::PUT, path, "application/json", &body).await;
    let (status, made) = put("/v1/sensor-types/well", draft.to_string()).await;
    assert_eq!((status.as_u16(), &made["version"]), (201, &json!(1)), "{made}");
    let (status, same) = put("/v1/sensor-types/well", made.to_string()).await;
    assert_eq!((status.as_u16(), same), (200, made.clone()), "what GET answers can be put back");
    let toml = "id = \"well\"\nsampling_interval = \"2h\"\n[[properties]]\nid = \"depth\"\nunit = \"m\"\n[[properties]]\nid = \"ph\"\nunit = \"[pH]\"\n";
    let (status, changed) = hub.send(Method::PUT, "/v1/sensor-types/well", "application/toml", toml).await;
    assert_eq!((status.as_u16(), &changed["version"]), (200, &json!(2)), "{changed}");
    let (_, got) = hub.send(Method::GET, "/v1/sensor-types/well", "", "").await;
    assert_eq!(got, changed);
    let (_, all) = hub.send(Method::GET, "/v1/sensor-types", "", "").await;
    let ids: Vec<_> = all["items"].as_array().expect("a list").iter().map(|item| item["id"].as_str()).collect();
    assert_eq!(ids, ["air", "emb", "power", "seismic", "well"].map(Some));

    let other_unit = json!({"sampling_interval": "1h", "properties": [{"id": "depth", "unit": "ft"}]});
    let conflict = problem(put("/v1/sensor-types/well", other_unit.to_string()).await, 409, "keeps its unit");
    assert_eq!(conflict["faults"].as_array().map(Vec::len), Some(2), "{conflict}");
    let faulty = json!({"sampling_interval": "0s", "properties": [{"id": "ph", "unit": ""}]});
    let faults = problem(put("/v1/sensor-types/new", faulty.to_string()).await, 422, "sampling_interval");
    assert_eq!(faults["faults"].as_array().map(Vec::len), Some(2), "{faults}");
    problem(put("/v1/sensor-types/new", "{".to_owned()).await, 400, "EOF");
    problem(put("/v1/sensor-types/new", r#"{"x":1}"#.to_owned()).await, 422, "x");
    problem(put("/v1/sensor-types/New", draft.to_string()).await, 400, "`New`");
    problem(put("/v1/sensor-types/metrics", draft.to_string()).await, 400, "route");
    problem(hub.send(Method::PUT, "/v1/sensor-types/new", "text/csv", "x").await, 415, "`text/csv`");
    problem(put("/v1/sensor-types/new", " ".repeat(1024 * 1024 + 1)).await, 413, "the body");
    problem(hub.send(Method::GET, "/v1/sensor-types/new", "", "").await, 404, "`new`");

    let reading = r#"{"sensor_id":"w1","phenomenon_time":"2017-02-08T15:00:00Z","depth":1}"#;
    assert_eq!(hub.post("/v1/readings/well", "application/json", None, reading).await.0, 202);
    problem(hub.send(Method::DELETE, "/v1/sensor-types/well", "", "").await, 409, "has not read");
    hub.process("well").await;
    problem(hub.send(Method::DELETE, "/v1/sensor-types/well", "", "").await, 409, "has readings");
    let range = "sensor_id=w1&from=1900-01-01T00:00:00Z&to=2100-01-01T00:00:00Z";
    let (status, answer) = hub.send(Method::DELETE, &format!("/v1/readings/well?{range}"), "", "").await;
    assert_eq!((status.as_u16(), &answer["accepted"]), (202, &json!(1)), "{answer}");
    hub.process("well").await;
    assert_eq!(hub.send(Method::DELETE, "/v1/sensor-types/well", "", "").await.0, 204);
    problem(hub.post("/v1/readings/well", "application/json", None, reading).await, 404, "`well`");
    problem(hub.send(Method::DELETE, "/v1/sensor-types/well", "", "").await, 404, "`well`");
}

#[tokio::test]
async fn deletions_say_which_sensor_and_when() {
    let hub = Hub::start().await;
    hub.post("/v1/readings/emb", "application/json", None, GOOD).await;
    let range = "from=2017-01-01T00:00:00Z&to=2018-01-01T00:00:00Z";
    for (query, status, detail) in [
        ("", 400, "wanted are"),
        ("sensor_id=emb3", 400, "wanted are"),
        (range, 400, "wanted are"),
        (&format!("sensor_id=nobody&{range}"), 404, "no sensor `nobody`"),
        (&format!("sensor_id=emb3&{range}&to=2019-01-01T00:00:00Z"), 400, "twice"),
        (&format!("sensor_id=emb3&{range}&qc=normal"), 400, "`qc`"),
        ("sensor_id=emb3&from=x&to=2018-01-01T00:00:00Z", 400, "`x`"),
        ("sensor_id=emb3&from=2018-01-01T00:00:00Z&to=2018-01-01T00:00:00Z", 400, "before `to`"),
    ] {
        problem(hub.send(Method::DELETE, &format!("/v1/readings/emb?{query}"), "", "").await, status, detail);
    }
    let path = format!("/v1/readings/power?sensor_id=emb3&{range}");
    problem(hub.send(Method::DELETE, &path, "", "").await, 400, "of type `emb`");
}

#[tokio::test]
async fn sensors_are_registered_and_listed_in_pages() {
    let hub = Hub::start().await;
    let draft =
        r#"{"sensor_type":"emb","name":"Three","place":{"latitude":53.8,"longitude":-2.9},"group":"lancashire"}"#;
    let put = async |id: &str, body: &str| {
        hub.send(Method::PUT, &format!("/v1/sensors/{id}"), "application/json", body).await
    };
    let (status, made) = put("emb3", draft).await;
    assert_eq!((status.as_u16(), &made["count"], &made["first_time"]), (201, &json!(0), &Value::Null), "{made}");
    assert_eq!(put("emb3", &made.to_string()).await, (StatusCode::OK, made));
    for id in ["emb1", "emb2"] {
        put(id, r#"{"sensor_type":"emb"}"#).await;
    }
    problem(put("emb3", r#"{"sensor_type":"power"}"#).await, 409, "bound to sensor type `emb`");
    problem(put("emb4", r#"{"sensor_type":"emc"}"#).await, 404, "`emc`");
    problem(put("emb4", r#"{"sensor_type":"emb","place":{"latitude":91,"longitude":0}}"#).await, 422, "place.latitude");
    problem(put("emb4", r#"{"sensor_type":"emb","colour":"red"}"#).await, 422, "colour");
    problem(put("emb4", r#"{"id":"emb5","sensor_type":"emb"}"#).await, 400, "`emb5`");
    problem(put("emb4", "").await, 400, "EOF");
    hub.post("/v1/readings/emb", "application/json", None, GOOD).await;
    hub.process("emb").await;
    let (_, sensor) = hub.send(Method::GET, "/v1/sensors/emb3", "", "").await;
    assert_eq!((&sensor["count"], &sensor["last_time"]), (&json!(1), &json!("2017-02-08T15:00:00Z")), "{sensor}");
    let list = async |query: &str| hub.send(Method::GET, &format!("/v1/sensors?{query}"), "", "").await;
    let (_, page) = list("limit=2&sensor_type=emb").await;
    assert_eq!((&page["items"][1]["id"], &page["next_cursor"]), (&json!("emb2"), &json!("emb2")));
    let (_, page) = list("limit=2&sensor_type=emb&cursor=emb2").await;
    assert_eq!((&page["items"], &page["next_cursor"]), (&json!([sensor]), &Value::Null));
    assert_eq!(list("group=lancashire").await.1["items"], json!([sensor]));
    problem(list("sensor_type=emc").await, 404, "`emc`");
    problem(list("limit=0").await, 400, "`limit`");
    problem(list("limit=1&limit=2").await, 400, "limit");
    problem(list("cursor=%2F").await, 400, "`cursor`");
    problem(list("colour=red").await, 400, "colour");
    problem(hub.send(Method::GET, "/v1/sensors/emb9", "", "").await, 404, "`emb9`");
}

#[tokio::test]
async fn dead_letters_are_read_once_and_replayed() {
    let hub = Hub::start().await;
    let (_, none) = hub.send(Method::GET, "/v1/dead-letters", "", "").await;
    assert_eq!(none, json!({"items": [], "next_cursor": null}));
    let letter = |position: u64, topic: &str, payload: Value| {
        let mut letter = json!({"format": 1, "topic": topic, "partition": 0, "position": position, "reason": "why not", "accepted_at": "2017-02-08T15:00:00Z"});
        letter.as_object_mut().expect("an object").extend(payload.as_object().expect("an object").clone());
        (format!("{topic}/0/{position}"), letter)
    };
    let bytes = json!({"payload_base64": "AAECAw=="});
    let letters = vec![
        letter(0, "readings.emb", json!({"payload": GOOD})),
        letter(1, "readings.emb", bytes),
        letter(0, "readings.emb", json!({"payload": GOOD})),
        letter(2, "readings.emb", json!({"payload": "{\"sensor_id\":\"emb3\"}"})),
        letter(0, "readings.gone", json!({"payload": GOOD})),
        ("odd".to_owned(), json!("no dead letter")),
    ];
    hub.bury(letters).await;
    let (_, all) = hub.send(Method::GET, "/v1/dead-letters", "", "").await;
    let ids: Vec<_> = all["items"].as_array().expect("a list").iter().map(|item| item["id"].as_u64()).collect();
    assert_eq!(ids, [Some(0), Some(1), Some(3), Some(4), Some(5)], "{all}");
    assert_eq!(all["items"][0]["reason"], "why not");
    let (_, page) = hub.send(Method::GET, "/v1/dead-letters?limit=2", "", "").await;
    assert_eq!(page["next_cursor"], "2", "{page}");
    let (_, page) = hub.send(Method::GET, "/v1/dead-letters?limit=2&cursor=2", "", "").await;
    assert_eq!((&page["items"][0]["id"], &page["next_cursor"]), (&json!(3), &json!("5")), "a repetition is left out");
    problem(hub.send(Method::GET, "/v1/dead-letters?cursor=x", "", "").await, 400, "`cursor`");

    let (_, one) = hub.send(Method::GET, "/v1/dead-letters/1", "", "").await;
    assert_eq!(one["payload_base64"], "AAECAw==");
    for id in ["6", "x", "-1", "99999999999999999999999"] {
        problem(hub.send(Method::GET, &format!("/v1/dead-letters/{id}"), "", "").await, 404, "no dead letter");
        problem(hub.send(Method::POST, &format!("/v1/dead-letters/{id}/replay"), "", "").await, 404, "no dead letter");
    }
    let replay = async |id: u64| hub.send(Method::POST, &format!("/v1/dead-letters/{id}/replay"), "", "").await;
    let before = hub.readings("emb").await;
    assert_eq!(replay(0).await, (StatusCode::ACCEPTED, json!({"accepted": 1, "rejected": []})));
    assert_eq!(hub.readings("emb").await, before + 1);
    problem(replay(1).await, 422, "no reading");
    problem(replay(3).await, 422, "none of the `1` items");
    problem(replay(4).await, 422, "`readings.gone`");
    problem(replay(5).await, 422, "can't be read");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told() {
    let hub = Hub::start().await;
    problem(hub.send(Method::GET, "/nothing", "", "").await, 404, "`/nothing`");
    problem(hub.send(Method::GET, "/v1/nothing/here", "", "").await, 404, "`/v1/nothing/here`");
    for (method, path, allow) in [
        (Method::PUT, "/v1/readings/emb", "GET, HEAD, POST, DELETE"),
        (Method::POST, "/v1/sensors", "GET, HEAD"),
        (Method::DELETE, "/v1/sensors/emb3", "GET, HEAD, PUT"),
        (Method::GET, "/emb", "POST"),
        (Method::POST, "/v1/readings/emb/latest", "GET, HEAD"),
        (Method::GET, "/v1/dead-letters/0/replay", "POST"),
        (Method::POST, "/docs/", "GET"),
    ] {
        let response = hub.client.request(method.clone(), hub.url(path)).send().await.expect("an answer");
        assert_eq!(response.headers().get("allow").and_then(|v| v.to_str().ok()), Some(allow), "{method} {path}");
        let status = response.status();
        problem((status, response.json().await.expect("JSON")), 405, &format!("not `{method}`"));
    }
}

#[tokio::test]
async fn pages_of_other_origins_change_nothing() {
    let hub = Hub::start().await;
    let post = |origin: &str| {
        let request = hub.client.post(hub.url("/v1/readings/emb")).header("origin", origin).body(GOOD);
        hub::answer(request)
    };
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        problem(post(origin).await, 403, "another origin");
    }
    assert_eq!(hub.readings("emb").await, 0);
    assert_eq!(post(&hub.url("")).await.0, 202);
    let read = hub.client.get(hub.url("/v1/sensors")).header("origin", "http://evil.example");
    assert_eq!(hub::answer(read).await.0, 200);
}

#[tokio::test]
async fn health_says_which_part_is_not_ready() {
    let hub = Hub::start_with(|config| {
        let check = std::sync::Arc::new(|| -> futures_util::future::BoxFuture<'static, Result<(), String>> {
            Box::pin(async { Err("has not read for 1 s".to_owned()) })
        });
        config.readiness.push(ingest_api::ReadinessCheck { name: "consumer", check });
    })
    .await;
    assert_eq!(hub.send(Method::GET, "/health/live", "", "").await.0, 200);
    let (status, health) = hub.send(Method::GET, "/health/ready", "", "").await;
    assert_eq!((status.as_u16(), &health["ready"]), (503, &json!(false)));
    let parts = json!([
        {"name": "log", "ready": true}, {"name": "store", "ready": true}, {"name": "registry", "ready": true},
        {"name": "consumer", "ready": false, "reason": "has not read for 1 s"},
    ]);
    assert_eq!(health["parts"], parts);
    let well = Hub::start().await;
    assert_eq!(well.send(Method::GET, "/health/ready", "", "").await.0, 200);
}

#[tokio::test]
async fn documents_metrics_and_the_front_door_answer() {
    let hub = Hub::start().await;
    let (status, root) = hub.send(Method::GET, "/", "", "").await;
    assert_eq!((status.as_u16(), &root["documentation"]), (200, &json!("/docs/")));
    let (_, document) = hub.send(Method::GET, "/openapi.json", "", "").await;
    assert!(document["paths"]["/v1/readings/{sensor_type}"]["post"].is_object());
    for (path, content) in
        [("/docs", "swagger-ui"), ("/docs/", "swagger-ui"), ("/docs/swagger-initializer.js", "/openapi.json")]
    {
        let response = hub.client.get(hub.url(path)).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        let policy = response.headers().get("content-security-policy").expect("a policy").clone();
        assert!(policy.to_str().expect("ASCII").contains("script-src 'self'"));
        let text = response.text().await.expect("text");
        assert!(text.contains(content), "{path}: {text}");
        assert!(!text.contains("https://"), "nothing is loaded from elsewhere: {text}");
    }
    hub.post("/v1/readings/emb", "application/json", None, GOOD).await;
    hub.send(Method::GET, "/v1/sensors/x/y/z", "", "").await;
    let response = hub.client.get(hub.url("/metrics")).send().await.expect("an answer");
    assert_eq!(response.headers().get("x-content-type-options").expect("a header"), "nosniff");
    let text = response.text().await.expect("text");
    for line in [
        "# TYPE iot_hub_http_request_duration_seconds histogram",
        r#"iot_hub_http_request_duration_seconds_count{method="POST",route="/v1/readings/{sensor_type}",status="202"} 1"#,
        r#"iot_hub_http_request_duration_seconds_count{method="GET",route="none",status="404"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn requests_in_flight_finish_when_the_service_stops() {
    let mut hub = Hub::start().await;
    let mut stream = tokio::net::TcpStream::connect(hub.address).await.expect("connected");
    let length = GOOD.len();
    let head = format!(
        "POST /v1/readings/emb HTTP/1.1\r\nHost: hub\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut go_on = vec![0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on).await.expect("the request has been seen");
    stream.write_all(&GOOD.as_bytes()[..20]).await.expect("sent");
    hub.stop();
    stream.write_all(&GOOD.as_bytes()[20..]).await.expect("sent");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 202");
    drop(stream);
    tokio::time::timeout(Duration::from_secs(10), hub.stopped()).await.expect("stops in time");
    assert_eq!(hub.readings("emb").await, 1);
}

#[tokio::test]
async fn many_clients_at_once_lose_nothing() {
    let hub = Hub::start().await;
    let posts = (0..64).map(|client| {
        let hub = &hub;
        async move {
            for hour in 0..24 {
                let body =
                    format!(r#"{{"sensor_id":"s{client}","phenomenon_time":"2017-02-08T{hour:02}:00:00Z","sec":1}}"#);
                assert_eq!(hub.post("/v1/readings/emb", "application/json", None, body).await.0, 202);
            }
        }
    });
    futures_util::future::join_all(posts).await;
    assert_eq!(hub.readings("emb").await, 64 * 24);
    let topic = domain::Topic::from_name("readings.emb");
    assert_eq!(hub.ports.log.extents(&topic).await.expect("extents")[0].end.0, 64 * 24);
}

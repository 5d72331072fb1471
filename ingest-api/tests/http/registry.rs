//! Sensor types, sensors, deletions and dead letters.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::hub::{GOOD, Hub, problem};

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
    assert_eq!(put.0, StatusCode::CREATED, "a place is reserved for names");
    let put = hub.send(Method::PUT, "/v1/sensors/e", "application/json", r#"{"sensor_type":"emb"}"#).await;
    problem(put, 429, "`3` sensors");
    let removed = hub.send(Method::DELETE, "/v1/sensors/d", "", "").await.0;
    assert!(removed.is_success(), "{removed}");
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
    assert_eq!(ids, ["air", "emb", "emb-qartod", "power", "seismic", "well"].map(Some));

    let other_unit = json!({"sampling_interval": "1h", "properties": [{"id": "depth", "unit": "ft"}]});
    let conflict = problem(put("/v1/sensor-types/well", other_unit.to_string()).await, 409, "keeps its unit");
    assert_eq!(conflict["faults"].as_array().map(Vec::len), Some(2), "{conflict}");
    let faulty = json!({"sampling_interval": "0s", "properties": [{"id": "ph", "unit": ""}]});
    let faults = problem(put("/v1/sensor-types/new", faulty.to_string()).await, 422, "sampling_interval");
    assert_eq!(faults["faults"].as_array().map(Vec::len), Some(2), "{faults}");
    problem(put("/v1/sensor-types/new", "{".to_owned()).await, 400, "EOF");
    problem(put("/v1/sensor-types/new", r#"{"x":1}"#.to_owned()).await, 422, "x");
    let unit = json!({"sampling_interval": "1h", "properties": [{"id": "depth", "unit": 7}]});
    problem(put("/v1/sensor-types/new", unit.to_string()).await, 422, "`properties[0].unit`: invalid type");
    let rule = json!({"sampling_interval": "1h", "anomaly_flags": [], "properties": [{"id": "depth", "unit": "m"}]});
    problem(put("/v1/sensor-types/new", rule.to_string()).await, 422, "`anomaly_flags`: must be at least one of");
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
    let (status, bound) = put("emb2", r#"{"sensor_type":"power"}"#).await;
    assert_eq!((status.as_u16(), &bound["sensor_type"]), (200, &json!("power")), "without readings it is bound anew");
    put("emb2", r#"{"sensor_type":"emb"}"#).await;
    problem(put("emb4", r#"{"sensor_type":"emc"}"#).await, 404, "`emc`");
    problem(put("emb4", r#"{"sensor_type":"emb","place":{"latitude":91,"longitude":0}}"#).await, 422, "place.latitude");
    problem(put("emb4", r#"{"sensor_type":"emb","colour":"red"}"#).await, 422, "colour");
    problem(put("emb4", r#"{"id":"emb5","sensor_type":"emb"}"#).await, 400, "`emb5`");
    problem(put("emb4", "").await, 400, "EOF");
    hub.post("/v1/readings/emb", "application/json", None, GOOD).await;
    hub.process("emb").await;
    let (_, sensor) = hub.send(Method::GET, "/v1/sensors/emb3", "", "").await;
    assert_eq!((&sensor["count"], &sensor["last_time"]), (&json!(1), &json!("2017-02-08T15:00:00Z")), "{sensor}");
    let conflict = problem(put("emb3", r#"{"sensor_type":"power"}"#).await, 409, "`sensor_type` = `power`");
    assert!(conflict["faults"][0]["rule"].as_str().is_some_and(|rule| rule.contains("DELETE /v1/sensors/emb3")));
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
async fn sensors_are_removed_at_once_or_with_their_readings() {
    let hub = Hub::start().await;
    let send = async |method: Method, path: &str, body: &str| hub.send(method, path, "application/json", body).await;
    send(Method::PUT, "/v1/sensors/emb3", r#"{"sensor_type":"emb"}"#).await;
    assert_eq!(send(Method::DELETE, "/v1/sensors/emb3", "").await.0, StatusCode::NO_CONTENT);
    problem(send(Method::DELETE, "/v1/sensors/emb3", "").await, 404, "`emb3`");

    let with_readings = async || {
        let posted = hub.post("/v1/readings/emb", "application/json", None, GOOD).await;
        assert_eq!(posted.0, StatusCode::ACCEPTED, "{}", posted.1);
        let (status, begun) = send(Method::DELETE, "/v1/sensors/emb3", "").await;
        assert_eq!((status.as_u16(), &begun["removal"]), (202, &json!("begun")), "{begun}");
    };
    with_readings().await;
    hub.process("emb").await;
    problem(send(Method::GET, "/v1/sensors/emb3", "").await, 404, "`emb3`");
    assert_eq!(
        hub.ports
            .store
            .summaries(
                &domain::SensorTypeId::parse("emb").expect("an id"),
                &ports::SensorQuery::of(vec![domain::SensorId::parse("emb3").expect("an id")])
            )
            .await
            .expect("stored")
            .len(),
        0
    );

    with_readings().await;
    send(Method::PUT, "/v1/sensors/emb3", r#"{"sensor_type":"emb"}"#).await;
    hub.process("emb").await;
    let (status, kept) = send(Method::GET, "/v1/sensors/emb3", "").await;
    assert_eq!((status.as_u16(), &kept["count"]), (200, &json!(0)), "a PUT in between keeps the sensor: {kept}");
}

#[tokio::test]
async fn first_readings_beyond_the_pace_are_refused_until_later() {
    let hub = Hub::start_pace(2).await;
    let item = |id: &str| format!(r#"{{"sensor_id":"{id}","phenomenon_time":"2017-02-08T15:00:00Z"}}"#);
    let body = format!("[{},{},{}]", item("a"), item("b"), item("c"));
    let (status, answer) = hub.post("/v1/readings/emb", "application/json", None, body).await;
    assert_eq!((status.as_u16(), &answer["accepted"], &answer["rejected"][0]["value"]), (202, &json!(2), &json!("c")));
    assert!(answer["rejected"][0]["retry_after_s"].as_u64().is_some_and(|seconds| (1..=61).contains(&seconds)));
    problem(hub.post("/v1/readings/emb", "application/json", None, item("c")).await, 429, "none of the `1` items");
    let put = hub.send(Method::PUT, "/v1/sensors/c", "application/json", r#"{"sensor_type":"emb"}"#).await;
    assert_eq!(put.0, StatusCode::CREATED);
}

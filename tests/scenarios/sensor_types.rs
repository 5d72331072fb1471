//! Sensor types and sensors: one more takes effect at once, without a restart, and stays.

use std::fs;

use serde_json::json;

use crate::{folder, launch, samples::Sample};

fn soil() -> serde_json::Value {
    json!({
        "id": "soil", "name": "Soil moisture", "sampling_interval": "15m",
        "properties": [
            {"id": "moisture", "name": "Volumetric water content", "unit": "%", "gross_range": {"fail": [0, 100]}, "required": true},
        ],
    })
}

#[tokio::test]
async fn new_type_flows_without_a_restart_and_survives_one() {
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    hub.post("/v1/readings/soil", "application/json", "{}").await.expect(404);
    let made = hub.put("/v1/sensor-types/soil", &soil()).await;
    assert!((200..300).contains(&made.status), "{}", made.text());
    let body = r#"[{"sensor_id":"s1","phenomenon_time":"2024-05-01T00:00:00Z","moisture":31.5},
        {"sensor_id":"s1","phenomenon_time":"2024-05-01T00:15:00Z","moisture":131.5}]"#;
    hub.post("/v1/readings/soil", "application/json", body).await.expect(202);
    hub.processed("soil", 2).await;
    let export = hub.export("soil", "csv").await;
    let text = String::from_utf8(export.clone()).expect("CSV is text");
    assert!(text.contains("normal") && text.contains("anomaly"), "{text}");

    hub.kill();
    hub.restart().await;
    hub.processed("soil", 2).await;
    assert_eq!(hub.export("soil", "csv").await, export);
    let refused = hub.delete("/v1/sensor-types/soil").await;
    assert_eq!(refused.status, 409, "a type with readings was removed: {}", refused.text());
}

#[tokio::test]
async fn type_gains_properties_and_loses_none() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let wider = |properties: &[(&str, &str)]| {
        let properties: Vec<_> =
            properties.iter().map(|(id, unit)| json!({"id": id, "name": id, "unit": unit})).collect();
        json!({"id": "soil", "name": "Soil", "sampling_interval": "15m", "properties": properties})
    };
    for (properties, status) in [
        (&[("moisture", "%")][..], 201),
        (&[("moisture", "%")], 200),
        (&[("moisture", "%"), ("temperature", "Cel")], 200),
        (&[("moisture", "%")], 409),
        (&[("moisture", "m"), ("temperature", "Cel")], 409),
    ] {
        let answer = hub.put("/v1/sensor-types/soil", &wider(properties)).await;
        assert_eq!(answer.status, status, "{properties:?}: {}", answer.text());
    }
    let soil = hub.get("/v1/sensor-types/soil").await.expect(200).json();
    assert_eq!(soil["version"], 2, "{soil}");
}

#[tokio::test]
async fn arrays_are_not_taken_for_objects() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    let sampled = |properties: serde_json::Value| json!({"sampling_interval": "15m", "properties": properties});
    for (path, document, member) in [
        // Longitude first, as GeoJSON has it: not latitude -2.9.
        ("/v1/sensors/x", json!({"sensor_type": "emb", "place": [-2.9, 53.8]}), "`place`"),
        ("/v1/sensors/x", json!(["n", null, null, "emb"]), "an object"),
        ("/v1/sensor-types/soil", sampled(json!([["a", "n", "m"]])), "`properties[0]`"),
        ("/v1/sensor-types/soil", sampled(json!([{"id": "a", "unit": "m", "gross_range": [[0, 1]]}])), "gross_range"),
    ] {
        let refused = hub.put(path, &document).await.expect(422);
        assert!(refused.text().contains(member) && refused.text().contains("expected an object"), "{}", refused.text());
    }
    let times = json!({"sensor_type": "emb", "from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"});
    for (path, member, value) in
        [("/v1/runs", "detection", json!([96, "guarded"])), ("/v1/qc/replays", "sensor_ids", json!({"0": "emb3"}))]
    {
        let mut request = times.clone();
        request[member] = value;
        let refused = hub.post(path, "application/json", request.to_string()).await.expect(422);
        assert!(refused.text().contains(&format!("`{member}`")), "{}", refused.text());
    }
    for path in ["/v1/runs", "/v1/qc/replays"] {
        hub.post(path, "application/json", r#"["emb","2020-01-01T00:00:00Z"]"#).await.expect(422);
    }
    hub.get("/v1/sensors/x").await.expect(404);
    hub.get("/v1/sensor-types/soil").await.expect(404);
}

#[tokio::test]
async fn folder_of_types_is_read_at_the_start_and_an_empty_type_can_be_removed() {
    let (data, types) = (folder(), folder());
    let toml = "id = \"tide\"\nname = \"Tide gauge\"\nsampling_interval = \"6m\"\n\n[[properties]]\nid = \"level\"\nname = \"Level\"\nunit = \"m\"\n";
    fs::write(types.path().join("tide.toml"), toml).expect("a file");
    let hub = launch(data.path()).flag("--sensor-types").flag(types.path()).start().await;
    let known = hub.get("/v1/sensor-types").await.expect(200).text();
    for id in ["air", "emb", "emb-qartod", "power", "seismic", "tide"] {
        assert!(known.contains(&format!("\"{id}\"")), "`{id}` is not in {known}");
    }
    let removed = hub.delete("/v1/sensor-types/tide").await;
    assert!((200..300).contains(&removed.status), "{}", removed.text());
    hub.get("/v1/sensor-types/tide").await.expect(404);
}

#[tokio::test]
async fn sensors_are_registered_by_name_or_on_their_first_reading_up_to_a_bound() {
    let data = folder();
    let hub = launch(data.path()).key("REGISTRY__SENSORS_MAX", "2").start().await;
    let place = json!({"latitude": 53.8, "longitude": -2.9});
    let named = json!({"id": "emb3", "sensor_type": "emb", "name": "North", "place": place, "group": "lancashire"});
    let answer = hub.put("/v1/sensors/emb3", &named).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    for (sensor, status) in [("emb3", 202), ("emb4", 202), ("emb5", 422)] {
        let answer = hub.post("/v1/readings/emb", "application/json", Sample::plain(sensor, 1, 1).json()).await;
        assert_eq!(answer.status, status, "{sensor}: {}", answer.text());
    }
    hub.processed("emb", 2).await;
    let sensors = hub.get("/v1/sensors").await.expect(200).text();
    assert!(
        sensors.contains("\"North\"") && sensors.contains("\"emb4\"") && !sensors.contains("\"emb5\""),
        "{sensors}"
    );
    let elsewhere = hub.put("/v1/sensors/emb3", &json!({"id": "emb3", "sensor_type": "power"})).await;
    assert_eq!(elsewhere.status, 409, "{}", elsewhere.text());
}

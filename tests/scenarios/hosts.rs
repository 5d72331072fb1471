//! Requests for hosts that the hub does not know: what a page sends that was led here by a name of its own (DNS rebinding).

use serde_json::json;

use crate::{folder, launch, samples::Sample};

#[tokio::test]
async fn a_page_of_a_foreign_name_reads_and_changes_nothing() {
    let data = folder();
    let hub = launch(data.path()).key("HTTP__HOSTS", "hub.example.org").start().await;
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
    let sensor = json!({"sensor_type": "emb"});
    for (method, path) in [
        ("PUT", "/v1/sensors/foreign"),
        ("POST", "/v1/readings/emb"),
        ("DELETE", "/v1/sensor-types/power"),
        ("GET", "/v1/sensors"),
        ("GET", "/v1/readings/emb?format=csv"),
        ("GET", "/health/ready"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("OPTIONS", "/v1/sensors/foreign"),
    ] {
        let origin = ("origin", "http://evil.example");
        let request = hub.request(method, path).header("host", "evil.example").header(origin.0, origin.1).json(&sensor);
        let refused = hub.answer(request).await.expect(421);
        assert!(refused.text().contains("`evil.example`"), "{method} {path}: {}", refused.text());
        assert!(!refused.text().contains("emb3"), "{method} {path}: {}", refused.text());
    }
    hub.get("/v1/sensors/foreign").await.expect(404);
    hub.get("/v1/sensor-types/power").await.expect(200);

    let named = ("host", "hub.example.org:8443");
    let put = hub.request("PUT", "/v1/sensors/named").header(named.0, named.1).json(&sensor);
    hub.answer(put.header("origin", "https://hub.example.org:8443")).await.expect(201);
    let port = hub.address().rsplit(':').next().unwrap_or_default().to_owned();
    for host in ["localhost".to_owned(), format!("localhost:{port}"), format!("[::1]:{port}"), "127.0.0.1".to_owned()] {
        hub.answer(hub.request("GET", "/v1/sensors").header("host", host)).await.expect(200);
    }
}

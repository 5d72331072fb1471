//! What holds for every request: paths, methods, origins, slow clients, health, metrics, the stop.

use std::time::Duration;

use domain::Topic;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::hub::{self, GOOD, Hub, problem};

#[tokio::test]
async fn slow_clients_are_let_go() {
    let hub = Hub::start_with(|config| {
        config.body_timeout = Duration::from_millis(200);
        config.head_timeout = Duration::from_millis(500);
    })
    .await;
    let answer = hub
        .raw(
            b"POST /v1/readings/emb HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n[",
            Duration::from_secs(5),
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("the body did not come"), "{answer}");
    let answer = hub.raw(b"GET / HTTP/1.1\r\nHo", Duration::from_secs(10)).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_over_all_requests() {
    let hub = Hub::start_with(|config| config.in_flight_size_max = 1_000).await;
    let head =
        format!("POST /v1/readings/emb HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{}", " ".repeat(890));
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
async fn unknown_paths_and_methods_are_told() {
    let hub = Hub::start().await;
    problem(hub.send(Method::GET, "/nothing", "", "").await, 404, "`/nothing`");
    problem(hub.send(Method::GET, "/v1/nothing/here", "", "").await, 404, "`/v1/nothing/here`");
    for (method, path, allow) in [
        (Method::PUT, "/v1/readings/emb", "GET, HEAD, POST, DELETE"),
        (Method::POST, "/v1/sensors", "GET, HEAD"),
        (Method::POST, "/v1/sensors/emb3", "GET, HEAD, PUT, DELETE"),
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

/// The status of a request that is sent as it is, and what is said of it.
async fn status_of(hub: &Hub, head: &str) -> (u16, String) {
    let answer = hub.raw(format!("{head}Connection: close\r\n\r\n").as_bytes(), Duration::from_secs(10)).await;
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {answer}")), answer)
}

#[tokio::test]
async fn requests_for_foreign_hosts_are_refused_whatever_they_want() {
    let named = ingest_api::Host::parse("hub.example.org").expect("a host");
    let hub = Hub::start_with(|config| config.hosts = vec![named]).await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for path in [
            "/",
            "/v1/sensors",
            "/v1/sensor-types/emb",
            "/v1/readings/emb",
            "/metrics",
            "/health/live",
            "/docs/",
            "/nothing",
        ] {
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: evil.example:8080\r\nOrigin: http://evil.example:8080\r\n");
            let (status, answer) = status_of(&hub, &head).await;
            assert_eq!(status, 421, "{method} {path}: {answer}");
            assert!(
                method == "HEAD" || answer.contains("`evil.example:8080`") && answer.contains("`http.hosts`"),
                "{answer}"
            );
        }
    }
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: localhost:1\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: HUB.example.org.\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: 192.168.1.5\r\n", 421),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n", 421),
        ("GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n", 421),
        ("GET http://localhost/v1/sensors HTTP/1.1\r\nHost: localhost\r\n", 200),
        ("GET / HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", 400),
        ("GET / HTTP/1.0\r\n", 200),
        ("GET / HTTP/1.0\r\nHost: evil.example\r\n", 421),
        ("PUT /v1/sensors/x HTTP/1.0\r\nOrigin: http://evil.example\r\n", 403),
        ("PUT /v1/sensors/x HTTP/1.1\r\nHost: hub.example.org\r\nOrigin: http://localhost\r\n", 403),
        ("DELETE /v1/sensor-types/emb HTTP/1.1\r\nHost: hub.example.org\r\nOrigin: https://hub.example.org\r\n", 204),
    ] {
        let (status, answer) = status_of(&hub, head).await;
        assert_eq!(status, expected, "{head}: {answer}");
    }
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
        "POST /v1/readings/emb HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
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
    let topic = Topic::from_name("readings.emb");
    assert_eq!(hub.ports.log.extents(&topic).await.expect("extents")[0].end.0, 64 * 24);
}

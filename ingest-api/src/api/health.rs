//! What tells people and machines how the hub is: health, metrics, where to look.

use std::{future::Future, time::Duration};

use actix_web::{HttpResponse, http::header::CONTENT_TYPE, web::Data};
use ports::PortError;
use prometheus::{Encoder, TextEncoder};
use serde::Serialize;
use serde_json::json;

use crate::{App, Code, Principal, Problem};

/// How long a part may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Says where to look.
#[utoipa::path(method(get, head), path = "/", tag = "Health", responses((status = 200, description = "Where to look", body = serde_json::Value)))]
pub async fn root(_principal: Principal) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "name": "IoT-Hub",
        "version": env!("CARGO_PKG_VERSION"),
        "documentation": "/docs/",
        "openapi": "/openapi.json",
        "sensor_types": "/v1/sensor-types",
        "sensors": "/v1/sensors",
        "readings": "/v1/readings/{sensor_type}",
        "dead_letters": "/v1/dead-letters",
        "health": "/health/ready",
        "metrics": "/metrics",
    }))
}

/// Says that the process answers.
#[utoipa::path(method(get, head), path = "/health/live", tag = "Health", responses((status = 200, description = "It answers", body = serde_json::Value)))]
pub async fn live(_principal: Principal) -> HttpResponse {
    HttpResponse::Ok().json(json!({"live": true}))
}

/// A part of the hub and whether it is ready.
#[derive(Serialize)]
struct Part {
    name: &'static str,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Says which parts are ready, and of the others why not.
#[utoipa::path(
    method(get, head),
    path = "/health/ready",
    tag = "Health",
    responses(
        (status = 200, description = "All parts are ready", body = crate::openapi::Readiness),
        (status = 503, description = "A part is not ready", body = crate::openapi::Readiness),
    )
)]
pub async fn ready(app: Data<App>, _principal: Principal) -> HttpResponse {
    let ports = &app.ports;
    let port = |outcome: Result<(), PortError>| outcome.map_err(|error| error.message().to_owned());
    let mut parts = vec![
        part("log", async { port(ports.log.ready().await) }).await,
        part("store", async { port(ports.store.ready().await) }).await,
        part("registry", ports.registry.ready()).await,
    ];
    for check in &app.config.readiness {
        parts.push(part(check.name, (check.check)()).await);
    }
    let ready = parts.iter().all(|part| part.ready);
    let mut response = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(json!({"ready": ready, "parts": parts}))
}

async fn part(name: &'static str, check: impl Future<Output = Result<(), String>>) -> Part {
    let outcome = tokio::time::timeout(READY_TIMEOUT, check).await;
    let reason = match outcome {
        Ok(outcome) => outcome.err(),
        Err(_) => Some(format!("did not answer within {} s", READY_TIMEOUT.as_secs())),
    };
    Part { name, ready: reason.is_none(), reason }
}

/// Counters and histograms for Prometheus.
#[utoipa::path(method(get, head), path = "/metrics", tag = "Health", responses((status = 200, description = "Prometheus text exposition format", body = String, content_type = "text/plain")))]
pub async fn metrics(app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    encoder.encode(&app.ports.metrics.gather(), &mut text).map_err(|error| {
        tracing::error!(%error, "the metrics can't be written");
        Problem::new(Code::Internal, "the metrics can't be written")
    })?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, encoder.format_type())).body(text))
}

//! Sensor types: list, show, define, remove.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::LOCATION,
    web::{Data, Path, Payload},
};
use domain::{SensorTypeDraft, SensorTypeId, Topic};
use ports::{ErrorKind, PortError, ReadingQuery};
use registry::Change;
use serde_json::json;

use crate::{
    App, Code, Principal, Problem,
    definition::{self, Language},
    input::body::Body,
    problem::printable,
};

/// The largest definition, in bytes.
const DEFINITION_SIZE_MAX_BYTES: usize = 1024 * 1024;
/// Members of an answer that a definition may repeat and that are left out.
const READ_ONLY: [&str; 2] = ["number", "version"];

/// All sensor types, by id.
#[utoipa::path(
    method(get, head),
    path = "/v1/sensor-types",
    operation_id = "list_sensor_types",
    tag = "Sensor types",
    responses((status = 200, description = "The newest version of each sensor type", body = crate::openapi::SensorTypes))
)]
pub async fn list(app: Data<App>, _principal: Principal) -> HttpResponse {
    HttpResponse::Ok().json(json!({"items": app.ports.registry.sensor_types()}))
}

/// A sensor type.
#[utoipa::path(
    method(get, head),
    path = "/v1/sensor-types/{id}",
    operation_id = "get_sensor_type",
    tag = "Sensor types",
    params(("id" = String, Path, description = "Id of the sensor type", example = "emb")),
    responses(
        (status = 200, description = "Its newest version", body = crate::openapi::SensorType),
        (status = 404, description = "There is no such sensor type", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn get(path: Path<String>, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(&*app.sensor_type(&path)?))
}

/// Defines a sensor type, or its next version.
///
/// It takes effect at once. A type may gain properties and change its checks; losing a property or changing a unit is a
/// conflict. What `GET` answers can be put back.
#[utoipa::path(
    put,
    path = "/v1/sensor-types/{id}",
    operation_id = "put_sensor_type",
    tag = "Sensor types",
    params(("id" = String, Path, description = "Id of the sensor type: a lower-case letter, then lower-case letters, digits and `-`", example = "emb")),
    request_body(description = "The definition", content(
        (crate::openapi::SensorTypeDefinition = "application/json"),
        (String = "application/toml", example = "sampling_interval = \"1h\"\n[[properties]]\nid = \"sec\"\nunit = \"uS/cm\"\n"),
    )),
    responses(
        (status = 200, description = "Changed, or the same as before", body = crate::openapi::SensorType),
        (status = 201, description = "Made", body = crate::openapi::SensorType),
        (status = 400, description = "The body or the id can't be read", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "The type can't change this way; `faults` says why", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The definition has more than 1 MiB", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 415, description = "Neither JSON nor TOML", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The definition breaks rules; `faults` lists each", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    request: HttpRequest,
    payload: Payload,
    path: Path<String>,
    app: Data<App>,
    _principal: Principal,
) -> Result<HttpResponse, Problem> {
    let id = SensorTypeId::parse(&path).map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?;
    let language = Language::of(&request, &[Language::Json, Language::Toml])?;
    let body = Body::receive(&app, &request, payload, DEFINITION_SIZE_MAX_BYTES).await?;
    let (bytes, _permit) = body.unpack()?;
    let draft: SensorTypeDraft = definition::read(&bytes, language, id.as_str(), &READ_ONLY)?;
    let (sensor_type, change) = app.ports.registry.put_sensor_type(id, draft).await?;
    Ok(match change {
        Change::Created => {
            let location = format!("/v1/sensor-types/{}", sensor_type.id);
            HttpResponse::Created().insert_header((LOCATION, location)).json(&*sensor_type)
        }
        Change::Changed | Change::Unchanged => HttpResponse::Ok().json(&*sensor_type),
    })
}

/// Removes a sensor type that has no readings, with its sensors.
#[utoipa::path(
    delete,
    path = "/v1/sensor-types/{id}",
    operation_id = "delete_sensor_type",
    tag = "Sensor types",
    params(("id" = String, Path, description = "Id of the sensor type", example = "emb")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "There is no such sensor type", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It has readings, or records that quality control has not read", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "A backend is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn delete(path: Path<String>, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let _nobody_else = app.types_in_use.write().await;
    let id = app.sensor_type(&path)?.id.clone();
    if pending(&app, &id).await? > 0 {
        let detail = format!("sensor type `{id}` has records that quality control has not read yet");
        return Err(Problem::new(Code::Conflict, detail));
    }
    if has_readings(&app, &id).await? {
        let detail = format!("sensor type `{id}` has readings; delete them first");
        return Err(Problem::new(Code::Conflict, detail));
    }
    app.ports.registry.remove_sensor_type(&id).await?;
    app.ports.store.remove(&id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// How many records of the type the consumer group has not read.
pub(super) async fn pending(app: &App, id: &SensorTypeId) -> Result<u64, PortError> {
    let topic = Topic::readings(id);
    let extents = match app.ports.log.extents(&topic).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        extents => extents?,
    };
    let committed = app.ports.log.committed(&app.config.consumer_group, &topic).await?;
    let read = |partition| committed.iter().find(|c| c.partition == partition).map_or(0, |c| c.position.0);
    Ok(extents.iter().map(|extent| extent.end.0.saturating_sub(read(extent.partition).max(extent.start.0))).sum())
}

async fn has_readings(app: &App, id: &SensorTypeId) -> Result<bool, PortError> {
    match app.ports.store.scan(id, &ReadingQuery::default()).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        scan => Ok(scan?.next(1).await?.is_some()),
    }
}

/// The path segment does not match what the body says.
pub(crate) fn other_id(in_path: &str, in_body: &str) -> Problem {
    let detail = format!("`id` = `{}` in the body, but `{}` in the path", printable(in_body), printable(in_path));
    Problem::new(Code::BadRequest, detail)
}

//! Sensors: list, show, register.

use std::{collections::HashMap, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::LOCATION,
    web::{Data, Path, Payload},
};
use domain::{Sensor, SensorId, SensorTypeId, Timestamp};
use ports::{ErrorKind, PortError, SensorQuery, SensorSummary};
use registry::{Change, SensorDraft};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::query;
use crate::{
    App, Code, Principal, Problem,
    definition::{self, Language},
    input::body::Body,
};

/// The largest description of a sensor, in bytes.
const DESCRIPTION_SIZE_MAX_BYTES: usize = 64 * 1024;
/// Members of an answer that a description may repeat and that are left out.
const READ_ONLY: [&str; 4] = ["number", "count", "first_time", "last_time"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    sensor_type: Option<String>,
    group: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// A sensor with the extent of its readings.
#[derive(Serialize)]
struct SensorAnswer<'a> {
    #[serde(flatten)]
    sensor: &'a Sensor,
    count: u64,
    first_time: Option<Timestamp>,
    last_time: Option<Timestamp>,
}

/// Sensors, by id.
#[utoipa::path(
    method(get, head),
    path = "/v1/sensors",
    operation_id = "list_sensors",
    tag = "Sensors",
    params(
        ("sensor_type" = Option<String>, Query, description = "Only sensors of this type", example = "emb"),
        ("group" = Option<String>, Query, description = "Only sensors of this group", example = "lancashire"),
        ("limit" = Option<u64>, Query, description = "Items of a page, 1 to 1,000 (default 100)", example = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of sensors", body = crate::openapi::SensorsPage),
        (status = 400, description = "A parameter is unknown, repeated or wrong", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The store is not available now; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(request: HttpRequest, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let query: ListQuery = query::read(&request)?;
    let limit = query::limit(query.limit.as_deref())?;
    let after = query.cursor.as_deref().map(|cursor| {
        SensorId::parse(cursor)
            .map_err(|_| Problem::parameter("cursor", cursor, "must be a `next_cursor` of this route"))
    });
    let after = after.transpose()?;
    let sensor_type = query.sensor_type.as_deref().map(|id| app.sensor_type(id)).transpose()?;
    let sensors = app.ports.registry.sensors(sensor_type.as_ref().map(|sensor_type| &sensor_type.id));
    let mut wanted = sensors
        .iter()
        .filter(|sensor| after.as_ref().is_none_or(|after| sensor.id > *after))
        .filter(|sensor| query.group.is_none() || sensor.group == query.group);
    let page: Vec<&Arc<Sensor>> = wanted.by_ref().take(limit).collect();
    let next_cursor = wanted.next().and(page.last()).map(|last| &last.id);
    let summaries = summaries(&app, &page).await?;
    let items: Vec<_> = page.iter().map(|sensor| answer(sensor, &summaries)).collect();
    Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": next_cursor})))
}

/// The extents of the sensors' readings.
async fn summaries(app: &App, sensors: &[&Arc<Sensor>]) -> Result<HashMap<SensorId, SensorSummary>, PortError> {
    let mut by_type: HashMap<&SensorTypeId, Vec<SensorId>> = HashMap::new();
    for sensor in sensors {
        by_type.entry(&sensor.sensor_type).or_default().push(sensor.id.clone());
    }
    let mut all = HashMap::with_capacity(sensors.len());
    for (sensor_type, ids) in by_type {
        match app.ports.store.summaries(sensor_type, &SensorQuery::of(ids)).await {
            // Nothing of this type was ever stored.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => all.extend(found?.into_iter().map(|summary| (summary.sensor_id.clone(), summary))),
        }
    }
    Ok(all)
}

fn answer<'a>(sensor: &'a Sensor, summaries: &HashMap<SensorId, SensorSummary>) -> SensorAnswer<'a> {
    let summary = summaries.get(&sensor.id);
    SensorAnswer {
        sensor,
        count: summary.map_or(0, |summary| summary.count),
        first_time: summary.map(|summary| summary.first),
        last_time: summary.map(|summary| summary.last),
    }
}

/// A sensor.
#[utoipa::path(
    method(get, head),
    path = "/v1/sensors/{id}",
    operation_id = "get_sensor",
    tag = "Sensors",
    params(("id" = String, Path, description = "Id of the sensor", example = "emb3")),
    responses(
        (status = 200, description = "The sensor", body = crate::openapi::Sensor),
        (status = 404, description = "There is no such sensor", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The store is not available now; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn get(path: Path<String>, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let sensor = app.ports.registry.sensor(&path).ok_or_else(|| Problem::not_found("sensor", &path))?;
    let summaries = summaries(&app, &[&sensor]).await?;
    Ok(HttpResponse::Ok().json(answer(&sensor, &summaries)))
}

/// Registers a sensor, or changes what is said of it.
///
/// Its type is fixed for ever. What `GET` answers can be put back.
#[utoipa::path(
    put,
    path = "/v1/sensors/{id}",
    operation_id = "put_sensor",
    tag = "Sensors",
    params(("id" = String, Path, description = "Id of the sensor: a letter or digit, then letters, digits, `.`, `_`, `:` and `-`", example = "emb3")),
    request_body = crate::openapi::SensorDescription,
    responses(
        (status = 200, description = "Changed, or the same as before", body = crate::openapi::Sensor),
        (status = 201, description = "Registered", body = crate::openapi::Sensor),
        (status = 400, description = "The body or the id can't be read", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "The sensor is of another type", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The description has more than 64 KiB", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 415, description = "Not JSON", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The description breaks a rule", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "The hub has as many sensors as it may", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
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
    let id = SensorId::parse(&path).map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?;
    let language = Language::of(&request, &[Language::Json])?;
    let body = Body::receive(&app, &request, payload, DESCRIPTION_SIZE_MAX_BYTES).await?;
    let (bytes, _permit) = body.unpack()?;
    let draft: SensorDraft = definition::read(&bytes, language, id.as_str(), &READ_ONLY)?;
    let (sensor, change) = app.ports.registry.put_sensor(id, draft).await?;
    let summaries = summaries(&app, &[&sensor]).await?;
    let answer = answer(&sensor, &summaries);
    Ok(match change {
        Change::Created => {
            let location = format!("/v1/sensors/{}", sensor.id);
            HttpResponse::Created().insert_header((LOCATION, location)).json(answer)
        }
        Change::Changed | Change::Unchanged => HttpResponse::Ok().json(answer),
    })
}

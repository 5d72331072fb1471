//! Sensors: list, show, register, remove.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::LOCATION,
    web::{Data, Path, Payload},
};
use domain::{Deletion, Sensor, SensorId, SensorTypeId, Timestamp, Topic};
use ports::{Batch, ErrorKind, PortError, SensorQuery, SensorSummary};
use registry::{Change, SensorDraft, SensorsQuery};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{query, sensor_types::pending};
use crate::{
    App, Code, Principal, Problem,
    definition::{self, Language},
    input::body::Body,
};

/// The largest description of a sensor, in bytes.
const DESCRIPTION_SIZE_MAX_BYTES: usize = 64 * 1024;
/// How long a change waits for quality control to read what was accepted before.
const READ_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often it looks.
const READ_WAIT_STEP: Duration = Duration::from_millis(20);
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
    let wanted = SensorsQuery {
        sensor_type: sensor_type.as_ref().map(|sensor_type| &sensor_type.id),
        group: query.group.as_deref(),
        after: after.as_ref(),
    };
    let (page, more) = app.ports.registry.sensors_page(wanted, limit);
    let next_cursor = page.last().filter(|_| more).map(|last| &last.id);
    let summaries = summaries(&app, &page).await?;
    let items: Vec<_> = page.iter().map(|sensor| answer(sensor, &summaries)).collect();
    Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": next_cursor})))
}

/// The extents of the sensors' readings.
async fn summaries(app: &App, sensors: &[Arc<Sensor>]) -> Result<HashMap<SensorId, SensorSummary>, PortError> {
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
    let summaries = summaries(&app, std::slice::from_ref(&sensor)).await?;
    Ok(HttpResponse::Ok().json(answer(&sensor, &summaries)))
}

/// Registers a sensor, or changes what is said of it.
///
/// A sensor that has no readings may become one of another type. What `GET` answers can be put back.
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
        (status = 409, description = "The sensor is of another type and has readings; `faults` says the way out", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The description has more than 64 KiB", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 415, description = "Not JSON", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The description breaks a rule", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "The hub has as many sensors as it may", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The log is not available, or quality control is behind; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
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
    let registry = &app.ports.registry;
    let held = registry.sensor(id.as_str()).filter(|held| held.sensor_type != draft.sensor_type);
    let (sensor, change) = match held {
        Some(held) if registry.sensor_type(draft.sensor_type.as_str()).is_some() => {
            check_without_readings(&app, &held, &draft.sensor_type).await?;
            registry.rebind_sensor(id, draft, &held.sensor_type).await?
        }
        _ => registry.put_sensor(id, draft).await?,
    };
    let summaries = summaries(&app, std::slice::from_ref(&sensor)).await?;
    let answer = answer(&sensor, &summaries);
    Ok(match change {
        Change::Created => {
            let location = format!("/v1/sensors/{}", sensor.id);
            HttpResponse::Created().insert_header((LOCATION, location)).json(answer)
        }
        Change::Changed | Change::Unchanged => HttpResponse::Ok().json(answer),
    })
}

/// Refuses a sensor that has readings, in the store or on their way there, to become one of type `wanted`.
async fn check_without_readings(app: &App, sensor: &Arc<Sensor>, wanted: &SensorTypeId) -> Result<(), Problem> {
    let bound_to = &sensor.sensor_type;
    wait_until_read(app, bound_to).await?;
    let Some(summary) = summaries(app, std::slice::from_ref(sensor)).await?.remove(&sensor.id) else { return Ok(()) };
    let id = &sensor.id;
    let rule = format!(
        "sensor `{id}` is bound to sensor type `{bound_to}` by `{}` readings: delete them (`DELETE /v1/readings/{bound_to}`), or the sensor with them \
         (`DELETE /v1/sensors/{id}`), then put it again",
        summary.count
    );
    let fault = json!({"key": "sensor_type", "value": wanted, "rule": rule});
    Err(Problem::new(Code::Conflict, format!("`sensor_type` = `{wanted}`: {rule}")).with("faults", vec![fault]))
}

/// Waits until quality control has read what the log held of a type when this was asked.
async fn wait_until_read(app: &App, id: &SensorTypeId) -> Result<(), Problem> {
    let topic = Topic::readings(id);
    let ends = match app.ports.log.extents(&topic).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        extents => extents?,
    };
    let mut waited = Duration::ZERO;
    loop {
        let committed = app.ports.log.committed(&app.config.consumer_group, &topic).await?;
        let is_read = |partition, end| committed.iter().any(|it| it.partition == partition && it.position >= end);
        if ends.iter().all(|extent| extent.start >= extent.end || is_read(extent.partition, extent.end)) {
            return Ok(());
        }
        if waited >= READ_WAIT_MAX {
            let detail = format!("quality control has not read all that was accepted of `{id}` yet; try again later");
            return Err(Problem::new(Code::Unavailable, detail).retry_after(READ_WAIT_MAX));
        }
        tokio::time::sleep(READ_WAIT_STEP).await;
        waited += READ_WAIT_STEP;
    }
}

/// Removes a sensor, with its readings.
///
/// A sensor without readings is gone at once (204). Of any other the readings are deleted through the log, as `DELETE
/// /v1/readings/{sensor_type}` does, and the sensor is gone when quality control has reached that (202; then `GET` answers 404). A `PUT` in between
/// keeps the sensor, without those readings. A reading that is accepted behind the deletion makes the sensor anew, as any first reading does.
#[utoipa::path(
    delete,
    path = "/v1/sensors/{id}",
    operation_id = "delete_sensor",
    tag = "Sensors",
    params(("id" = String, Path, description = "Id of the sensor", example = "emb3")),
    responses(
        (status = 202, description = "Its readings are being deleted; then it is gone", body = crate::openapi::SensorRemoval),
        (status = 204, description = "Removed; it had no readings"),
        (status = 404, description = "There is no such sensor", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "A backend is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn delete(path: Path<String>, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let _in_use = app.types_in_use.read().await;
    let registry = &app.ports.registry;
    let sensor = registry.sensor(&path).ok_or_else(|| Problem::not_found("sensor", &path))?;
    let is_idle = pending(&app, &sensor.sensor_type).await? == 0;
    if is_idle && summaries(&app, std::slice::from_ref(&sensor)).await?.is_empty() {
        registry.remove_sensor(&sensor).await?;
        return Ok(HttpResponse::NoContent().finish());
    }
    // First the note, then the deletion: what quality control finds noted when it comes to the deletion goes, after a crash in
    // between nothing does, and the client asks again.
    registry.begin_removal(&sensor).await?;
    let deletions = Batch::Deletions(vec![Deletion::of_all(sensor.id.clone())]);
    app.ports.log.append(&Topic::readings(&sensor.sensor_type), deletions).await?;
    let detail = "its readings are deleted when quality control reaches the deletion; then the sensor is gone";
    Ok(HttpResponse::Accepted().json(json!({"sensor": sensor.id, "removal": "begun", "detail": detail})))
}

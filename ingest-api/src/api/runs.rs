//! Runs of a detector: ask for one, look at them, cancel one.

use std::{collections::BTreeMap, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::LOCATION,
    web::{Data, Path, Payload},
};
use domain::{
    Detection, PropertyId, Run, RunId, RunRequest, RunState, S_H_ESD, SensorId, SensorType, SensorTypeId, Timestamp,
    Trigger,
};
use ports::RunQuery;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{named::check_sensors, query};
use crate::{
    App, Code, Principal, Problem,
    definition::{self, Language},
    input::body::Body,
    output::{
        Fingerprint, Shown,
        cursor::{decode_place, encode_place},
    },
    problem::printable,
    replays::at_random,
};

/// The largest request, in bytes.
const REQUEST_SIZE_MAX_BYTES: usize = 256 * 1024;
/// The most runs that wait at once.
const WAITING_MAX: usize = 100;
/// The most items of a page, and those of one where the request does not say.
const PAGE_MAX: usize = 100;
/// The members of a request, in place of an id.
const REQUEST: &str = "a run";

/// What a request says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    sensor_type: SensorTypeId,
    sensor_ids: Option<Vec<SensorId>>,
    properties: Option<Vec<PropertyId>>,
    from: Timestamp,
    to: Timestamp,
    detector: Option<String>,
    #[serde(default)]
    detection: Detection,
    #[serde(default)]
    dry: bool,
}

/// Has a detector look at stored readings.
///
/// It goes on in the background; `GET` says how far it is. What it finds is recorded among the anomalies; with `"dry": true` nothing is, and
/// the run itself shows what would be. A run with the settings of an earlier one finds the same ids: nothing is recorded twice.
#[utoipa::path(
    post,
    path = "/v1/runs",
    operation_id = "begin_run",
    tag = "Detection",
    request_body(content = crate::openapi::RunRequest),
    responses(
        (status = 202, description = "It is asked for", body = crate::openapi::Run),
        (status = 400, description = "The body can't be read", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type or sensor", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "A member is unknown, missing or wrong; of settings `faults` lists each", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "As many runs as may wait are waiting", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The findings are not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn begin(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
    _principal: Principal,
) -> Result<HttpResponse, Problem> {
    let language = Language::of(&request, &[Language::Json])?;
    let body = Body::receive(&app, &request, payload, REQUEST_SIZE_MAX_BYTES).await?;
    let (bytes, _permit) = body.unpack()?;
    let wish: Wish = definition::read(&bytes, language, REQUEST, &[])?;
    let sensor_type = app.sensor_type(wish.sensor_type.as_str())?;
    check(&app, &wish, &sensor_type)?;
    let waiting = RunQuery { state: Some(RunState::Waiting), ..RunQuery::all(WAITING_MAX) };
    if app.ports.findings.runs(&waiting).await?.len() >= WAITING_MAX {
        let detail = format!("`{WAITING_MAX}` runs are waiting; wait for one or cancel one");
        return Err(Problem::new(Code::TooManyRequests, detail).retry_after(Duration::from_secs(10)));
    }
    let run = wish.run(app.ports.clock.now());
    app.ports.findings.put_run(&run).await?;
    let location = format!("/v1/runs/{}", run.id);
    Ok(HttpResponse::Accepted().insert_header((LOCATION, location)).json(shown(&run)))
}

fn check(app: &App, wish: &Wish, sensor_type: &SensorType) -> Result<(), Problem> {
    let invalid = |detail: String| Problem::new(Code::Invalid, detail);
    if wish.from >= wish.to {
        return Err(invalid(format!("`from` = `{}`: must be before `to`", wish.from)));
    }
    if let Some(other) = wish.detector.as_deref().filter(|detector| *detector != S_H_ESD) {
        return Err(invalid(format!(
            "`detector` = `{}`: must be `{S_H_ESD}`, the only one there is",
            printable(other)
        )));
    }
    check_sensors(app, wish.sensor_ids.as_deref(), &sensor_type.id)?;
    if wish.properties.as_ref().is_some_and(Vec::is_empty) {
        return Err(invalid("`properties` is empty: leave it out for all properties".to_owned()));
    }
    for id in wish.properties.iter().flatten() {
        if sensor_type.property_index(id.as_str()).is_none() {
            return Err(invalid(format!("`properties` names `{id}`, which `{}` does not have", sensor_type.id)));
        }
    }
    sensor_type.definition.with_detection(&wish.detection).map(drop).map_err(|faults| {
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Problem::faults(Code::Invalid, said.join("; "), &faults)
    })
}

impl Wish {
    fn run(self, now: Timestamp) -> Run {
        let id = format!("{}-{:x}-{:08x}", self.sensor_type, now.as_micros(), at_random());
        let Self { sensor_ids, properties, detection, .. } = self;
        Run {
            id: RunId::parse(&id).expect("its parts are of letters, digits and `-`, and short"),
            detector: S_H_ESD.to_owned(),
            detector_version: 0,
            settings: String::new(),
            parameters: "{}".to_owned(),
            sensor_type: self.sensor_type,
            share: None,
            from: self.from,
            to: self.to,
            trigger: Trigger::Request,
            dry: self.dry,
            state: RunState::Waiting,
            started_at: now,
            ended_at: None,
            datastreams: 0,
            datastreams_done: 0,
            points: 0,
            anomalies: 0,
            failures: BTreeMap::new(),
            cancel_requested: false,
            request: Some(RunRequest { sensor_ids, properties, detection }),
            found: Vec::new(),
            place: None,
        }
    }
}

/// A run as an answer shows it.
fn shown(run: &Run) -> Value {
    let mut value = json!(run);
    value["parameters"] = serde_json::from_str(&run.parameters).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        // What goes on with it needs that, and nobody else.
        members.shift_remove("place");
    }
    if !run.found.is_empty() {
        value["found"] = run.found.iter().map(|anomaly| json!(Shown::of(anomaly))).collect();
    }
    value
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    sensor_type: Option<String>,
    state: Option<String>,
    trigger: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// Runs, those that started last first.
#[utoipa::path(
    method(get, head),
    path = "/v1/runs",
    operation_id = "list_runs",
    tag = "Detection",
    params(
        ("sensor_type" = Option<String>, Query, description = "Only over this sensor type", example = "emb"),
        ("state" = Option<String>, Query, description = "Only in this state: `waiting`, `running`, `done`, `failed` or `cancelled`", example = "done"),
        ("trigger" = Option<String>, Query, description = "Only those that the schedule made (`schedule`) or somebody asked for (`request`)", example = "request"),
        ("limit" = Option<u64>, Query, description = "Items of a page, 1 to 100 (default 100)", example = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same parameters otherwise"),
    ),
    responses(
        (status = 200, description = "A page of runs", body = crate::openapi::RunsPage),
        (status = 400, description = "A parameter is unknown, repeated or wrong", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The findings are not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(request: HttpRequest, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let ListQuery { sensor_type, state, trigger, limit, cursor } = query::read(&request)?;
    let limit = match limit.as_deref() {
        None => PAGE_MAX,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
            limit.ok_or_else(|| Problem::parameter("limit", text, "must be a whole number from 1 to 100"))?
        }
    };
    let parts = [Some("runs"), sensor_type.as_deref(), state.as_deref(), trigger.as_deref()];
    let fingerprint = Fingerprint::of_parts(&parts.map(|part| part.unwrap_or_default().as_bytes()));
    let after = cursor.as_deref().map(|text| place(text, fingerprint)).transpose()?;
    let rule = "must be `waiting`, `running`, `done`, `failed` or `cancelled`";
    let state = state.as_deref().map(|text| named("state", text, rule)).transpose()?;
    let trigger =
        trigger.as_deref().map(|text| named("trigger", text, "must be `schedule` or `request`")).transpose()?;
    let sensor_type = sensor_type.map(|id| app.sensor_type(&id)).transpose()?.map(|found| found.id.clone());
    // One more tells whether there is a next page.
    let query = RunQuery { sensor_type, state, trigger, after, count_max: limit + 1 };
    let mut runs = app.ports.findings.runs(&query).await?;
    let is_last = runs.len() <= limit;
    runs.truncate(limit);
    let next = runs.last().filter(|_| !is_last);
    let next = next.map(|last| encode_place(fingerprint, last.started_at, last.id.as_str()));
    let items: Vec<Value> = runs.into_iter().map(|run| shown(&Run { found: Vec::new(), ..run })).collect();
    Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": next})))
}

fn place(text: &str, fingerprint: Fingerprint) -> Result<(Timestamp, RunId), Problem> {
    let read = decode_place(text, fingerprint).and_then(|(time, id)| match RunId::parse(&id) {
        Ok(id) => Ok((time, id)),
        Err(error) => Err(error.rule.to_owned()),
    });
    read.map_err(|rule| Problem::parameter("cursor", text, rule))
}

/// Reads one of several names.
fn named<T: DeserializeOwned>(parameter: &str, text: &str, rule: &str) -> Result<T, Problem> {
    serde_json::from_value(Value::from(text)).map_err(|_| Problem::parameter(parameter, text, rule))
}

/// A run: how far it is and, of a dry one, what it would have recorded.
#[utoipa::path(
    method(get, head),
    path = "/v1/runs/{id}",
    operation_id = "get_run",
    tag = "Detection",
    params(("id" = String, Path, description = "Id of the run", example = "emb-644b2a1d3c900-1b7f03ac")),
    responses(
        (status = 200, description = "The run", body = crate::openapi::Run),
        (status = 404, description = "There is no such run", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The findings are not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn get(path: Path<String>, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(shown(&find(&app, &path).await?)))
}

async fn find(app: &App, text: &str) -> Result<Run, Problem> {
    let not_found = || Problem::not_found("run", text);
    let id = RunId::parse(text).map_err(|_| not_found())?;
    app.ports.findings.run(&id).await?.ok_or_else(not_found)
}

/// Cancels a run.
///
/// It stops within a second or so; what it has recorded stays.
#[utoipa::path(
    delete,
    path = "/v1/runs/{id}",
    operation_id = "cancel_run",
    tag = "Detection",
    params(("id" = String, Path, description = "Id of the run", example = "emb-644b2a1d3c900-1b7f03ac")),
    responses(
        (status = 202, description = "It is asked to stop", body = crate::openapi::Run),
        (status = 404, description = "There is no such run", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It has ended, or is a scheduled one", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The findings are not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(path: Path<String>, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let run = find(&app, &path).await?;
    let conflict = |why: &str| Problem::new(Code::Conflict, format!("run `{}` {why}", run.id));
    if !matches!(run.state, RunState::Waiting | RunState::Running) {
        return Err(conflict("has ended"));
    }
    if run.trigger == Trigger::Schedule {
        return Err(conflict("is a scheduled one: what is left out would be looked at again"));
    }
    app.ports.findings.cancel_run(&run.id).await?;
    Ok(HttpResponse::Accepted().json(shown(&Run { cancel_requested: true, ..run })))
}

//! Replays of quality control: begin one, look at them, end one.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::LOCATION,
    web::{Data, Path, Payload},
};
use ports::PortError;
use serde_json::json;

use super::named::check_sensors;
use crate::{
    App, Code, Principal, Problem,
    definition::{self, Language},
    input::body::Body,
    replays::{self, RUNNING_MAX, Replay, Scope, State},
};

/// The largest request, in bytes.
const REQUEST_SIZE_MAX_BYTES: usize = 256 * 1024;
/// The members of a request, in place of an id.
const REQUEST: &str = "a replay";

/// Has stored readings judged again, by the newest version of their sensor type.
///
/// It goes on in the background, between the readings that come meanwhile. With `"dry": true` nothing is changed: the answer to `GET` says
/// what would. Readings that a newer version has judged meanwhile keep that.
#[utoipa::path(
    post,
    path = "/v1/qc/replays",
    operation_id = "begin_replay",
    tag = "Quality control",
    request_body(content = crate::openapi::ReplayRequest),
    responses(
        (status = 202, description = "It has begun", body = crate::openapi::Replay),
        (status = 400, description = "The body can't be read", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type or sensor", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "A member is unknown, missing or wrong", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "As many replays as may run at once are running", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
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
    let scope: Scope = definition::read(&bytes, language, REQUEST, &[])?;
    let sensor_type = app.sensor_type(scope.sensor_type.as_str())?;
    check(&app, &scope)?;
    let room = app.replays.take().ok_or_else(|| {
        let detail = format!("`{RUNNING_MAX}` replays are running; wait for one or end one");
        Problem::new(Code::TooManyRequests, detail).retry_after(std::time::Duration::from_secs(10))
    })?;
    let replay = Replay::new(scope, sensor_type.version, app.ports.clock.now());
    replays::save(&*app.ports.log, &replay).await?;
    let (app, replay_at_work) = (Data::clone(&app), replay.clone());
    actix_web::rt::spawn(async move {
        replays::run(app, replay_at_work).await;
        drop(room);
    });
    let location = format!("/v1/qc/replays/{}", replay.id);
    Ok(HttpResponse::Accepted().insert_header((LOCATION, location)).json(replay))
}

fn check(app: &App, scope: &Scope) -> Result<(), Problem> {
    if let (Some(from), Some(to)) = (scope.from, scope.to)
        && from >= to
    {
        return Err(Problem::new(Code::Invalid, format!("`from` = `{from}`: must be before `to`")));
    }
    check_sensors(app, scope.sensor_ids.as_deref(), &scope.sensor_type)
}

/// Replays, the newest first.
///
/// The last 1,000 are kept.
#[utoipa::path(
    method(get, head),
    path = "/v1/qc/replays",
    operation_id = "list_replays",
    tag = "Quality control",
    responses(
        (status = 200, description = "The replays", body = crate::openapi::Replays),
        (status = 503, description = "The log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(json!({"items": all(&app).await?})))
}

async fn all(app: &App) -> Result<Vec<Replay>, PortError> {
    replays::list(&*app.ports.log, app.ports.clock.now()).await
}

/// A replay: how far it is, and what it has changed or would change.
#[utoipa::path(
    method(get, head),
    path = "/v1/qc/replays/{id}",
    operation_id = "get_replay",
    tag = "Quality control",
    params(("id" = String, Path, description = "Id of the replay", example = "emb-qartod-644b2a1d3c900-1b7f03ac")),
    responses(
        (status = 200, description = "The replay", body = crate::openapi::Replay),
        (status = 404, description = "There is no such replay (any more)", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn get(path: Path<String>, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(find(&app, &path).await?))
}

async fn find(app: &App, id: &str) -> Result<Replay, Problem> {
    let found = all(app).await?.into_iter().find(|replay| replay.id == id);
    found.ok_or_else(|| Problem::not_found("replay", id))
}

/// Ends a replay.
///
/// What it has changed stays, and the parts that are on their way are carried out.
#[utoipa::path(
    delete,
    path = "/v1/qc/replays/{id}",
    operation_id = "end_replay",
    tag = "Quality control",
    params(("id" = String, Path, description = "Id of the replay", example = "emb-qartod-644b2a1d3c900-1b7f03ac")),
    responses(
        (status = 202, description = "It is asked to end", body = crate::openapi::Replay),
        (status = 404, description = "There is no such replay (any more)", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It does not run any more", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn end(path: Path<String>, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let replay = find(&app, &path).await?;
    if replay.state != State::Running {
        return Err(Problem::new(Code::Conflict, format!("replay `{}` does not run any more", replay.id)));
    }
    replays::cancel(&*app.ports.log, &replay.id).await?;
    Ok(HttpResponse::Accepted().json(replay))
}

//! Readings and deletions in.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data, Path, Payload},
};
use domain::{Deletion, SensorId, SensorType, Timestamp, Topic};
use ports::Batch;
use serde::Deserialize;
use serde_json::json;

use super::query;
use crate::{
    App, Code, Principal, Problem,
    accept::{Accepted, accept},
    input::{
        BodyFault, Bounds, Parsed, Pass, Registered, Target,
        body::{Body, media_type},
        csv,
        in_flight::Permit,
        json, ndjson, paper,
    },
};

/// Bodies up to this size are parsed where they are received, larger ones beside: they would hold up other requests.
const INLINE_SIZE_MAX_BYTES: usize = 256 * 1024;
/// The most sensors that one request deletes readings of.
const DELETED_SENSORS_MAX: usize = 1_000;

/// How the items of a body are written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Json,
    Ndjson,
    /// With a header row.
    Csv,
    /// Lines of the type's dialect, of one sensor.
    Dialect(String, Option<Pass>),
    /// Lines of the sensor's id and the type's dialect.
    Paper(Option<Pass>),
}

impl Form {
    fn of(request: &HttpRequest, query: PostQuery) -> Result<Self, Problem> {
        let PostQuery { sensor_id, repeated_hour } = query;
        let pass = repeated_hour.as_deref().map(pass).transpose()?;
        let media_type = media_type(request);
        let form = match media_type.as_deref() {
            None | Some("" | "application/json") => Self::Json,
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Self::Ndjson,
            Some("text/csv") => match sensor_id {
                Some(id) => return Ok(Self::Dialect(id, pass)),
                None => Self::Csv,
            },
            Some(other) => {
                let known = "application/json, application/x-ndjson and text/csv";
                let detail = format!("media type `{}` is not one of {known}", crate::problem::printable(other));
                return Err(Problem::new(Code::UnsupportedMediaType, detail));
            }
        };
        match (sensor_id, repeated_hour) {
            (None, None) => Ok(form),
            (Some(id), _) => Err(Problem::parameter("sensor_id", &id, "is for text/csv in the type's dialect alone")),
            (None, Some(text)) => {
                let rule = "is for lines in the type's dialect alone, whose times may lack an offset";
                Err(Problem::parameter("repeated_hour", &text, rule))
            }
        }
    }

    /// Which time is meant of those that came twice.
    fn pass(&self) -> Option<Pass> {
        match self {
            Self::Dialect(_, pass) | Self::Paper(pass) => *pass,
            Self::Json | Self::Ndjson | Self::Csv => None,
        }
    }

    fn parse(&self, body: &[u8], target: &Target<'_>) -> Result<Parsed, BodyFault> {
        match self {
            Self::Json => json::parse(body, target),
            Self::Ndjson => ndjson::parse(body, target),
            Self::Csv => csv::parse(body, target),
            Self::Dialect(sensor_id, _) => csv::parse_dialect(body, sensor_id, target),
            Self::Paper(_) => paper::parse(body, target),
        }
    }
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        let detail = fault.to_string();
        match fault {
            BodyFault::Empty | BodyFault::NoDialect(_) => Self::new(Code::Syntax, detail),
            BodyFault::Syntax { line, column, .. } => {
                Self::new(Code::Syntax, detail).with("line", line).with("column", column)
            }
            BodyFault::Column { name, .. } => Self::new(Code::Syntax, detail).with("column", name),
            BodyFault::TooManyItems(max) => Self::new(Code::TooLarge, detail).with("items_max", max),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostQuery {
    sensor_id: Option<String>,
    repeated_hour: Option<String>,
}

/// Of lines that name their sensor; other parameters are passed over, as the paper's feeder may be set to send some.
#[derive(Deserialize)]
struct LinesQuery {
    repeated_hour: Option<String>,
}

fn pass(text: &str) -> Result<Pass, Problem> {
    Pass::parse(text).ok_or_else(|| Problem::parameter("repeated_hour", text, "must be `first` or `second`"))
}

/// Takes readings of a sensor type in.
///
/// 202 says that the log holds the accepted readings on disk. A bad item refuses itself alone and is named; `index` counts
/// from 0, without a CSV header row. The body may be packed (`Content-Encoding: gzip` or `zstd`).
#[utoipa::path(
    post,
    path = "/v1/readings/{sensor_type}",
    operation_id = "post_readings",
    tag = "Readings",
    params(
        ("sensor_type" = String, Path, description = "Id of the sensor type", example = "emb"),
        ("sensor_id" = Option<String>, Query, description = "For `text/csv`: the lines are of this sensor and follow the type's dialect", example = "emb3"),
        ("repeated_hour" = Option<crate::openapi::RepeatedHour>, Query, description = "For lines of the dialect: which of its two times a local time means that came twice, when clocks went back; if not given, the order of the lines tells, and where it does not, they are refused"),
    ),
    request_body(description = "Readings: a JSON object or array, a JSON object a line, or CSV", content(
        (serde_json::Value = "application/json", example = json!([{"sensor_id": "emb3", "phenomenon_time": "2017-02-08T15:00:00Z", "sec": 904, "ph": 7.34}])),
        (String = "application/x-ndjson", example = "{\"sensor_id\":\"emb3\",\"phenomenon_time\":\"2017-02-08T15:00:00Z\",\"sec\":904}\n"),
        (String = "text/csv", example = "sensor_id,phenomenon_time,sec,ph\nemb3,2017-02-08T15:00:00Z,904,7.34\n"),
    )),
    responses(
        (status = 202, description = "At least one reading is accepted", body = crate::openapi::Accepted),
        (status = 400, description = "The body can't be read; `line` and `column` say where", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 408, description = "The body came too slowly", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The body has too many bytes or items", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 415, description = "The media type or content encoding is not one of those above", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "No item is valid; has `accepted` and `rejected` as 202 does", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "A bound is reached or the log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn post(
    request: HttpRequest,
    payload: Payload,
    path: Path<String>,
    app: Data<App>,
    _principal: Principal,
) -> Result<HttpResponse, Problem> {
    let sensor_type = app.sensor_type(&path)?;
    let form = Form::of(&request, query::read(&request)?)?;
    take(&app, &request, payload, &sensor_type, form).await
}

/// Takes lines of the paper's feeder in: the sensor's id and the columns of the type's CSV dialect.
///
/// Any content type will do.
#[utoipa::path(
    post,
    path = "/{sensor_type}",
    operation_id = "post_lines",
    tag = "Readings",
    params(
        ("sensor_type" = String, Path, description = "Id of the sensor type", example = "emb"),
        ("repeated_hour" = Option<crate::openapi::RepeatedHour>, Query, description = "Which of its two times a local time means that came twice, when clocks went back; if not given, the order of the lines tells, and where it does not, they are refused"),
    ),
    request_body(content = String, content_type = "text/plain", example = "emb3,2017-02-08,15:00:00,904,7.34,27.24,11.3,885"),
    responses(
        (status = 202, description = "At least one reading is accepted", body = crate::openapi::Accepted),
        (status = 400, description = "The body is empty or the type has no dialect", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The body has too many bytes or items", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "No line is valid", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "A bound is reached or the log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn post_lines(
    request: HttpRequest,
    payload: Payload,
    path: Path<String>,
    app: Data<App>,
    _principal: Principal,
) -> Result<HttpResponse, Problem> {
    let sensor_type = app.sensor_type(&path)?;
    let LinesQuery { repeated_hour } = query::read(&request)?;
    let form = Form::Paper(repeated_hour.as_deref().map(pass).transpose()?);
    take(&app, &request, payload, &sensor_type, form).await
}

async fn take(
    app: &Data<App>,
    request: &HttpRequest,
    payload: Payload,
    sensor_type: &Arc<SensorType>,
    form: Form,
) -> Result<HttpResponse, Problem> {
    let body = Body::receive(app, request, payload, app.config.body_size_max).await?;
    // The share of the bound is held until the readings are in the log.
    let (parsed, _permit) = if body.is_packed() || body.len() > INLINE_SIZE_MAX_BYTES {
        let (app, sensor_type) = (Data::clone(app), Arc::clone(sensor_type));
        web::block(move || parse(&app, &sensor_type, &form, body)).await??
    } else {
        parse(app, sensor_type, &form, body)?
    };
    let accepted = accept(app, sensor_type, parsed).await?;
    Ok(HttpResponse::Accepted().json(accepted))
}

fn parse(app: &App, sensor_type: &SensorType, form: &Form, body: Body) -> Result<(Parsed, Permit), Problem> {
    app.ports.clock.believed()?;
    let (bytes, permit) = body.unpack()?;
    Ok((with_target(app, sensor_type, form.pass(), |target| form.parse(&bytes, target))?, permit))
}

/// Parses against the registry, the clock and the bounds of the service.
pub(super) fn with_target<T>(
    app: &App,
    sensor_type: &SensorType,
    repeated_hour: Option<Pass>,
    parse: impl FnOnce(&Target<'_>) -> T,
) -> T {
    let sensors = Registered::new(&app.ports.registry);
    let bounds = Bounds { items_max: app.config.items_max, rejected_max: app.config.rejected_max };
    parse(&Target { sensor_type, sensors: &sensors, now: app.ports.clock.now(), bounds, repeated_hour })
}

/// Deletes readings of sensors in a time range.
///
/// The deletion is a record in the log: it takes effect when quality control reaches it, and a replay keeps it.
#[utoipa::path(
    delete,
    path = "/v1/readings/{sensor_type}",
    operation_id = "delete_readings",
    tag = "Readings",
    params(
        ("sensor_type" = String, Path, description = "Id of the sensor type", example = "emb"),
        ("sensor_id" = Vec<String>, Query, description = "The sensors; repeated or with commas, at most 1,000", example = json!(["emb3"])),
        ("from" = String, Query, description = "First phenomenon time that goes (RFC 3339)", example = "2017-02-08T00:00:00Z"),
        ("to" = String, Query, description = "First phenomenon time that stays again (RFC 3339)", example = "2017-02-09T00:00:00Z"),
    ),
    responses(
        (status = 202, description = "The deletions are accepted", body = crate::openapi::Accepted),
        (status = 400, description = "A parameter is missing, unknown or wrong", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type or sensor", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "A bound is reached or the log is not available; see `Retry-After`", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = crate::openapi::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    request: HttpRequest,
    path: Path<String>,
    app: Data<App>,
    _principal: Principal,
) -> Result<HttpResponse, Problem> {
    let _in_use = app.types_in_use.read().await;
    let sensor_type = app.sensor_type(&path)?;
    let deletions = deletions(&app, &sensor_type, query::read(&request)?)?;
    let accepted = deletions.len();
    app.ports.log.append(&Topic::readings(&sensor_type.id), Batch::Deletions(deletions)).await?;
    Ok(HttpResponse::Accepted().json(Accepted { accepted, rejected: Vec::new(), rejected_count: None }))
}

fn deletions(app: &App, sensor_type: &SensorType, pairs: Vec<(String, String)>) -> Result<Vec<Deletion>, Problem> {
    let mut sensor_ids: Vec<SensorId> = Vec::new();
    let (mut from, mut to) = (None, None);
    for (name, value) in &pairs {
        let limit = match name.as_str() {
            "sensor_id" => {
                for id in value.split(',') {
                    sensor_ids.push(sensor_of_type(app, sensor_type, id)?);
                }
                continue;
            }
            "from" => &mut from,
            "to" => &mut to,
            _ => {
                return Err(Problem::parameter(
                    &crate::problem::printable(name),
                    value,
                    "is not sensor_id, from or to",
                ));
            }
        };
        // A `+` in a query string is a space by the rules of forms, but no time has one.
        let time =
            Timestamp::parse(&value.replace(' ', "+")).map_err(|error| Problem::parameter(name, value, error))?;
        if limit.replace(time).is_some() {
            return Err(Problem::parameter(name, value, "is there twice"));
        }
    }
    sensor_ids.sort_unstable();
    sensor_ids.dedup();
    let (Some(from), Some(to), 1..=DELETED_SENSORS_MAX) = (from, to, sensor_ids.len()) else {
        let detail = format!("wanted are `from`, `to` and from 1 to `{DELETED_SENSORS_MAX}` of `sensor_id`");
        return Err(Problem::new(Code::BadRequest, detail));
    };
    if from >= to {
        return Err(Problem::parameter("from", &from.to_string(), "must be before `to`"));
    }
    Ok(sensor_ids.into_iter().map(|sensor_id| Deletion { sensor_id, from, to }).collect())
}

fn sensor_of_type(app: &App, sensor_type: &SensorType, id: &str) -> Result<SensorId, Problem> {
    let sensor = app.ports.registry.sensor(id).ok_or_else(|| Problem::not_found("sensor", id))?;
    if sensor.sensor_type != sensor_type.id {
        let rule = format!("is a sensor of type `{}`, not of `{}`", sensor.sensor_type, sensor_type.id);
        return Err(Problem::parameter("sensor_id", id, rule));
    }
    Ok(sensor.id.clone())
}

impl Accepted {
    /// The members that a refusal has as well.
    pub(crate) fn members(&self) -> [(&'static str, serde_json::Value); 2] {
        [("accepted", json!(self.accepted)), ("rejected", json!(self.rejected))]
    }
}

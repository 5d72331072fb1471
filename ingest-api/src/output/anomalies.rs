//! `GET /v1/anomalies`: what detection has found, in pages or as a whole.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web::Data};
use bytes::Bytes;
use domain::{Anomaly, AnomalyId, PropertyId, RunId, SensorId, SensorTypeId};
use futures_util::{
    StreamExt,
    stream::{self, try_unfold},
};
use ports::{AnomalyQuery, Findings, PortError};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    answer::{Shape, is_head},
    coding::Coding,
    cursor::{self, Fingerprint},
    find,
    format::Format,
    parameters::{Known, Parameters},
    readings::limit,
};
use crate::{App, Principal, Problem};

/// Items of a JSON page, if the request does not say.
const PAGE_DEFAULT: u64 = 1_000;
/// Anomalies asked for at once.
const ANOMALIES_AT_ONCE: usize = 1_000;
/// The longest name of a detector, in bytes.
const DETECTOR_MAX: usize = 64;
/// The columns of CSV.
const COLUMNS: [&str; 16] = [
    "id",
    "sensor_type",
    "sensor_id",
    "property",
    "phenomenon_time",
    "until",
    "kind",
    "value",
    "expected",
    "score",
    "severity",
    "detector",
    "detector_version",
    "settings",
    "run",
    "found_at",
];

const KNOWN: Known = Known {
    single: &[
        "sensor_type",
        "sensor_id",
        "property",
        "from",
        "to",
        "detector",
        "min_score",
        "run",
        "format",
        "limit",
        "cursor",
    ],
    lists: &[],
};

/// An anomaly with its id.
#[derive(Serialize)]
pub(crate) struct Shown<'a> {
    id: AnomalyId,
    #[serde(flatten)]
    anomaly: &'a Anomaly,
}

impl<'a> Shown<'a> {
    pub(crate) fn of(anomaly: &'a Anomaly) -> Self {
        Self { id: anomaly.id(), anomaly }
    }
}

/// What a request asks for.
struct Request {
    query: AnomalyQuery,
    format: Format,
    limit: Option<u64>,
    fingerprint: Fingerprint,
}

/// Anomalies that detection has found.
///
/// By phenomenon time, then id. JSON comes in pages, the other formats stream the whole result. Streams are broken off (never ended
/// cleanly) where the hub fails on the way.
#[utoipa::path(
    method(get, head),
    path = "/v1/anomalies",
    tag = "Detection",
    params(
        ("sensor_type" = Option<String>, Query, description = "Only of this sensor type", example = "emb"),
        ("sensor_id" = Option<String>, Query, description = "Only of this sensor", example = "emb3"),
        ("property" = Option<String>, Query, description = "Only of this observed property", example = "sec"),
        ("from" = Option<String>, Query, description = "First phenomenon time, inclusive (RFC 3339)", example = "2017-02-01T00:00:00Z"),
        ("to" = Option<String>, Query, description = "Last phenomenon time, exclusive (RFC 3339)", example = "2017-03-01T00:00:00Z"),
        ("detector" = Option<String>, Query, description = "Only of this detector: `s-h-esd` for points, `outage`, `level-shift`", example = "s-h-esd"),
        ("min_score" = Option<f64>, Query, description = "Only with at least this score, from 0 to 1; 0.5 is critical", example = 0.5),
        ("run" = Option<String>, Query, description = "Only those that this run found first"),
        ("format" = Option<String>, Query, description = "`json` (default), `ndjson` or `csv`; wins over `Accept`", example = "json"),
        ("limit" = Option<u64>, Query, description = "JSON: items of a page, 1 to 10,000 (default 1,000). Other formats: the most rows answered (default: all)", example = 1000),
        ("cursor" = Option<String>, Query, description = "JSON: `next_cursor` of the page before, with the same parameters otherwise"),
    ),
    responses(
        (status = 200, description = "The anomalies", content(
            (crate::openapi::AnomaliesPage = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv", example = "id,sensor_type,sensor_id,property,phenomenon_time,until,kind,value,expected,score,severity,detector,detector_version,settings,run,found_at\n"),
        )),
        (status = 400, description = "A parameter is unknown, repeated or wrong", content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type or sensor", content_type = "application/problem+json"),
        (status = 406, description = "No media type of `Accept` can be answered", content_type = "application/problem+json"),
        (status = 503, description = "The findings are not available now; see `Retry-After`", content_type = "application/problem+json"),
    )
)]
pub async fn anomalies(http: HttpRequest, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let request = Request::parse(&http)?;
    check(&app, &request.query)?;
    let shape = Shape { format: request.format, coding: Coding::Identity, name: "anomalies".to_owned() };
    if is_head(&http) {
        return Ok(shape.head());
    }
    if request.format == Format::Json {
        return Ok(shape.headers().body(request.page(&app).await?.to_string()));
    }
    let mut export = Export::new(request, Arc::clone(&app.ports.findings));
    let first = export.next().await?.unwrap_or_default();
    let rest = try_unfold(export, async |mut export: Export| match export.next().await {
        Ok(piece) => Ok(piece.map(|piece| (piece, export))),
        Err(error) => {
            tracing::warn!(%error, "an export of anomalies is broken off");
            Err(error)
        }
    });
    Ok(shape.headers().streaming(stream::iter([Ok(first)]).chain(rest)))
}

/// Checks that what is named is there.
fn check(app: &App, query: &AnomalyQuery) -> Result<(), Problem> {
    let mut sensor_type = match &query.sensor_type {
        Some(id) => Some(app.sensor_type(id.as_str())?),
        None => None,
    };
    if let Some(id) = &query.sensor_id {
        let sensor = find::sensor(app, id.as_str())?;
        match &sensor_type {
            Some(of) => find::all_of_type(app, std::slice::from_ref(id), of)?,
            None => sensor_type = app.ports.registry.sensor_type(sensor.sensor_type.as_str()),
        }
    }
    if let (Some(sensor_type), Some(property)) = (sensor_type, &query.property) {
        let found = find::property_index(&sensor_type, property.as_str());
        found.map_err(|rule| Problem::parameter("property", property.as_str(), rule))?;
    }
    Ok(())
}

impl Request {
    fn parse(http: &HttpRequest) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(http, &KNOWN)?;
        let mut query = AnomalyQuery {
            sensor_type: parameters.single("sensor_type", |id| SensorTypeId::parse(id).map_err(|e| e.rule.to_owned())),
            sensor_id: parameters.single("sensor_id", |id| SensorId::parse(id).map_err(|e| e.rule.to_owned())),
            property: parameters.single("property", |id| PropertyId::parse(id).map_err(|e| e.rule.to_owned())),
            times: parameters.times(),
            detector: parameters.single("detector", detector),
            run: parameters.single("run", |id| RunId::parse(id).map_err(|e| e.rule.to_owned())),
            score_min: parameters.single("min_score", score).unwrap_or(0.0),
            after: None,
            count_max: ANOMALIES_AT_ONCE,
        };
        let format = parameters.format(http, Format::TEXT)?;
        let limit = parameters.single("limit", |text| limit(text, format));
        let limit = if format == Format::Json { limit.or(Some(PAGE_DEFAULT)) } else { limit };
        let fingerprint = fingerprint(&query);
        query.after = parameters.single("cursor", |text| match format {
            Format::Json => {
                let (time, id) = cursor::decode_place(text, fingerprint)?;
                Ok((time, AnomalyId::from_text(&id)))
            }
            _ => Err("is for `format=json` alone: the other formats answer everything at once".to_owned()),
        });
        parameters.finish()?;
        Ok(Self { query, format, limit, fingerprint })
    }

    /// One page of JSON.
    async fn page(self, app: &App) -> Result<Value, PortError> {
        let limit = usize::try_from(self.limit.unwrap_or(PAGE_DEFAULT)).unwrap_or(usize::MAX);
        // One more tells whether there is a next page.
        let query = AnomalyQuery { count_max: limit + 1, ..self.query };
        let mut found = app.ports.findings.anomalies(&query).await?;
        let is_last = found.len() <= limit;
        found.truncate(limit);
        let next = found.last().filter(|_| !is_last);
        let next = next.map(|last| cursor::encode_place(self.fingerprint, last.phenomenon_time, last.id().as_str()));
        let items: Vec<Shown<'_>> = found.iter().map(Shown::of).collect();
        Ok(json!({"items": items, "next_cursor": next}))
    }
}

/// What decides which anomalies a query answers.
fn fingerprint(query: &AnomalyQuery) -> Fingerprint {
    let text = |text: Option<&str>| text.unwrap_or_default().as_bytes().to_vec();
    let parts = [
        text(Some("anomalies")),
        text(query.sensor_type.as_ref().map(|id| id.as_str())),
        text(query.sensor_id.as_ref().map(|id| id.as_str())),
        text(query.property.as_ref().map(|id| id.as_str())),
        text(query.detector.as_deref()),
        text(query.run.as_ref().map(|id| id.as_str())),
        query.times.from.as_micros().to_be_bytes().to_vec(),
        query.times.to.as_micros().to_be_bytes().to_vec(),
        query.score_min.to_be_bytes().to_vec(),
    ];
    Fingerprint::of_parts(&parts.each_ref().map(Vec::as_slice))
}

fn detector(text: &str) -> Result<String, String> {
    let is_name = (1..=DETECTOR_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if is_name { Ok(text.to_owned()) } else { Err("must be the name of a detector, such as `s-h-esd`".to_owned()) }
}

fn score(text: &str) -> Result<f64, String> {
    let score = text.parse().ok().filter(|score| (0.0..=1.0).contains(score));
    score.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

/// The whole result, piece by piece.
struct Export {
    request: Request,
    findings: Arc<dyn Findings>,
    /// What may still be answered; `None` for all.
    left: Option<u64>,
    is_begun: bool,
    is_done: bool,
}

impl Export {
    fn new(request: Request, findings: Arc<dyn Findings>) -> Self {
        let left = request.limit;
        Self { request, findings, left, is_begun: false, is_done: false }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, PortError> {
        if self.is_done {
            return Ok(None);
        }
        let left = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        self.request.query.count_max = left.min(ANOMALIES_AT_ONCE);
        let found = self.findings.anomalies(&self.request.query).await?;
        self.is_done = found.len() < ANOMALIES_AT_ONCE;
        self.left = self.left.map(|left| left - found.len() as u64);
        self.request.query.after = found.last().map(|last| (last.phenomenon_time, last.id()));
        let piece = match self.request.format {
            Format::Csv => csv_lines(&found, !self.is_begun),
            _ => json_lines(&found),
        };
        self.is_begun = true;
        Ok(Some(piece))
    }
}

fn json_lines(found: &[Anomaly]) -> Bytes {
    let lines = found.iter().map(|anomaly| json!(Shown::of(anomaly)).to_string() + "\n");
    lines.collect::<String>().into()
}

fn csv_lines(found: &[Anomaly], with_header: bool) -> Bytes {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut line = |cells: &[String]| writer.write_record(cells).expect("memory takes it");
    if with_header {
        line(&COLUMNS.map(str::to_owned));
    }
    for anomaly in found {
        let shown = json!(Shown::of(anomaly));
        line(&COLUMNS.map(|column| match &shown[column] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }));
    }
    writer.into_inner().expect("memory takes it").into()
}

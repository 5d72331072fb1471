//! `GET /v1/readings/{sensor_type}`: readings by sensor, time and label, in pages or as a whole.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use domain::{Label, SensorId, SensorType};
use ports::{Order, ReadingQuery};

use super::{
    answer::{Shape, is_head},
    coding::Coding,
    cursor::{self, Fingerprint},
    encoder::{Selection, encoder},
    export::{Export, ExportError, Source},
    find,
    format::Format,
    openapi::ReadingsPage,
    parameters::{Known, Parameters},
};
use crate::{App, Principal, Problem};

/// Items of a JSON page, if the request does not say.
pub const PAGE_DEFAULT: u64 = 1_000;
/// The most items of a JSON page.
const PAGE_MAX: u64 = 10_000;
/// The most sensors that one query names.
pub const SENSORS_MAX: usize = 1_000;

const KNOWN: Known =
    Known { single: &["from", "to", "qc", "order", "format", "limit", "cursor"], lists: &["sensor_id", "properties"] };

/// What a request asks for.
#[derive(Debug)]
struct Request {
    query: ReadingQuery,
    selection: Selection,
    format: Format,
    limit: Option<u64>,
    fingerprint: Fingerprint,
}

/// Readings of a sensor type.
///
/// By sensor id, then phenomenon time. JSON comes in pages, the other formats stream the whole result. Streams are broken off
/// (never ended cleanly) where the hub fails on the way.
#[utoipa::path(
    method(get, head),
    path = "/v1/readings/{sensor_type}",
    tag = "Readings",
    params(
        ("sensor_type" = String, Path, description = "Id of the sensor type", example = "emb"),
        ("sensor_id" = Option<Vec<String>>, Query, description = "Only these sensors; repeated or with commas, at most 1,000", example = json!(["emb3"])),
        ("from" = Option<String>, Query, description = "First phenomenon time, inclusive (RFC 3339)", example = "2017-02-08T00:00:00Z"),
        ("to" = Option<String>, Query, description = "Last phenomenon time, exclusive (RFC 3339)", example = "2017-02-09T00:00:00Z"),
        ("qc" = Option<String>, Query, description = "Only readings with this label: `normal` or `anomaly`", example = "normal"),
        ("properties" = Option<Vec<String>>, Query, description = "Only these properties, answered in the type's order", example = json!(["sec", "ph"])),
        ("order" = Option<String>, Query, description = "Order of times within a sensor: `asc` (default) or `desc`", example = "asc"),
        ("format" = Option<String>, Query, description = "`json` (default), `ndjson`, `csv`, `parquet` or `arrow`; wins over `Accept`", example = "json"),
        ("limit" = Option<u64>, Query, description = "JSON: items of a page, 1 to 10,000 (default 1,000). Other formats: the most rows answered (default: all)", example = 1000),
        ("cursor" = Option<String>, Query, description = "JSON: `next_cursor` of the page before, with the same parameters otherwise"),
    ),
    responses(
        (status = 200, description = "The readings", content(
            (ReadingsPage = "application/json"),
            (String = "application/x-ndjson", example = "{\"sensor_id\":\"emb3\",\"phenomenon_time\":\"2017-02-08T15:00:00Z\",\"sec\":904,\"ph\":7.34,\"qc\":\"normal\",\"flags\":{\"sec\":1,\"ph\":1}}\n"),
            (String = "text/csv", example = "sensor_id,phenomenon_time,sec,ph,qc,sec_flag,ph_flag\nemb3,2017-02-08T15:00:00Z,904,7.34,normal,1,1\n"),
            (Vec<u8> = "application/vnd.apache.parquet"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 400, description = "A parameter is unknown, repeated or wrong, or a sensor is of another type", content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type or sensor", content_type = "application/problem+json"),
        (status = 406, description = "No media type of `Accept` can be answered", content_type = "application/problem+json"),
        (status = 503, description = "The store is not available now; see `Retry-After`", content_type = "application/problem+json"),
    )
)]
pub async fn readings(
    http: HttpRequest,
    path: Path<String>,
    app: Data<App>,
    _principal: Principal,
) -> Result<HttpResponse, Problem> {
    let sensor_type = app.sensor_type(&path)?;
    let request = Request::parse(&http, &sensor_type)?;
    find::all_of_type(&app, request.query.sensor_ids.as_deref().unwrap_or_default(), &sensor_type)?;
    let coding = Coding::accepted(http.headers(), request.format);
    let shape = Shape { format: request.format, coding, name: format!("{}-readings", sensor_type.id) };
    if is_head(&http) {
        return Ok(shape.head());
    }
    let scan = app.ports.store.scan(&sensor_type.id, &request.query).await;
    let source = find::or_empty(scan.map(Source::Scan), || Source::Nothing)?;
    let encoder = encoder(request.format, &request.selection, Some(request.fingerprint));
    let encoder = encoder.and_then(|encoder| coding.wrap(encoder)).map_err(ExportError::Encode)?;
    shape.answer(Export::new(source, encoder, sensor_type.width(), request.limit)).await
}

impl Request {
    fn parse(http: &HttpRequest, sensor_type: &Arc<SensorType>) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(http, &KNOWN)?;
        let sensor_ids = parameters.list("sensor_id", |id| SensorId::parse(id).map_err(|e| e.rule.to_owned()));
        let properties = parameters.list("properties", |id| find::property_index(sensor_type, id)).map(ordered);
        let mut query = ReadingQuery {
            sensor_ids: sensor_ids.map(ordered),
            times: parameters.times(),
            label: parameters.single("qc", label),
            order: parameters.single("order", order).unwrap_or_default(),
            ..ReadingQuery::default()
        };
        if query.sensor_ids.as_ref().is_some_and(|ids| ids.len() > SENSORS_MAX) {
            parameters.refuse("sensor_id", "at most 1,000 sensors; leave it out for all, or ask several times");
        }
        let format = parameters.format(http, Format::ALL)?;
        let limit = parameters.single("limit", |text| limit(text, format));
        let limit = if format == Format::Json { limit.or(Some(PAGE_DEFAULT)) } else { limit };
        let fingerprint = Fingerprint::of(&sensor_type.id, &query, properties.as_deref());
        query.after = parameters.single("cursor", |text| match format {
            Format::Json => cursor::decode(text, fingerprint),
            _ => Err("is for `format=json` alone: the other formats answer everything at once".to_owned()),
        });
        parameters.finish()?;
        Ok(Self { query, selection: Selection::new(Arc::clone(sensor_type), properties), format, limit, fingerprint })
    }
}

/// Sorted, each once.
fn ordered<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort_unstable();
    all.dedup();
    all
}

/// Reads a label.
///
/// # Errors
/// The rule.
pub fn label(text: &str) -> Result<Label, String> {
    Label::parse(text).ok_or_else(|| "must be `normal` or `anomaly`".to_owned())
}

fn order(text: &str) -> Result<Order, String> {
    match text {
        "asc" => Ok(Order::Ascending),
        "desc" => Ok(Order::Descending),
        _ => Err("must be `asc` or `desc`".to_owned()),
    }
}

/// Reads the most items of an answer.
///
/// # Errors
/// The rule.
pub fn limit(text: &str, format: Format) -> Result<u64, String> {
    let limit = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit())).and_then(|t| t.parse().ok());
    match format {
        Format::Json => limit
            .filter(|limit| (1..=PAGE_MAX).contains(limit))
            .ok_or_else(|| "must be a whole number from 1 to 10,000; the other formats answer more at once".to_owned()),
        _ => limit.filter(|limit| *limit > 0).ok_or_else(|| "must be a whole number from 1".to_owned()),
    }
}

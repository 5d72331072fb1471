//! `GET /v1/readings/{sensor_type}/latest`: the newest reading of each sensor of a type.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use domain::SensorId;
use ports::{Order, ReadingQuery, SensorQuery, TimeRange};

use super::{
    answer::{Shape, is_head},
    coding::Coding,
    cursor::{self, Fingerprint},
    encoder::{Selection, encoder},
    export::{Export, ExportError, Latest, Source},
    find,
    format::Format,
    openapi::ReadingsPage,
    parameters::{Known, Parameters},
    readings::{PAGE_DEFAULT, SENSORS_MAX, limit},
};
use crate::{App, Principal, Problem};

const KNOWN: Known = Known { single: &["format", "limit", "cursor"], lists: &["sensor_id", "properties"] };

/// The newest reading of each sensor of a type.
///
/// By sensor id; sensors without readings are left out. JSON is answered in pages; the other formats answer all sensors at once.
#[utoipa::path(
    method(get, head),
    path = "/v1/readings/{sensor_type}/latest",
    tag = "Readings",
    params(
        ("sensor_type" = String, Path, description = "Id of the sensor type", example = "emb"),
        ("sensor_id" = Option<Vec<String>>, Query, description = "Only these sensors; repeated or with commas, at most 1,000", example = json!(["emb3"])),
        ("properties" = Option<Vec<String>>, Query, description = "Only these properties, answered in the type's order", example = json!(["sec", "ph"])),
        ("format" = Option<String>, Query, description = "`json` (default), `ndjson` or `csv`; wins over `Accept`", example = "json"),
        ("limit" = Option<u64>, Query, description = "JSON: items of a page, 1 to 10,000 (default 1,000). Other formats: the most sensors answered (default: all)", example = 1000),
        ("cursor" = Option<String>, Query, description = "JSON: `next_cursor` of the page before, with the same parameters otherwise"),
    ),
    responses(
        (status = 200, description = "The readings", content(
            (ReadingsPage = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
        )),
        (status = 400, description = "A parameter is unknown, repeated or wrong, or a sensor is of another type", content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type or sensor", content_type = "application/problem+json"),
        (status = 406, description = "No media type of `Accept` can be answered", content_type = "application/problem+json"),
        (status = 503, description = "The store is not available now; see `Retry-After`", content_type = "application/problem+json"),
    )
)]
pub async fn latest(
    http: HttpRequest,
    path: Path<String>,
    app: Data<App>,
    _principal: Principal,
) -> Result<HttpResponse, Problem> {
    let sensor_type = app.sensor_type(&path)?;
    let mut parameters = Parameters::of(&http, &KNOWN)?;
    let properties = parameters.list("properties", |id| find::property_index(&sensor_type, id));
    let sensor_ids = parameters.list("sensor_id", |id| SensorId::parse(id).map_err(|e| e.rule.to_owned()));
    if sensor_ids.as_ref().is_some_and(|ids| ids.len() > SENSORS_MAX) {
        parameters.refuse("sensor_id", "at most 1,000 sensors; leave it out for all, or ask several times");
    }
    let format = parameters.format(&http, Format::TEXT)?;
    let count_max = parameters.single("limit", |text| limit(text, format));
    let count_max = if format == Format::Json { count_max.or(Some(PAGE_DEFAULT)) } else { count_max };
    // No query of readings is like this one, so that a cursor of theirs does not fit.
    let nothing = TimeRange { from: TimeRange::ALL.to, to: TimeRange::ALL.from };
    let like = ReadingQuery {
        sensor_ids: sensor_ids.clone(),
        times: nothing,
        order: Order::Descending,
        ..ReadingQuery::default()
    };
    let fingerprint = Fingerprint::of(&sensor_type.id, &like, properties.as_deref());
    let after = parameters.single("cursor", |text| match format {
        Format::Json => cursor::decode(text, fingerprint),
        _ => Err("is for `format=json` alone: the other formats answer everything at once".to_owned()),
    });
    parameters.finish()?;
    find::all_of_type(&app, sensor_ids.as_deref().unwrap_or_default(), &sensor_type)?;
    let coding = Coding::accepted(http.headers(), format);
    let shape = Shape { format, coding, name: format!("{}-latest", sensor_type.id) };
    if is_head(&http) {
        return Ok(shape.head());
    }
    let query = SensorQuery { sensor_ids, after: after.map(|(id, _)| id), count_max: 0 };
    let store = Arc::clone(&app.ports.store);
    let source = Source::Latest(Box::new(Latest { store, sensor_type: sensor_type.id.clone(), query }));
    let encoder = encoder(format, &Selection::new(Arc::clone(&sensor_type), properties), Some(fingerprint));
    let encoder = encoder.and_then(|encoder| coding.wrap(encoder)).map_err(ExportError::Encode)?;
    shape.answer(Export::new(source, encoder, sensor_type.width(), count_max)).await
}

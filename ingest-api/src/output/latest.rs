//! `GET /v1/readings/{sensor_type}/latest`: the newest reading of every sensor of a type.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use domain::Judged;

use super::{
    answer::{Shape, is_head},
    coding::Coding,
    encoder::{Selection, encoder},
    export::{Export, ExportError, Source},
    find,
    format::Format,
    openapi::ReadingsPage,
    parameters::{Known, Parameters},
};
use crate::{App, Principal, Problem};

const KNOWN: Known = Known { single: &["format"], lists: &["properties"] };

/// The newest reading of every sensor of a type.
///
/// By sensor id, all in one answer; sensors without readings are left out. `next_cursor` is always null.
#[utoipa::path(
    method(get, head),
    path = "/v1/readings/{sensor_type}/latest",
    tag = "Readings",
    params(
        ("sensor_type" = String, Path, description = "Id of the sensor type", example = "emb"),
        ("properties" = Option<Vec<String>>, Query, description = "Only these properties, answered in the type's order", example = json!(["sec", "ph"])),
        ("format" = Option<String>, Query, description = "`json` (default), `ndjson` or `csv`; wins over `Accept`", example = "json"),
    ),
    responses(
        (status = 200, description = "The readings", content(
            (ReadingsPage = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
        )),
        (status = 400, description = "A parameter is unknown, repeated or wrong", content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type", content_type = "application/problem+json"),
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
    let format = parameters.format(&http, Format::TEXT)?;
    parameters.finish()?;
    let coding = Coding::accepted(http.headers(), format);
    let shape = Shape { format, coding, name: format!("{}-latest", sensor_type.id) };
    if is_head(&http) {
        return Ok(shape.head());
    }
    let judged = find::or_empty(app.ports.store.latest(&sensor_type.id).await, Judged::default)?;
    let width = judged.rows.width();
    let encoder = encoder(format, &Selection::new(Arc::clone(&sensor_type), properties), None);
    let encoder = encoder.and_then(|encoder| coding.wrap(encoder)).map_err(ExportError::Encode)?;
    shape.answer(Export::new(Source::Held(Box::new(judged)), encoder, width, None)).await
}

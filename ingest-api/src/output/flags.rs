//! `GET /v1/qc/flags`: what each test says of each value of a sensor.

use std::{collections::BTreeMap, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web::Data};
use checks::TestFlags;
use domain::{SensorId, SensorType, Timestamp};
use judge::{Kind, Source, Walk, Walked};
use ports::{PortError, ReadingQuery, TimeRange};

use super::{
    answer::{Shape, is_head},
    coding::Coding,
    cursor::{self, Fingerprint},
    find,
    format::Format,
    openapi::{FlaggedReading, FlagsPage},
    parameters::{Known, Parameters},
    readings,
};
use crate::{App, Principal, Problem};

/// Items of a page, if the request does not say.
const PAGE_DEFAULT: u64 = 1_000;

const KNOWN: Known = Known { single: &["sensor_id", "from", "to", "limit", "cursor"], lists: &[] };

/// What each test says of each value of a sensor.
///
/// The flags of the tests are not stored: they follow from the stored readings around each one and the version of the sensor type that judged
/// it, and are worked out for the answer. In the order of time; a reading without neighbours yet has a spike test that waits (2).
#[utoipa::path(
    method(get, head),
    path = "/v1/qc/flags",
    tag = "Quality control",
    params(
        ("sensor_id" = String, Query, description = "Id of the sensor", example = "emb3"),
        ("from" = Option<String>, Query, description = "First phenomenon time, inclusive (RFC 3339)", example = "2017-02-08T00:00:00Z"),
        ("to" = Option<String>, Query, description = "Last phenomenon time, exclusive (RFC 3339)", example = "2017-02-09T00:00:00Z"),
        ("limit" = Option<u64>, Query, description = "Items of a page, 1 to 10,000 (default 1,000)", example = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same parameters otherwise"),
    ),
    responses(
        (status = 200, description = "The readings with their flags", body = FlagsPage),
        (status = 400, description = "A parameter is unknown, repeated, missing or wrong", content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor", content_type = "application/problem+json"),
        (status = 503, description = "The store is not available now; see `Retry-After`", content_type = "application/problem+json"),
    )
)]
pub async fn flags(http: HttpRequest, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let mut parameters = Parameters::of(&http, &KNOWN)?;
    let sensor_id = parameters.required("sensor_id", "must be the id of a sensor", |id| Ok(id.to_owned()));
    let times = parameters.times();
    let limit = parameters.single("limit", |text| readings::limit(text, Format::Json)).unwrap_or(PAGE_DEFAULT);
    let sensor = sensor_id.as_deref().map(|id| find::sensor(&app, id));
    let sensor = sensor.transpose()?;
    let query = |id: &SensorId| ReadingQuery { sensor_ids: Some(vec![id.clone()]), times, ..ReadingQuery::default() };
    let fingerprint = sensor.as_ref().map(|it| Fingerprint::of(&it.sensor_type, &query(&it.id), None));
    let after = parameters.single("cursor", |text| match fingerprint {
        Some(fingerprint) => cursor::decode(text, fingerprint),
        None => Err("goes with a `sensor_id`".to_owned()),
    });
    parameters.finish()?;
    let Some(sensor) = sensor else { return Err(Problem::not_found("sensor", "")) };
    let kind = Kind::find(&app.ports.registry, sensor.sensor_type.as_str());
    let kind = kind.ok_or_else(|| Problem::not_found("sensor type", sensor.sensor_type.as_str()))?;
    let shape = Shape { format: Format::Json, coding: Coding::Identity, name: format!("{}-flags", sensor.id) };
    if is_head(&http) {
        return Ok(shape.head());
    }
    let from = after.map_or(times.from, |(_, time)| time.saturating_add(Duration::from_micros(1)));
    let source = Source { store: &*app.ports.store, sensor_type: &sensor.sensor_type, sensor_id: &sensor.id };
    let walk = Walk::new(source, &kind, TimeRange { from, ..times });
    let page = find::or_empty(page(walk, &kind.newest, limit).await, || (Vec::new(), None))?;
    let next_cursor = page.1.zip(fingerprint).map(|(time, print)| cursor::encode(print, (&sensor.id, time)));
    let (sensor_type, sensor_id) = (sensor.sensor_type.to_string(), sensor.id.to_string());
    let page = FlagsPage { sensor_type, sensor_id, items: page.0, next_cursor };
    Ok(shape.headers().body(serde_json::to_vec(&page).unwrap_or_default()))
}

/// Up to `limit` readings, and the time of the last of them where there are more.
async fn page(
    mut walk: Walk<'_>,
    sensor_type: &SensorType,
    limit: u64,
) -> Result<(Vec<FlaggedReading>, Option<Timestamp>), PortError> {
    let (mut items, mut last) = (Vec::new(), None);
    while let Some(walked) = walk.next().await? {
        if items.len() as u64 == limit {
            return Ok((items, last));
        }
        last = Some(walked.stored.time());
        items.push(FlaggedReading::of(sensor_type, walked));
    }
    Ok((items, None))
}

impl FlaggedReading {
    fn of(sensor_type: &SensorType, walked: Walked) -> Self {
        let Walked { stored, tests } = walked;
        let ids = || sensor_type.property_ids.iter().map(|id| id.to_string());
        let of_tests = |tests: TestFlags| tests.iter().map(|(test, flag)| (test.as_str(), flag.code())).collect();
        Self {
            phenomenon_time: stored.time().to_string(),
            type_version: stored.row.type_version,
            qc: stored.row.label.as_str(),
            flags: ids().zip(stored.flags.iter().map(|flag| flag.code())).collect(),
            tests: ids().zip(tests.into_iter().map(of_tests)).collect::<BTreeMap<String, BTreeMap<&'static str, u8>>>(),
        }
    }
}

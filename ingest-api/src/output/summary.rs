//! `GET /v1/qc/summary`: how many values of each sensor and property have which flag.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web::Data};
use checks::Test;
use domain::{Label, SensorId, SensorType};
use futures_util::{StreamExt, TryStreamExt, stream};
use judge::{Kind, Source, Walk};
use ports::{PortError, ReadingQuery, SensorRows, Store, TimeRange};

use super::{
    answer::{Shape, is_head},
    coding::Coding,
    find,
    format::Format,
    openapi::{FlagSummary, SensorFlags},
    parameters::{Known, Parameters},
};
use crate::{App, Principal, Problem};

/// The most sensors of an answer.
const SENSORS_MAX: usize = 1_000;
/// Rows read at once.
const CHUNK_ROWS: usize = 4_096;
/// Sensors whose readings are judged at once: a store that is far away answers all of them in the time of one.
const JUDGED_AT_ONCE: usize = 16;

const KNOWN: Known = Known { single: &["sensor_type", "from", "to"], lists: &["sensor_id"] };

/// How many values of each sensor and property have which flag.
///
/// Counts the flags of the readings asked for as the store has them now, rolled up and by test, by sensor id; sensors without readings are left
/// out. It reads and judges all of these readings: ask for a range of time where there are many.
#[utoipa::path(
    method(get, head),
    path = "/v1/qc/summary",
    tag = "Quality control",
    params(
        ("sensor_type" = String, Query, description = "Id of the sensor type", example = "emb"),
        ("sensor_id" = Option<Vec<String>>, Query, description = "Only these sensors; repeated or with commas, at most 1,000", example = json!(["emb3"])),
        ("from" = Option<String>, Query, description = "First phenomenon time, inclusive (RFC 3339)", example = "2017-02-08T00:00:00Z"),
        ("to" = Option<String>, Query, description = "Last phenomenon time, exclusive (RFC 3339)", example = "2017-02-09T00:00:00Z"),
    ),
    responses(
        (status = 200, description = "The counts", body = FlagSummary),
        (status = 400, description = "A parameter is unknown, repeated or wrong, or there are more than 1,000 sensors to answer", content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor type or sensor", content_type = "application/problem+json"),
        (status = 503, description = "The store is not available now; see `Retry-After`", content_type = "application/problem+json"),
    )
)]
pub async fn summary(http: HttpRequest, app: Data<App>, _principal: Principal) -> Result<HttpResponse, Problem> {
    let mut parameters = Parameters::of(&http, &KNOWN)?;
    let rule = "must be the id of a sensor type";
    let sensor_type = parameters.required("sensor_type", rule, |id| Ok(id.to_owned()));
    let sensor_ids = parameters.list("sensor_id", |id| SensorId::parse(id).map_err(|e| e.rule.to_owned()));
    let times = parameters.times();
    parameters.finish()?;
    let sensor_type = app.sensor_type(&sensor_type.unwrap_or_default())?;
    find::all_of_type(&app, sensor_ids.as_deref().unwrap_or_default(), &sensor_type)?;
    let shape = Shape { format: Format::Json, coding: Coding::Identity, name: format!("{}-summary", sensor_type.id) };
    if is_head(&http) {
        return Ok(shape.head());
    }
    let query = ReadingQuery { sensor_ids, times, ..ReadingQuery::default() };
    let counted = find::or_empty(count(&*app.ports.store, &sensor_type, &query).await, || Some(Vec::new()))?;
    let Some(items) = counted else {
        let rule = "there are more than 1,000 sensors with readings: name some of them";
        return Err(Problem::parameter("sensor_id", "", rule));
    };
    let kind = Kind::find(&app.ports.registry, sensor_type.id.as_str());
    let kind = kind.ok_or_else(|| Problem::not_found("sensor type", sensor_type.id.as_str()))?;
    let with_tests = |(sensor_id, item)| with_tests(&*app.ports.store, (&kind, times), sensor_id, item);
    let items = stream::iter(items).map(with_tests).buffered(JUDGED_AT_ONCE).try_collect().await?;
    let summary = FlagSummary { sensor_type: sensor_type.id.to_string(), items };
    Ok(shape.headers().body(serde_json::to_vec(&summary).unwrap_or_default()))
}

/// Counts the rolled-up flags of the readings asked for; `None` where they are of more than [`SENSORS_MAX`] sensors.
async fn count(
    store: &dyn Store,
    sensor_type: &SensorType,
    query: &ReadingQuery,
) -> Result<Option<Vec<(SensorId, SensorFlags)>>, PortError> {
    let mut items: Vec<(SensorId, SensorFlags)> = Vec::new();
    let mut scan = store.scan(&sensor_type.id, query).await?;
    while let Some(part) = scan.next(CHUNK_ROWS).await? {
        if items.last().is_none_or(|(last, _)| *last != part.sensor_id) {
            if items.len() == SENSORS_MAX {
                return Ok(None);
            }
            let flags = sensor_type.property_ids.iter().map(|id| (id.to_string(), BTreeMap::new())).collect();
            let (sensor_id, tests) = (part.sensor_id.to_string(), BTreeMap::new());
            items.push((part.sensor_id.clone(), SensorFlags { sensor_id, readings: 0, anomalies: 0, flags, tests }));
        }
        if let Some((_, item)) = items.last_mut() {
            item.add(sensor_type, &part);
        }
    }
    Ok(Some(items))
}

/// Counts the flags of each test of a sensor's readings.
async fn with_tests(
    store: &dyn Store,
    (kind, times): (&Kind, TimeRange),
    sensor_id: SensorId,
    mut item: SensorFlags,
) -> Result<SensorFlags, PortError> {
    let source = Source { store, sensor_type: &kind.newest.id, sensor_id: &sensor_id };
    let mut walk = Walk::new(source, kind, times);
    let mut counts = vec![[[0u64; 10]; Test::ALL.len()]; kind.newest.width()];
    while let Some(walked) = walk.next().await? {
        for (tests, counts) in walked.tests.iter().zip(&mut counts) {
            tests.iter().for_each(|(test, flag)| counts[test as usize][usize::from(flag.code())] += 1);
        }
    }
    for (id, counts) in kind.newest.property_ids.iter().zip(&counts) {
        let by_test = Test::ALL.into_iter().zip(counts).map(|(test, counts)| (test.as_str(), by_flag(counts)));
        item.tests.insert(id.to_string(), by_test.filter(|(_, counts)| !counts.is_empty()).collect());
    }
    Ok(item)
}

/// The counts that are not 0, by the number of the flag.
fn by_flag(counts: &[u64; 10]) -> BTreeMap<String, u64> {
    let counted = (0..=9u8).zip(counts).filter(|(_, count)| **count > 0);
    counted.map(|(code, count)| (code.to_string(), *count)).collect()
}

impl SensorFlags {
    fn add(&mut self, sensor_type: &SensorType, part: &SensorRows) {
        let mut counts = vec![[0u64; 10]; part.rows.width()];
        for row in part.rows.iter() {
            self.readings += 1;
            self.anomalies += u64::from(row.row.label == Label::Anomaly);
            row.flags.iter().zip(&mut counts).for_each(|(flag, counts)| counts[usize::from(flag.code())] += 1);
        }
        for (id, counts) in sensor_type.property_ids.iter().zip(&counts) {
            let of_property = self.flags.entry(id.to_string()).or_default();
            for (code, count) in by_flag(counts) {
                *of_property.entry(code).or_default() += count;
            }
        }
    }
}

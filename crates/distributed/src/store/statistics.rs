//! Latest rows, summaries and buckets, by aggregations.
//!
//! **Cost.** Summaries and latest rows let Elasticsearch count: they grow with the sensors that are answered and with the rows that are there.

use std::sync::Arc;

use domain::{Judged, PropertyId, Rows, SensorId};
use elasticsearch::http::Method;
use ports::{ErrorKind, Order, PortError, ReadingQuery, Scan, SensorQuery, SensorSummary};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{Client, Request},
    document::push_id,
    hits,
    scan::ElasticScan,
    search,
    settings::Settings,
    types::Known,
};

/// Sensors answered by one search.
const SENSORS_AT_ONCE: usize = 5_000;
/// Sensors named in one search.
const NAMED_AT_ONCE: usize = 1_000;
/// Documents got at a time.
const DOCUMENTS_AT_ONCE: usize = 1_000;

#[derive(Deserialize)]
struct SummariesAnswer {
    #[serde(default)]
    aggregations: Option<BySensor>,
}

#[derive(Deserialize)]
struct BySensor {
    sensors: Sensors,
}

#[derive(Deserialize)]
struct Sensors {
    #[serde(default)]
    after_key: Option<Value>,
    #[serde(default)]
    buckets: Vec<OfSensor>,
}

#[derive(Deserialize)]
struct OfSensor {
    key: Key,
    doc_count: u64,
    first: Number,
    last: Number,
}

#[derive(Deserialize)]
struct Key {
    sensor_id: SensorId,
}

#[derive(Deserialize)]
struct Number {
    value: f64,
}

/// Count, first and last time of each sensor of a query; what was written before has been refreshed.
pub(crate) async fn summaries(
    client: &Client,
    known: &Known,
    query: &SensorQuery,
) -> Result<Vec<SensorSummary>, PortError> {
    let Some(named) = query.named() else { return summaries_of(client, known, (None, query)).await };
    let mut summaries = Vec::new();
    for some in named.chunks(NAMED_AT_ONCE) {
        summaries.extend(summaries_of(client, known, (Some(some), query)).await?);
    }
    summaries.truncate(query.count_max);
    Ok(summaries)
}

async fn summaries_of(
    client: &Client,
    known: &Known,
    (named, query): (Option<&[&SensorId]>, &SensorQuery),
) -> Result<Vec<SensorSummary>, PortError> {
    let doing = "summing up sensors";
    let mut summaries = Vec::new();
    let mut after = query.after.as_ref().map(|id| json!({"sensor_id": id}));
    while summaries.len() < query.count_max {
        let at_once = SENSORS_AT_ONCE.min(query.count_max - summaries.len());
        let mut sensors = json!({"size": at_once, "sources": [{"sensor_id": {"terms": {"field": "sensor_id"}}}]});
        if let Some(after) = after {
            sensors["after"] = after;
        }
        let extent =
            json!({"first": {"min": {"field": "phenomenon_time"}}, "last": {"max": {"field": "phenomenon_time"}}});
        let mut body =
            json!({"size": 0, "track_total_hits": false, "aggs": {"sensors": {"composite": sensors, "aggs": extent}}});
        if let Some(named) = named {
            body["query"] = json!({"bool": {"filter": [{"terms": {"sensor_id": named}}]}});
        }
        let filter = "&filter_path=aggregations.sensors.after_key,aggregations.sensors.buckets";
        let answer = search::search(client, &known.pattern(), filter, &body).await;
        let answer = answer.map_err(|fault| fault.while_doing(doing))?;
        let answer: SummariesAnswer = answer.json(doing)?;
        let Some(BySensor { sensors }) = answer.aggregations else { break };
        let count = sensors.buckets.len();
        summaries.extend(sensors.buckets.into_iter().map(|its| SensorSummary {
            sensor_id: its.key.sensor_id,
            count: its.doc_count,
            first: search::time_of(its.first.value),
            last: search::time_of(its.last.value),
        }));
        after = sensors.after_key;
        if count < at_once || after.is_none() {
            break;
        }
    }
    Ok(summaries)
}

/// The newest row of each sensor of a query: the one at its last time.
pub(crate) async fn latest(
    client: &Client,
    known: &Arc<Known>,
    (query, settings): (&SensorQuery, &Settings),
) -> Result<Judged, PortError> {
    let summaries = summaries(client, known, query).await?;
    let mut latest = Judged { sensor_ids: Vec::new(), rows: Rows::new(known.width()) };
    for some in summaries.chunks(DOCUMENTS_AT_ONCE) {
        let found = newest(client, known, some).await?;
        for (summary, document) in some.iter().zip(found) {
            if let Some(document) = document.document {
                latest.rows.push(document.as_ref());
                latest.sensor_ids.push(summary.sensor_id.clone());
                continue;
            }
            // It was deleted meanwhile; the sensor may have others.
            let sensor_ids = Some(vec![summary.sensor_id.clone()]);
            let query = ReadingQuery { sensor_ids, order: Order::Descending, ..ReadingQuery::default() };
            let mut scan = ElasticScan::open(client, Arc::clone(known), &query, settings);
            if let Some(newest) = scan.next(1).await? {
                latest.rows.push(newest.rows.get(0));
                latest.sensor_ids.push(newest.sensor_id);
            }
        }
    }
    Ok(latest)
}

async fn newest(client: &Client, known: &Known, summaries: &[SensorSummary]) -> Result<Vec<hits::Hit>, PortError> {
    let mut body = b"{\"docs\":[".to_vec();
    for (summary, index) in summaries.iter().zip(0..) {
        let period = known.periods.span(summary.last);
        body.extend_from_slice(if index == 0 { b"{\"_index\":\"" } else { b",{\"_index\":\"" });
        body.extend_from_slice(known.index(&period.name).as_bytes());
        body.extend_from_slice(b"\",\"_id\":\"");
        push_id(&summary.sensor_id, summary.last, &mut body);
        body.extend_from_slice(b"\"}");
    }
    body.extend_from_slice(b"]}");
    let request = Request::new(Method::Post, "/_mget").body(body);
    let answer = client.send(&request).await.map_err(|fault| fault.while_doing("getting the newest readings"))?;
    hits::read_many(&answer.body, &known.documents)
}

/// What a type has no property for.
pub(crate) fn no_property(known: &Known, property: &PropertyId) -> PortError {
    let message = format!("sensor type `{}` has no property `{property}`", known.id);
    PortError::new(ErrorKind::NotFound, message)
}

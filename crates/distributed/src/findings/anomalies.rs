//! Anomalies as documents: created at first, closed by a merge, searched in order.

use std::collections::HashMap;

use domain::{Anomaly, AnomalyId, Timestamp};
use ports::{AnomalyQuery, Effect, ErrorKind, PortError, Recorded};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::collection::{Collection, Found, from_document, to_document};
use crate::store::{
    client::{Fault, FaultKind},
    search::range,
};

/// The fields that are times.
const TIMES: [&str; 3] = ["phenomenon_time", "until", "found_at"];

/// The anomalies of one id that are to be recorded, one after the other.
struct Item {
    id: AnomalyId,
    /// Where they are in the batch.
    places: Vec<usize>,
    /// What is there, as far as was looked.
    found: Option<Found>,
    /// What was last tried to be written: where just that is there, the answer to it was lost.
    tried: Option<Vec<Recorded>>,
}

/// Records anomalies; answers what became of each, in order.
pub(super) async fn record(collection: &Collection, anomalies: &[Anomaly]) -> Result<Vec<Recorded>, PortError> {
    let mut outcomes: Vec<Option<Recorded>> = vec![None; anomalies.len()];
    let items = by_id(anomalies);
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        let some = items.by_ref().take(collection.bulk_rows_max).collect();
        record_some(collection, anomalies, some, &mut outcomes).await?;
    }
    Ok(outcomes.into_iter().map(|outcome| outcome.expect("each has its item")).collect())
}

fn by_id(anomalies: &[Anomaly]) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut by_id: HashMap<AnomalyId, usize> = HashMap::new();
    for (place, anomaly) in anomalies.iter().enumerate() {
        let id = anomaly.id();
        let index = *by_id.entry(id.clone()).or_insert(items.len());
        if index == items.len() {
            items.push(Item { id, places: Vec::new(), found: None, tried: None });
        }
        items[index].places.push(place);
    }
    items
}

/// Records what fits into one request, in rounds, until each has its outcome.
async fn record_some(
    collection: &Collection,
    anomalies: &[Anomaly],
    mut pending: Vec<Item>,
    outcomes: &mut [Option<Recorded>],
) -> Result<(), PortError> {
    let (mut pauses, until) = collection.client().patience();
    loop {
        let mut writes = Vec::new();
        for item in std::mem::take(&mut pending) {
            let recorded = recorded(anomalies, &item)?;
            match recorded.last().filter(|_| recorded.iter().any(|one| one.effect != Effect::Known)) {
                Some(last) => {
                    let document = document(&last.kept)?;
                    writes.push((Item { tried: Some(recorded), ..item }, document));
                }
                None => settle(&item.places, recorded, outcomes),
            }
        }
        let items: Vec<_> = writes
            .iter()
            .map(|(item, document)| (Found::action(item.found.as_ref()), item.id.as_str(), document.clone()))
            .collect();
        if items.is_empty() {
            return Ok(());
        }
        let written = collection.write(&items).await?;
        let (mut changed, mut away) = (Vec::new(), None);
        for ((mut item, _), outcome) in writes.into_iter().zip(written) {
            match outcome {
                Ok(()) => settle(&item.places, item.tried.take().unwrap_or_default(), outcomes),
                Err(fault) if fault.kind == FaultKind::Changed => changed.push(item),
                Err(fault) => {
                    away = Some(fault);
                    pending.push(item);
                }
            }
        }
        pending.extend(look_up(collection, changed, outcomes).await?);
        if pending.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(out_of_patience(collection, away));
        }
        if away.is_some() {
            pauses.pause().await;
        }
    }
}

fn out_of_patience(collection: &Collection, away: Option<Fault>) -> PortError {
    let doing = collection.doing("writing");
    let others = || PortError::new(ErrorKind::Unavailable, format!("{doing}: others keep changing it"));
    away.map_or_else(others, |fault| fault.while_doing(&doing))
}

/// What becomes of an item's anomalies beside what is there.
fn recorded(anomalies: &[Anomaly], item: &Item) -> Result<Vec<Recorded>, PortError> {
    let mut known = item.found.as_ref().map(|found| read(found.document.clone())).transpose()?;
    let mut recorded = Vec::with_capacity(item.places.len());
    for place in &item.places {
        let one = Recorded::beside(known.take(), &anomalies[*place]);
        known = Some(one.kept.clone());
        recorded.push(one);
    }
    Ok(recorded)
}

/// Gets what is there of items that were not written; answers those to be written again.
async fn look_up(
    collection: &Collection,
    changed: Vec<Item>,
    outcomes: &mut [Option<Recorded>],
) -> Result<Vec<Item>, PortError> {
    if changed.is_empty() {
        return Ok(changed);
    }
    let ids: Vec<String> = changed.iter().map(|item| item.id.as_str().to_owned()).collect();
    let mut again = Vec::new();
    for (item, found) in changed.into_iter().zip(collection.get(&ids).await?) {
        let there = found.as_ref().map(|found| read(found.document.clone())).transpose()?;
        let tried = item.tried.as_ref().and_then(|tried| tried.last()).map(|last| &last.kept);
        if there.is_some() && there.as_ref() == tried {
            settle(&item.places, item.tried.unwrap_or_default(), outcomes);
        } else {
            again.push(Item { found, ..item });
        }
    }
    Ok(again)
}

fn settle(places: &[usize], recorded: Vec<Recorded>, outcomes: &mut [Option<Recorded>]) {
    for (place, recorded) in places.iter().zip(recorded) {
        outcomes[*place] = Some(recorded);
    }
}

/// Anomalies by phenomenon time, then id.
pub(super) async fn find(collection: &Collection, query: &AnomalyQuery) -> Result<Vec<Anomaly>, PortError> {
    let mut found: Vec<Anomaly> = Vec::new();
    let mut after = query.after.clone();
    while found.len() < query.count_max {
        let size = (query.count_max - found.len()).min(collection.page_rows_max);
        let page = collection.search(&body(query, after.as_ref(), size), read).await?;
        let is_last = page.len() < size;
        found.extend(page);
        if is_last {
            break;
        }
        after = found.last().map(|last| (last.phenomenon_time, last.id()));
    }
    Ok(found)
}

fn body(query: &AnomalyQuery, after: Option<&(Timestamp, AnomalyId)>, size: usize) -> Value {
    let terms = [
        ("sensor_type", query.sensor_type.as_ref().map(|id| id.as_str())),
        ("sensor_id", query.sensor_id.as_ref().map(|id| id.as_str())),
        ("property", query.property.as_ref().map(|id| id.as_str())),
        ("detector", query.detector.as_deref()),
        ("run", query.run.as_ref().map(|id| id.as_str())),
    ];
    let mut filters: Vec<Value> =
        terms.iter().filter_map(|(field, text)| Some(json!({"term": {*field: (*text)?}}))).collect();
    filters.extend(range("phenomenon_time", query.times));
    if query.score_min > 0.0 {
        filters.push(json!({"range": {"score": {"gte": query.score_min}}}));
    }
    let mut body = json!({
        "size": size,
        "track_total_hits": false,
        "query": {"bool": {"filter": filters}},
        "sort": [{"phenomenon_time": "asc"}, {"id": "asc"}],
    });
    if let Some((time, id)) = after {
        body["search_after"] = json!([time.as_micros(), id]);
    }
    body
}

fn document(anomaly: &Anomaly) -> Result<Value, PortError> {
    let mut document = to_document(anomaly, &TIMES)?;
    document["id"] = anomaly.id().as_str().into();
    document["@timestamp"] = anomaly.phenomenon_time.as_micros().div_euclid(1_000).into();
    Ok(document)
}

fn read(document: Value) -> Result<Anomaly, PortError> {
    from_document(document, &TIMES)
}

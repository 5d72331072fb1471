//! Runs as documents: replaced as they go on, searched from the newest.

use domain::{Run, RunId, Timestamp};
use ports::{ErrorKind, PortError, RunQuery};
use serde_json::{Value, json};

use super::collection::{Collection, from_document, to_document};

/// The fields that are times.
const TIMES: [&str; 4] = ["from", "to", "started_at", "ended_at"];

/// Stores a run; that somebody asked it to stop is kept.
pub(super) async fn put(collection: &Collection, run: &Run) -> Result<(), PortError> {
    let change = |known: Option<&Value>| {
        let asked_before = known.cloned().map(read).transpose()?.is_some_and(|known| known.cancel_requested);
        let run = Run { cancel_requested: run.cancel_requested || asked_before, ..run.clone() };
        Ok((Some(document(&run)?), ()))
    };
    collection.change(run.id.as_str(), change).await
}

/// One run, if there is such a one.
pub(super) async fn get(collection: &Collection, id: &RunId) -> Result<Option<Run>, PortError> {
    let found = collection.get(&[id.to_string()]).await?.pop().flatten();
    found.map(|found| read(found.document)).transpose()
}

/// Asks a run to stop.
pub(super) async fn cancel(collection: &Collection, id: &RunId) -> Result<(), PortError> {
    let change = |known: Option<&Value>| {
        let known = known.cloned().map(read).transpose()?;
        let run = known.ok_or_else(|| PortError::new(ErrorKind::NotFound, format!("there is no run `{id}`")))?;
        if run.cancel_requested {
            return Ok((None, ()));
        }
        Ok((Some(document(&Run { cancel_requested: true, ..run })?), ()))
    };
    collection.change(id.as_str(), change).await
}

/// Runs, those that started last first, then by id.
pub(super) async fn find(collection: &Collection, query: &RunQuery) -> Result<Vec<Run>, PortError> {
    let mut found: Vec<Run> = Vec::new();
    let mut after = query.after.clone();
    while found.len() < query.count_max {
        let size = (query.count_max - found.len()).min(collection.page_rows_max);
        let page = collection.search(&body(query, after.as_ref(), size)?, read).await?;
        let is_last = page.len() < size;
        found.extend(page);
        if is_last {
            break;
        }
        after = found.last().map(|last| (last.started_at, last.id.clone()));
    }
    Ok(found)
}

fn body(query: &RunQuery, after: Option<&(Timestamp, RunId)>, size: usize) -> Result<Value, PortError> {
    let mut filters = Vec::new();
    if let Some(id) = &query.sensor_type {
        filters.push(json!({"term": {"sensor_type": id.as_str()}}));
    }
    if let Some(state) = query.state {
        filters.push(json!({"term": {"state": to_document(&state, &[])?}}));
    }
    if let Some(trigger) = query.trigger {
        filters.push(json!({"term": {"trigger": to_document(&trigger, &[])?}}));
    }
    let mut body = json!({
        "size": size,
        "track_total_hits": false,
        "query": {"bool": {"filter": filters}},
        "sort": [{"started_at": "desc"}, {"id": "asc"}],
    });
    if let Some((started_at, id)) = after {
        body["search_after"] = json!([started_at.as_micros(), id.as_str()]);
    }
    Ok(body)
}

fn document(run: &Run) -> Result<Value, PortError> {
    let mut document = to_document(run, &TIMES)?;
    document["@timestamp"] = run.started_at.as_micros().div_euclid(1_000).into();
    Ok(document)
}

fn read(document: Value) -> Result<Run, PortError> {
    from_document(document, &TIMES)
}

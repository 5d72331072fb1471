//! Searching: a refresh before, so that what was written is seen, filters, and points in time, so that nothing moves meanwhile.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{Label, Timestamp};
use elasticsearch::http::Method;
use ports::{ErrorKind, PortError, TimeRange};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Answer, Client, Fault, Request};

/// Refreshes indices, once for all who ask while one is under way.
#[derive(Debug, Default)]
pub(crate) struct Refresher {
    by_pattern: Mutex<HashMap<String, Arc<Turns>>>,
}

/// Refreshes of one pattern, counted from 1.
#[derive(Debug, Default)]
struct Turns {
    /// How many have begun.
    begun: AtomicU64,
    /// The newest that was done.
    done: tokio::sync::Mutex<u64>,
}

impl Refresher {
    /// Returns when a refresh that began after the call is done: all that was written before the call can be searched.
    pub(crate) async fn refresh(&self, client: &Client, pattern: &str) -> Result<(), PortError> {
        let turns = {
            let mut all = self.by_pattern.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(pattern.to_owned()).or_default())
        };
        let begun_before = turns.begun.load(Ordering::SeqCst);
        let mut done = turns.done.lock().await;
        if *done > begun_before {
            return Ok(());
        }
        let number = turns.begun.fetch_add(1, Ordering::SeqCst) + 1;
        refresh_now(client, pattern).await?;
        *done = number;
        Ok(())
    }

    /// Forgets a pattern whose type is gone.
    pub(crate) fn forget(&self, pattern: &str) {
        self.by_pattern.lock().unwrap_or_else(PoisonError::into_inner).remove(pattern);
    }
}

async fn refresh_now(client: &Client, pattern: &str) -> Result<(), PortError> {
    #[derive(Deserialize)]
    struct Refreshed {
        #[serde(rename = "_shards")]
        shards: Shards,
    }
    #[derive(Deserialize)]
    struct Shards {
        failed: u32,
    }
    let doing = "refreshing indices";
    let request = Request::new(Method::Post, format!("/{pattern}/_refresh"));
    let answer = client.send(&request).await.map_err(|fault| fault.while_doing(doing))?;
    let refreshed: Refreshed = answer.json(doing)?;
    if refreshed.shards.failed > 0 {
        let message = format!("`{}` shards of `{pattern}` can't be refreshed", refreshed.shards.failed);
        return Err(PortError::new(ErrorKind::Unavailable, message));
    }
    Ok(())
}

/// Searches all indices of a pattern; none of them is an empty answer.
pub(crate) async fn search(client: &Client, pattern: &str, query: &str, body: &Value) -> Result<Answer, Fault> {
    let path = format!("/{pattern}/_search?allow_partial_search_results=false&ignore_unavailable=true{query}");
    client.send(&Request::new(Method::Post, path).json(body)).await
}

/// The filter for a range of a field of microseconds; none for all time.
pub(crate) fn range(field: &str, range: TimeRange) -> Option<Value> {
    if range == TimeRange::ALL {
        return None;
    }
    Some(json!({"range": {field: {"gte": range.from.as_micros(), "lt": range.to.as_micros()}}}))
}

/// The filter for a label.
pub(crate) fn label(label: Label) -> Value {
    json!({"term": {"qc": label.as_str()}})
}

/// The time of a number that an aggregation answers: whole numbers up to 2^53 are exact there, microseconds until the year 2255.
pub(crate) fn time_of(number: f64) -> Timestamp {
    Timestamp::from_micros(number as i64)
}

/// A state of indices that searches see until it is dropped.
#[derive(Debug)]
pub(crate) struct PointInTime {
    client: Client,
    id: Option<String>,
    keep_alive: String,
}

#[derive(Deserialize)]
struct Opened {
    id: String,
}

impl PointInTime {
    /// Opens one on all indices of a pattern, kept for `keep_alive` after each search.
    pub(crate) async fn open(client: &Client, pattern: &str, keep_alive: Duration) -> Result<Self, PortError> {
        let doing = "opening a point in time";
        let keep_alive = format!("{}ms", keep_alive.as_millis().max(1));
        let path = format!("/{pattern}/_pit?ignore_unavailable=true&keep_alive={keep_alive}");
        let answer = client.send(&Request::new(Method::Post, path)).await.map_err(|fault| fault.while_doing(doing))?;
        let opened: Opened = answer.json(doing)?;
        Ok(Self { client: client.clone(), id: Some(opened.id), keep_alive })
    }

    /// Searches in it; `body` is an object.
    pub(crate) async fn search(&self, mut body: Value) -> Result<Answer, Fault> {
        body["pit"] = json!({"id": self.id, "keep_alive": self.keep_alive});
        let path = "/_search?allow_partial_search_results=false";
        self.client.send(&Request::new(Method::Post, path).json(&body)).await
    }

    /// Goes on with the id that the last search answered.
    pub(crate) fn renew(&mut self, id: Option<String>) {
        self.id = id.or(self.id.take());
    }
}

impl Drop for PointInTime {
    /// Closes it behind everybody's back; if that fails, its keep-alive ends it.
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else { return };
        let client = self.client.clone();
        runtime.spawn(async move {
            let request = Request::new(Method::Delete, "/_pit").json(&json!({"id": id}));
            if let Err(fault) = client.send_once(&request).await {
                tracing::debug!(reason = fault.reason, "a point in time was not closed");
            }
        });
    }
}

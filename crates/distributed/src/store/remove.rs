//! Taking rows out: what a deletion names, and what is past its retention.
//!
//! **Invariant:** a document is deleted only in the state that it was found in, and an index only when its period is over: a row that comes
//! meanwhile stays, or is itself past its retention.

use domain::{Deletion, Position, Timestamp};
use ports::{ErrorKind, PortError, TimeRange};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    bulk::{Action, Bulk},
    client::{Client, FaultKind},
    hits::{self, Wanted},
    search::{self, Refresher},
    types::{Known, Types},
};

/// Documents deleted at a time.
const DELETED_AT_ONCE: usize = 5_000;
/// About the size of a deletion in bytes.
const DELETION_SIZE: usize = 120;

/// What taking rows out needs.
pub(crate) struct Remover<'a> {
    pub(crate) client: &'a Client,
    pub(crate) types: &'a Types,
    pub(crate) refresher: &'a Refresher,
}

#[derive(Deserialize)]
struct ExtentsAnswer {
    #[serde(default)]
    aggregations: Option<ByIndex>,
}

#[derive(Deserialize)]
struct ByIndex {
    indices: Indices,
}

#[derive(Deserialize)]
struct Indices {
    buckets: Vec<OfIndex>,
}

#[derive(Deserialize)]
struct OfIndex {
    key: String,
    doc_count: u64,
    last: Number,
}

#[derive(Deserialize)]
struct Number {
    value: f64,
}

impl Remover<'_> {
    /// Takes out the rows a deletion names that only records before `position` made or changed; answers how many.
    pub(crate) async fn delete(
        &self,
        known: &Known,
        deletion: &Deletion,
        position: Position,
    ) -> Result<u64, PortError> {
        if deletion.from >= deletion.to {
            return Ok(0);
        }
        let mut filters = vec![json!({"term": {"sensor_id": deletion.sensor_id}})];
        filters.extend(search::range("phenomenon_time", TimeRange { from: deletion.from, to: deletion.to }));
        // Positions are held as signed numbers: none is behind the greatest.
        if let Ok(position) = i64::try_from(position.0) {
            filters.push(json!({"range": {"@position": {"lt": position}}}));
        }
        self.delete_rows(known, &known.pattern(), &filters).await
    }

    /// Takes out rows before a time: indices whose period is over then at once, and rows one by one where all of an index are older.
    pub(crate) async fn expire(&self, known: &Known, before: Timestamp) -> Result<u64, PortError> {
        self.refresher.refresh(self.client, &known.pattern()).await?;
        let filled = self.extents(known).await?;
        let is_over = |index: &str| known.period_of(index).and_then(|period| known.periods.end(period)) <= Some(before);
        let mut over = self.types.indices(known).await?;
        over.retain(|index| {
            known.period_of(index).is_some_and(|name| known.periods.end(name).is_some()) && is_over(index)
        });
        let mut gone = filled.iter().filter(|its| over.contains(&its.key)).map(|its| its.doc_count).sum();
        self.types.delete_indices(&over).await?;
        for index in filled.iter().filter(|its| !over.contains(&its.key) && search::time_of(its.last.value) < before) {
            let old = json!({"range": {"phenomenon_time": {"lt": before.as_micros()}}});
            gone += self.delete_rows(known, &index.key, &[old]).await?;
        }
        Ok(gone)
    }

    /// Rows and last time of each index that has rows.
    async fn extents(&self, known: &Known) -> Result<Vec<OfIndex>, PortError> {
        let doing = "looking for old readings";
        let last = json!({"last": {"max": {"field": "phenomenon_time"}}});
        let indices = json!({"terms": {"field": "_index", "size": 10_000}, "aggs": last});
        let body = json!({"size": 0, "aggs": {"indices": indices}});
        let answer = search::search(self.client, &known.pattern(), "", &body).await;
        let answer: ExtentsAnswer = answer.map_err(|fault| fault.while_doing(doing))?.json(doing)?;
        Ok(answer.aggregations.map(|all| all.indices.buckets).unwrap_or_default())
    }

    /// Deletes what the filters find, until they find nothing more; answers how many.
    async fn delete_rows(&self, known: &Known, pattern: &str, filters: &[Value]) -> Result<u64, PortError> {
        let doing = "deleting readings";
        let body = json!({
            "size": DELETED_AT_ONCE,
            "track_total_hits": false,
            "_source": false,
            "seq_no_primary_term": true,
            "sort": ["_doc"],
            "query": {"bool": {"filter": filters}},
        });
        let (mut pauses, mut until) = self.client.patience();
        let mut deleted = 0;
        loop {
            self.refresher.refresh(self.client, pattern).await?;
            let answer = search::search(self.client, pattern, "", &body).await;
            let answer = answer.map_err(|fault| fault.while_doing(doing))?;
            let found = hits::read_search(&answer.body, &known.documents, Wanted::Names)?.hits;
            let Some(first) = found.first() else { return Ok(deleted) };
            let mut bulk = Bulk::new(&first.index, DELETION_SIZE * found.len());
            for hit in &found {
                bulk.begin(Action::Delete(hit.seen), &hit.index, |out| out.extend_from_slice(hit.id.as_bytes()));
            }
            let outcomes = bulk.send(self.client.clone()).await.map_err(|fault| fault.while_doing(doing))?;
            let mut done = 0;
            let mut failed = None;
            for outcome in outcomes {
                match outcome {
                    Ok(()) => done += 1,
                    // It changed or went meanwhile: the next search says which.
                    Err(fault) if matches!(fault.kind, FaultKind::Changed | FaultKind::Missing) => {}
                    Err(fault) if fault.kind == FaultKind::Away => failed = Some(fault),
                    Err(fault) => return Err(fault.while_doing(doing)),
                }
            }
            deleted += done;
            if done > 0 {
                (pauses, until) = self.client.patience();
                continue;
            }
            if Instant::now() >= until {
                let others = || PortError::new(ErrorKind::Unavailable, "others keep changing what is to be deleted");
                return Err(failed.map_or_else(others, |fault| fault.while_doing(doing)));
            }
            pauses.pause().await;
        }
    }
}

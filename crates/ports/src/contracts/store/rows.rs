//! Rows as a store answers them, and as they are expected from the records that were written.

use domain::{Flag, Judged, RowRef, SensorId, SensorTypeId, Value};

use super::super::fixtures::{Record, TestJudge, judged, sensor_type, unique_type};
use crate::{Order, Outcome, ReadingQuery, Store};

/// One row with its sensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) sensor_id: SensorId,
    pub(super) row: domain::Row,
    pub(super) values: Vec<Value>,
    pub(super) flags: Vec<Flag>,
}

impl Stored {
    fn of(sensor_id: &SensorId, row: RowRef<'_>) -> Self {
        let (values, flags) = (row.values.to_vec(), row.flags.to_vec());
        Self { sensor_id: sensor_id.clone(), row: row.row, values, flags }
    }
}

/// Prepares version 1 of a new type with this many properties.
pub(super) async fn prepare(store: &dyn Store, width: usize) -> SensorTypeId {
    let id = unique_type();
    store.prepare(&sensor_type(&id, 1, width)).await.expect("a type");
    id
}

/// Writes the records in one batch.
pub(super) async fn write(store: &dyn Store, id: &SensorTypeId, records: &[Record]) -> Vec<Outcome> {
    let outcomes = store.write(id, &judged(records), &TestJudge).await.expect("a write");
    assert_eq!(outcomes.len(), records.len(), "an outcome per row");
    outcomes
}

/// The rows of judged readings, one by one.
pub(super) fn each(judged: &Judged) -> Vec<Stored> {
    assert_eq!(judged.sensor_ids.len(), judged.rows.len());
    judged.sensor_ids.iter().zip(judged.rows.iter()).map(|(sensor_id, row)| Stored::of(sensor_id, row)).collect()
}

/// Up to `limit` rows that a scan in chunks of about `chunk` answers; size and order of each chunk are checked.
pub(super) async fn some(
    store: &dyn Store,
    id: &SensorTypeId,
    query: &ReadingQuery,
    chunk: usize,
    limit: usize,
) -> Vec<Stored> {
    let mut scan = store.scan(id, query).await.expect("a scan");
    let mut rows: Vec<Stored> = Vec::new();
    while rows.len() < limit {
        let Some(next) = scan.next(chunk).await.expect("a chunk") else { return rows };
        assert!((1..=2 * chunk).contains(&next.rows.len()), "{} rows where {chunk} were asked", next.rows.len());
        for row in next.rows.iter() {
            let stored = Stored::of(&next.sensor_id, row);
            let behind = rows.last().is_none_or(|last| canonical(last, &stored, query.order).is_lt());
            assert!(behind, "{stored:?} is not behind {:?}", rows.last());
            rows.push(stored);
        }
    }
    rows.truncate(limit);
    rows
}

/// All rows that a query asks for.
pub(super) async fn all(store: &dyn Store, id: &SensorTypeId, query: &ReadingQuery) -> Vec<Stored> {
    some(store, id, query, 1_000, usize::MAX).await
}

/// Everything that a type has.
pub(super) async fn everything(store: &dyn Store, id: &SensorTypeId) -> Vec<Stored> {
    all(store, id, &ReadingQuery::default()).await
}

/// The rows that records of distinct identities make, as a query asks for them.
pub(super) fn expected(records: &[Record], query: &ReadingQuery) -> Vec<Stored> {
    let mut rows = each(&judged(records));
    rows.sort_by(|a, b| canonical(a, b, query.order));
    rows.retain(|stored| {
        let after = query.after.as_ref().is_none_or(|(sensor_id, time)| {
            let times = match query.order {
                Order::Ascending => stored.row.phenomenon_time > *time,
                Order::Descending => stored.row.phenomenon_time < *time,
            };
            stored.sensor_id > *sensor_id || (stored.sensor_id == *sensor_id && times)
        });
        after
            && query.sensor_ids.as_ref().is_none_or(|ids| ids.contains(&stored.sensor_id))
            && query.times.from <= stored.row.phenomenon_time
            && stored.row.phenomenon_time < query.times.to
            && query.accepted.from <= stored.row.accepted_at
            && stored.row.accepted_at < query.accepted.to
            && query.label.is_none_or(|label| label == stored.row.label)
            && stored.row.position >= query.changed_from
    });
    rows
}

/// The canonical order of two rows.
pub(super) fn canonical(a: &Stored, b: &Stored, order: Order) -> std::cmp::Ordering {
    let by_time = a.row.phenomenon_time.cmp(&b.row.phenomenon_time);
    let by_time = if order == Order::Ascending { by_time } else { by_time.reverse() };
    a.sensor_id.as_str().as_bytes().cmp(b.sensor_id.as_str().as_bytes()).then(by_time)
}

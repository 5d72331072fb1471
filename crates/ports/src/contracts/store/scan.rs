//! Scans: order, filters, pages, and writes meanwhile.

use std::sync::Arc;

use domain::{Deletion, Label, Position, SensorId, Timestamp};

use super::{
    super::{
        Backend, Settings,
        fixtures::{Chance, Record, TestJudge, at, judged, sensor},
    },
    rows::{self, Stored},
};
use crate::{Order, ReadingQuery, SensorQuery, Store, TimeRange};

/// A thousand records of distinct identities in shuffled order; every seventh is an anomaly.
fn shuffled_records() -> Vec<Record> {
    let mut identities: Vec<(u64, i64)> = (0..1_000).map(|index| (index % 12, index as i64 / 12)).collect();
    let mut chance = Chance(5);
    for index in (1..identities.len()).rev() {
        identities.swap(index, chance.below(index as u64 + 1) as usize);
    }
    let of = |((number, second), position): ((u64, i64), u64)| {
        Record::of(number, second, position, &[if position % 7 == 0 { 500.0 } else { second as f64 }])
    };
    identities.into_iter().zip(0..).map(of).collect()
}

async fn filled(store: &dyn Store) -> (domain::SensorTypeId, Vec<Record>) {
    let id = rows::prepare(store, 1).await;
    let records = shuffled_records();
    for batch in records.chunks(83) {
        rows::write(store, &id, batch).await;
    }
    (id, records)
}

/// Sensors come by the bytes of their ids (`s10` before `s2`), times ascending or descending, whatever the size of the chunks.
pub async fn scans_answer_in_canonical_order<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let (id, records) = filled(&*store).await;
    for order in [Order::Ascending, Order::Descending] {
        let query = ReadingQuery { order, ..ReadingQuery::default() };
        let expected = rows::expected(&records, &query);
        assert_eq!(expected.len(), 1_000);
        for chunk in [1, 7, 83, 84, 10_000] {
            assert_eq!(rows::some(&*store, &id, &query, chunk, usize::MAX).await, expected, "{order:?} by {chunk}");
        }
    }
}

/// Sensors, times, acceptance times and label narrow a scan, alone and together; `from` belongs to a range, `to` does not.
pub async fn scans_answer_what_is_asked_for<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let (id, records) = filled(&*store).await;
    let accepted = |index: usize| records[index].accepted_at();
    let sensors = [None, Some(vec![]), Some(vec![sensor(5)]), Some(vec![sensor(99), sensor(7), sensor(10), sensor(7)])];
    let times = [
        TimeRange::ALL,
        TimeRange { from: at(20), to: at(40) },
        TimeRange { from: at(20), to: at(21) },
        TimeRange { from: at(40), to: at(20) },
    ];
    let accepted = [
        TimeRange::ALL,
        TimeRange { from: accepted(100), to: accepted(700) },
        TimeRange { from: accepted(300), to: Timestamp::MAX },
    ];
    let labels = [None, Some(Label::Normal), Some(Label::Anomaly)];
    for order in [Order::Ascending, Order::Descending] {
        for sensor_ids in &sensors {
            for (times, accepted) in times.iter().flat_map(|times| accepted.iter().map(|accepted| (*times, *accepted)))
            {
                for label in labels {
                    let sensor_ids = sensor_ids.clone();
                    let query = ReadingQuery { sensor_ids, times, accepted, label, order, ..ReadingQuery::default() };
                    let expected = rows::expected(&records, &query);
                    assert_eq!(rows::all(&*store, &id, &query).await, expected, "{query:?}");
                }
            }
        }
    }
}

/// Which rows there are can be asked for without what they say, and narrowed to those that came from a position on.
pub async fn a_scan_of_keys_has_the_identities_alone<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let (id, records) = filled(&*store).await;
    let behind = Some((sensor(3), at(40)));
    for changed_from in [Position(0), Position(700), Position(1_000)] {
        for (sensor_ids, after) in
            [(None, None), (None, behind.clone()), (Some(vec![sensor(3), sensor(5)]), behind.clone())]
        {
            let query = ReadingQuery { changed_from, sensor_ids, after, ..ReadingQuery::default() };
            let expected = rows::expected(&records, &query);
            assert_eq!(rows::all(&*store, &id, &query).await, expected, "{query:?}");
            let identities: Vec<_> =
                expected.iter().map(|stored| (stored.sensor_id.clone(), stored.row.phenomenon_time)).collect();
            for chunk in [1, 7, 10_000] {
                let query = ReadingQuery { keys_only: true, ..query.clone() };
                assert_eq!(keys(&*store, &id, &query, chunk).await, identities, "{query:?}");
            }
        }
    }
}

async fn keys(
    store: &dyn Store,
    id: &domain::SensorTypeId,
    query: &ReadingQuery,
    chunk: usize,
) -> Vec<(SensorId, Timestamp)> {
    let mut scan = store.scan(id, query).await.expect("a scan");
    let mut keys = Vec::new();
    while let Some(part) = scan.next(chunk).await.expect("rows") {
        assert_eq!((part.rows.width(), part.rows.values(), part.rows.flags()), (0, &[][..], &[][..]));
        keys.extend(part.rows.times().iter().map(|time| (part.sensor_id.clone(), *time)));
    }
    keys
}

/// A scan starts behind the row it is told, in either order, whether that row exists, is filtered out, or neither.
pub async fn a_scan_goes_on_behind_any_row<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let (id, records) = filled(&*store).await;
    for order in [Order::Ascending, Order::Descending] {
        for label in [None, Some(Label::Anomaly)] {
            for sensor_ids in [None, Some(vec![sensor(3), sensor(11)])] {
                let query = ReadingQuery { order, label, sensor_ids, ..ReadingQuery::default() };
                check_afters(&*store, &id, &records, &query).await;
                check_pages(&*store, &id, &records, &query).await;
            }
        }
    }
}

async fn check_afters(store: &dyn Store, id: &domain::SensorTypeId, records: &[Record], query: &ReadingQuery) {
    let half = Timestamp::from_micros(at(40).as_micros() + 500_000);
    let gap = SensorId::parse("s3.5").expect("an id");
    let times = [Timestamp::MIN, at(-1), at(0), at(40), half, at(83), at(900), Timestamp::MAX];
    for sensor_id in [sensor(0), sensor(3), gap, sensor(11), sensor(9), SensorId::parse("zz").expect("an id")] {
        for time in times {
            let query = ReadingQuery { after: Some((sensor_id.clone(), time)), ..query.clone() };
            assert_eq!(rows::all(store, id, &query).await, rows::expected(records, &query), "{query:?}");
        }
    }
}

/// Pages, each a scan of its own that starts behind the last row of the one before, make the whole.
async fn check_pages(store: &dyn Store, id: &domain::SensorTypeId, records: &[Record], query: &ReadingQuery) {
    let expected = rows::expected(records, query);
    let mut found: Vec<Stored> = Vec::new();
    loop {
        let after = found.last().map(|last| (last.sensor_id.clone(), last.row.phenomenon_time));
        let page = rows::some(store, id, &ReadingQuery { after, ..query.clone() }, 20, 50).await;
        if page.is_empty() {
            break;
        }
        found.extend(page);
        assert!(found.len() <= expected.len(), "a page repeats rows of {query:?}");
    }
    assert_eq!(found, expected, "{query:?}");
}

/// A row is never answered twice and rows that nobody touches are all answered, in order, while others are written before, at and
/// behind the place where the scan is.
pub async fn a_scan_never_repeats_a_row_while_others_write<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    for order in [Order::Ascending, Order::Descending] {
        let (id, records) = filled(&*store).await;
        let writer = tokio::spawn(write_everywhere(backend.store(), id.clone()));
        let mut scan = store.scan(&id, &ReadingQuery { order, ..ReadingQuery::default() }).await.expect("a scan");
        let mut found: Vec<Stored> = Vec::new();
        let mut step = 0;
        while let Some(next) = scan.next(13).await.expect("a chunk") {
            let chunk = domain::Judged { sensor_ids: vec![next.sensor_id; next.rows.len()], rows: next.rows };
            for stored in rows::each(&chunk) {
                let behind = found.last().is_none_or(|last| rows::canonical(last, &stored, order).is_lt());
                assert!(behind, "{stored:?} is not behind {:?}", found.last());
                found.push(stored);
            }
            step += 1;
            if step <= 60 {
                rows::write(&*store, &id, &around(step)).await;
            }
        }
        writer.await.expect("a writer");
        for record in &records {
            let times =
                found.iter().filter(|its| its.sensor_id == record.sensor_id && its.row.phenomenon_time == record.time);
            assert_eq!(times.count(), 1, "{record:?}");
        }
    }
}

/// A late row and a revised one of each sensor.
fn around(step: u64) -> Vec<Record> {
    let late = (0..12).map(|number| Record::of(number, -(step as i64), 100_000 + step * 12 + number, &[1.0]));
    let revised = (0..12).map(|number| Record::of(number, step as i64, 200_000 + step * 12 + number, &[2.0]));
    late.chain(revised).collect()
}

/// Writes and deletes around the rows that the scan is to find.
async fn write_everywhere(store: Arc<dyn Store>, id: domain::SensorTypeId) {
    for round in 0..50i64 {
        let of = |number: u64| Record::of(number, 1_000 + round, 300_000 + round as u64 * 12 + number, &[3.0]);
        let records: Vec<Record> = (0..12).map(of).collect();
        store.write(&id, &judged(&records), &TestJudge).await.expect("a write");
        let deletion = Deletion { sensor_id: sensor(round as u64 % 12), from: at(1_000), to: at(1_000 + round) };
        store.delete(&id, &deletion, Position(900_000)).await.expect("a deletion");
        tokio::task::yield_now().await;
    }
}

/// What a write returned from is in every scan, in `latest` and in the summaries that start afterwards.
pub async fn a_write_is_seen_by_the_next_scan<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    let mut records = Vec::new();
    for index in 0..200u64 {
        records.push(Record::of(index % 3, (index as i64 * 37) % 211, index, &[index as f64]));
        rows::write(&*store, &id, &records[index as usize..]).await;
        let expected = rows::expected(&records, &ReadingQuery::default());
        assert_eq!(rows::everything(&*store, &id).await, expected);
        let count: u64 = store
            .summaries(&id, &SensorQuery::first(usize::MAX))
            .await
            .expect("summaries")
            .iter()
            .map(|summary| summary.count)
            .sum();
        assert_eq!(count, index + 1);
    }
}

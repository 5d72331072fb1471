//! Writes: merging, outcomes, and writing again after a crash.

use domain::{Flag, Position, Timestamp, Value};

use super::{
    super::{
        Backend, Ending, Settings,
        fixtures::{Chance, Record, at, number, sensor, sensor_type, unique_type},
    },
    rows,
};
use crate::{Outcome, ReadingQuery};

/// A row has the values, flags, times, positions and version it was written with.
pub async fn a_row_reads_back_as_it_was_judged<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 3).await;
    let values = [
        [number(0.1 + 0.2), Value::MISSING, Value::ABSENT],
        [number(f64::MAX), number(f64::MIN_POSITIVE), number(5e-324)],
        [number(-1e300), number(0.0), number(150.0)],
        [Value::ABSENT, Value::ABSENT, Value::ABSENT],
    ];
    let times = [
        Timestamp::EARLIEST_PHENOMENON,
        Timestamp::from_micros(-1),
        at(0),
        Timestamp::from_micros(4_102_444_800_000_001),
    ];
    let mut records = Vec::new();
    for ((values, time), position) in values.into_iter().zip(times).zip(7..) {
        let values = values.to_vec();
        records.push(Record { sensor_id: sensor(position % 2), time, position, type_version: 1, values });
    }
    assert_eq!(rows::write(&*store, &id, &records).await, vec![Outcome::Stored; 4]);
    assert_eq!(rows::everything(&*store, &id).await, rows::expected(&records, &ReadingQuery::default()));
    assert!(rows::write(&*store, &id, &[]).await.is_empty());
}

/// A value beats missing, missing beats absent, of two values the later in the log wins; the row says which record changed it
/// last and which was its first, and is judged anew.
pub async fn records_of_one_identity_merge_by_the_rule<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 2).await;
    let (missing, absent) = (Value::MISSING, Value::ABSENT);
    let (good, fail) = ((Flag::Good, number(5.0)), (Flag::Fail, number(500.0)));
    let steps = [
        ([absent, missing], Outcome::Stored, [absent, missing], [Flag::NotEvaluated, Flag::Missing], 10),
        ([missing, absent], Outcome::Revised, [missing, missing], [Flag::Missing, Flag::Missing], 11),
        ([absent, good.1], Outcome::Revised, [missing, good.1], [Flag::Missing, good.0], 12),
        ([missing, missing], Outcome::Duplicate, [missing, good.1], [Flag::Missing, good.0], 12),
        ([fail.1, absent], Outcome::Revised, [fail.1, good.1], [fail.0, good.0], 14),
        ([good.1, good.1], Outcome::Revised, [good.1, good.1], [good.0, good.0], 15),
        ([good.1, good.1], Outcome::Duplicate, [good.1, good.1], [good.0, good.0], 15),
        ([fail.1, good.1], Outcome::Revised, [fail.1, good.1], [fail.0, good.0], 17),
    ];
    for ((values, outcome, merged, flags, changed), position) in steps.into_iter().zip(10..) {
        let record = Record { values: values.to_vec(), ..Record::of(1, 1, position, &[]) };
        assert_eq!(rows::write(&*store, &id, std::slice::from_ref(&record)).await, [outcome], "record {position}");
        let stored = rows::everything(&*store, &id).await.remove(0);
        assert_eq!((stored.values, stored.flags), (merged.to_vec(), flags.to_vec()), "record {position}");
        assert_eq!((stored.row.first_position, stored.row.position), (Position(10), Position(changed)));
        assert_eq!(stored.row.accepted_at, Record { position: changed, ..record }.accepted_at());
    }
}

/// The same again, later in the log, is a duplicate: the row stays as it was, its acceptance time too.
pub async fn an_equal_record_changes_nothing<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    let records: Vec<Record> =
        (0..100).map(|index| Record::of(index % 3, index as i64, index, &[index as f64])).collect();
    rows::write(&*store, &id, &records).await;
    let before = rows::everything(&*store, &id).await;
    let again: Vec<Record> =
        records.iter().map(|record| Record { position: record.position + 100, ..record.clone() }).collect();
    assert_eq!(rows::write(&*store, &id, &again).await, vec![Outcome::Duplicate; 100]);
    assert_eq!(rows::everything(&*store, &id).await, before);
}

/// Records made at random: few identities, so that many merge.
fn merging_records(seed: u64, count: u64) -> Vec<Record> {
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let value = |chance: &mut Chance| match chance.below(6) {
        0 => Value::MISSING,
        1 => Value::ABSENT,
        other => number(other as f64 * 40.0),
    };
    let mut records = Vec::new();
    for position in 0..count {
        let (sensor_number, second) = (chance.below(4), chance.below(40) as i64);
        let values = vec![value(&mut chance), value(&mut chance)];
        records.push(Record { values, ..Record::of(sensor_number, second, position, &[]) });
    }
    records
}

/// One batch does what its rows do one by one.
pub async fn rows_of_one_batch_merge_one_by_one<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let (together, alone) = (rows::prepare(&*store, 2).await, rows::prepare(&*store, 2).await);
    let records = merging_records(1, 600);
    let mut outcomes = Vec::new();
    for record in &records {
        outcomes.extend(rows::write(&*store, &alone, std::slice::from_ref(record)).await);
    }
    assert_eq!(rows::write(&*store, &together, &records).await, outcomes);
    assert_eq!(rows::everything(&*store, &together).await, rows::everything(&*store, &alone).await);
    assert!(outcomes.contains(&Outcome::Revised) && outcomes.contains(&Outcome::Duplicate));
}

/// Late and shuffled records end as the same rows as records in order of time, but for their positions.
pub async fn order_of_arrival_does_not_matter<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let identities: Vec<(u64, i64)> = (0..1_000).map(|index| (index % 7, index as i64 / 7)).collect();
    let mut shuffled = identities.clone();
    let mut chance = Chance(2);
    for index in (1..shuffled.len()).rev() {
        shuffled.swap(index, chance.below(index as u64 + 1) as usize);
    }
    let mut results = Vec::new();
    for order in [identities.clone(), identities.into_iter().rev().collect(), shuffled] {
        let id = rows::prepare(&*store, 1).await;
        let of = |((number, second), position): (&(u64, i64), u64)| {
            Record::of(*number, *second, position, &[*second as f64])
        };
        let records: Vec<Record> = order.iter().zip(0..).map(of).collect();
        for batch in records.chunks(37) {
            assert_eq!(rows::write(&*store, &id, batch).await, vec![Outcome::Stored; batch.len()]);
        }
        let rows = rows::everything(&*store, &id).await.into_iter();
        results
            .push(rows.map(|its| (its.sensor_id, its.row.phenomenon_time, its.values, its.flags)).collect::<Vec<_>>());
    }
    assert_eq!(results[0].len(), 1_000);
    assert!(results[0] == results[1] && results[0] == results[2]);
}

/// Records written again, after a crash, change nothing, and those that made or last changed a row have the outcome they had.
pub async fn a_batch_written_again_has_the_same_outcomes<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let id = rows::prepare(&*backend.store(), 2).await;
    let records = merging_records(3, 500);
    let mut first = Vec::new();
    for batch in records.chunks(61) {
        first.extend(rows::write(&*backend.store(), &id, batch).await);
    }
    let before = rows::everything(&*backend.store(), &id).await;
    for ending in Ending::ALL {
        backend.reopen(ending).await;
        backend.store().prepare(&sensor_type(&id, 1, 2)).await.expect("the type again");
        let again = rows::write(&*backend.store(), &id, &records).await;
        assert_eq!(rows::everything(&*backend.store(), &id).await, before, "{ending:?}");
        for stored in &before {
            let index = stored.row.first_position.0 as usize;
            assert_eq!((&first[index], &again[index]), (&Outcome::Stored, &Outcome::Stored), "record {index}");
            let index = stored.row.position.0 as usize;
            assert_eq!(first[index], again[index], "record {index} after {ending:?}");
        }
    }
}

/// A row made of records of two versions of its type is judged by the newer one, whichever came first.
pub async fn a_merged_row_is_judged_by_the_newer_version<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = unique_type();
    for version in [1, 2] {
        store.prepare(&sensor_type(&id, version, 1)).await.expect("a type");
    }
    for (sensor_number, versions) in [(1, [1, 2]), (2, [2, 1])] {
        for (type_version, position) in versions.into_iter().zip(0..) {
            let numbers = [110.0 + position as f64];
            let record =
                Record { type_version, ..Record::of(sensor_number, 1, 10 * sensor_number + position, &numbers) };
            rows::write(&*store, &id, &[record]).await;
        }
    }
    for stored in rows::everything(&*store, &id).await {
        assert_eq!(stored.row.type_version, 2);
        assert_eq!((stored.values, stored.flags), (vec![number(111.0)], vec![Flag::Good]));
    }
}

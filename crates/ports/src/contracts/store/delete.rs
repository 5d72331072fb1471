//! Deletions by position in the log, and expiry by age.

use domain::{Deletion, Position, Timestamp};

use super::{
    super::{
        Backend, Ending, Settings,
        fixtures::{Record, at, sensor},
    },
    rows,
};
use crate::{Outcome, ReadingQuery, SensorQuery};

fn deletion(sensor_number: u64, from: i64, to: i64) -> Deletion {
    Deletion { sensor_id: sensor(sensor_number), from: at(from), to: at(to) }
}

/// Three sensors with a reading per second, positions in order of time.
fn records(seconds: u64) -> Vec<Record> {
    (0..3 * seconds).map(|index| Record::of(index % 3, (index / 3) as i64, index, &[index as f64 % 7.0])).collect()
}

/// A deletion takes the rows of one sensor from its first time, inclusive, to its last, exclusive, and says how many.
pub async fn a_deletion_takes_a_range_of_one_sensor<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    let mut left = records(100);
    rows::write(&*store, &id, &left).await;
    for (sensor_number, from, to, expected) in
        [(1, 10, 20, 10), (1, 5, 11, 5), (0, 99, 200, 1), (2, 0, 1, 1), (9, 0, 100, 0), (1, 30, 30, 0)]
    {
        let deletion = deletion(sensor_number, from, to);
        assert_eq!(store.delete(&id, &deletion, Position(300)).await.expect("a deletion"), expected, "{deletion:?}");
        let named = |record: &Record| {
            record.sensor_id == deletion.sensor_id && (deletion.from..deletion.to).contains(&record.time)
        };
        left.retain(|record| !named(record));
        assert_eq!(rows::everything(&*store, &id).await, rows::expected(&left, &ReadingQuery::default()));
    }
    let everything = Deletion { sensor_id: sensor(1), from: Timestamp::MIN, to: Timestamp::MAX };
    assert_eq!(store.delete(&id, &everything, Position(300)).await.expect("a deletion"), 85);
    let summaries = store.summaries(&id, &SensorQuery::first(usize::MAX)).await.expect("summaries");
    let found: Vec<_> = summaries.iter().map(|its| (its.sensor_id.as_str(), its.count, its.first, its.last)).collect();
    assert_eq!(found, [("s0", 99, at(0), at(98)), ("s2", 99, at(1), at(99))]);
    let latest = rows::each(&store.latest(&id, &SensorQuery::first(usize::MAX)).await.expect("latest"));
    assert_eq!(latest.iter().map(|its| its.row.phenomenon_time).collect::<Vec<_>>(), [at(98), at(99)]);
    left.retain(|record| record.sensor_id != sensor(1));
    drop(store);
    backend.reopen(Ending::Closed).await;
    assert_eq!(rows::everything(&*backend.store(), &id).await, rows::expected(&left, &ReadingQuery::default()));
}

/// A row that a record behind the deletion made or changed stays: the deletion was processed again after a crash.
pub async fn a_deletion_spares_what_came_behind_it<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    let written = [
        Record::of(1, 1, 10, &[1.0]),
        Record::of(1, 2, 11, &[1.0]),
        Record::of(1, 2, 21, &[2.0]),
        Record::of(1, 3, 22, &[3.0]),
        Record::of(1, 4, 12, &[4.0]),
        Record::of(1, 4, 23, &[4.0]),
    ];
    for record in written {
        rows::write(&*store, &id, &[record]).await;
    }
    assert_eq!(store.delete(&id, &deletion(1, 0, 100), Position(20)).await.expect("a deletion"), 2);
    let left = rows::everything(&*store, &id).await;
    assert_eq!(left.iter().map(|its| its.row.phenomenon_time).collect::<Vec<_>>(), [at(2), at(3)]);
    assert_eq!(store.delete(&id, &deletion(1, 0, 100), Position(22)).await.expect("a deletion"), 1);
    assert_eq!(store.delete(&id, &deletion(1, 0, 100), Position(23)).await.expect("a deletion"), 1);
}

/// A deletion processed again takes nothing more.
pub async fn a_deletion_applied_again_takes_nothing<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    rows::write(&*store, &id, &records(50)).await;
    for expected in [20, 0, 0] {
        assert_eq!(store.delete(&id, &deletion(2, 10, 30), Position(150)).await.expect("a deletion"), expected);
    }
    assert_eq!(rows::everything(&*store, &id).await.len(), 130);
}

/// An identity that was deleted is a new row when it comes again, earlier in time than the sensor's newest or not.
pub async fn rows_can_be_made_again_after_a_deletion<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    rows::write(&*store, &id, &records(50)).await;
    for (round, (from, to)) in (0u64..).zip([(10, 30), (40, 50), (0, 50)]) {
        let position = 1_000 * (round + 1);
        store.delete(&id, &deletion(1, from, to), Position(position)).await.expect("a deletion");
        let again: Vec<Record> =
            (from..to).zip(position + 1..).map(|(second, position)| Record::of(1, second, position, &[9.0])).collect();
        assert_eq!(rows::write(&*store, &id, &again).await, vec![Outcome::Stored; again.len()]);
        let of_sensor = ReadingQuery { sensor_ids: Some(vec![sensor(1)]), ..ReadingQuery::default() };
        let found = rows::all(&*store, &id, &of_sensor).await;
        assert_eq!(found.len(), 50);
        let remade = rows::expected(&again, &ReadingQuery::default());
        assert_eq!(found[from as usize..to as usize], remade);
    }
    assert_eq!(rows::everything(&*store, &id).await.len(), 150);
}

/// Expiry takes rows from before a time and none from then on; called until it takes nothing more, it takes all of a type whose rows
/// are all older; its answers add up.
pub async fn expiry_takes_old_rows_and_no_others<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    let records = records(2_000);
    for batch in records.chunks(500) {
        rows::write(&*store, &id, batch).await;
    }
    assert_eq!(store.expire(&id, at(0)).await.expect("expiry"), 0, "no row is older");
    let mut gone = 0;
    for before in [at(1), at(700), at(1_999), Timestamp::MAX] {
        loop {
            let taken = store.expire(&id, before).await.expect("expiry");
            gone += taken;
            let left = rows::everything(&*store, &id).await;
            assert_eq!(left.len() as u64 + gone, 6_000);
            let younger: Vec<Record> = records.iter().filter(|record| record.time >= before).cloned().collect();
            let kept: Vec<_> = left.into_iter().filter(|stored| stored.row.phenomenon_time >= before).collect();
            assert_eq!(kept, rows::expected(&younger, &ReadingQuery::default()));
            if taken == 0 {
                break;
            }
        }
    }
    assert_eq!(gone, 6_000, "all rows are old in the end");
    assert!(store.summaries(&id, &SensorQuery::first(usize::MAX)).await.expect("summaries").is_empty());
}

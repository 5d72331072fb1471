//! Sensor types in the store: preparing, widening, removing.

use domain::{Deletion, Flag, Position, Timestamp, Value};

use super::{
    super::{
        Backend, Ending, Settings,
        fixtures::{Record, TestJudge, at, judged, number, property, sensor, sensor_type, unique_type},
    },
    rows,
};
use crate::{BucketQuery, ErrorKind, Outcome, ReadingQuery, SensorQuery, Store, TimeRange};

/// The kind of error that each call on a type answers.
async fn errors(store: &dyn Store, id: &domain::SensorTypeId) -> Vec<Option<ErrorKind>> {
    let deletion = Deletion { sensor_id: sensor(1), from: Timestamp::MIN, to: Timestamp::MAX };
    let buckets = BucketQuery {
        sensor_id: sensor(1),
        property: property(0),
        times: TimeRange::ALL,
        interval: std::time::Duration::from_secs(1),
        label: None,
        buckets_max: 10,
    };
    let records = judged(&[Record::of(1, 1, 1, &[1.0])]);
    let errors = [
        store.write(id, &records, &TestJudge).await.err(),
        store.delete(id, &deletion, Position(9)).await.err(),
        store.scan(id, &ReadingQuery::default()).await.err(),
        store.latest(id, &SensorQuery::first(usize::MAX)).await.err(),
        store.summaries(id, &SensorQuery::first(usize::MAX)).await.err(),
        store.buckets(id, &buckets).await.err(),
        store.expire(id, at(0)).await.err(),
    ];
    errors.into_iter().map(|error| error.map(|error| error.kind())).collect()
}

/// Every call on a type that was not prepared answers `NotFound`; to remove it is no error.
pub async fn an_unprepared_type_is_not_found<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    store.ready().await.expect("ready");
    let id = unique_type();
    assert_eq!(errors(&*store, &id).await, [Some(ErrorKind::NotFound); 7]);
    store.remove(&id).await.expect("no such type");
    store.prepare(&sensor_type(&id, 1, 1)).await.expect("a type");
    assert_eq!(errors(&*store, &id).await, [None; 7]);
}

/// Rows from before have the new property absent, flagged 2; records of the old version are still taken; nothing narrows again.
pub async fn a_type_widens_to_the_properties_it_gains<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    rows::write(&*store, &id, &[Record::of(1, 1, 0, &[1.0]), Record::of(1, 2, 1, &[2.0])]).await;
    store.prepare(&sensor_type(&id, 2, 3)).await.expect("a wider type");
    let wide = Record { type_version: 2, ..Record::of(1, 2, 2, &[2.0, 150.0, 250.0]) };
    let narrow = [Record::of(1, 3, 3, &[3.0]), Record::of(1, 2, 4, &[2.0])];
    assert_eq!(rows::write(&*store, &id, &[wide]).await, [Outcome::Revised]);
    assert_eq!(rows::write(&*store, &id, &narrow).await, [Outcome::Stored, Outcome::Duplicate]);
    let (none, unknown) = (Value::ABSENT, Flag::NotEvaluated);
    let expected = [
        (vec![number(1.0), none, none], vec![Flag::Good, unknown, unknown]),
        (vec![number(2.0), number(150.0), number(250.0)], vec![Flag::Good, Flag::Good, Flag::Fail]),
        (vec![number(3.0), none, none], vec![Flag::Good, unknown, unknown]),
    ];
    drop(store);
    for ending in Ending::ALL {
        backend.reopen(Ending::Closed).await;
        backend.store().prepare(&sensor_type(&id, 1, 1)).await.expect("the old version again");
        let found = rows::everything(&*backend.store(), &id).await.into_iter();
        assert_eq!(found.map(|its| (its.values, its.flags)).collect::<Vec<_>>(), expected);
        let latest = backend.store().latest(&id, &SensorQuery::first(usize::MAX)).await.expect("latest");
        assert_eq!(rows::each(&latest)[0].values, expected[2].0);
        backend.reopen(ending).await;
    }
}

/// A removed type has no rows, also when it is prepared again.
pub async fn removed_types_are_gone_and_can_come_again<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let store = backend.store();
    let (id, other) = (rows::prepare(&*store, 1).await, rows::prepare(&*store, 1).await);
    let records: Vec<Record> = (0..50).map(|index| Record::of(index % 3, index as i64, index, &[1.0])).collect();
    for id in [&id, &other] {
        rows::write(&*store, id, &records).await;
    }
    for _ in 0..2 {
        store.remove(&id).await.expect("a removal");
    }
    assert_eq!(errors(&*store, &id).await, [Some(ErrorKind::NotFound); 7]);
    drop(store);
    backend.reopen(Ending::Closed).await;
    let store = backend.store();
    store.prepare(&sensor_type(&id, 1, 1)).await.expect("the type again");
    assert!(rows::everything(&*store, &id).await.is_empty());
    assert!(store.summaries(&id, &SensorQuery::first(usize::MAX)).await.expect("summaries").is_empty());
    assert!(store.latest(&id, &SensorQuery::first(usize::MAX)).await.expect("latest").sensor_ids.is_empty());
    let later = [Record::of(1, 1, 77, &[2.0])];
    assert_eq!(rows::write(&*store, &id, &later).await, [Outcome::Stored]);
    assert_eq!(rows::everything(&*store, &id).await, rows::expected(&later, &ReadingQuery::default()));
    assert_eq!(rows::everything(&*store, &other).await.len(), 50);
}

/// Rows of one type are not seen, changed or removed through another, though sensors, times and the start of the id are the same.
pub async fn types_do_not_touch_each_other<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let store = backend.store();
    let id = rows::prepare(&*store, 1).await;
    let longer = domain::SensorTypeId::parse(&format!("{id}-b")).expect("a longer id");
    store.prepare(&sensor_type(&longer, 1, 1)).await.expect("a type");
    let records: Vec<Record> = (0..50).map(|index| Record::of(index % 3, index as i64, index, &[1.0])).collect();
    let others: Vec<Record> = (0..50).map(|index| Record::of(index % 3, index as i64, index, &[2.0])).collect();
    assert_eq!(rows::write(&*store, &id, &records).await, vec![Outcome::Stored; 50]);
    assert_eq!(rows::write(&*store, &longer, &others).await, vec![Outcome::Stored; 50]);
    let deletion = Deletion { sensor_id: sensor(1), from: Timestamp::MIN, to: Timestamp::MAX };
    store.delete(&id, &deletion, Position(100)).await.expect("a deletion");
    store.remove(&id).await.expect("a removal");
    assert_eq!(rows::everything(&*store, &longer).await, rows::expected(&others, &ReadingQuery::default()));
}

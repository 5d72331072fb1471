//! What a store still has when it was closed, and when it was killed together with its log.

use std::{collections::BTreeSet, time::Duration};

use domain::{Judged, Row, RowRef, Rows, SensorTypeId, Topic};

use super::{
    super::{
        Backend, Ending, Settings,
        fixtures::{Record, TestJudge, readings, sensor_type, unique, unique_type},
    },
    rows,
};
use crate::{Committed, Content, Delivery, Judge, Outcome, ReadingQuery, TopicKind, Totals};

/// Everything that was written is there after the store was closed and opened again.
pub async fn a_store_that_was_closed_has_every_row<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let id = rows::prepare(&*backend.store(), 1).await;
    let mut written: Vec<Record> = Vec::new();
    for round in 0..5u64 {
        let of =
            |index: u64| Record::of(index % 9, (round * 1_000 + index) as i64, round * 1_000 + index, &[index as f64]);
        let records: Vec<Record> = (0..1_000).map(of).collect();
        for batch in records.chunks(200) {
            rows::write(&*backend.store(), &id, batch).await;
        }
        written.extend(records);
        backend.reopen(Ending::Closed).await;
        let expected = rows::expected(&written, &ReadingQuery::default());
        assert_eq!(rows::everything(&*backend.store(), &id).await, expected);
    }
}

/// However log and store are killed, what a committed position speaks of is in the store; working on from there makes the store whole,
/// each reading counted once.
pub async fn a_commit_never_outlives_the_writes_before_it<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let (id, group) = (unique_type(), unique("group"));
    let topic = Topic::readings(&id);
    backend.log().create_topic(&topic, TopicKind::Records).await.expect("a topic");
    for round in 0..8u64 {
        for batch in 0..10i64 {
            let second = 10 * round as i64 + batch;
            backend.log().append(&topic, readings((0..20).map(|number| (number, second)))).await.expect("an append");
        }
        work(&backend, &id, &group, 1 + round as usize % 4).await;
        backend.reopen(Ending::Killed).await;
        backend.store().prepare(&sensor_type(&id, 1, 1)).await.expect("a type");
        let found: BTreeSet<(u64, u64)> = identities(&backend, &id).await;
        let expected: BTreeSet<(u64, u64)> = committed_identities(&backend, &topic, &group).await;
        let lost: Vec<_> = expected.difference(&found).collect();
        assert!(lost.is_empty(), "committed in round {round}, but not in the store: {lost:?}");
    }
    work(&backend, &id, &group, usize::MAX).await;
    assert_eq!(identities(&backend, &id).await.len(), 1_600);
    let committed = backend.log().committed(&group, &topic).await.expect("committed");
    assert_eq!(committed.iter().map(|its| its.totals.stored).sum::<u64>(), 1_600);
    assert_eq!(committed.iter().map(|its| its.totals.sum()).sum::<u64>(), 1_600);
}

/// Polls, writes and commits so many times, then polls and writes without a commit; without end, until nothing comes.
async fn work<B: Backend>(backend: &B, id: &SensorTypeId, group: &str, commits: usize) {
    let (log, store) = (backend.log(), backend.store());
    store.prepare(&sensor_type(id, 1, 1)).await.expect("a type");
    let mut consumer = log.consumer(group).await.expect("a consumer");
    consumer.subscribe(&[Topic::readings(id)]).await.expect("a subscription");
    for commit in 0..=commits {
        let deliveries = consumer.poll(30, Duration::from_millis(200)).await.expect("a poll");
        if deliveries.is_empty() {
            return;
        }
        for delivery in deliveries {
            let outcomes = store.write(id, &judged(&delivery), &TestJudge).await.expect("a write");
            if commit == commits {
                continue;
            }
            let before = consumer.committed(&delivery.topic, delivery.partition);
            let stored = outcomes.iter().filter(|outcome| **outcome == Outcome::Stored).count() as u64;
            let duplicate = outcomes.len() as u64 - stored;
            let totals = Totals {
                stored: before.totals.stored + stored,
                duplicate: before.totals.duplicate + duplicate,
                ..before.totals
            };
            let (partition, position) = (delivery.partition, delivery.next_position());
            consumer.commit(&delivery.topic, Committed { partition, position, totals }).await.expect("a commit");
        }
    }
}

/// A delivery of readings as quality control hands it on.
fn judged(delivery: &Delivery) -> Judged {
    let Content::Readings { readings, .. } = &delivery.content else { panic!("only readings were appended") };
    let mut judged = Judged { sensor_ids: readings.sensor_ids().to_vec(), rows: Rows::new(1) };
    for (reading, index) in readings.iter().zip(0..) {
        let position = delivery.first_position.after(index);
        let (flags, label) = TestJudge.judge(1, reading.values);
        let row = Row {
            phenomenon_time: reading.phenomenon_time,
            accepted_at: delivery.accepted_at,
            position,
            first_position: position,
            type_version: 1,
            label,
        };
        judged.rows.push(RowRef { row, values: reading.values, flags: &flags });
    }
    judged
}

/// Sensor number and second behind the epoch of each row.
async fn identities<B: Backend>(backend: &B, id: &SensorTypeId) -> BTreeSet<(u64, u64)> {
    let rows = rows::everything(&*backend.store(), id).await;
    let of = |stored: &rows::Stored| identity(&stored.sensor_id, stored.row.phenomenon_time);
    let identities: BTreeSet<(u64, u64)> = rows.iter().map(of).collect();
    assert_eq!(identities.len(), rows.len(), "one row per identity");
    identities
}

fn identity(sensor_id: &domain::SensorId, time: domain::Timestamp) -> (u64, u64) {
    let number = sensor_id.as_str()[1..].parse().expect("an `s` and a number");
    (number, time.as_micros() as u64 / 1_000_000)
}

/// What the records before the group's committed positions speak of.
async fn committed_identities<B: Backend>(backend: &B, topic: &Topic, group: &str) -> BTreeSet<(u64, u64)> {
    let mut identities = BTreeSet::new();
    for committed in backend.log().committed(group, topic).await.expect("committed") {
        let mut reader = backend.log().reader(topic, committed.partition, domain::Position(0)).await.expect("a reader");
        let mut next = domain::Position(0);
        while next < committed.position {
            for delivery in reader.next(100, Duration::from_secs(20)).await.expect("records") {
                let Content::Readings { readings, .. } = &delivery.content else {
                    panic!("only readings were appended")
                };
                let positions = (0..).map(|index| delivery.first_position.after(index));
                let before = positions.zip(readings.iter()).filter(|(position, _)| *position < committed.position);
                identities.extend(before.map(|(_, reading)| identity(reading.sensor_id, reading.phenomenon_time)));
                next = delivery.next_position();
            }
        }
    }
    identities
}

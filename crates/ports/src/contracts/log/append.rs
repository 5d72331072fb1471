//! Topics and appends: dense positions, whole batches, acceptance times, durability.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{Deletion, Readings, Rejudgement, Timestamp, Topic, Value};

use super::{
    super::{
        Backend, Ending, Settings,
        fixtures::{START, at, number, properties, readings, sensor, unique, unique_topic},
    },
    drain,
};
use crate::{Batch, ErrorKind, Log, TopicKind};

/// The records of one sensor are all in one partition, in order; positions are dense from 0.
pub async fn positions_are_dense<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    assert_eq!(drain::appended(&*log, &topic).await, 0);
    let mut expected: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for round in 0..30i64 {
        let identities: Vec<(u64, i64)> =
            (0..round).map(|index| ((index as u64 * 7) % 11, round * 100 + index)).collect();
        for (number, second) in &identities {
            expected.entry(format!("s{number}")).or_default().push(*second);
        }
        log.append(&topic, readings(identities)).await.expect("an append");
        assert_eq!(drain::appended(&*log, &topic).await as i64, (0..=round).sum::<i64>());
    }
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut partitions = BTreeMap::new();
    for delivered in drain::topic(&*log, &topic).await {
        let (sensor_id, second) = delivered.identity();
        assert_eq!(*partitions.entry(sensor_id.clone()).or_insert(delivered.partition), delivered.partition);
        found.entry(sensor_id).or_default().push(second);
    }
    assert_eq!(found, expected);
}

/// A batch is appended whole: its records of a partition follow each other, whatever else is appended meanwhile.
pub async fn a_batch_stays_in_one_piece_beside_others<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    let writers = (0..4u64).map(|writer| {
        let (log, topic) = (Arc::clone(&log), topic.clone());
        tokio::spawn(async move {
            for batch in 0..20i64 {
                let identities = (0..25).map(|index| (writer, batch * 100 + index));
                log.append(&topic, readings(identities)).await.expect("an append");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer");
    }
    let delivered = drain::topic(&*log, &topic).await;
    assert_eq!(delivered.len(), 4 * 20 * 25);
    for batch in delivered.chunks(25) {
        let (sensor_id, first) = batch[0].identity();
        assert_eq!(first % 100, 0, "a batch starts where the last one ended");
        for (record, index) in batch.iter().zip(0..) {
            assert_eq!(record.identity(), (sensor_id.clone(), first + index));
        }
    }
}

/// What is asked of a topic that is not there is answered with `NotFound`.
pub async fn an_unknown_topic_is_not_found<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    let not_found = |kind: Option<ErrorKind>| assert_eq!(kind, Some(ErrorKind::NotFound));
    not_found(log.append(&topic, readings([(1, 1)])).await.err().map(|error| error.kind()));
    not_found(log.extents(&topic).await.err().map(|error| error.kind()));
    not_found(log.committed("group", &topic).await.err().map(|error| error.kind()));
    let reader = log.reader(&topic, domain::Partition(0), domain::Position(0)).await;
    not_found(reader.err().map(|error| error.kind()));
}

/// A topic that exists is left as it is; as another kind it is a `Conflict`.
pub async fn creating_a_topic_twice_changes_nothing<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    log.append(&topic, readings([(1, 1), (2, 2)])).await.expect("an append");
    log.create_topic(&topic, TopicKind::Records).await.expect("the same topic");
    assert_eq!(drain::topic(&*log, &topic).await.len(), 2);
    for kind in [TopicKind::Documents, TopicKind::Notices] {
        let error = log.create_topic(&topic, kind).await.expect_err("another kind");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    assert_eq!(drain::topic(&*log, &topic).await.len(), 2);
    log.ready().await.expect("room");
}

/// A batch without records takes no position.
pub async fn an_empty_batch_appends_nothing<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    log.append(&topic, readings([])).await.expect("no readings");
    log.append(&topic, Batch::Deletions(Vec::new())).await.expect("no deletions");
    log.append(&topic, readings([(1, 1)])).await.expect("a reading");
    log.append(&topic, readings([])).await.expect("no readings");
    assert_eq!(drain::topic(&*log, &topic).await.len(), 1);
}

/// Readings keep values, times, properties and version; deletions and rejudgements what they ask for; and they keep their order.
pub async fn every_kind_of_record_reads_back<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    let values = [
        [number(0.1 + 0.2), Value::MISSING, Value::ABSENT],
        [number(f64::MAX), number(f64::MIN_POSITIVE), number(5e-324)],
        [number(-1e300), number(0.0), number(-904.25)],
        [Value::ABSENT, Value::ABSENT, Value::ABSENT],
    ];
    let times = [
        Timestamp::EARLIEST_PHENOMENON,
        at(0),
        Timestamp::from_micros(-1),
        Timestamp::from_micros(253_402_300_799_999_999),
    ];
    let mut sent = Readings::new(properties(3));
    for (values, time) in values.iter().zip(times) {
        sent.push(sensor(1), time, values);
    }
    let deletion = Deletion { sensor_id: sensor(1), from: Timestamp::MIN, to: at(7) };
    log.append(&topic, Batch::Readings { type_version: 3, readings: sent.clone() }).await.expect("readings");
    let rejudgement = Rejudgement {
        sensor_id: sensor(1),
        from: Timestamp::MIN,
        to: at(7),
        type_version: 2,
        replay: "a replay".to_owned(),
        part: 5,
        is_dry: true,
    };
    log.append(&topic, Batch::Deletions(vec![deletion.clone()])).await.expect("a deletion");
    log.append(&topic, Batch::Rejudgements(vec![rejudgement.clone()])).await.expect("a rejudgement");
    log.append(&topic, Batch::Readings { type_version: 4, readings: sent.clone() }).await.expect("readings");
    let delivered: Vec<drain::Record> = drain::topic(&*log, &topic).await.into_iter().map(|its| its.record).collect();
    let of = |type_version, index: usize| drain::Record::Reading {
        type_version: Some(type_version),
        properties: properties(3),
        sensor_id: sensor(1),
        time: sent.times()[index],
        values: sent.get(index).values.to_vec(),
    };
    let mut expected: Vec<drain::Record> = (0..4).map(|index| of(3, index)).collect();
    expected.push(drain::Record::Deletion(deletion));
    expected.push(drain::Record::Rejudgement(rejudgement));
    expected.extend((0..4).map(|index| of(4, index)));
    assert_eq!(delivered, expected);
}

/// Records are stamped with the log's clock, and never with an earlier time than those before, though the clock jumps back
/// and the log is opened again.
pub async fn acceptance_times_never_go_back<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let (clock, topic) = (backend.clock(), unique_topic());
    clock.set(START);
    backend.log().create_topic(&topic, TopicKind::Records).await.expect("a topic");
    for (clock_at, accepted_at) in [(0, 0), (10, 10), (-3_600, 10), (9, 10), (11, 11)] {
        clock.set(at(clock_at));
        let appended = backend.log().append(&topic, readings([(1, clock_at)])).await.expect("an append");
        assert_eq!(appended.accepted_at, at(accepted_at));
    }
    for ending in Ending::ALL {
        clock.set(at(-60));
        backend.reopen(ending).await;
        let appended = backend.log().append(&topic, readings([(1, 1)])).await.expect("an append");
        assert_eq!(appended.accepted_at, at(11));
    }
    let delivered = drain::topic(&*backend.log(), &topic).await;
    let times: Vec<Timestamp> = delivered.iter().map(|record| record.accepted_at).collect();
    assert_eq!(times, [0, 10, 10, 10, 11, 11, 11].map(at));
}

/// What an append answered is there after the log was closed or killed, and positions go on behind it.
pub async fn what_was_answered_survives<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let (topic, notices) = (unique_topic(), Topic::from_name(&unique("notices")));
    backend.log().create_topic(&topic, TopicKind::Records).await.expect("a topic");
    backend.log().create_topic(&notices, TopicKind::Notices).await.expect("a topic");
    for (round, ending) in Ending::ALL.into_iter().cycle().take(4).enumerate() {
        let log = backend.log();
        for batch in 0..10i64 {
            let identities = (0..20).map(|index| (index, 10 * round as i64 + batch));
            log.append(&topic, readings(identities)).await.expect("an append");
        }
        let document = super::super::fixtures::document("key", Some("body"));
        log.append(&notices, Batch::Documents(vec![document])).await.expect("an append");
        let before = (drain::topic(&*log, &topic).await, drain::topic(&*log, &notices).await);
        drop(log);
        backend.reopen(ending).await;
        let log = backend.log();
        assert_eq!((drain::topic(&*log, &topic).await, drain::topic(&*log, &notices).await), before, "{ending:?}");
        assert_eq!(before.0.len(), 200 * (round + 1));
    }
}

/// Whatever a reader got while others append is still there, at the same positions, when the log is killed that moment.
pub async fn nothing_is_delivered_that_a_crash_could_take<B: Backend>() {
    let mut backend = B::start(Settings::default()).await;
    let topic = unique_topic();
    backend.log().create_topic(&topic, TopicKind::Records).await.expect("a topic");
    for round in 0..3i64 {
        let log = backend.log();
        let before = log.extents(&topic).await.expect("extents")[0];
        let writers: Vec<_> =
            (0..4).map(|writer| tokio::spawn(append_for_ever(backend.log(), topic.clone(), writer, round))).collect();
        let mut reader = log.reader(&topic, before.partition, before.end).await.expect("a reader");
        let mut delivered = Vec::new();
        while delivered.len() < 200 {
            let deliveries = reader.next(50, drain::PATIENCE).await.expect("records");
            assert!(!deliveries.is_empty(), "records arrive all the time");
            delivered.extend(deliveries.iter().flat_map(drain::records));
        }
        for writer in writers {
            writer.abort();
            let ended = writer.await;
            assert!(ended.is_err_and(|error| error.is_cancelled()), "the writers append for ever");
        }
        drop((reader, log));
        backend.reopen(Ending::Killed).await;
        let extent = backend.log().extents(&topic).await.expect("extents")[0];
        let found = drain::partition_from(&*backend.log(), &topic, extent, before.end).await;
        assert_eq!(found[..delivered.len()], delivered);
    }
}

/// Appends to every partition, without end.
async fn append_for_ever(log: Arc<dyn Log>, topic: Topic, writer: i64, round: i64) {
    for batch in 0.. {
        let identities = (0..16).map(|sensor_number| (sensor_number, 1_000_000 * round + 4 * batch + writer));
        log.append(&topic, readings(identities)).await.expect("an append");
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

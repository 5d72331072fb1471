//! What the contracts don't see: how much is looked at, and what is left on the disk.

use std::{path::Path, time::Instant};

use domain::{PropertyId, Readings, SensorId, Timestamp, Value};
use ports::SystemClock;

use super::{
    consumer::EmbeddedConsumer,
    keys::{encode_topic, garbage_key, name_key},
    *,
};
use crate::{Folder, Settings};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

fn open(path: &Path) -> Folder {
    Folder::open(path, Settings::default(), Arc::new(SystemClock)).expect("the folder opens")
}

fn topic(number: usize) -> Topic {
    Topic::from_name(&format!("readings.t{number}"))
}

/// So many readings of one sensor.
fn readings(count: i64) -> Batch {
    let property = PropertyId::parse("p").expect("an id");
    let mut readings = Readings::new([property].into());
    for second in 0..count {
        let time = Timestamp::from_micros(second * 1_000_000);
        readings.push(SensorId::parse("s").expect("an id"), time, &[Value::number(1.0).expect("finite")]);
    }
    Batch::Readings { type_version: 1, readings }
}

fn consumer(log: &EmbeddedLog) -> EmbeddedConsumer {
    let member = log.shared.member_last.fetch_add(1, Ordering::Relaxed) + 1;
    EmbeddedConsumer::new(Arc::clone(&log.shared), "group", member)
}

/// How many topics are looked at in a hub with so many: by an idle poll, by one after an append to one of them, and by progress.
async fn looks(topics: usize) -> (usize, usize, usize) {
    let place = tempfile::tempdir().expect("a folder");
    let folder = open(place.path());
    let log = folder.embedded_log();
    let names: Vec<Topic> = (0..topics).map(topic).collect();
    for name in &names {
        log.create_topic(name, TopicKind::Records).await.expect("a topic");
    }
    let mut consumer = consumer(log);
    consumer.subscribe(&names).await.expect("subscribed");
    assert!(consumer.poll(10, Duration::ZERO).await.expect("a poll").is_empty());
    let mark = log.progress("group", Mark::default()).await.expect("progress").mark;
    let idle = consumer.to_look_at();
    log.append(&names[0], readings(5)).await.expect("an append");
    let busy = consumer.to_look_at();
    assert_eq!(consumer.poll(10, Duration::ZERO).await.expect("a poll").len(), 1);
    assert_eq!(consumer.to_look_at(), 0);
    let told = log.progress("group", mark).await.expect("progress").standings.len();
    (idle, busy, told)
}

#[tokio::test]
async fn nothing_is_looked_at_where_nothing_happened_however_many_topics_there_are() {
    assert_eq!(looks(20).await, (0, 1, 1));
    assert_eq!(looks(400).await, (0, 1, 1));
}

fn entries(log: &EmbeddedLog, number: u32) -> usize {
    let prefix = number.to_be_bytes();
    let keyspaces = &log.shared.keyspaces;
    let keys = [&keyspaces.records, &keyspaces.document_keys, &keyspaces.groups];
    keys.iter().map(|keyspace| keyspace.prefix(prefix).count()).sum()
}

/// Waits until nothing of a removed topic is left, nor the note that there is something to take out.
fn wait_until_gone(log: &EmbeddedLog, number: u32) {
    let deadline = Instant::now() + PATIENCE;
    let noted = || log.shared.keyspaces.topics.contains_key(garbage_key(number)).expect("it can be read");
    while entries(log, number) > 0 || noted() {
        assert!(Instant::now() < deadline, "{} entries are left", entries(log, number));
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn data_of_a_removed_topic_are_taken_out_behind_the_back_of_appends_and_after_a_crash() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = open(place.path());
    let log = folder.embedded_log();
    for number in 0..2 {
        log.create_topic(&topic(number), TopicKind::Records).await.expect("a topic");
        for _ in 0..600 {
            log.append(&topic(number), readings(1)).await.expect("an append");
        }
    }
    let mut consumer = consumer(log);
    consumer.subscribe(&[topic(0), topic(1)]).await.expect("subscribed");
    consumer.commit(&topic(0), Committed::default()).await.expect("a commit");
    drop(consumer);
    let numbers = [0, 1].map(|number| log.shared.topic(&topic(number)).expect("it is there").number);
    assert_eq!(numbers.map(|number| entries(log, number)), [601, 600]);

    log.delete_topic(&topic(0)).await.expect("a removal");
    log.append(&topic(1), readings(1)).await.expect("an append");
    wait_until_gone(log, numbers[0]);

    // What a crash right after a removal leaves.
    let topics = &log.shared.keyspaces.topics;
    topics.insert(name_key(&topic(1)), encode_topic(numbers[1], None)).expect("written");
    topics.insert(garbage_key(numbers[1]), []).expect("written");
    folder.close().expect("it closes");
    let folder = open(place.path());
    let log = folder.embedded_log();
    assert!(log.extents(&topic(1)).await.is_err());
    wait_until_gone(log, numbers[1]);
    log.create_topic(&topic(1), TopicKind::Records).await.expect("a topic");
    assert_eq!(log.extents(&topic(1)).await.expect("extents")[0].start, Position(601));
}

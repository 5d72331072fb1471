//! Readers and polls: where they start, how much they answer, how they wait.

use std::time::{Duration, Instant};

use domain::{Partition, Position};

use super::{
    super::{
        Backend, Settings,
        fixtures::{readings, unique, unique_topic},
    },
    drain::{self, PATIENCE},
};
use crate::{ErrorKind, TopicKind};

/// A reader starts at exactly the position asked for, within a batch as well, and reads on from there.
pub async fn a_reader_starts_at_any_position<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    for batch in 0..5 {
        log.append(&topic, readings((0..13).map(|index| (index, batch)))).await.expect("an append");
    }
    let all = drain::topic(&*log, &topic).await;
    for extent in log.extents(&topic).await.expect("extents") {
        let here: Vec<_> = all.iter().filter(|record| record.partition == extent.partition).cloned().collect();
        for from in 0..=extent.end.0 {
            let found = drain::partition_from(&*log, &topic, extent, Position(from)).await;
            assert_eq!(found, here[from as usize..], "from {from}");
        }
    }
}

/// There is no reader of a partition that the topic does not have.
pub async fn an_unknown_partition_is_not_found<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    let partitions = log.extents(&topic).await.expect("extents").len() as u32;
    let error = log.reader(&topic, Partition(partitions), Position(0)).await.err().expect("no such partition");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// A reader answers with something where there is something, and with about as many records as asked: no more than that and a batch.
pub async fn a_reader_answers_about_as_many_as_asked<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    for batch in 0..30 {
        log.append(&topic, readings((0..10).map(|index| (1, batch * 10 + index)))).await.expect("an append");
    }
    let extents = log.extents(&topic).await.expect("extents");
    let extent = extents.iter().find(|extent| extent.end.0 > 0).expect("the records are somewhere");
    for records_max in [1, 10, 25, 1_000] {
        let mut reader = log.reader(&topic, extent.partition, Position(0)).await.expect("a reader");
        let mut records = 0;
        while records < 300 {
            let deliveries = reader.next(records_max, PATIENCE).await.expect("records");
            let answered: usize = deliveries.iter().map(|delivery| delivery.content.len()).sum();
            assert!((1..=records_max + 10).contains(&answered), "{answered} of at most {records_max}");
            records += answered;
        }
    }
}

/// A reader waits as long as it is told and wakes when a record comes.
pub async fn a_reader_waits_for_records<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Notices).await.expect("a topic");
    let mut reader = log.reader(&topic, Partition(0), Position(0)).await.expect("a reader");
    for wait in [Duration::ZERO, Duration::from_millis(50)] {
        let started = Instant::now();
        assert!(reader.next(10, wait).await.expect("no records").is_empty());
        assert!(started.elapsed() >= wait);
    }
    let waiting = tokio::spawn(async move {
        let started = Instant::now();
        (reader.next(10, 10 * PATIENCE).await.expect("a record"), started.elapsed())
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let document = super::super::fixtures::document("key", None);
    log.append(&topic, crate::Batch::Documents(vec![document])).await.expect("an append");
    let (deliveries, waited) = waiting.await.expect("a reader");
    assert_eq!(deliveries.len(), 1);
    assert!(waited < PATIENCE, "woken after {waited:?}");
}

/// A consumer waits as long as it is told and wakes when a record comes.
pub async fn a_consumer_waits_for_records<B: Backend>() {
    let backend = B::start(Settings::default()).await;
    let (log, topic) = (backend.log(), unique_topic());
    log.create_topic(&topic, TopicKind::Records).await.expect("a topic");
    let mut consumer = log.consumer(&unique("group")).await.expect("a consumer");
    assert!(consumer.poll(10, Duration::ZERO).await.expect("subscribed to nothing").is_empty());
    consumer.subscribe(std::slice::from_ref(&topic)).await.expect("a subscription");
    let started = Instant::now();
    assert!(consumer.poll(10, Duration::from_millis(50)).await.expect("no records").is_empty());
    assert!(started.elapsed() >= Duration::from_millis(50));
    let waiting = tokio::spawn(async move {
        let started = Instant::now();
        (consumer.poll(10, 10 * PATIENCE).await.expect("a record"), started.elapsed())
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    log.append(&topic, readings([(1, 1)])).await.expect("an append");
    let (deliveries, waited) = waiting.await.expect("a consumer");
    assert_eq!(deliveries.len(), 1);
    assert!(waited < PATIENCE, "woken after {waited:?}");
}

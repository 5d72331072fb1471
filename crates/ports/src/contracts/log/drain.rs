//! Reads topics to their end, record by record, and checks on the way what holds for every delivery.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{Deletion, Partition, Position, PropertyId, Rejudgement, SensorId, Timestamp, Topic, TypeVersion, Value};

use crate::{Consumer, Content, Delivery, Document, Extent, Log};

/// How long a contract waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// One record as it was delivered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Delivered {
    pub(super) partition: Partition,
    pub(super) position: Position,
    pub(super) accepted_at: Timestamp,
    pub(super) record: Record,
}

/// What a delivered record is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    Reading {
        type_version: Option<TypeVersion>,
        properties: Arc<[PropertyId]>,
        sensor_id: SensorId,
        time: Timestamp,
        values: Vec<Value>,
    },
    Deletion(Deletion),
    Rejudgement(Rejudgement),
    Document(Document),
}

impl Delivered {
    /// Sensor and seconds behind the start, of a reading.
    pub(super) fn identity(&self) -> (String, i64) {
        let Record::Reading { sensor_id, time, .. } = &self.record else { panic!("no reading: {self:?}") };
        let start = super::super::fixtures::START.as_micros();
        (sensor_id.as_str().to_owned(), (time.as_micros() - start) / 1_000_000)
    }
}

/// The records of a delivery, each with its position.
pub(super) fn records(delivery: &Delivery) -> Vec<Delivered> {
    let records: Vec<Record> = match &delivery.content {
        Content::Readings { type_version, readings } => {
            let of = |reading: domain::Reading<'_>| Record::Reading {
                type_version: *type_version,
                properties: readings.properties().clone(),
                sensor_id: reading.sensor_id.clone(),
                time: reading.phenomenon_time,
                values: reading.values.to_vec(),
            };
            readings.iter().map(of).collect()
        }
        Content::Deletions(deletions) => deletions.iter().cloned().map(Record::Deletion).collect(),
        Content::Rejudgements(all) => all.iter().cloned().map(Record::Rejudgement).collect(),
        Content::Documents(documents) => documents.iter().cloned().map(Record::Document).collect(),
        Content::Undecodable(undecodable) => panic!("nobody can read {undecodable:?}"),
    };
    assert_eq!(records.len(), delivery.content.len());
    assert!(!records.is_empty(), "a delivery holds at least one record");
    let (partition, accepted_at) = (delivery.partition, delivery.accepted_at);
    let positions = (0..).map(|index| delivery.first_position.after(index));
    let of = |(position, record)| Delivered { partition, position, accepted_at, record };
    positions.zip(records).map(of).collect()
}

/// All records of one partition from a position to its end, in order.
pub(super) async fn partition_from(log: &dyn Log, topic: &Topic, extent: Extent, from: Position) -> Vec<Delivered> {
    let mut reader = log.reader(topic, extent.partition, from).await.expect("a reader");
    let mut all: Vec<Delivered> = Vec::new();
    let mut next = from;
    while next < extent.end {
        let deliveries = reader.next(1_000, PATIENCE).await.expect("records");
        assert!(
            !deliveries.is_empty(),
            "partition {} of {topic} ends at {next}, not at {}",
            extent.partition,
            extent.end
        );
        for delivery in &deliveries {
            assert_eq!((&delivery.topic, delivery.partition), (topic, extent.partition));
            assert!(delivery.first_position >= next, "{} comes behind {next}", delivery.first_position);
            let since = all.last().map_or(Timestamp::MIN, |last| last.accepted_at);
            let is_right = delivery.accepted_at >= since || crate::is_ahead(since, delivery.accepted_at);
            assert!(is_right, "the acceptance time went back at {next}");
            all.extend(records(delivery));
            next = delivery.next_position();
        }
    }
    all
}

/// All records of a topic, partition by partition; every position of each is there.
pub(super) async fn topic(log: &dyn Log, topic: &Topic) -> Vec<Delivered> {
    let mut all = Vec::new();
    for extent in log.extents(topic).await.expect("extents") {
        let records = partition_from(log, topic, extent, extent.start).await;
        let expected: Vec<Position> = (extent.start.0..extent.end.0).map(Position).collect();
        let positions: Vec<Position> = records.iter().map(|record| record.position).collect();
        assert_eq!(positions, expected, "positions of partition {} of {topic}", extent.partition);
        all.extend(records);
    }
    all
}

/// How many records were ever appended to a topic.
pub(super) async fn appended(log: &dyn Log, topic: &Topic) -> u64 {
    log.extents(topic).await.expect("extents").iter().map(|extent| extent.end.0).sum()
}

/// Polls until `count` records came.
pub(super) async fn poll_records(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivered> {
    let mut all = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while all.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came", all.len());
        let deliveries = consumer.poll(1_000, Duration::from_millis(100)).await.expect("a poll");
        check_order(&deliveries);
        all.extend(deliveries.iter().flat_map(records));
    }
    assert_eq!(all.len(), count, "no more records than were appended");
    all
}

/// Of each partition, a poll answers with records that follow each other, in position order.
pub(super) fn check_order(deliveries: &[Delivery]) {
    let mut seen = HashSet::new();
    let mut last: Option<&Delivery> = None;
    for delivery in deliveries {
        let place = (&delivery.topic, delivery.partition);
        match last.filter(|last| (&last.topic, last.partition) == place) {
            Some(last) => assert!(last.next_position() <= delivery.first_position, "{last:?} is before {delivery:?}"),
            None => assert!(seen.insert(place), "{place:?} comes twice in one poll"),
        }
        last = Some(delivery);
    }
}

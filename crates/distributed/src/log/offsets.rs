//! Asks the brokers where partitions start and end, and where groups stand.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{Partition, Position, Timestamp};
use ports::{Committed, ErrorKind, Extent, PortError};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    client::{self, Told},
    committed,
    error::{blocking, from_kafka},
    settings::Settings,
};

/// Asks for offsets.
pub(super) struct Offsets {
    settings: Settings,
    client: Arc<BaseConsumer<Told>>,
    /// A client per group that was asked for: the library asks for the positions of its own group alone.
    groups: Mutex<HashMap<String, Arc<BaseConsumer<Told>>>>,
}

/// How long is waited before a partition that changes its leader is asked again.
const PAUSE: Duration = Duration::from_millis(20);
/// About the most partitions, and the most topics, that one request asks for.
const PARTITIONS_MAX: u32 = 5_000;
const TOPICS_MAX: usize = 1_000;

/// A topic by its name on Kafka, and how many partitions it has.
pub(super) type Asked = (String, u32);

/// Parts topics so that no part has many more partitions than a request may ask for.
fn parts(topics: &[Asked]) -> Vec<&[Asked]> {
    let (mut parts, mut from, mut partitions) = (Vec::new(), 0, 0);
    for (index, (_, count)) in topics.iter().enumerate() {
        partitions += count;
        if partitions >= PARTITIONS_MAX || index + 1 == topics.len() {
            parts.push(&topics[from..=index]);
            (from, partitions) = (index + 1, 0);
        }
    }
    parts
}

fn not_on_kafka(topic: &str) -> PortError {
    PortError::new(ErrorKind::NotFound, format!("topic `{topic}` is not on Kafka any more"))
}

/// Nothing of a topic that is not there.
fn or_none<T>(answer: Result<Vec<T>, PortError>) -> Result<Vec<Option<T>>, PortError> {
    match answer {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(vec![None]),
        answer => Ok(answer?.into_iter().map(Some).collect()),
    }
}

fn is_changing_leader(code: Code) -> bool {
    matches!(
        code,
        Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::ReplicaNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
    )
}

fn connect(mut config: ClientConfig) -> Result<Arc<BaseConsumer<Told>>, KafkaError> {
    // Nobody reads what this client would tell; the others tell the same.
    config.set_log_level(RDKafkaLogLevel::Emerg);
    client::consumer(&config, Told::default(), &Arc::new(Notify::new())).map(Arc::new)
}

impl Offsets {
    pub fn new(settings: &Settings) -> Result<Self, KafkaError> {
        let client = connect(settings.client())?;
        Ok(Self { settings: settings.clone(), client, groups: Mutex::default() })
    }

    /// Where the partitions of a topic start and end.
    ///
    /// # Errors
    /// `NotFound` where it is not on Kafka, `Unavailable`.
    pub async fn extents(&self, topic: &str, partitions: u32) -> Result<Vec<Extent>, PortError> {
        let asked = [(topic.to_owned(), partitions)];
        self.extents_of(&asked).await?.remove(0).ok_or_else(|| not_on_kafka(topic))
    }

    /// The same of many topics, in order; `None` for one that is not on Kafka.
    pub async fn extents_of(&self, topics: &[Asked]) -> Result<Vec<Option<Vec<Extent>>>, PortError> {
        let starts = self.at(topics, Offset::Beginning).await?;
        let ends = self.at(topics, Offset::End).await?;
        let extent = |(partition, (start, end)): (Partition, (Option<u64>, Option<u64>))| {
            let (start, end) = (start.unwrap_or(0), end.unwrap_or(0));
            // Retention may have moved the start behind an end that was asked for before: never the other way round.
            Extent { partition, start: Position(start), end: Position(end.max(start)) }
        };
        let of = |(starts, ends): (Option<Vec<_>>, Option<Vec<_>>)| {
            Some((0..).map(Partition).zip(starts?.into_iter().zip(ends?)).map(extent).collect())
        };
        Ok(starts.into_iter().zip(ends).map(of).collect())
    }

    /// Of many topics, in each partition the offset of the first record that was accepted at `time` or later; `None` where there is none.
    pub async fn since_of(
        &self,
        topics: &[Asked],
        time: Timestamp,
    ) -> Result<Vec<Option<Vec<Option<u64>>>>, PortError> {
        let millis = time.as_micros().div_euclid(1_000).max(0);
        self.at(topics, Offset::Offset(millis)).await
    }

    /// Asks for one offset per partition, by time or by name.
    async fn at(&self, topics: &[Asked], asked: Offset) -> Result<Vec<Option<Vec<Option<u64>>>>, PortError> {
        let mut answers = Vec::with_capacity(topics.len());
        for part in parts(topics) {
            match self.at_some(part, asked).await {
                // One that is not there, and the library does not say which.
                Err(error) if error.kind() == ErrorKind::NotFound && part.len() > 1 => {
                    for topic in part.chunks(1) {
                        answers.extend(or_none(self.at_some(topic, asked).await)?);
                    }
                }
                answer => answers.extend(match part.len() {
                    1 => or_none(answer)?,
                    _ => answer?.into_iter().map(Some).collect(),
                }),
            }
        }
        Ok(answers)
    }

    /// The same in one request; again where a partition is changing its leader.
    async fn at_some(&self, topics: &[Asked], asked: Offset) -> Result<Vec<Vec<Option<u64>>>, PortError> {
        let deadline = Instant::now() + self.settings.request_timeout;
        loop {
            let answered = self.ask(topics, asked).await;
            match answered.as_ref().map_err(KafkaError::rdkafka_error_code) {
                Err(Some(code)) if is_changing_leader(code) && Instant::now() < deadline => sleep(PAUSE).await,
                _ => {
                    let first = topics.first().map_or("", |(name, _)| name);
                    let doing = || format!("asking for offsets of `{first}` and {} more", topics.len() - 1);
                    return answered.map_err(|error| from_kafka(doing(), error));
                }
            }
        }
    }

    async fn ask(&self, topics: &[Asked], asked: Offset) -> Result<Vec<Vec<Option<u64>>>, KafkaError> {
        let (client, topics, timeout) = (Arc::clone(&self.client), topics.to_vec(), self.settings.request_timeout);
        let asking = spawn_blocking(move || {
            let mut list = TopicPartitionList::new();
            for (topic, partitions) in &topics {
                for partition in 0..*partitions {
                    list.add_partition_offset(topic, partition as i32, asked)?;
                }
            }
            let answered = client.offsets_for_times(list, timeout)?;
            answered.elements().iter().try_for_each(|element| element.error())?;
            while client::next(&client).is_some() {}
            let places: HashMap<&str, usize> = topics.iter().map(|(name, _)| name.as_str()).zip(0..).collect();
            let mut offsets: Vec<_> = topics.iter().map(|(_, partitions)| vec![None; *partitions as usize]).collect();
            for element in answered.elements() {
                let place =
                    places.get(element.topic()).and_then(|place| offsets[*place].get_mut(element.partition() as usize));
                if let (Some(place), Offset::Offset(offset)) = (place, element.offset()) {
                    *place = u64::try_from(offset).ok();
                }
            }
            Ok::<_, KafkaError>(offsets)
        });
        asking.await.map_err(|_| KafkaError::Canceled)?
    }

    /// What a group has committed on topics of a generation each, in order.
    pub async fn committed_of(&self, group: &str, topics: &[(Asked, u32)]) -> Result<Vec<Vec<Committed>>, PortError> {
        let mut found = Vec::with_capacity(topics.len());
        let client = self.of_group(group).await?;
        for part in topics.chunks(TOPICS_MAX) {
            let (client, part, timeout) = (Arc::clone(&client), part.to_vec(), self.settings.request_timeout);
            let answered = blocking("asking for committed positions", move || {
                let mut list = TopicPartitionList::new();
                for ((topic, partitions), _) in &part {
                    for partition in 0..*partitions {
                        list.add_partition(topic, partition as i32);
                    }
                }
                let answered = client.committed_offsets(list, timeout)?;
                while client::next(&client).is_some() {}
                Ok((answered, part))
            });
            let (answered, part) = answered.await?;
            let places: HashMap<&str, usize> = part.iter().map(|((name, _), _)| name.as_str()).zip(0..).collect();
            let nothing = |number| Committed { partition: Partition(number), ..Committed::default() };
            let mut of_part: Vec<Vec<Committed>> =
                part.iter().map(|((_, partitions), _)| (0..*partitions).map(nothing).collect()).collect();
            for element in answered.elements() {
                let Some(topic) = places.get(element.topic()).copied() else { continue };
                if let Some(place) = of_part[topic].get_mut(element.partition() as usize) {
                    *place = committed::of(&element, part[topic].1)?;
                }
            }
            found.append(&mut of_part);
        }
        Ok(found)
    }

    async fn of_group(&self, group: &str) -> Result<Arc<BaseConsumer<Told>>, PortError> {
        if let Some(known) = self.groups.lock().unwrap_or_else(PoisonError::into_inner).get(group) {
            return Ok(Arc::clone(known));
        }
        let config = self.settings.consumer(group);
        let client = blocking("making a client", move || connect(config)).await?;
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(groups.entry(group.to_owned()).or_insert(client)))
    }
}

impl Drop for Offsets {
    fn drop(&mut self) {
        let groups = std::mem::take(&mut *self.groups.lock().unwrap_or_else(PoisonError::into_inner));
        client::drop_aside((groups, Arc::clone(&self.client)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_grow_no_larger_than_they_may() {
        for (topics, partitions, expected) in
            [(0, 3, 0), (1, 3, 1), (1_666, 3, 1), (1_667, 3, 1), (1_668, 3, 2), (3, 9_000, 3)]
        {
            let topics: Vec<Asked> = (0..topics).map(|number| (number.to_string(), partitions)).collect();
            let parts = parts(&topics);
            assert_eq!(
                (parts.len(), parts.concat()),
                (expected, topics.clone()),
                "{} times {partitions}",
                topics.len()
            );
        }
    }
}

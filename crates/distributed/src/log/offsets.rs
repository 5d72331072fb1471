//! Asks the brokers where partitions start and end, and where groups stand.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{Partition, Position, Timestamp};
use ports::{Committed, Extent, PortError};
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
    pub async fn extents(&self, topic: &str, partitions: u32) -> Result<Vec<Extent>, PortError> {
        let starts = self.at(topic, partitions, Offset::Beginning).await?;
        let ends = self.at(topic, partitions, Offset::End).await?;
        let numbers = (0..partitions).map(Partition);
        let of = |(partition, (start, end)): (Partition, (Option<u64>, Option<u64>))| {
            let (start, end) = (start.unwrap_or(0), end.unwrap_or(0));
            // Retention may have moved the start behind an end that was asked for before: never the other way round.
            Extent { partition, start: Position(start), end: Position(end.max(start)) }
        };
        Ok(numbers.zip(starts.into_iter().zip(ends)).map(of).collect())
    }

    /// In each partition, the offset of the first record that was accepted at `time` or later; `None` where there is none.
    pub async fn since(&self, topic: &str, partitions: u32, time: Timestamp) -> Result<Vec<Option<u64>>, PortError> {
        let millis = time.as_micros().div_euclid(1_000).max(0);
        self.at(topic, partitions, Offset::Offset(millis)).await
    }

    /// Asks for one offset per partition, by time or by name; again where a partition is changing its leader.
    async fn at(&self, topic: &str, partitions: u32, asked: Offset) -> Result<Vec<Option<u64>>, PortError> {
        let deadline = Instant::now() + self.settings.request_timeout;
        loop {
            let answered = self.ask(topic, partitions, asked).await;
            match answered.as_ref().map_err(KafkaError::rdkafka_error_code) {
                Err(Some(code)) if is_changing_leader(code) && Instant::now() < deadline => sleep(PAUSE).await,
                _ => return answered.map_err(|error| from_kafka(format!("asking for offsets of `{topic}`"), error)),
            }
        }
    }

    async fn ask(&self, topic: &str, partitions: u32, asked: Offset) -> Result<Vec<Option<u64>>, KafkaError> {
        let (client, topic, timeout) = (Arc::clone(&self.client), topic.to_owned(), self.settings.request_timeout);
        let asking = spawn_blocking(move || {
            let mut list = TopicPartitionList::new();
            for partition in 0..partitions {
                list.add_partition_offset(&topic, partition as i32, asked)?;
            }
            let answered = client.offsets_for_times(list, timeout)?;
            answered.elements().iter().try_for_each(|element| element.error())?;
            while client::next(&client).is_some() {}
            Ok::<_, KafkaError>(answered)
        });
        let answered = asking.await.map_err(|_| KafkaError::Canceled)??;
        let mut offsets = vec![None; partitions as usize];
        for element in answered.elements() {
            let place = offsets.get_mut(element.partition() as usize);
            if let (Some(place), Offset::Offset(offset)) = (place, element.offset()) {
                *place = u64::try_from(offset).ok();
            }
        }
        Ok(offsets)
    }

    /// What a group has committed on a topic of a generation.
    pub async fn committed(
        &self,
        group: &str,
        (topic, generation): (&str, u32),
        partitions: u32,
    ) -> Result<Vec<Committed>, PortError> {
        let client = self.of_group(group).await?;
        let (topic, timeout) = (topic.to_owned(), self.settings.request_timeout);
        let answered = blocking("asking for committed positions", move || {
            let mut list = TopicPartitionList::new();
            for partition in 0..partitions {
                list.add_partition(&topic, partition as i32);
            }
            let answered = client.committed_offsets(list, timeout)?;
            while client::next(&client).is_some() {}
            Ok(answered)
        });
        let answered = answered.await?;
        let mut found: Vec<Committed> =
            (0..partitions).map(|number| Committed { partition: Partition(number), ..Committed::default() }).collect();
        for element in answered.elements() {
            if let Some(place) = found.get_mut(element.partition() as usize) {
                *place = committed::of(&element, generation)?;
            }
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

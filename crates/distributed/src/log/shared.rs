//! What the log, its readers and its members share: the clients, the catalogue, and how a batch is appended.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{Position, Timestamp, Topic};
use ports::{Appended, Batch, Clock, ErrorKind, PortError, TopicKind};
use rdkafka::error::KafkaError;
use tokio::time::Instant;

use super::{
    catalogue::{Catalogue, Live, group_entry},
    error::{from_kafka, pass_over},
    fetch::Fetch,
    goodbyes::Goodbyes,
    offsets::Offsets,
    producer::Producer,
    retention::{AheadFronts, KeptFor, Room},
    settings::Settings,
    topics::{Found, Topics},
    wire::{self, Decoder},
};

/// Name of the catalogue's topic, behind the prefix.
const CATALOGUE: &str = "iot-hub.topics";
/// The longest key of a document, in bytes.
const KEY_SIZE_MAX: usize = 512;
/// The largest record, with its key: what brokers take by default, and a little room for headers.
const RECORD_SIZE_MAX: usize = 960 * 1024;
/// How long is waited between two looks at a topic that is being made.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a broker may take to say that it is there.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long it is believed how many partitions a topic has.
const PARTITIONS_BELIEVED: Duration = Duration::from_secs(30);
/// The same where all topics are asked for, who are many.
const PARTITIONS_BELIEVED_LONG: Duration = Duration::from_secs(300);

pub(super) struct Shared {
    pub settings: Settings,
    pub clock: Arc<dyn Clock>,
    pub topics: Topics,
    pub offsets: Offsets,
    pub producer: Producer,
    pub catalogue: Arc<Catalogue>,
    pub room: Room,
    pub kept: KeptFor,
    pub ahead: AheadFronts,
    pub goodbyes: Goodbyes,
    partitions: Mutex<HashMap<Topic, (Instant, u32)>>,
    /// The topics of which it was told in what they differ.
    compared: Mutex<HashSet<Topic>>,
}

impl Shared {
    pub async fn connect(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, PortError> {
        let topics = Topics::new(&settings)?;
        let offsets = Offsets::new(&settings).map_err(|error| from_kafka("making a client", error))?;
        let producer = Producer::new(settings.clone())?;
        let shared = Self {
            settings,
            clock,
            topics,
            offsets,
            producer,
            catalogue: Arc::new(Catalogue::new()),
            room: Room::default(),
            kept: KeptFor::default(),
            ahead: AheadFronts::default(),
            goodbyes: Goodbyes::new(),
            partitions: Mutex::default(),
            compared: Mutex::default(),
        };
        let name = shared.catalogue_name();
        if shared.topics.find(&name).await?.is_none() {
            shared.make(&name, TopicKind::Documents).await?;
        }
        Ok(shared)
    }

    /// Makes a topic and waits until its partitions answer; says whether it was there already.
    pub async fn make(&self, name: &str, kind: TopicKind) -> Result<(bool, Found), PortError> {
        let (existed, found) = self.topics.create(name, kind).await?;
        let deadline = Instant::now() + self.settings.request_timeout;
        loop {
            match self.offsets.extents(name, found.partitions).await {
                Ok(_) => return Ok((existed, found)),
                Err(error) if error.kind() == ErrorKind::NotFound && Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The name of a topic on Kafka.
    pub fn name(&self, topic: &Topic) -> String {
        format!("{}{topic}", self.settings.prefix)
    }

    /// The topic that has a name on Kafka.
    pub fn topic(&self, name: &str) -> Topic {
        Topic::from_name(name.strip_prefix(&self.settings.prefix).unwrap_or(name))
    }

    /// The name of a group on Kafka.
    pub fn group_name(&self, group: &str) -> String {
        format!("{}{group}", self.settings.prefix)
    }

    fn catalogue_name(&self) -> String {
        format!("{}{CATALOGUE}", self.settings.prefix)
    }

    /// Starts to fetch the catalogue from its beginning.
    pub async fn open_catalogue(&self) -> Result<Fetch, PortError> {
        Fetch::open(&self.settings, &self.catalogue_name(), 0, 0).await
    }

    /// Waits until the catalogue was read to its present end.
    pub async fn read_catalogue(&self) -> Result<(), PortError> {
        let extents = self.offsets.extents(&self.catalogue_name(), 1).await?;
        let end = extents.first().map_or(0, |extent| extent.end.0);
        self.catalogue.read_to(end, self.settings.request_timeout).await
    }

    /// Writes an entry of the catalogue and waits until this process has read it.
    pub async fn write(&self, entry: (String, Vec<u8>)) -> Result<(), PortError> {
        self.write_all(vec![entry]).await
    }

    async fn write_all(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), PortError> {
        let document = |(key, value): (String, Vec<u8>)| ports::Document { key, body: Some(value.into()) };
        let documents: Vec<_> = entries.into_iter().map(document).collect();
        let count = documents.len();
        let encoded = wire::encode(&Batch::Documents(documents), 1);
        let ticket = self.producer.ticket(&encoded, count)?;
        let place = (&*self.catalogue_name(), 0);
        self.producer.enqueue(place, &encoded, (&*self.clock, Timestamp::MIN), &ticket)?;
        let position = self.producer.wait(&ticket).await?;
        self.catalogue.read_to(position.0 + count as u64, self.settings.request_timeout).await
    }

    /// Enters a group as one that works on topics, each of a generation.
    pub async fn register_group(&self, group: &str, topics: &[(&Topic, u32)]) -> Result<(), PortError> {
        let is_new = |(topic, _): &&(&Topic, u32)| !self.catalogue.groups(topic).contains(group);
        let new = topics.iter().filter(is_new);
        let entries: Vec<_> = new.map(|(topic, generation)| group_entry(topic, group, *generation)).collect();
        match entries.is_empty() {
            true => Ok(()),
            false => self.write_all(entries).await,
        }
    }

    /// A topic that is there, if it is; where it is unknown, the catalogue is read to its end before it is said so.
    pub async fn live(&self, topic: &Topic) -> Result<Live, PortError> {
        if let Some(live) = self.catalogue.live(topic) {
            return Ok(live);
        }
        self.read_catalogue().await?;
        let unknown = || PortError::new(ErrorKind::NotFound, format!("there is no topic `{topic}`"));
        self.catalogue.live(topic).ok_or_else(unknown)
    }

    /// How many partitions of a topic are in use.
    pub async fn partitions(&self, topic: &Topic, live: Live) -> Result<u32, PortError> {
        if live.kind != TopicKind::Records {
            return Ok(1);
        }
        let known = self.partitions.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied();
        if let Some((asked, partitions)) = known
            && asked.elapsed() < PARTITIONS_BELIEVED
        {
            return Ok(partitions);
        }
        let found = self.topics.find(&self.name(topic)).await?;
        let gone = || PortError::new(ErrorKind::NotFound, format!("topic `{topic}` is not on Kafka any more"));
        let partitions = found.ok_or_else(gone)?.partitions;
        let known = (Instant::now(), partitions);
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.clone(), known);
        Ok(partitions)
    }

    /// How many partitions topics have: of all of them in one request, where some are not known. One that is not there has one.
    pub async fn partitions_of(&self, topics: &[(Topic, Live)]) -> Result<Vec<u32>, PortError> {
        let known = |topic: &Topic| {
            let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            partitions.get(topic).filter(|(asked, _)| asked.elapsed() < PARTITIONS_BELIEVED_LONG).map(|(_, its)| *its)
        };
        let is_unknown = |(topic, live): &(Topic, Live)| live.kind == TopicKind::Records && known(topic).is_none();
        if topics.iter().any(is_unknown) {
            let found = self.topics.partitions_of_all().await?;
            let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            for (topic, _) in topics {
                if let Some(found) = found.get(&self.name(topic)) {
                    partitions.insert(topic.clone(), (Instant::now(), *found));
                }
            }
        }
        let of = |(topic, live): &(Topic, Live)| match live.kind {
            TopicKind::Records => known(topic).unwrap_or(1),
            _ => 1,
        };
        Ok(topics.iter().map(of).collect())
    }

    /// Tells once in what a topic that was there differs from what the settings would make of it.
    pub async fn compare(&self, topic: &Topic, kind: TopicKind, found: &Found) -> Result<(), PortError> {
        if !self.compared.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.clone()) {
            return Ok(());
        }
        let name = self.name(topic);
        let differences = self.topics.differences(&name, kind, found).await?;
        if !differences.is_empty() {
            let differences = differences.join("; ");
            tracing::warn!(
                topic = name,
                "the topic is used as it is, though it is not what the settings say: {differences}"
            );
        }
        Ok(())
    }

    pub async fn append(self: &Arc<Self>, topic: &Topic, live: Live, batch: Batch) -> Result<Appended, PortError> {
        check_batch(topic, live.kind, &batch)?;
        self.clock.believed()?;
        let records = batch.len();
        if live.kind == TopicKind::Records {
            self.check_room(records).await?;
        }
        let partitions = self.partitions(topic, live).await?;
        if records == 0 {
            let ends = self.extents(topic, live).await?;
            let first_position = ends.first().map_or(Position(0), |extent| extent.end);
            return Ok(Appended { accepted_at: self.clock.now(), first_position });
        }
        let encoded = wire::encode(&batch, partitions);
        if encoded.largest() > RECORD_SIZE_MAX {
            let message = format!("a record has {} bytes: at most {RECORD_SIZE_MAX}", encoded.largest());
            return Err(PortError::new(ErrorKind::Rejected, message));
        }
        let ticket = self.producer.ticket(&encoded, records)?;
        let name = self.name(topic);
        let mut accepted_at = Timestamp::MIN;
        for partition in encoded.partitions() {
            let lane = self.producer.lane(&name, partition);
            let mut newest = lane.lock().await;
            let last = match *newest {
                Some(last) => last,
                None => self.newest_stamp(topic, live, partition).await?,
            };
            let stamped = self.producer.enqueue((&name, partition), &encoded, (&*self.clock, last), &ticket)?;
            *newest = Some(stamped);
            accepted_at = accepted_at.max(stamped);
        }
        let first_position = self.producer.wait(&ticket).await?;
        if live.kind == TopicKind::Records {
            self.room.take(records);
        }
        Ok(Appended { accepted_at, first_position })
    }

    /// The acceptance time of the newest record of a partition; the earliest time where there is none.
    async fn newest_stamp(&self, topic: &Topic, live: Live, partition: u32) -> Result<Timestamp, PortError> {
        let name = self.name(topic);
        let extents = self.offsets.extents(&name, partition + 1).await?;
        let Some(extent) = extents.last().filter(|extent| extent.end > extent.start) else {
            return Ok(Timestamp::MIN);
        };
        let fetch = Fetch::open(&self.settings, &name, partition, extent.end.0 - 1).await?;
        let deadline = Instant::now() + self.settings.request_timeout;
        let mut decoder = Decoder::new(topic.clone(), domain::Partition(partition), live.kind);
        loop {
            while let Some(polled) = fetch.next() {
                match polled {
                    Ok(message) => {
                        let mut deliveries = Vec::new();
                        decoder.take(&message, &mut deliveries);
                        return Ok(deliveries.first().map_or(Timestamp::MIN, |delivery| delivery.accepted_at));
                    }
                    // What stands there is no record, but a marker of somebody's transaction.
                    Err(KafkaError::PartitionEOF(_)) => return Ok(Timestamp::MIN),
                    Err(error) => pass_over("reading from Kafka", error)?,
                }
            }
            if !fetch.wait(deadline).await {
                let message = format!("the newest record of topic `{topic}` can't be read");
                return Err(PortError::new(ErrorKind::Unavailable, message));
            }
        }
    }

    /// Says whether a broker answers.
    pub async fn reach(&self) -> Result<(), PortError> {
        self.topics.find_within(&self.catalogue_name(), ANSWER_MAX).await.map(|_| ())
    }
}

/// Says whether a topic of this kind takes such a batch.
fn check_batch(topic: &Topic, kind: TopicKind, batch: &Batch) -> Result<(), PortError> {
    let documents = if let Batch::Documents(documents) = batch { documents.as_slice() } else { &[] };
    if matches!(batch, Batch::Documents(_)) == (kind == TopicKind::Records) {
        let message = format!("topic `{topic}` holds `{kind:?}`, not what the batch is made of");
        return Err(PortError::new(ErrorKind::Rejected, message));
    }
    if let Some(document) = documents.iter().find(|document| document.key.len() > KEY_SIZE_MAX) {
        let message = format!("a document's key has `{}` bytes: at most {KEY_SIZE_MAX}", document.key.len());
        return Err(PortError::new(ErrorKind::Rejected, message));
    }
    Ok(())
}

//! Topics on Kafka: how they are made, what is expected of those that are there, how they are emptied.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ports::{ErrorKind, PortError, TopicKind};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication},
    config::RDKafkaLogLevel,
    types::RDKafkaErrorCode as Code,
};
use tokio::time::Instant;

use super::{
    client::Told,
    error::{blocking, from_code, from_kafka},
    settings::Settings,
};

/// How long is waited between two looks at a topic that is being made.
const PAUSE: Duration = Duration::from_millis(20);

/// Makes and changes topics.
pub(super) struct Topics {
    admin: Arc<AdminClient<Told>>,
    settings: Settings,
}

/// What a topic on Kafka is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub partitions: u32,
    replication: usize,
}

impl Topics {
    pub fn new(settings: &Settings) -> Result<Self, PortError> {
        let mut config: ClientConfig = settings.client();
        // Nobody reads what this client would tell; the others tell the same.
        config.set_log_level(RDKafkaLogLevel::Emerg);
        let admin = config.create_with_context(Told::default());
        let admin = admin.map_err(|error| from_kafka("making a client", error))?;
        Ok(Self { admin: Arc::new(admin), settings: settings.clone() })
    }

    fn options(&self) -> AdminOptions {
        let timeout = Some(self.settings.request_timeout);
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }

    /// What a topic is like; `None` where there is none.
    pub async fn find(&self, topic: &str) -> Result<Option<Found>, PortError> {
        self.find_within(topic, self.settings.request_timeout).await
    }

    /// The same where an answer may take only so long.
    pub async fn find_within(&self, topic: &str, timeout: Duration) -> Result<Option<Found>, PortError> {
        let doing = || format!("asking for topic `{topic}`");
        let (admin, name) = (Arc::clone(&self.admin), topic.to_owned());
        let metadata = blocking(&doing(), move || admin.inner().fetch_metadata(Some(&name), timeout)).await?;
        let Some(found) = metadata.topics().iter().find(|its| its.name() == topic) else { return Ok(None) };
        match found.error().map(Code::from) {
            None => {}
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(None),
            Some(code) => return Err(from_code(doing(), code)),
        }
        if found.partitions().is_empty() || found.partitions().iter().any(|partition| partition.leader() < 0) {
            return Err(PortError::new(ErrorKind::Unavailable, format!("topic `{topic}` has no leader")));
        }
        let replication = found.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
        Ok(Some(Found { partitions: found.partitions().len() as u32, replication }))
    }

    /// Makes a topic and waits until every partition has a leader; says whether it was there already.
    pub async fn create(&self, topic: &str, kind: TopicKind) -> Result<(bool, Found), PortError> {
        let configs = self.configs(kind);
        let replication = TopicReplication::Fixed(self.settings.replication.max(1) as i32);
        let mut new = NewTopic::new(topic, self.partitions(kind) as i32, replication);
        for (key, value) in &configs {
            new = new.set(key, value);
        }
        let doing = || format!("making topic `{topic}`");
        let made = self.admin.create_topics([&new], &self.options()).await;
        let existed = match made.map_err(|error| from_kafka(doing(), error))?.pop() {
            Some(Err((_, Code::TopicAlreadyExists))) => true,
            Some(Err((_, code))) => return Err(from_code(doing(), code)),
            _ => false,
        };
        let deadline = Instant::now() + self.settings.request_timeout;
        loop {
            match self.find(topic).await {
                Ok(Some(found)) => return Ok((existed, found)),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Ok(None) if Instant::now() >= deadline => return Err(from_code(doing(), Code::UnknownTopic)),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// How many partitions each topic has of which Kafka knows, by name.
    pub async fn partitions_of_all(&self) -> Result<HashMap<String, u32>, PortError> {
        let (admin, timeout) = (Arc::clone(&self.admin), self.settings.request_timeout);
        let asking = blocking("asking for all topics", move || admin.inner().fetch_metadata(None, timeout));
        let metadata = asking.await?;
        let found = metadata.topics().iter().filter(|topic| topic.error().is_none());
        Ok(found.map(|topic| (topic.name().to_owned(), topic.partitions().len() as u32)).collect())
    }

    /// Takes all records out of a topic.
    pub async fn empty(&self, topic: &str, partitions: u32) -> Result<(), PortError> {
        self.delete_records((0..partitions).map(|partition| (topic, partition, Offset::End))).await
    }

    /// Takes the records before an offset out of partitions of topics.
    pub async fn delete_records<'a>(
        &self,
        before: impl IntoIterator<Item = (&'a str, u32, Offset)>,
    ) -> Result<(), PortError> {
        let doing = "deleting records";
        let mut offsets = TopicPartitionList::new();
        for (topic, partition, offset) in before {
            let added = offsets.add_partition_offset(topic, partition as i32, offset);
            added.map_err(|error| from_kafka(doing, error))?;
        }
        if offsets.count() == 0 {
            return Ok(());
        }
        let deleted = self.admin.delete_records(&offsets, &self.options()).await;
        let deleted = deleted.map_err(|error| from_kafka(doing, error))?;
        for element in deleted.elements() {
            let doing = || format!("{doing} of topic `{}`", element.topic());
            element.error().map_err(|error| from_kafka(doing(), error))?;
        }
        Ok(())
    }

    /// Gives a topic the configuration of another kind, where it has not got its policy.
    pub async fn adapt(&self, topic: &str, kind: TopicKind) -> Result<(), PortError> {
        let wanted = self.configs(kind);
        let Some(policy) = self.config(topic).await?.remove("cleanup.policy") else { return Ok(()) };
        if wanted.iter().any(|(key, value)| *key == "cleanup.policy" && *value == policy) {
            return Ok(());
        }
        let doing = || format!("configuring topic `{topic}`");
        let mut config = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in &wanted {
            config = config.set(key, value);
        }
        let altered = self.admin.alter_configs([&config], &self.options()).await;
        match altered.map_err(|error| from_kafka(doing(), error))?.pop() {
            Some(Err((_, code))) => Err(from_code(doing(), code)),
            _ => Ok(()),
        }
    }

    /// The configuration of a topic.
    pub async fn config(&self, topic: &str) -> Result<HashMap<String, String>, PortError> {
        Ok(self.configs_of(&[topic]).await?.remove(topic).unwrap_or_default())
    }

    /// The configurations of topics, by name; of those that are not there there is none.
    pub async fn configs_of(&self, topics: &[&str]) -> Result<HashMap<String, HashMap<String, String>>, PortError> {
        let doing = || format!("asking for the configuration of {} topics", topics.len());
        let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let described = self.admin.describe_configs(&resources, &self.options()).await;
        let described = described.map_err(|error| from_kafka(doing(), error))?;
        let mut configs = HashMap::new();
        for (topic, described) in topics.iter().zip(described) {
            match described {
                Ok(ConfigResource { entries, .. }) => {
                    let values = entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
                    configs.insert((*topic).to_owned(), values.collect());
                }
                Err(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {}
                Err(code) => return Err(from_code(doing(), code)),
            }
        }
        Ok(configs)
    }

    /// Tells in what a topic that somebody else made differs from what the hub would have made of it.
    pub async fn differences(&self, topic: &str, kind: TopicKind, found: &Found) -> Result<Vec<String>, PortError> {
        let config = self.config(topic).await?;
        let mut differences = Vec::new();
        let partitions = self.partitions(kind);
        if found.partitions != partitions {
            differences.push(format!("it has {} partitions, not {partitions}", found.partitions));
        }
        if found.replication != self.settings.replication as usize {
            differences.push(format!("its replication is {}, not {}", found.replication, self.settings.replication));
        }
        for (key, wanted) in self.configs(kind) {
            let checked =
                ["cleanup.policy", "retention.ms", "retention.bytes", "message.timestamp.type"].contains(&key);
            let value = config.get(key).map_or("", String::as_str);
            if checked && value != wanted {
                differences.push(format!("its {key} is `{value}`, not `{wanted}`"));
            }
        }
        Ok(differences)
    }

    fn partitions(&self, kind: TopicKind) -> u32 {
        if kind == TopicKind::Records { self.settings.partitions.max(1) } else { 1 }
    }

    /// How topics of a kind are made. Kafka's own retention is off: the hub deletes what is old *and* read by every group.
    ///
    /// `delete` beside `compact` deletes nothing by itself; it allows to delete all records of a topic that is removed.
    fn configs(&self, kind: TopicKind) -> Vec<(&'static str, String)> {
        let (policy, segment) = match kind {
            TopicKind::Documents => ("compact,delete", Duration::from_secs(3_600)),
            TopicKind::Records | TopicKind::Notices => ("delete", Duration::from_secs(24 * 3_600)),
        };
        let in_sync = self.settings.replication.saturating_sub(1).max(1);
        vec![
            ("cleanup.policy", policy.to_owned()),
            ("retention.ms", "-1".to_owned()),
            ("retention.bytes", "-1".to_owned()),
            ("segment.ms", segment.as_millis().to_string()),
            ("message.timestamp.type", "CreateTime".to_owned()),
            ("message.timestamp.after.max.ms", i64::MAX.to_string()),
            ("min.insync.replicas", in_sync.to_string()),
        ]
    }
}

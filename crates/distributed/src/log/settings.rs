//! What the log on Kafka is set up with: where the brokers are, how topics are made, and the bounds.

use std::{fmt, path::PathBuf, time::Duration};

use rdkafka::ClientConfig;

/// What a log on Kafka is like.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses of brokers to start from: `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// What the name of each topic and group starts with, so that several hubs can share a cluster; empty, or letters, digits,
    /// `.`, `_` and `-`.
    pub prefix: String,
    /// Partitions of each topic of readings that the hub makes, at least 1.
    pub partitions: u32,
    /// Copies of each topic that the hub makes; with three or more, an append waits for all but one of them.
    pub replication: u32,
    /// How batches are compressed.
    pub compression: Compression,
    /// How long records are kept after they were accepted.
    pub retention: Duration,
    /// The most records that all topics of readings may hold together; beyond it, `append` answers `Full`.
    pub records_max: u64,
    /// The most records that may wait for their delivery reports.
    pub queue_records_max: usize,
    /// The most bytes that may wait for their delivery reports, with what the library keeps of each record.
    pub queue_size_max: usize,
    /// How long an append waits for its delivery reports before it answers `Unavailable`.
    pub delivery_timeout: Duration,
    /// How long anything else that is asked of a broker may take.
    pub request_timeout: Duration,
    /// How long a member of a group may be silent before its partitions go to the others, at least 6 s unless the brokers allow less.
    pub session_timeout: Duration,
    /// TLS, where the brokers want it.
    pub tls: Option<Tls>,
    /// Who the hub is, where the brokers want to know.
    pub sasl: Option<Sasl>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".to_owned(),
            prefix: String::new(),
            partitions: 3,
            replication: 1,
            compression: Compression::Lz4,
            retention: Duration::from_secs(7 * 24 * 3600),
            records_max: 1_000_000_000,
            queue_records_max: 500_000,
            queue_size_max: 128 << 20,
            delivery_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(15),
            tls: None,
            sasl: None,
        }
    }
}

/// How batches of records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: little work.
    Lz4,
    /// Zstandard: fewer bytes, more work.
    Zstd,
}

impl Compression {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// How connections are encrypted. Host names are always checked.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM file of the authorities to trust; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the hub's own certificate, where the brokers ask for one.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of its key, not encrypted.
    pub key_file: Option<PathBuf>,
}

/// Name and password by SASL.
#[derive(Debug, Clone)]
pub struct Sasl {
    /// How they are proven.
    pub mechanism: Mechanism,
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How a password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Sent as it is: only with TLS.
    Plain,
    /// Salted challenge and response over SHA-256.
    ScramSha256,
    /// The same over SHA-512.
    ScramSha512,
}

impl Mechanism {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Settings {
    /// What every client is configured with.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", "iot-hub")
            // A broker that comes back is noticed within a second, not within ten.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.timeout.ms", self.request_timeout.as_millis().clamp(1_000, 300_000).to_string())
            .set("socket.nagle.disable", "true")
            .set("allow.auto.create.topics", "false");
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            let files = [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.certificate_file),
                ("ssl.key.location", &tls.key_file),
            ];
            for (key, file) in files {
                if let Some(file) = file {
                    config.set(key, file.to_string_lossy());
                }
            }
        }
        if let Some(sasl) = &self.sasl {
            config.set("sasl.mechanisms", sasl.mechanism.as_str());
            config.set("sasl.username", &sasl.username).set("sasl.password", &sasl.password.0);
        }
        config
    }

    /// What the producer is configured with.
    ///
    /// Its own queue is without bound, because the bound is kept before a batch enters it, for the whole batch.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("compression.type", self.compression.as_str())
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "2097151")
            .set("delivery.timeout.ms", self.delivery_timeout.as_millis().max(1_000).to_string());
        config
    }

    /// What each consumer is configured with; it starts at the oldest record there is where it can't start where it should.
    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            // Per partition: what is fetched ahead of what is asked for.
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "8192");
        config
    }

    /// What a member of a group is configured with beyond that.
    pub(super) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(group);
        // The brokers drop a member that is silent for longer; a rebalance is noticed with the next heartbeat.
        let heartbeat = (self.session_timeout / 10).min(Duration::from_millis(500));
        config
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", heartbeat.as_millis().max(1).to_string());
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let sasl = Sasl {
            mechanism: Mechanism::ScramSha512,
            username: "hub".to_owned(),
            password: Secret::new("do-not-print"),
        };
        let settings = Settings { sasl: Some(sasl), tls: Some(Tls::default()), ..Settings::default() };
        assert!(!format!("{settings:?}").contains("do-not-print"));
        assert_eq!(settings.client().get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(settings.client().get("sasl.mechanisms"), Some("SCRAM-SHA-512"));
    }
}

//! The distributed stack: a process per service, on the Kafka and the Elasticsearch that all tests share, in topics and indices of the
//! hub's own.

use std::{path::Path, sync::Arc};

use distributed::log::{KafkaLog, Settings};
use domain::Topic;
use harness::Launch;
use ports::{Batch, Log, SystemClock};

/// The programs under test, the one with the REST API first.
pub const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_ingest-api"), env!("CARGO_BIN_EXE_qc-consumer")];
/// Whether a hub that is asked to stop first processes what it has accepted: others may do that.
pub const STOPS_DRAINED: bool = false;

/// How to start a hub; its name on the servers is that of the folder.
pub fn launch(folder: &Path) -> Launch {
    let (kafka, elasticsearch) = (servers::kafka(), servers::elasticsearch());
    on(folder, &kafka.bootstrap(), &elasticsearch.url())
}

/// How to start a hub on servers of the test's own.
pub fn on(folder: &Path, kafka: &str, elasticsearch: &str) -> Launch {
    with_servers(Launch::distributed(&PROGRAMS, folder), folder, kafka, elasticsearch)
}

/// Programs of the hub whose folder this is, on its servers.
pub fn with_servers(launch: Launch, folder: &Path, kafka: &str, elasticsearch: &str) -> Launch {
    launch
        .key("KAFKA__BOOTSTRAP_SERVERS", kafka)
        .key("KAFKA__PREFIX", &prefix(folder))
        .key("KAFKA__PARTITIONS", "2")
        .key("ELASTICSEARCH__URLS", elasticsearch)
        .key("ELASTICSEARCH__INDEX_PREFIX", &prefix(folder))
        .key("ELASTICSEARCH__INDEX_PERIOD", "decade")
        .key("ELASTICSEARCH__REPLICAS", "0")
}

/// A name that no other hub has on the servers.
pub fn prefix(folder: &Path) -> String {
    let name = folder.file_name().expect("a folder has a name").to_string_lossy();
    let hexadecimal: String = name.bytes().map(|byte| format!("{byte:x}")).collect();
    format!("{hexadecimal}-{:x}-", std::process::id())
}

/// Appends records to the log of a hub that is stopped, behind the back of its REST API.
pub async fn append(folder: &Path, topic: &Topic, batch: Batch) {
    let settings =
        Settings { bootstrap_servers: servers::kafka().bootstrap(), prefix: prefix(folder), ..Settings::default() };
    let log = KafkaLog::open(settings, Arc::new(SystemClock)).await.expect("Kafka is there");
    log.append(topic, batch).await.expect("the log takes it");
    log.close().await.expect("all is sent");
}

/// Looks for faults in what a hub that is stopped has left: the servers look after themselves.
pub fn verify(_: &Path) {}

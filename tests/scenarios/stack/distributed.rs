//! The distributed stack: a process per service, on the Kafka and the Elasticsearch that all tests share, in topics and indices of the
//! hub's own.

use std::{path::Path, sync::Arc, time::Duration};

use distributed::{
    findings::ElasticFindings,
    log::{KafkaLog, Settings},
    store,
};
use domain::Topic;
use harness::{Hub, Launch};
use ports::{Batch, Findings, Log, SystemClock};

/// The programs under test, the one with the REST API first.
pub const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_ingest-api"), env!("CARGO_BIN_EXE_qc-consumer")];
/// The program that looks for anomalies.
pub const AD_JOBS: &str = env!("CARGO_BIN_EXE_ad-jobs");
/// All of them, two of which share the work of looking for anomalies.
const PROGRAMS_DETECTING: [&str; 4] = [PROGRAMS[0], PROGRAMS[1], AD_JOBS, AD_JOBS];
/// Whether a hub that is asked to stop first processes what it has accepted: others may do that.
pub const STOPS_DRAINED: bool = false;

/// How long a killed process is left alone.
const LEASE: Duration = Duration::from_secs(3);

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

/// How to start a hub that looks for anomalies.
pub fn launch_detecting(folder: &Path) -> Launch {
    let (kafka, elasticsearch) = (servers::kafka().bootstrap(), servers::elasticsearch().url());
    with_servers(Launch::distributed(&PROGRAMS_DETECTING, folder), folder, &kafka, &elasticsearch)
}

/// Kills one of the processes that look for anomalies, and starts it again when its lease is over: the other has taken over.
pub async fn kill_detection(hub: &mut Hub) {
    hub.kill_program("ad-jobs");
    harness::a_moment(LEASE).await;
    hub.restart_program("ad-jobs").await;
}

/// Kills it in the same way, and looks at what it has left before it is started again.
pub async fn kill_detection_and_look<T>(hub: &mut Hub, look: impl AsyncFnOnce(&dyn Log, &dyn Findings) -> T) -> T {
    hub.kill_program("ad-jobs");
    let seen = self::look(hub, look).await;
    harness::a_moment(LEASE).await;
    hub.restart_program("ad-jobs").await;
    seen
}

/// Looks at what a hub has.
pub async fn look<T>(hub: &mut Hub, look: impl AsyncFnOnce(&dyn Log, &dyn Findings) -> T) -> T {
    let folder = hub.data();
    let settings = store::Settings {
        urls: vec![servers::elasticsearch().url()],
        index_prefix: prefix(folder),
        ..store::Settings::default()
    };
    let findings = ElasticFindings::new(&settings).expect("settings that make sense");
    let log = open_log(folder).await;
    let seen = look(&log, &findings).await;
    log.close().await.expect("all is sent");
    seen
}

/// Appends records to the log of a hub that is stopped, behind the back of its REST API.
pub async fn append(folder: &Path, topic: &Topic, batch: Batch) {
    let log = open_log(folder).await;
    log.append(topic, batch).await.expect("the log takes it");
    log.close().await.expect("all is sent");
}

async fn open_log(folder: &Path) -> KafkaLog {
    let settings =
        Settings { bootstrap_servers: servers::kafka().bootstrap(), prefix: prefix(folder), ..Settings::default() };
    KafkaLog::open(settings, Arc::new(SystemClock)).await.expect("Kafka is there")
}

/// Looks for faults in what a hub that is stopped has left: the servers look after themselves.
pub fn verify(_: &Path) {}

//! The contracts of the log on a real Kafka, with one partition and with three.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use distributed::log::{KafkaLog, Settings};
use ports::{
    Log, ManualClock, Store,
    contracts::{self, Backend, Ending},
};

/// A name that no other test has, on whatever server it runs.
fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock behind 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("c{:x}-{:x}-{count}.", std::process::id(), since.as_micros())
}

/// A log on Kafka under a prefix of its own; topics of readings have `PARTITIONS` partitions.
struct Kafka<const PARTITIONS: u32> {
    clock: Arc<ManualClock>,
    settings: Settings,
    log: Option<Arc<KafkaLog>>,
}

impl<const PARTITIONS: u32> Kafka<PARTITIONS> {
    async fn open(&mut self) {
        let log = KafkaLog::open(self.settings.clone(), Arc::clone(&self.clock) as _).await;
        self.log = Some(Arc::new(log.expect("the log opens")));
    }

    fn opened(&self) -> &Arc<KafkaLog> {
        self.log.as_ref().expect("it is open")
    }
}

#[async_trait]
impl<const PARTITIONS: u32> Backend for Kafka<PARTITIONS> {
    async fn start(settings: contracts::Settings) -> Self {
        let settings = Settings {
            bootstrap_servers: servers::kafka().bootstrap(),
            prefix: unique(),
            partitions: PARTITIONS,
            retention: settings.retention,
            records_max: if settings.small { 20_000 } else { 10_000_000 },
            session_timeout: Duration::from_secs(6),
            ..Settings::default()
        };
        let mut backend = Self { clock: Arc::default(), settings, log: None };
        backend.open().await;
        backend
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::clone(self.opened()) as _
    }

    fn store(&self) -> Arc<dyn Store> {
        unreachable!("the contracts of the log have no store")
    }

    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    async fn reopen(&mut self, ending: Ending) {
        let log = self.log.take().expect("it is open");
        // The contracts have dropped their members, in whose place a real kill would wait for the session to end.
        log.left().await;
        if ending == Ending::Closed {
            log.close().await.expect("it closes");
        }
        drop(log);
        self.open().await;
    }

    async fn maintain(&self) {
        self.opened().apply_retention().await.expect("the log is open");
    }
}

mod log_of_one_partition {
    ports::log_contracts!(super::Kafka<1>);
}

mod log_of_three_partitions {
    ports::log_contracts!(super::Kafka<3>);
}

//! The contracts of the ports on the log and the store in memory, with one partition and with four.

use std::sync::Arc;

use async_trait::async_trait;
use ports::{
    Findings, Log, ManualClock, Store,
    contracts::{Backend, Ending, Settings, findings::FindingsBackend},
    memory::{LogSettings, MemoryFindings, MemoryLog, MemoryStore},
};

/// The log and the store in memory; topics of readings have `PARTITIONS` partitions.
struct Memory<const PARTITIONS: u32> {
    clock: Arc<ManualClock>,
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
}

#[async_trait]
impl<const PARTITIONS: u32> Backend for Memory<PARTITIONS> {
    async fn start(settings: Settings) -> Self {
        let clock = Arc::new(ManualClock::default());
        let records_max = if settings.small { 20_000 } else { usize::MAX };
        let settings = LogSettings { partitions: PARTITIONS, retention: settings.retention, records_max };
        let log = Arc::new(MemoryLog::new(clock.clone(), settings));
        Self { clock, log, store: Arc::new(MemoryStore::new()) }
    }

    fn log(&self) -> Arc<dyn Log> {
        self.log.clone()
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    async fn reopen(&mut self, _: Ending) {}
}

mod log_of_one_partition {
    ports::log_contracts!(super::Memory<1>);
}

mod log_of_four_partitions {
    ports::log_contracts!(super::Memory<4>);
}

mod store {
    ports::store_contracts!(super::Memory<1>);
}

mod store_beside_a_log_of_four_partitions {
    ports::contract_tests!(super::Memory<4>, store: a_commit_never_outlives_the_writes_before_it);
}

/// The findings in memory.
struct Remembered(MemoryFindings);

#[async_trait]
impl FindingsBackend for Remembered {
    async fn start() -> Self {
        Self(MemoryFindings::new())
    }

    fn findings(&self) -> Arc<dyn Findings> {
        Arc::new(self.0.clone())
    }

    async fn reopen(&mut self, _: Ending) {}
}

mod findings {
    ports::findings_contracts!(super::Remembered);
}

//! The contracts of the store on a real Elasticsearch, beside the log in memory.

use std::sync::Arc;

use async_trait::async_trait;
use distributed::store::ElasticStore;
use ports::{
    Log, ManualClock, Store,
    contracts::{Backend, Ending, Settings},
    memory::{LogSettings, MemoryLog},
};

use crate::place::Place;

struct Elastic {
    place: Place,
    clock: Arc<ManualClock>,
    log: Arc<MemoryLog>,
    store: Arc<ElasticStore>,
}

fn open(place: &Place) -> Arc<ElasticStore> {
    Arc::new(ElasticStore::new(place.settings()).expect("settings that make sense"))
}

#[async_trait]
impl Backend for Elastic {
    async fn start(settings: Settings) -> Self {
        let clock = Arc::new(ManualClock::default());
        let settings = LogSettings { partitions: 1, retention: settings.retention, records_max: usize::MAX };
        let log = Arc::new(MemoryLog::new(clock.clone(), settings));
        let place = Place::new();
        let store = open(&place);
        Self { place, clock, log, store }
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

    /// What is known of Elasticsearch in memory is forgotten; there is nothing to close.
    async fn reopen(&mut self, _: Ending) {
        self.store = open(&self.place);
    }

    async fn disturb(&mut self, step: u64) {
        if step % 100 == 99 {
            self.reopen(Ending::Killed).await;
        }
    }
}

ports::store_contracts!(Elastic);

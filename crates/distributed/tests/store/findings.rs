//! The contracts of the findings on a real Elasticsearch.

use std::sync::Arc;

use async_trait::async_trait;
use distributed::findings::ElasticFindings;
use ports::{
    Findings,
    contracts::{Ending, findings::FindingsBackend},
};

use crate::place::Place;

struct Elastic {
    place: Place,
    findings: Arc<ElasticFindings>,
}

fn open(place: &Place) -> Arc<ElasticFindings> {
    Arc::new(ElasticFindings::new(&place.settings()).expect("settings that make sense"))
}

#[async_trait]
impl FindingsBackend for Elastic {
    async fn start() -> Self {
        let place = Place::new();
        let findings = open(&place);
        Self { place, findings }
    }

    fn findings(&self) -> Arc<dyn Findings> {
        self.findings.clone()
    }

    /// What is known of Elasticsearch in memory is forgotten; there is nothing to close.
    async fn reopen(&mut self, _: Ending) {
        self.findings = open(&self.place);
    }
}

ports::findings_contracts!(Elastic);

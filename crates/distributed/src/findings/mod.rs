//! The findings on Elasticsearch: anomalies, runs and shares, each in an index of its own, a document for each.
//!
//! **Invariant:** the id of a document follows from what it is of: a finding is in one place alone, whoever records it and how often.

mod anomalies;
mod collection;
mod removal;
mod runs;
mod shares;

use async_trait::async_trait;
use domain::{Anomaly, Run, RunId};
use ports::{
    AnomalyQuery, Claim, Done, Findings, Lease, PortError, Recorded, Removal, RemovalPlace, Removed, RunQuery,
};

use self::collection::Collection;
use crate::store::{Settings, client::Client};

/// The findings on Elasticsearch.
#[derive(Debug)]
pub struct ElasticFindings {
    anomalies: Collection,
    runs: Collection,
    shares: Collection,
}

impl ElasticFindings {
    /// Findings on the servers that the settings of the store name. Asks them nothing yet: they may come up later.
    ///
    /// # Errors
    /// `Rejected` for settings that make no sense.
    pub fn new(settings: &Settings) -> Result<Self, PortError> {
        let client = Client::new(settings)?;
        let collection = |name: &str, mappings: &'static str| Collection::new(client.clone(), settings, name, mappings);
        Ok(Self {
            anomalies: collection("anomalies", include_str!("anomalies.json")),
            runs: collection("detection-runs", include_str!("runs.json")),
            shares: collection("detection-shares", include_str!("shares.json")),
        })
    }
}

#[async_trait]
impl Findings for ElasticFindings {
    async fn record(&self, anomalies: &[Anomaly]) -> Result<Vec<Recorded>, PortError> {
        anomalies::record(&self.anomalies, anomalies).await
    }

    async fn anomalies(&self, query: &AnomalyQuery) -> Result<Vec<Anomaly>, PortError> {
        anomalies::find(&self.anomalies, query).await
    }

    async fn put_run(&self, run: &Run) -> Result<(), PortError> {
        runs::put(&self.runs, run).await
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>, PortError> {
        runs::get(&self.runs, id).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, PortError> {
        runs::find(&self.runs, query).await
    }

    async fn cancel_run(&self, id: &RunId) -> Result<(), PortError> {
        runs::cancel(&self.runs, id).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Option<Lease>, PortError> {
        shares::claim(&self.shares, claim).await
    }

    async fn complete(&self, lease: &Lease, done: Done) -> Result<(), PortError> {
        shares::complete(&self.shares, lease, done).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), PortError> {
        shares::release(&self.shares, lease).await
    }

    async fn remove(
        &self,
        removal: &Removal,
        _: Option<&RemovalPlace>,
        looked_at_max: usize,
    ) -> Result<Removed, PortError> {
        removal::part(self, removal, looked_at_max.max(1)).await
    }
}

//! The store on Elasticsearch: a document per row, an index per sensor type and period, behind an alias per type.
//!
//! **Invariant:** the id of a document follows from its identity, and its index from its phenomenon time: a row is in one place alone, and
//! whoever writes it finds it there.
//!
//! Only what the core of Elasticsearch 9 has is used: bulk, get, search in points in time, aggregations, index templates and aliases.
//! OpenSearch opens points in time by other requests and is refused when it is met.

mod batch;
mod buckets;
pub(crate) mod bulk;
pub(crate) mod client;
mod document;
mod health;
mod hits;
mod period;
mod remove;
mod revise;
mod scan;
pub(crate) mod search;
mod sensors;
mod settings;
mod statistics;
mod types;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Deletion, Judged, Position, Sensor, SensorType, SensorTypeId, Timestamp};
use ports::{
    Bucket, BucketQuery, ErrorKind, Judge, Outcome, PortError, ReadingQuery, Revisions, Scan, SensorQuery,
    SensorSummary, Store,
};

use self::{
    client::Client, health::Health, remove::Remover, revise::Reviser, scan::ElasticScan, search::Refresher,
    sensors::Sensors, types::Types, write::Writer,
};
pub use self::{
    period::Period,
    settings::{Access, Secret, Settings},
};

/// The store on Elasticsearch.
#[derive(Debug)]
pub struct ElasticStore {
    client: Client,
    settings: Settings,
    types: Arc<Types>,
    writer: Writer,
    refresher: Refresher,
    sensors: Sensors,
    health: Health,
}

impl ElasticStore {
    /// A store on the servers that the settings name. Asks them nothing yet: they may come up later.
    ///
    /// # Errors
    /// `Rejected` for settings that make no sense.
    pub fn new(settings: Settings) -> Result<Self, PortError> {
        let client = Client::new(&settings)?;
        let types = Arc::new(Types::new(client.clone(), settings.clone()));
        let writer = Writer::new(client.clone(), Arc::clone(&types), &settings);
        let health = Health::new(client.clone(), types.pattern_of_all());
        let sensors = Sensors::new(client.clone(), &settings);
        Ok(Self { client, settings, types, writer, refresher: Refresher::default(), sensors, health })
    }

    /// Writes the sensors that differ from what this process has written, for other programs to look at; answers how many did.
    ///
    /// # Errors
    /// `Unavailable`, `DiskFull`, `Rejected` where somebody has made the index otherwise.
    pub async fn show_sensors(&self, sensors: &[Arc<Sensor>]) -> Result<usize, PortError> {
        self.sensors.show(sensors).await
    }

    /// Says whether the servers may have enough more shards for the indices that come next.
    ///
    /// # Errors
    /// `Full`, with how many there are and may be; `Unavailable`.
    pub async fn check_shards(&self) -> Result<(), PortError> {
        self.health.check_shards().await
    }

    /// A type as it is now, with all that was written to it visible.
    async fn fresh(&self, sensor_type: &SensorTypeId) -> Result<Arc<types::Known>, PortError> {
        let known = self.types.fresh(sensor_type).await?;
        self.refresher.refresh(&self.client, &known.pattern()).await?;
        Ok(known)
    }

    fn remover(&self) -> Remover<'_> {
        Remover { client: &self.client, types: &self.types, refresher: &self.refresher }
    }
}

#[async_trait]
impl Store for ElasticStore {
    async fn prepare(&self, sensor_type: &SensorType) -> Result<(), PortError> {
        self.health.check_product().await?;
        self.types.prepare(sensor_type).await
    }

    async fn write(
        &self,
        sensor_type: &SensorTypeId,
        judged: &Judged,
        judge: &dyn Judge,
    ) -> Result<Vec<Outcome>, PortError> {
        let mut known = self.types.seen(sensor_type).await?;
        if judged.rows.width() > known.width() {
            known = self.types.fresh(sensor_type).await?;
        }
        check_width(&known, judged.rows.width())?;
        self.writer.write(&known, judged, judge).await
    }

    async fn revise(&self, sensor_type: &SensorTypeId, revisions: &Revisions) -> Result<u64, PortError> {
        // Documents that another process has widened are read and written as wide as they are.
        let known = self.types.fresh(sensor_type).await?;
        check_width(&known, revisions.width)?;
        Reviser { client: &self.client, settings: &self.settings }.revise(&known, revisions).await
    }

    async fn delete(
        &self,
        sensor_type: &SensorTypeId,
        deletion: &Deletion,
        position: Position,
    ) -> Result<u64, PortError> {
        let known = self.types.fresh(sensor_type).await?;
        self.remover().delete(&known, deletion, position).await
    }

    async fn scan(&self, sensor_type: &SensorTypeId, query: &ReadingQuery) -> Result<Box<dyn Scan>, PortError> {
        let known = self.fresh(sensor_type).await?;
        Ok(Box::new(ElasticScan::open(&self.client, known, query, &self.settings)))
    }

    async fn latest(&self, sensor_type: &SensorTypeId, query: &SensorQuery) -> Result<Judged, PortError> {
        let known = self.fresh(sensor_type).await?;
        statistics::latest(&self.client, &known, (query, &self.settings)).await
    }

    async fn summaries(
        &self,
        sensor_type: &SensorTypeId,
        query: &SensorQuery,
    ) -> Result<Vec<SensorSummary>, PortError> {
        let known = self.fresh(sensor_type).await?;
        statistics::summaries(&self.client, &known, query).await
    }

    async fn buckets(&self, sensor_type: &SensorTypeId, query: &BucketQuery) -> Result<Vec<Bucket>, PortError> {
        let known = self.fresh(sensor_type).await?;
        let properties = known.documents.properties();
        let property = properties.iter().position(|id| *id == query.property);
        let property = property.ok_or_else(|| statistics::no_property(&known, &query.property))?;
        buckets::buckets(&self.client, &known, &self.settings, query, property).await
    }

    async fn expire(&self, sensor_type: &SensorTypeId, before: Timestamp) -> Result<u64, PortError> {
        let known = self.types.fresh(sensor_type).await?;
        self.remover().expire(&known, before).await
    }

    async fn remove(&self, sensor_type: &SensorTypeId) -> Result<(), PortError> {
        let pattern = self.types.remove(sensor_type).await?;
        self.refresher.forget(&pattern);
        Ok(())
    }

    async fn ready(&self) -> Result<(), PortError> {
        self.health.check().await
    }
}

/// Refuses rows wider than their type.
fn check_width(known: &types::Known, width: usize) -> Result<(), PortError> {
    if width <= known.width() {
        return Ok(());
    }
    let message = format!("sensor type `{}` is not prepared for `{width}` values", known.id);
    Err(PortError::new(ErrorKind::NotFound, message))
}

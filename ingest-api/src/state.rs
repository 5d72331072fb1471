//! What every handler works with: the ports, the settings and the bound on bodies in flight.

use std::sync::Arc;

use ports::{Clock, Log, Store};
use registry::Registry;

use crate::Config;

/// The ports the service works through.
#[derive(Clone)]
pub struct Ports {
    /// Where readings go.
    pub log: Arc<dyn Log>,
    /// Where judged readings come from.
    pub store: Arc<dyn Store>,
    /// Sensor types and sensors.
    pub registry: Registry,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// What `GET /metrics` shows.
    pub metrics: prometheus::Registry,
}

/// State of the service, shared by all its threads as `web::Data<App>`.
pub struct App {
    /// The ports.
    pub ports: Ports,
    /// The settings.
    pub config: Config,
}

//! What every handler works with: the ports, the settings and the bound on bodies in flight.

use std::sync::Arc;

use domain::{Sensor, SensorType};
use ports::{Clock, Findings, Log, Store};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};
use registry::{FirstReadingRefusal, Registry};
use tokio::sync::RwLock;

use crate::{Code, Config, Problem, hosts::Hosts, input::in_flight::InFlight, replays::Room};

/// The ports the service works through.
#[derive(Clone)]
pub struct Ports {
    /// Where readings go.
    pub log: Arc<dyn Log>,
    /// Where judged readings come from.
    pub store: Arc<dyn Store>,
    /// Anomalies, and the runs that find them.
    pub findings: Arc<dyn Findings>,
    /// Sensor types and sensors.
    pub registry: Registry,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// What `GET /metrics` shows.
    pub metrics: prometheus::Registry,
}

/// Metric: seconds from a request's head to its answer's head, by method, route and status.
pub const REQUEST_DURATION: &str = "iot_hub_http_request_duration_seconds";
/// Metric: sensors whose first reading was posted, by outcome: `registered`, `too-fast`, `too-many`, `other-type`.
pub const FIRST_READINGS: &str = "iot_hub_first_reading_sensors_total";
/// Upper bounds of its buckets, in seconds.
const REQUEST_DURATION_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// The most known sensor types that a problem lists.
const KNOWN_TYPES_MAX: usize = 100;

/// State of the service, shared by all its threads as `web::Data<App>`.
pub struct App {
    /// The ports.
    pub ports: Ports,
    /// The settings.
    pub config: Config,
    /// The bound on bodies in flight.
    pub in_flight: Arc<InFlight>,
    /// The hosts it answers for.
    pub(crate) hosts: Hosts,
    /// How long requests took.
    pub(crate) requests: HistogramVec,
    /// What became of sensors whose first reading was posted.
    first_readings: IntCounterVec,
    /// Held for reading from the look at a sensor type to the append, for writing while a type is removed: so that nothing is
    /// accepted for a type that goes.
    pub(crate) types_in_use: RwLock<()>,
    /// Room for replays.
    pub(crate) replays: Room,
}

impl App {
    /// Makes the state and registers the metrics of the service.
    ///
    /// # Errors
    /// Where `ports.metrics` has metrics of these names already.
    pub fn new(ports: Ports, config: Config) -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::new(REQUEST_DURATION, "Seconds from a request's head to its answer's head.")
            .buckets(REQUEST_DURATION_BUCKETS.to_vec());
        let requests = HistogramVec::new(options, &["method", "route", "status"])?;
        ports.metrics.register(Box::new(requests.clone()))?;
        let options = Opts::new(FIRST_READINGS, "Sensors whose first reading was posted, by outcome.");
        let first_readings = IntCounterVec::new(options, &["outcome"])?;
        ports.metrics.register(Box::new(first_readings.clone()))?;
        let in_flight = InFlight::new(config.in_flight_size_max);
        let hosts = Hosts::new(config.listen.ip(), config.hosts.clone());
        let (types_in_use, replays) = (RwLock::new(()), Room::default());
        Ok(Self { ports, config, in_flight, hosts, requests, first_readings, types_in_use, replays })
    }

    /// Counts what became of sensors whose first reading was posted.
    pub(crate) fn count_first_readings(&self, answers: &[Result<Arc<Sensor>, FirstReadingRefusal>]) {
        for answer in answers {
            let outcome = match answer {
                Ok(_) => "registered",
                Err(FirstReadingRefusal::TooFast { .. }) => "too-fast",
                Err(FirstReadingRefusal::TooManySensors { .. }) => "too-many",
                Err(FirstReadingRefusal::BoundToOtherType { .. }) => "other-type",
            };
            self.first_readings.with_label_values(&[outcome]).inc();
        }
    }

    /// The newest version of a sensor type.
    ///
    /// # Errors
    /// 404 where there is none, listing those there are.
    pub fn sensor_type(&self, id: &str) -> Result<Arc<SensorType>, Problem> {
        self.ports.registry.sensor_type(id).ok_or_else(|| {
            let types = self.ports.registry.sensor_types();
            let known: Vec<&str> = types.iter().map(|known| known.id.as_str()).take(KNOWN_TYPES_MAX).collect();
            let problem = Problem::not_found("sensor type", id);
            let detail = format!("{}; `GET /v1/sensor-types` lists those there are", problem.detail());
            Problem::new(Code::NotFound, detail).with("known", known)
        })
    }
}

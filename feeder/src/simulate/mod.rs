//! Simulates sensors: history as fast as possible, then readings as they come, through a hub's REST API.
//!
//! Sensors are shared out to connections; each connection is a task with one post in flight, so that no more than
//! `connections` batches are held at any time.

mod faults;
mod generator;
mod load;
mod metrics;
mod number;
mod progress;
mod report;
mod schedule;
mod simulation;

use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio::sync::watch;

pub use self::faults::{FaultCounts, Faults};
pub use self::generator::{Moment, Plan, Shard};
pub use self::report::{Freshness, Latency, Queryable, Report, Settings, StepSettings};

use self::schedule::Schedule;
use self::simulation::Simulation;
use crate::http::Endpoint;
use crate::hub::Hub;
use crate::sensor_type::{SensorType, check_id};
use crate::stop::Stop;

/// The most readings in one post.
pub const BATCH_MAX: usize = 100_000;
/// The most connections.
pub const CONNECTIONS_MAX: usize = 10_000;

/// What to simulate, and how. At least one of `backfill` and `live` must be given; with both, `live` follows `backfill`.
#[derive(Debug, Clone)]
pub struct Options {
    /// The hub's URL.
    pub hub: String,
    /// The type of the sensors, which the hub must know.
    pub sensor_type: String,
    /// How many sensors.
    pub sensors: u32,
    /// What their ids begin with; a number from 1 follows. An id belongs to one type in the whole hub.
    pub sensor_prefix: String,
    /// What to post as fast as possible.
    pub backfill: Option<Backfill>,
    /// What to post when due.
    pub live: Option<Live>,
    /// Readings per post, 1 to [`BATCH_MAX`].
    pub batch: usize,
    /// Connections, 1 to [`CONNECTIONS_MAX`]; no more are used than there are sensors.
    pub connections: usize,
    /// Where chance begins.
    pub seed: u64,
    /// How likely each kind of fault is.
    pub faults: Faults,
    /// Registers the sensors first.
    pub registration: Option<Registration>,
    /// How long the hub may be out of reach or busy before the run ends with an error.
    pub give_up_after: Duration,
    /// How long to wait at the end until everything is queryable; zero does not ask.
    pub settle_timeout: Duration,
    /// Whether to show nothing on standard error.
    pub quiet: bool,
    /// Becomes true when the hub has accepted the backfill, before the first live reading.
    pub backfilled: Option<watch::Sender<bool>>,
    /// Ends the run early.
    pub stop: Stop,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hub: "http://127.0.0.1:8080".to_owned(),
            sensor_type: "emb".to_owned(),
            sensors: 1,
            sensor_prefix: "emb-sim".to_owned(),
            backfill: None,
            live: None,
            batch: 500,
            connections: 8,
            seed: 1,
            faults: Faults::default(),
            registration: None,
            give_up_after: Duration::from_secs(60),
            settle_timeout: Duration::from_secs(60),
            quiet: false,
            backfilled: None,
            stop: Stop::default(),
        }
    }
}

/// A range of phenomenon times, to be posted as fast as possible.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backfill {
    /// The first one; none is 2020-01-01T00:00:00Z, or `span` before now where that is earlier.
    pub start: Option<Timestamp>,
    /// How much time; it must end before now.
    pub span: Duration,
    /// How far apart readings of a sensor are; none is the type's sampling interval.
    pub interval: Option<Duration>,
}

/// Readings to be posted as time goes by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    /// The first phenomenon time; none is the real time.
    pub start: Option<Timestamp>,
    /// How far apart readings of a sensor are, in phenomenon time and on the clock; none is the type's sampling interval.
    pub every: Option<Duration>,
    /// How long; none is until stopped.
    pub duration: Option<Duration>,
}

/// How sensors are registered. Their names are their type's with their number.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The group of all of them.
    pub group: String,
    /// The middle of their places, in degrees north.
    pub latitude: f64,
    /// The middle of their places, in degrees east.
    pub longitude: f64,
    /// How far from the middle they may be in either direction.
    pub spread_degrees: f64,
}

impl Default for Registration {
    fn default() -> Self {
        Self { group: "simulated".to_owned(), latitude: 53.8, longitude: -2.9, spread_degrees: 0.2 }
    }
}

impl Options {
    fn validate(&self) -> anyhow::Result<()> {
        check_id("type", &self.sensor_type)?;
        check_id("sensor prefix", &format!("{}{}", self.sensor_prefix, self.sensors))?;
        if self.sensors == 0 {
            bail!("sensors: `0` is not at least 1");
        }
        if !(1..=BATCH_MAX).contains(&self.batch) {
            bail!("batch: `{}` is not from 1 to {BATCH_MAX}", self.batch);
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            bail!("connections: `{}` is not from 1 to {CONNECTIONS_MAX}", self.connections);
        }
        Ok(())
    }
}

/// Runs a simulation to its end, or until stopped.
///
/// # Errors
///
/// When an option makes no sense, the hub does not know the type, refuses a post as a whole, or stays out of reach.
pub async fn run(options: Options) -> anyhow::Result<Report> {
    options.validate()?;
    let endpoint = Endpoint::parse(&options.hub)?;
    let mut hub = Hub::new(endpoint.clone(), options.give_up_after, options.stop.clone())?;
    let found = SensorType::fetch(&mut hub, &options.sensor_type).await?;
    if options.stop.requested() {
        return Ok(Report::of_nothing(&options));
    }
    let sensor_type =
        found.with_context(|| format!("type: the hub {endpoint} has no sensor type `{}`", options.sensor_type))?;
    let schedule = Schedule::new((options.backfill.as_ref(), options.live.as_ref()), &sensor_type, Timestamp::now())?;
    let mut simulation = Simulation::new(options, schedule, &sensor_type, endpoint).await?;
    simulation.register(&sensor_type).await?;
    simulation.run().await
}

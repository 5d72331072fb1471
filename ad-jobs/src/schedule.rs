//! The scheduled job: every window of acceptance times of every share of every sensor type is scanned once, in order.
//!
//! Several processes run it side by side: a share is worked on by who has its lease, and how far it is done is kept with it. What a
//! process that died had under way is taken over when its lease has run out.
//!
//! **Invariant:** a share is done up to a time only after all before it was scanned and recorded; a window is scanned only after
//! quality control has stored everything that was accepted in it.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{Partition, Position, RunState, SensorType, SensorTypeId, Timestamp, Topic, TypeVersion};
use ports::{Claim, Clock, ErrorKind, Findings, Lease, Log, PortError, Store, TimeRange};
use registry::Registry;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    Status,
    judge::Settings,
    metrics::Metrics,
    window::{self, Bounds, Share, Task},
};

/// Time between two looks whether quality control has stored what a window waits for.
const STORED_EVERY: Duration = Duration::from_secs(2);
/// Time between two looks whether anything of a sensor type was accepted.
const UNUSED_EVERY: Duration = Duration::from_secs(1);
/// How long giving a share back may take when the job stops; then its lease runs out by itself.
const RELEASE_WAIT_MAX: Duration = Duration::from_secs(1);

/// What the job works on.
#[derive(Clone)]
pub struct Ports {
    /// Where readings came from, which tells whether all of them are stored, and where anomalies are published.
    pub log: Arc<dyn Log>,
    /// Where they are.
    pub store: Arc<dyn Store>,
    /// Where anomalies, runs and leases go.
    pub findings: Arc<dyn Findings>,
    /// The sensor types.
    pub registry: Registry,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// How the job works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Width of a window where the sensor type does not say; windows are aligned to the epoch.
    pub every: Duration,
    /// How long after its end a window is scanned, at least: as long as an append may be under way, and as clocks may differ.
    pub grace: Duration,
    /// Into how many shares the sensors of a type are divided. With another number they begin anew.
    pub shares: u32,
    /// How long a process that gives no sign is waited for; one at work gives a sign three times as often.
    pub lease: Duration,
    /// Time between two looks at what is due.
    pub poll: Duration,
    /// The group of the log that stores readings.
    pub stored_by: String,
    /// Name of this process, which no other has.
    pub owner: String,
    /// How much a scan takes on.
    pub bounds: Bounds,
    /// How values are judged.
    pub settings: Settings,
    /// Tells whoever keeps a clone what keeps detection from going on.
    pub status: Status,
}

impl Config {
    /// A quarter of an hour, as in the paper; `owner` is a name that no other process has, `stored_by` the group that stores readings.
    pub fn new(owner: impl Into<String>, stored_by: impl Into<String>) -> Self {
        Self {
            every: Duration::from_secs(15 * 60),
            grace: Duration::from_secs(45),
            shares: 1,
            lease: Duration::from_secs(60),
            poll: Duration::from_secs(1),
            stored_by: stored_by.into(),
            owner: owner.into(),
            bounds: Bounds::default(),
            settings: Settings::default(),
            status: Status::default(),
        }
    }

    /// Width of the windows of a sensor type.
    fn every(&self, sensor_type: &SensorType) -> Duration {
        sensor_type.definition.detection.every.unwrap_or(self.every)
    }
}

/// The window that starts at a time, up to the next multiple of a window's width.
fn window(from: Timestamp, every: Duration) -> TimeRange {
    let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1);
    let start = from.as_micros() - from.as_micros().rem_euclid(every);
    TimeRange { from, to: Timestamp::from_micros(start.saturating_add(every)) }
}

/// Why detection ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port answered what no retry mends.
    #[error("detection can't go on: {0}")]
    Port(#[from] PortError),
    /// The metrics are registered already.
    #[error("the metrics of detection can't be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Runs the job until the stop signal. A window that is under way then is left, and scanned again by whoever has its share next.
///
/// # Errors
/// What no retry mends; while a port is merely away, it is tried again.
pub async fn run(ports: Ports, config: Config, metrics: Metrics, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
    let (poll, status) = (config.poll, config.status.clone());
    let mut schedule = Schedule::new(ports, config, metrics);
    loop {
        match schedule.round(&stop).await {
            Ok(()) => drop(status.set(None)),
            Err(error) if error.is_transient() => {
                if status.set(Some(format!("detection does not go on: {error}"))) {
                    tracing::warn!(%error, "detection waits for its ports; it goes on where it is");
                }
            }
            Err(error) => {
                status.set(Some(format!("detection has stopped: {error}")));
                return Err(error.into());
            }
        }
        tokio::select! {
            () = sleep(poll) => (),
            // A sender that is gone is a stop as well.
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

/// What is due, and what is known of it without asking the ports.
pub struct Schedule {
    ports: window::Ports,
    registry: Registry,
    config: Config,
    /// By the name of a share, when it is to be looked at next, as long as its type has this version.
    due: HashMap<String, (TypeVersion, Timestamp)>,
    /// When this process started: where nobody had looked at a type before, its shares begin then.
    started_at: Timestamp,
    /// Sensor types of which something was ever accepted.
    used: HashSet<SensorTypeId>,
    /// Of the others, when nothing of them had been accepted yet.
    unused_at: HashMap<SensorTypeId, Timestamp>,
    /// The same as it was last kept for all processes.
    origins: HashMap<SensorTypeId, Timestamp>,
    /// By sensor type, where its partitions ended at a time: once that is stored, so is all that was accepted before.
    ends: HashMap<SensorTypeId, (Timestamp, Vec<(Partition, Position)>)>,
}

impl Schedule {
    /// Knows nothing yet.
    pub fn new(ports: Ports, config: Config, metrics: Metrics) -> Self {
        let Ports { log, store, findings, registry, clock } = ports;
        let started_at = clock.now();
        let ports = window::Ports { store, findings, log, clock, metrics };
        let (due, used, unused_at) = (HashMap::new(), HashSet::new(), HashMap::new());
        let (origins, ends) = (HashMap::new(), HashMap::new());
        Self { ports, registry, config, due, started_at, used, unused_at, origins, ends }
    }

    /// Scans every window that is due and that no other process has; returns early on a stop.
    ///
    /// # Errors
    /// Those of the ports, but for a share that another process took over meanwhile and for a sensor type that was removed.
    pub async fn round(&mut self, stop: &watch::Receiver<bool>) -> Result<(), PortError> {
        for sensor_type in self.registry.sensor_types() {
            if self.is_unused(&sensor_type.id).await? {
                continue;
            }
            for number in 0..self.config.shares.max(1) {
                if *stop.borrow() {
                    return Ok(());
                }
                let share = Share { number, count: self.config.shares.max(1) };
                match self.share(&sensor_type, share, stop).await {
                    Err(error) if error.kind() == ErrorKind::Conflict => {
                        tracing::warn!(%error, "another process goes on with what this one was late with");
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        tracing::warn!(%error, sensor_type = %sensor_type.id, "detection leaves what is gone");
                    }
                    done => done?,
                }
            }
        }
        Ok(())
    }

    /// Says whether nothing of a sensor type was ever accepted: such a one costs nothing but this look.
    async fn is_unused(&mut self, sensor_type: &SensorTypeId) -> Result<bool, PortError> {
        let now = self.ports.clock.now();
        let looked_at = self.unused_at.get(sensor_type);
        if self.used.contains(sensor_type) {
            return Ok(false);
        }
        if looked_at.is_some_and(|looked_at| now.since(*looked_at) < UNUSED_EVERY) {
            return Ok(true);
        }
        let has_records = match self.ports.log.extents(&Topic::readings(sensor_type)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            extents => extents?.iter().any(|extent| extent.end > Position(0)),
        };
        if has_records {
            self.used.insert(sensor_type.clone());
            return Ok(false);
        }
        self.unused_at.insert(sensor_type.clone(), now);
        let kept = self.origins.get(sensor_type);
        if kept.is_none_or(|kept| now.since(*kept) >= self.config.every) {
            self.origin(sensor_type, Some(now)).await?;
            self.origins.insert(sensor_type.clone(), now);
        }
        Ok(true)
    }

    /// Since when a sensor type is looked at, kept for all processes, so that a share begins there whoever is the first to claim it; moved
    /// on where nothing of the type had been accepted at a later time. `None` where another process is just asking.
    async fn origin(
        &self,
        sensor_type: &SensorTypeId,
        unused_at: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, PortError> {
        let Some(lease) = self.leases().claim(&format!("{sensor_type}/origin")).await? else { return Ok(None) };
        let known = lease.done.map(|done| done.to);
        let origin = unused_at.or(known).unwrap_or(self.started_at);
        if known != Some(origin) {
            self.ports.findings.complete(&lease, origin.into()).await?;
        }
        self.ports.findings.release(&lease).await?;
        Ok(Some(origin))
    }

    fn leases(&self) -> Leases {
        Leases { ports: self.ports.clone(), owner: self.config.owner.clone(), lease: self.config.lease }
    }

    async fn share(
        &mut self,
        sensor_type: &SensorType,
        share: Share,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), PortError> {
        let name = format!("{}/{}-of-{}", sensor_type.id, share.number, share.count);
        let now = self.ports.clock.now();
        if self.due.get(&name).is_some_and(|(version, due)| *version == sensor_type.version && now < *due) {
            return Ok(());
        }
        let leases = self.leases();
        let Some(mut lease) = leases.claim(&name).await? else {
            // Another process has it; should that one die, its lease runs out.
            self.ports.metrics.lag(&sensor_type.id, share.number, Duration::ZERO);
            self.due.insert(name, (sensor_type.version, now.saturating_add(self.config.lease / 4)));
            return Ok(());
        };
        let mut stopped = stop.clone();
        let worked = tokio::select! {
            worked = self.windows(sensor_type, share, &mut lease) => worked,
            lost = leases.prolong(&name) => lost.map(|never| match never {}),
            _ = stopped.wait_for(|stop| *stop) => Ok(()),
        };
        match timeout(RELEASE_WAIT_MAX, self.ports.findings.release(&lease)).await {
            Ok(released) => worked.and(released),
            Err(_) => worked,
        }
    }

    /// Scans the share's windows that are due, the oldest first.
    async fn windows(&mut self, sensor_type: &SensorType, share: Share, lease: &mut Lease) -> Result<(), PortError> {
        let every = self.config.every(sensor_type);
        loop {
            let from = match lease.done {
                Some(done) => done.to,
                None => match self.begin(sensor_type, lease).await? {
                    Some(start) => start,
                    None => return Ok(()),
                },
            };
            let window = window(from, every);
            let (now, due) = (self.ports.clock.now(), window.to.saturating_add(self.config.grace));
            self.ports.metrics.lag(&sensor_type.id, share.number, now.since(due));
            let look_at = match now < due {
                true => Some(due),
                false if !self.is_stored(sensor_type, window.to).await? => Some(now.saturating_add(STORED_EVERY)),
                false => None,
            };
            if let Some(look_at) = look_at {
                self.due.insert(lease.share.clone(), (sensor_type.version, look_at));
                return Ok(());
            }
            if !self.scan(sensor_type, share, window).await? {
                // The others have their turn before it goes on.
                return Ok(());
            }
            self.ports.findings.complete(lease, window.to.into()).await?;
            lease.done = Some(window.to.into());
        }
    }

    /// Scans a window as far as one round goes; answers whether it is done.
    async fn scan(&self, sensor_type: &SensorType, share: Share, window: TimeRange) -> Result<bool, PortError> {
        let (settings, interval) = (&self.config.settings, self.config.every(sensor_type));
        let (task, began) = (Task { sensor_type, share, window, interval, settings }, Instant::now());
        match window::scan(&self.ports, &self.config.bounds, task).await {
            Ok(None) => Ok(true),
            Ok(Some(run)) if run.state == RunState::Running => Ok(false),
            Ok(Some(run)) => {
                tracing::debug!(run = %run.id, points = run.points, anomalies = run.anomalies, "scanned a window");
                self.ports.metrics.done(&run, began.elapsed());
                Ok(true)
            }
            Err(error) => {
                self.ports.metrics.failed(&sensor_type.id);
                Err(error)
            }
        }
    }

    /// Begins a share that was never worked on with the window that had ended last when its type was first looked at, and keeps that:
    /// however long it has to wait, none is left out. `None` where that is not known yet.
    async fn begin(&self, sensor_type: &SensorType, lease: &mut Lease) -> Result<Option<Timestamp>, PortError> {
        let Some(origin) = self.origin(&sensor_type.id, None).await? else { return Ok(None) };
        // What was accepted then may not have been seen yet.
        let from = origin.saturating_sub(self.config.grace);
        let every = self.config.every(sensor_type);
        let start = window(from, every).to.saturating_sub(2 * every);
        self.ports.findings.complete(lease, start.into()).await?;
        lease.done = Some(start.into());
        Ok(Some(start))
    }

    /// Says whether all that was accepted before a time, which is over, is in the store.
    async fn is_stored(&mut self, sensor_type: &SensorType, accepted_before: Timestamp) -> Result<bool, PortError> {
        let topic = Topic::readings(&sensor_type.id);
        let known = self.ends.get(&sensor_type.id).filter(|(seen_at, _)| *seen_at >= accepted_before);
        let ends = match known {
            Some((_, ends)) => ends.clone(),
            None => {
                let seen_at = self.ports.clock.now();
                let extents = match self.ports.log.extents(&topic).await {
                    // Nothing was ever accepted.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
                    extents => extents?,
                };
                let ends: Vec<_> = extents.into_iter().map(|extent| (extent.partition, extent.end)).collect();
                self.ends.insert(sensor_type.id.clone(), (seen_at, ends.clone()));
                ends
            }
        };
        let committed = match self.ports.log.committed(&self.config.stored_by, &topic).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            committed => committed?,
        };
        let is_done = |(partition, end): &(Partition, Position)| {
            let position = committed.iter().find(|committed| committed.partition == *partition);
            position.map_or(Position(0), |committed| committed.position) >= *end
        };
        Ok(ends.iter().all(is_done))
    }
}

/// Claims shares for this process.
struct Leases {
    ports: window::Ports,
    owner: String,
    lease: Duration,
}

impl Leases {
    async fn claim(&self, share: &str) -> Result<Option<Lease>, PortError> {
        let now = self.ports.clock.now();
        let (share, owner) = (share.to_owned(), self.owner.clone());
        self.ports.findings.claim(&Claim { share, owner, now, until: now.saturating_add(self.lease) }).await
    }

    /// Prolongs a lease over and over.
    ///
    /// # Errors
    /// `Conflict` where another process has taken the share; those of the ports.
    async fn prolong(&self, share: &str) -> Result<Infallible, PortError> {
        loop {
            sleep(self.lease / 3).await;
            if self.claim(share).await?.is_none() {
                return Err(PortError::new(ErrorKind::Conflict, format!("another has taken share `{share}`")));
            }
        }
    }
}

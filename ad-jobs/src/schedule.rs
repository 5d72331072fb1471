//! The scheduled job: every window of acceptance times of every share of every sensor type is scanned once, in order.
//!
//! Several processes run it side by side: a share is worked on by who has its lease, and how far it is done is kept with it. What a
//! process that died had under way is taken over when its lease has run out.
//!
//! **Invariant:** a share is done up to a time only after all before it was scanned and recorded; a window is scanned only after
//! quality control has stored everything that was accepted in it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{Partition, Position, SensorType, SensorTypeId, Timestamp, Topic};
use ports::{Claim, Clock, ErrorKind, Findings, Lease, Log, PortError, Store, TimeRange};
use registry::Registry;
use tokio::{sync::watch, time::sleep};

use crate::{
    judge::Settings,
    window::{self, Bounds, Share, Task},
};

/// What the job works on.
#[derive(Clone)]
pub struct Ports {
    /// Where readings came from: tells whether all of them are stored.
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
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Width of a window; windows are aligned to the epoch.
    pub every: Duration,
    /// How long after its end a window is scanned, at least: as long as an append may be under way.
    pub grace: Duration,
    /// Into how many shares the sensors of a type are divided.
    pub shares: u32,
    /// How long a process that gives no sign is waited for; longer than the longest scan of a window.
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
}

impl Config {
    /// A quarter of an hour, as in the paper; `owner` is a name that no other process has, `stored_by` the group that stores readings.
    pub fn new(owner: impl Into<String>, stored_by: impl Into<String>) -> Self {
        Self {
            every: Duration::from_secs(15 * 60),
            grace: Duration::from_secs(10),
            shares: 4,
            lease: Duration::from_secs(10 * 60),
            poll: Duration::from_secs(1),
            stored_by: stored_by.into(),
            owner: owner.into(),
            bounds: Bounds::default(),
            settings: Settings::default(),
        }
    }
}

/// Runs the job until the stop signal; a window that is under way is finished, what is due then waits for the next start.
///
/// # Errors
/// What no retry mends; while a port is merely away, it is tried again.
pub async fn run(ports: Ports, config: Config, mut stop: watch::Receiver<bool>) -> Result<(), PortError> {
    let poll = config.poll;
    let mut schedule = Schedule::new(ports, config);
    loop {
        match schedule.round(&stop).await {
            Err(error) if error.is_transient() => tracing::warn!(%error, "detection waits for its ports"),
            round => round?,
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
    ports: Ports,
    config: Config,
    /// By the name of a share, when its next window can be scanned.
    due: HashMap<String, Timestamp>,
    /// By sensor type, where its partitions ended at a time: once that is stored, so is all that was accepted before.
    ends: HashMap<SensorTypeId, (Timestamp, Vec<(Partition, Position)>)>,
}

impl Schedule {
    /// Knows nothing yet.
    pub fn new(ports: Ports, config: Config) -> Self {
        Self { ports, config, due: HashMap::new(), ends: HashMap::new() }
    }

    /// Scans every window that is due and that no other process has; returns early on a stop.
    ///
    /// # Errors
    /// Those of the ports, but for a share that another process took over meanwhile.
    pub async fn round(&mut self, stop: &watch::Receiver<bool>) -> Result<(), PortError> {
        for sensor_type in self.ports.registry.sensor_types() {
            for number in 0..self.config.shares.max(1) {
                if *stop.borrow() {
                    return Ok(());
                }
                let share = Share { number, count: self.config.shares.max(1) };
                match self.share(&sensor_type, share, stop).await {
                    Err(error) if error.kind() == ErrorKind::Conflict => {
                        tracing::warn!(%error, "another process goes on with what took longer than its lease");
                    }
                    done => done?,
                }
            }
        }
        Ok(())
    }

    async fn share(
        &mut self,
        sensor_type: &SensorType,
        share: Share,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), PortError> {
        let name = format!("{}/{}-of-{}", sensor_type.id, share.number, share.count);
        if self.due.get(&name).is_some_and(|due| self.ports.clock.now() < *due) {
            return Ok(());
        }
        let Some(mut lease) = self.claim(&name).await? else { return Ok(()) };
        let worked = self.windows(sensor_type, share, &mut lease, stop).await;
        self.ports.findings.release(&lease).await?;
        worked
    }

    async fn claim(&self, share: &str) -> Result<Option<Lease>, PortError> {
        let now = self.ports.clock.now();
        let (share, owner) = (share.to_owned(), self.config.owner.clone());
        self.ports.findings.claim(&Claim { share, owner, now, until: now.saturating_add(self.config.lease) }).await
    }

    /// Scans the share's windows that are due, the oldest first.
    async fn windows(
        &mut self,
        sensor_type: &SensorType,
        share: Share,
        lease: &mut Lease,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), PortError> {
        while !*stop.borrow() {
            let from = match lease.done {
                Some(done) => done,
                None => self.begin(lease).await?,
            };
            let window = TimeRange { from, to: from.saturating_add(self.config.every) };
            let due = window.to.saturating_add(self.config.grace);
            self.due.insert(lease.share.clone(), due);
            if self.ports.clock.now() < due || !self.is_stored(sensor_type, window.to).await? {
                return Ok(());
            }
            let ports = window::Ports {
                store: Arc::clone(&self.ports.store),
                findings: Arc::clone(&self.ports.findings),
                clock: Arc::clone(&self.ports.clock),
            };
            let task = Task { sensor_type, share, window, settings: &self.config.settings };
            if let Some(run) = window::scan(&ports, &self.config.bounds, task).await? {
                tracing::debug!(run = %run.id, points = run.points, anomalies = run.anomalies, "scanned a window");
            }
            self.ports.findings.complete(lease, window.to).await?;
            let Some(prolonged) = self.claim(&lease.share).await? else { return Ok(()) };
            *lease = prolonged;
        }
        Ok(())
    }

    /// Begins a share that was never worked on with the window that ended last, and keeps that: however long it has to wait, none is left
    /// out.
    async fn begin(&self, lease: &mut Lease) -> Result<Timestamp, PortError> {
        let every = i64::try_from(self.config.every.as_micros()).unwrap_or(i64::MAX).max(1);
        let now = self.ports.clock.now().as_micros();
        let start = Timestamp::from_micros((now - now.rem_euclid(every)).saturating_sub(every));
        self.ports.findings.complete(lease, start).await?;
        lease.done = Some(start);
        Ok(start)
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

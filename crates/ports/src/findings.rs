//! What detection leaves: anomalies, the runs that found them, and who works on which share of the datastreams.

use async_trait::async_trait;
use domain::{
    Anomaly, AnomalyId, Position, PropertyId, Run, RunId, RunState, SensorId, SensorTypeId, Timestamp, Trigger,
};

use crate::{PortError, TimeRange};

/// Anomalies, the runs that found them, and the leases of those who look for more.
///
/// * **The first finding stays**: an anomaly is identified by [`Anomaly::id`]; recording it again changes nothing. One exception: an open
///   end (an outage without `until`) is closed by the first finding that has one; nothing else of it changes.
/// * **Durability**: what a call answered survives any crash of process or machine, and is visible to every call that starts afterwards.
/// * **One owner**: a share has at most one lease that [`complete`](Self::complete) takes. Once another owner has claimed it, the older
///   lease meets `Conflict`, also where its time was not up by its owner's clock.
/// * Work of a query grows with the anomalies in its range of times, not with those stored.
#[async_trait]
pub trait Findings: Send + Sync {
    /// Records anomalies; answers what became of each, in order. Those of one id within the batch are recorded one by one.
    ///
    /// What a call that failed had recorded is `Known` to the call that records it again.
    ///
    /// # Errors
    /// `Unavailable`, `DiskFull`: any part of them may be recorded; record all again. `Corrupt`.
    async fn record(&self, anomalies: &[Anomaly]) -> Result<Vec<Recorded>, PortError>;

    /// Anomalies by phenomenon time, then id; at most `query.count_max`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    async fn anomalies(&self, query: &AnomalyQuery) -> Result<Vec<Anomaly>, PortError>;

    /// Stores a run in place of its older state. That somebody asked it to stop is kept, whatever the new state says.
    ///
    /// # Errors
    /// `Unavailable`, `DiskFull`, `Corrupt`.
    async fn put_run(&self, run: &Run) -> Result<(), PortError>;

    /// One run, if there is such a one.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    async fn run(&self, id: &RunId) -> Result<Option<Run>, PortError>;

    /// Runs, those that started last first, then by id; at most `query.count_max`. Where a state is asked for that is not an end, the
    /// work grows with the runs that have not ended, however many have.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, PortError>;

    /// Asks a run to stop: it finds `cancel_requested` when it next looks. Idempotent; nothing comes of it where the run has ended.
    ///
    /// # Errors
    /// `NotFound` for an unknown run; `Unavailable`, `DiskFull`, `Corrupt`.
    async fn cancel_run(&self, id: &RunId) -> Result<(), PortError>;

    /// Takes a share until `claim.until`, where nobody has it at `claim.now`, or where `claim.owner` has it already, whose lease is
    /// then prolonged. `None` where another has it. A lease that has more than twice the time to go that this one would have was given by a
    /// clock that was wrong, and keeps nobody out.
    ///
    /// # Errors
    /// `Unavailable`, `DiskFull`, `Corrupt`.
    async fn claim(&self, claim: &Claim) -> Result<Option<Lease>, PortError>;

    /// Says how far the share is done, which may be less far than it was said to be; every later lease knows it. The lease stays.
    ///
    /// # Errors
    /// `Conflict` where the lease was given back or another owner has claimed the share; `Unavailable`, `DiskFull`, `Corrupt`.
    async fn complete(&self, lease: &Lease, done: Done) -> Result<(), PortError>;

    /// Gives a share back. Idempotent; changes nothing where another owner has claimed it.
    ///
    /// # Errors
    /// `Unavailable`, `DiskFull`, `Corrupt`.
    async fn release(&self, lease: &Lease) -> Result<(), PortError>;

    /// Takes findings out, a part at a time: looks at about `looked_at_max` of them, from `from` on if that is given. What comes meanwhile
    /// may or may not be taken out. Idempotent; durable once answered.
    ///
    /// # Errors
    /// `Unavailable`, `DiskFull`, `Corrupt`: any part of them may be gone; begin again.
    async fn remove(
        &self,
        removal: &Removal,
        from: Option<&RemovalPlace>,
        looked_at_max: usize,
    ) -> Result<Removed, PortError>;
}

/// Which findings to take out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// Anomalies with a phenomenon time before this one.
    AnomaliesBefore(Timestamp),
    /// Runs that started before this time and have ended, each with its share.
    RunsBefore(Timestamp),
    /// Everything of a sensor type: its anomalies, its runs with their shares, and the shares of its sensors.
    SensorType(SensorTypeId),
}

/// Where a removal goes on; only the findings that answered it can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovalPlace(pub Vec<u8>);

/// What a part of a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// How many findings it took out.
    pub count: u64,
    /// Where the next part begins; `None` where this was the last.
    pub rest: Option<RemovalPlace>,
}

impl Removal {
    /// The removal in parts until it is over; answers how many findings went.
    ///
    /// # Errors
    /// As [`Findings::remove`].
    pub async fn whole(&self, findings: &dyn Findings, looked_at_max: usize) -> Result<u64, PortError> {
        let (mut count, mut from) = (0, None);
        loop {
            let removed = findings.remove(self, from.as_ref(), looked_at_max).await?;
            count += removed.count;
            from = removed.rest;
            if from.is_none() {
                return Ok(count);
            }
        }
    }
}

/// What became of an anomaly that was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// What recording it did.
    pub effect: Effect,
    /// The anomaly as it is kept now: the first finding, whoever made it.
    pub kept: Anomaly,
}

/// What recording an anomaly did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It was not known.
    New,
    /// It was known and stays as it was.
    Known,
    /// It was known with an open end, which is closed now.
    Closed,
}

impl Recorded {
    /// What becomes of `anomaly` beside what is known of its id: the rule by which every backend records.
    pub fn beside(known: Option<Anomaly>, anomaly: &Anomaly) -> Self {
        match known {
            None => Self { effect: Effect::New, kept: anomaly.clone() },
            Some(known) if known.until.is_none() && anomaly.until.is_some() => {
                Self { effect: Effect::Closed, kept: Anomaly { until: anomaly.until, ..known } }
            }
            Some(known) => Self { effect: Effect::Known, kept: known },
        }
    }
}

/// Which anomalies to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AnomalyQuery {
    /// Of this kind of sensor.
    pub sensor_type: Option<SensorTypeId>,
    /// Of this sensor.
    pub sensor_id: Option<SensorId>,
    /// Of this property.
    pub property: Option<PropertyId>,
    /// With a phenomenon time (where it starts) in this range.
    pub times: TimeRange,
    /// Of this detector.
    pub detector: Option<String>,
    /// Found first by this run.
    pub run: Option<RunId>,
    /// With at least this score.
    pub score_min: f64,
    /// Behind this place in the order (an anomaly that need not exist).
    pub after: Option<(Timestamp, AnomalyId)>,
    /// How many at most.
    pub count_max: usize,
}

impl AnomalyQuery {
    /// All, up to `count_max` of them.
    pub fn all(count_max: usize) -> Self {
        Self {
            sensor_type: None,
            sensor_id: None,
            property: None,
            times: TimeRange::ALL,
            detector: None,
            run: None,
            score_min: 0.0,
            after: None,
            count_max,
        }
    }

    /// Says whether an anomaly is among those that are asked for, wherever it is in the order.
    pub fn wants(&self, anomaly: &Anomaly) -> bool {
        self.sensor_type.as_ref().is_none_or(|id| *id == anomaly.sensor_type)
            && self.sensor_id.as_ref().is_none_or(|id| *id == anomaly.sensor_id)
            && self.property.as_ref().is_none_or(|id| *id == anomaly.property)
            && self.detector.as_ref().is_none_or(|detector| *detector == anomaly.detector)
            && self.run.as_ref().is_none_or(|run| *run == anomaly.run)
            && self.times.contains(anomaly.phenomenon_time)
            && anomaly.score >= self.score_min
    }
}

/// Which runs to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct RunQuery {
    /// Over this kind of sensor.
    pub sensor_type: Option<SensorTypeId>,
    /// In this state.
    pub state: Option<RunState>,
    /// For this reason.
    pub trigger: Option<Trigger>,
    /// Behind this start and id in the order (a run that need not exist).
    pub after: Option<(Timestamp, RunId)>,
    /// How many at most.
    pub count_max: usize,
}

impl RunQuery {
    /// All, up to `count_max` of them.
    pub const fn all(count_max: usize) -> Self {
        Self { sensor_type: None, state: None, trigger: None, after: None, count_max }
    }

    /// Says whether a run is among those that are asked for, wherever it is in the order.
    pub fn wants(&self, run: &Run) -> bool {
        self.sensor_type.as_ref().is_none_or(|id| *id == run.sensor_type)
            && self.state.is_none_or(|state| state == run.state)
            && self.trigger.is_none_or(|trigger| trigger == run.trigger)
    }

    /// Says whether a run lies behind where the answer starts.
    pub fn is_behind_start(&self, run: &Run) -> bool {
        let Some((started_at, id)) = &self.after else { return true };
        run.started_at < *started_at || (run.started_at == *started_at && run.id > *id)
    }
}

/// A wish to work on a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Name of the share: 1 to 200 bytes.
    pub share: String,
    /// Who wants it; no two at a time have one name.
    pub owner: String,
    /// The time now.
    pub now: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// The right to work on a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Name of the share.
    pub share: String,
    /// Who has it.
    pub owner: String,
    /// Tells this lease from those of other owners before and after.
    pub token: u64,
    /// How far the share is done, if any of it is.
    pub done: Option<Done>,
}

/// How far a share is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Up to which time of acceptance.
    pub to: Timestamp,
    /// Of what was stamped with a time that had not come yet, up to which position.
    pub ahead: Position,
}

impl From<Timestamp> for Done {
    /// Nothing that was stamped ahead of its time is done.
    fn from(to: Timestamp) -> Self {
        Self { to, ahead: Position(0) }
    }
}

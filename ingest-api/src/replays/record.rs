//! How far a replay is, as it stands in the topic `replays`.
//!
//! **Invariant:** the newest document of an id is what is known of the replay; one whose process has fallen silent is shown as interrupted.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use domain::{Changes, Partition, Position, SensorId, SensorTypeId, Timestamp, Topic, TypeVersion, from_json};
use ports::{Batch, Content, Document, Log, PortError, TopicKind};
use serde::{Deserialize, Serialize};

use super::or_none;

/// How long a replay that runs may be silent before it is taken for interrupted.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The most replays that are kept; older ones go.
const KEPT_MAX: usize = 1_000;
/// Documents read at once.
const READ_MAX: usize = 1_000;
/// How long the log may take to deliver what it says it holds.
const READ_WAIT_MAX: Duration = Duration::from_secs(5);
/// Version of the document.
const FORMAT: u32 = 1;

/// What is judged again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The sensor type.
    pub sensor_type: SensorTypeId,
    /// Only these sensors; all of the type where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_ids: Option<Vec<SensorId>>,
    /// First phenomenon time, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Last phenomenon time, exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Whether to say what would change, and change nothing.
    #[serde(default)]
    pub dry: bool,
}

/// How a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Parts are still to be carried out.
    Running,
    /// All parts are carried out.
    Done,
    /// Somebody has ended it; the parts that were on their way are carried out.
    Cancelled,
    /// Its process ended first; the parts that were on their way are carried out.
    Interrupted,
    /// The sensor type is gone.
    Failed,
}

/// A replay and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Version of this form.
    pub format: u32,
    /// Its id.
    pub id: String,
    /// What is judged again.
    #[serde(flatten)]
    pub scope: Scope,
    /// The version of the sensor type that it judges by.
    pub type_version: TypeVersion,
    /// How it is.
    pub state: State,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When this was written.
    pub updated_at: Timestamp,
    /// How many parts it has; 0 until that is known.
    pub parts: u64,
    /// How many of them are carried out.
    pub parts_done: u64,
    /// How many of those were left out in part, because what is stored can't be read; the log says which.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parts_unreadable: u64,
    /// What they changed or, of a dry one, would change.
    pub changes: Changes,
}

impl Replay {
    pub(crate) fn new(scope: Scope, type_version: TypeVersion, now: Timestamp) -> Self {
        Self {
            format: FORMAT,
            id: format!("{}-{:x}-{:08x}", scope.sensor_type, now.as_micros(), at_random()),
            scope,
            type_version,
            state: State::Running,
            requested_at: now,
            updated_at: now,
            parts: 0,
            parts_done: 0,
            parts_unreadable: 0,
            changes: Changes::default(),
        }
    }

    fn shown_at(self, now: Timestamp) -> Self {
        let is_silent = self.state == State::Running && now.since(self.updated_at) > SILENCE_MAX;
        Self { state: if is_silent { State::Interrupted } else { self.state }, ..self }
    }
}

// The signature that `skip_serializing_if` asks for.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A number that tells apart what processes do at the same time: the standard library seeds each of these anew.
pub(crate) fn at_random() -> u32 {
    RandomState::new().hash_one(0) as u32
}

/// Saves how far a replay is.
pub(crate) async fn save(log: &dyn Log, replay: &Replay) -> Result<(), PortError> {
    let body = serde_json::to_vec(replay).expect("texts and numbers are always JSON");
    append(log, vec![Document { key: replay.id.clone(), body: Some(body.into()) }]).await
}

async fn append(log: &dyn Log, documents: Vec<Document>) -> Result<(), PortError> {
    let topic = Topic::replays();
    log.create_topic(&topic, TopicKind::Documents).await?;
    log.append(&topic, Batch::Documents(documents)).await.map(drop)
}

/// Asks the process that runs a replay to end it.
pub(crate) async fn cancel(log: &dyn Log, id: &str) -> Result<(), PortError> {
    let topic = Topic::replay_parts();
    log.create_topic(&topic, TopicKind::Notices).await?;
    let document = Document { key: cancel_key(id), body: Some(b"{}".as_slice().into()) };
    log.append(&topic, Batch::Documents(vec![document])).await.map(drop)
}

/// The key under which the end of a replay is asked for.
pub(super) fn cancel_key(id: &str) -> String {
    format!("{id}/cancel")
}

/// All replays that are known, the newest first. Lets the oldest go where there are too many.
pub(crate) async fn list(log: &dyn Log, now: Timestamp) -> Result<Vec<Replay>, PortError> {
    let mut replays: Vec<Replay> = read(log).await?.into_values().collect();
    replays.sort_by(|one, other| (other.requested_at, &other.id).cmp(&(one.requested_at, &one.id)));
    if replays.len() > KEPT_MAX {
        let old = replays.drain(KEPT_MAX..).map(|replay| Document { key: replay.id, body: None });
        append(log, old.collect()).await?;
    }
    Ok(replays.into_iter().map(|replay| replay.shown_at(now)).collect())
}

async fn read(log: &dyn Log) -> Result<BTreeMap<String, Replay>, PortError> {
    let (topic, mut found) = (Topic::replays(), BTreeMap::new());
    let Some(extents) = or_none(log.extents(&topic).await)? else { return Ok(found) };
    let Some(extent) = extents.first() else { return Ok(found) };
    let mut reader = log.reader(&topic, Partition(0), extent.start).await?;
    let mut next = extent.start;
    while next < extent.end {
        let deliveries = reader.next(READ_MAX, READ_WAIT_MAX).await?;
        // Compaction may have taken the last ones of them.
        let Some(last) = deliveries.last() else { break };
        next = Position(last.next_position().0);
        for delivery in deliveries {
            let Content::Documents(documents) = delivery.content else { continue };
            for document in documents {
                let replay = document.body.and_then(|body| from_json::<Replay>(&body).ok());
                match replay {
                    Some(replay) => drop(found.insert(document.key, replay)),
                    None => drop(found.remove(&document.key)),
                }
            }
        }
    }
    Ok(found)
}

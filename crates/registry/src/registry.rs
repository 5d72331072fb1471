//! The handle that services hold: reads from memory, writes through the log.
//!
//! **Invariant:** a change is checked against the state, appended, and in the state before it is answered; the state itself comes
//! from the topic alone.

use std::{
    collections::HashSet,
    sync::{Arc, RwLockReadGuard},
    time::Duration,
};

use domain::{Place, Sensor, SensorId, SensorType, SensorTypeDraft, SensorTypeId, Topic, TypeVersion};
use ports::{Batch, Document, Log, TopicKind};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    FirstReadingRefusal, RegistryError,
    document::{Key, SensorDocument, TypeDocument, tombstone},
    follower::{Follower, Shared},
    state::State,
};

/// How long a change may take to come back from the log.
const APPLY_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a change is tried against others who change the same thing.
const ATTEMPTS_MAX: usize = 5;

/// Bounds of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most sensors the hub takes.
    pub sensors_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sensors_max: 100_000 }
    }
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Created,
    /// It was there and is different now.
    Changed,
    /// It was there and the same.
    Unchanged,
}

/// What a request says of a sensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensorDraft {
    /// What people call it, up to 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What it belongs to, up to 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What it is.
    pub sensor_type: SensorTypeId,
}

/// Sensor types and sensors of the hub; a cheap handle.
///
/// What it answers is what the topic said when this process last read it: at once after a change through this handle, and within
/// milliseconds after a change by another process. The follower stops when the last handle is dropped.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    settings: Settings,
    /// Held from the check against the state until the change is in the state.
    writing: Mutex<()>,
    follower: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// The sensors at one moment, locked for reading: hold it for a batch, never across an `await`.
pub struct Lookup<'a>(RwLockReadGuard<'a, State>);

impl Lookup<'_> {
    /// The sensor of that id.
    pub fn get(&self, id: &str) -> Option<&Arc<Sensor>> {
        self.0.sensor(id)
    }
}

impl Registry {
    /// Creates the topic where it is missing, reads it to its end and follows it from then on.
    ///
    /// # Errors
    /// [`RegistryError::Port`].
    pub async fn open(log: Arc<dyn Log>, settings: Settings) -> Result<Self, RegistryError> {
        log.create_topic(&Topic::registry(), TopicKind::Documents).await?;
        let shared = Arc::new(Shared::new(log));
        let follower = Follower::open(Arc::clone(&shared)).await?;
        let follower = tokio::spawn(follower.run());
        Ok(Self(Arc::new(Inner { shared, settings, writing: Mutex::new(()), follower })))
    }

    /// Puts the types whose ids are absent; warns of each that differs from what is registered.
    ///
    /// # Errors
    /// As [`put_sensor_type`](Self::put_sensor_type).
    pub async fn seed(&self, drafts: Vec<(SensorTypeId, SensorTypeDraft)>) -> Result<(), RegistryError> {
        for (id, draft) in drafts {
            let Some(registered) = self.sensor_type(id.as_str()) else {
                self.put_sensor_type(id, draft).await?;
                continue;
            };
            // An order of properties other than the registered one is no difference.
            let same = registered.evolve(draft).is_ok_and(|next| next.is_none());
            if !same {
                let version = registered.version;
                tracing::warn!(sensor_type = %id, version, "the file of a sensor type differs from the registry, which holds");
            }
        }
        Ok(())
    }

    /// The newest version of each sensor type, by id.
    pub fn sensor_types(&self) -> Vec<Arc<SensorType>> {
        self.state().types().cloned().collect()
    }

    /// The newest version of a sensor type.
    pub fn sensor_type(&self, id: &str) -> Option<Arc<SensorType>> {
        self.state().newest(id).cloned()
    }

    /// One version of a sensor type.
    pub fn sensor_type_version(&self, id: &str, version: TypeVersion) -> Option<Arc<SensorType>> {
        self.state().version(id, version).cloned()
    }

    /// The sensor of that id.
    pub fn sensor(&self, id: &str) -> Option<Arc<Sensor>> {
        self.state().sensor(id).cloned()
    }

    /// All sensors, or those of one type, by id.
    pub fn sensors(&self, sensor_type: Option<&SensorTypeId>) -> Vec<Arc<Sensor>> {
        let wanted = |sensor: &&Arc<Sensor>| sensor_type.is_none_or(|id| sensor.sensor_type == *id);
        let mut sensors: Vec<_> = self.state().sensors().filter(wanted).cloned().collect();
        sensors.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        sensors
    }

    /// The sensors under one read lock: one lock per batch, a hash lookup per reading.
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup(self.state())
    }

    /// Makes a sensor type or its next version; its topic is there before it is.
    ///
    /// # Errors
    /// [`RegistryError::SensorType`] for a bad definition or an impossible change; transient ones.
    pub async fn put_sensor_type(
        &self,
        id: SensorTypeId,
        draft: SensorTypeDraft,
    ) -> Result<(Arc<SensorType>, Change), RegistryError> {
        let _writing = self.0.writing.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let current = self.sensor_type(id.as_str());
            let refused = |faults| RegistryError::SensorType { id: id.clone(), faults };
            let (version, number, definition, change) = match current {
                None => {
                    draft.check().map_err(refused)?;
                    (1, None, draft.clone(), Change::Created)
                }
                Some(current) => match current.evolve(draft.clone()).map_err(refused)? {
                    None => return Ok((current, Change::Unchanged)),
                    Some(next) => (next.version, Some(next.number), next.definition, Change::Changed),
                },
            };
            self.0.shared.log.create_topic(&Topic::readings(&id), TopicKind::Records).await?;
            let document = TypeDocument::new(number, definition.clone()).document(&id, version);
            self.append(vec![document]).await?;
            let held = self.sensor_type_version(id.as_str(), version);
            let held = held.filter(|held| held.definition == definition && number.is_none_or(|it| it == held.number));
            if let Some(held) = held {
                return Ok((held, change));
            }
        }
        Err(RegistryError::Contended(id.to_string()))
    }

    /// Takes out a sensor type with its versions, its sensors and its topic. The caller has checked that it has no readings.
    ///
    /// # Errors
    /// [`RegistryError::UnknownSensorType`]; transient ones.
    pub async fn remove_sensor_type(&self, id: &SensorTypeId) -> Result<(), RegistryError> {
        let _writing = self.0.writing.lock().await;
        // Version 1 first: with it the type and its sensors are gone, whose documents the follower then takes out.
        let keys = |state: &State| -> Vec<Key> {
            state.versions(id.as_str()).map(|version| Key::Type(id.clone(), version.version)).collect()
        };
        let keys = keys(&self.state());
        if keys.is_empty() {
            return Err(RegistryError::UnknownSensorType(id.clone()));
        }
        self.append(keys.iter().map(tombstone).collect()).await?;
        let topic = Topic::readings(id);
        if self.sensor_type(id.as_str()).is_none() {
            self.0.shared.log.delete_topic(&topic).await?;
            self.0.shared.log.delete_topic(&Topic::judged(id)).await?;
        }
        // Another process may have made the type again in the meantime.
        if self.sensor_type(id.as_str()).is_some() {
            self.0.shared.log.create_topic(&topic, TopicKind::Records).await?;
        }
        Ok(())
    }

    /// Registers a sensor or changes what is said of it.
    ///
    /// # Errors
    /// [`RegistryError::Sensor`], [`UnknownSensorType`](RegistryError::UnknownSensorType),
    /// [`BoundToOtherType`](RegistryError::BoundToOtherType), [`TooManySensors`](RegistryError::TooManySensors); transient ones.
    pub async fn put_sensor(&self, id: SensorId, draft: SensorDraft) -> Result<(Arc<Sensor>, Change), RegistryError> {
        let SensorDraft { name, place, group, sensor_type } = draft;
        let mut wanted = Sensor { id, number: 0, sensor_type, name, place, group };
        wanted.check().map_err(|fault| RegistryError::Sensor { id: wanted.id.clone(), fault })?;
        let _writing = self.0.writing.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let (document, change) = match self.plan_sensor(&mut wanted)? {
                Plan::Nothing(sensor) => return Ok((sensor, Change::Unchanged)),
                Plan::Append(document, change) => (document, change),
            };
            self.append(vec![document]).await?;
            let held = self.sensor(wanted.id.as_str());
            if let Some(held) = held.filter(|held| Sensor { number: held.number, ..wanted.clone() } == **held) {
                return Ok((held, change));
            }
        }
        Err(RegistryError::Contended(wanted.id.to_string()))
    }

    /// What is to be appended so that the sensor is as wanted; its number is filled in where it has one.
    fn plan_sensor(&self, wanted: &mut Sensor) -> Result<Plan, RegistryError> {
        let state = self.state();
        let type_number = type_number(&state, &wanted.sensor_type)?;
        let Some(held) = state.sensor(wanted.id.as_str()) else {
            let sensors_max = self.0.settings.sensors_max;
            if state.sensor_count() >= sensors_max {
                return Err(RegistryError::TooManySensors { sensors_max });
            }
            let document = SensorDocument::new(wanted, None, 1, type_number).document(&wanted.id);
            return Ok(Plan::Append(document, Change::Created));
        };
        if held.sensor_type != wanted.sensor_type {
            let (id, bound_to) = (held.id.clone(), held.sensor_type.clone());
            return Err(RegistryError::BoundToOtherType { id, bound_to, wanted: wanted.sensor_type.clone() });
        }
        wanted.number = held.number;
        if **held == *wanted {
            return Ok(Plan::Nothing(Arc::clone(held)));
        }
        let revision = state.revision(wanted.id.as_str()).unwrap_or(0) + 1;
        let document = SensorDocument::new(wanted, Some(held.number), revision, type_number).document(&wanted.id);
        Ok(Plan::Append(document, Change::Changed))
    }

    /// Registers the sensors of first readings with one append; answers for each id, in order.
    ///
    /// # Errors
    /// [`RegistryError::UnknownSensorType`]; transient ones.
    pub async fn register_first_readings(
        &self,
        sensor_type: &SensorTypeId,
        ids: &[SensorId],
    ) -> Result<Vec<Result<Arc<Sensor>, FirstReadingRefusal>>, RegistryError> {
        let _writing = self.0.writing.lock().await;
        let documents = self.first_documents(sensor_type, ids)?;
        if !documents.is_empty() {
            self.append(documents).await?;
        }
        let state = self.state();
        type_number(&state, sensor_type)?;
        let sensors_max = self.0.settings.sensors_max;
        let answer = |id: &SensorId| match state.sensor(id.as_str()) {
            Some(sensor) if sensor.sensor_type == *sensor_type => Ok(Arc::clone(sensor)),
            Some(sensor) => Err(FirstReadingRefusal::BoundToOtherType { bound_to: sensor.sensor_type.clone() }),
            None => Err(FirstReadingRefusal::TooManySensors { sensors_max }),
        };
        Ok(ids.iter().map(answer).collect())
    }

    /// A registration for each id that has none, as far as there is room.
    fn first_documents(&self, sensor_type: &SensorTypeId, ids: &[SensorId]) -> Result<Vec<Document>, RegistryError> {
        let state = self.state();
        let type_number = type_number(&state, sensor_type)?;
        let room = self.0.settings.sensors_max.saturating_sub(state.sensor_count());
        let mut seen = HashSet::new();
        let new = ids.iter().filter(|id| state.sensor(id.as_str()).is_none() && seen.insert(id.as_str())).take(room);
        let document = |id: &SensorId| {
            let (id, sensor_type) = (id.clone(), sensor_type.clone());
            let sensor = Sensor { id, number: 0, sensor_type, name: None, place: None, group: None };
            SensorDocument::new(&sensor, None, 1, type_number).document(&sensor.id)
        };
        Ok(new.map(document).collect())
    }

    /// Waits until this process has applied what is in the topic now: to be asked where a record names what is not known here.
    ///
    /// # Errors
    /// Transient ones.
    pub async fn catch_up(&self) -> Result<(), RegistryError> {
        let extents = self.0.shared.log.extents(&Topic::registry()).await?;
        self.wait_until_applied(extents.first().map_or(0, |extent| extent.end.0)).await
    }

    /// Moves at every change of a sensor type.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.shared.type_changes.subscribe()
    }

    /// Moves at every change of a sensor type or a sensor.
    pub fn all_changes(&self) -> watch::Receiver<u64> {
        self.0.shared.applied.subscribe()
    }

    /// Says whether this process follows the registry without trouble.
    ///
    /// # Errors
    /// What is wrong, in words for a person.
    pub async fn ready(&self) -> Result<(), String> {
        if let Some(obstacle) = self.0.shared.obstacle() {
            return Err(obstacle);
        }
        let state = self.state();
        let Some((key, fault)) = state.faults().first_key_value() else { return Ok(()) };
        let count = state.faults().len();
        Err(format!("`{count}` documents of the registry can't be read and are left out, `{key}` among them: {fault}"))
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.shared.state()
    }

    /// Appends documents and waits until the state has them.
    async fn append(&self, documents: Vec<Document>) -> Result<(), RegistryError> {
        let count = documents.len() as u64;
        let appended = self.0.shared.log.append(&Topic::registry(), Batch::Documents(documents)).await?;
        self.wait_until_applied(appended.first_position.after(count).0).await
    }

    async fn wait_until_applied(&self, position: u64) -> Result<(), RegistryError> {
        let mut applied = self.0.shared.applied.subscribe();
        let waited = timeout(APPLY_WAIT_MAX, applied.wait_for(|applied| *applied >= position)).await;
        if matches!(waited, Ok(Ok(_))) {
            return Ok(());
        }
        let obstacle = self.0.shared.obstacle().unwrap_or_else(|| "no reason is known".to_owned());
        Err(RegistryError::Behind { position, waited_s: APPLY_WAIT_MAX.as_secs(), obstacle })
    }
}

/// What is to be done for a sensor.
enum Plan {
    Nothing(Arc<Sensor>),
    Append(Document, Change),
}

fn type_number(state: &State, id: &SensorTypeId) -> Result<u64, RegistryError> {
    let found = state.newest(id.as_str()).map(|sensor_type| sensor_type.number);
    found.ok_or_else(|| RegistryError::UnknownSensorType(id.clone()))
}

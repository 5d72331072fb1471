//! The handle that services hold: reads from memory, writes through the log.
//!
//! **Invariant:** a change is checked against the state, appended, and in the state before it is answered; the state itself comes
//! from the topic alone.

use std::{
    sync::{Arc, RwLockReadGuard},
    time::{Duration, Instant},
};

use domain::{Place, Sensor, SensorType, SensorTypeDraft, SensorTypeId, Topic, TypeVersion};
use ports::{Batch, Document, Log, TopicKind};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, MutexGuard, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    RegistryError,
    document::{Key, TypeDocument, tombstone},
    follower::{Follower, Shared},
    order::SensorsQuery,
    pace::Pace,
    state::State,
};

/// How long a change may take to come back from the log.
const APPLY_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a change is tried against others who change the same thing.
pub(crate) const ATTEMPTS_MAX: usize = 5;

/// Bounds of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Up to how many sensors first readings may register new ones.
    pub sensors_max: usize,
    /// How many sensors beyond those may be registered by name.
    pub sensors_reserved: usize,
    /// How many sensors posted first readings may register a minute, in this process; as many at once after a quiet minute.
    pub first_readings_per_minute: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sensors_max: 100_000, sensors_reserved: 10_000, first_readings_per_minute: 10_000 }
    }
}

/// Where first readings are when they register their sensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstReadings {
    /// In a request: they may be refused, and are sent again.
    Posted,
    /// In the log: they are kept, so that only the bound of the hub counts, with the places that are reserved for names.
    InLog,
}

/// What became of a wish to remove a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The sensor is gone.
    Removed,
    /// It stays: it was changed since, or is another one by now.
    Kept,
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
    pace: std::sync::Mutex<Pace>,
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
        let pace = std::sync::Mutex::new(Pace::new(settings.first_readings_per_minute, Instant::now()));
        Ok(Self(Arc::new(Inner { shared, settings, writing: Mutex::new(()), pace, follower })))
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
        let state = self.state();
        match sensor_type {
            Some(id) => state.sensors_of_type(id).cloned().collect(),
            None => state.sensors().cloned().collect(),
        }
    }

    /// The first `limit` sensors of a query by id, and whether there are more; costs what it answers.
    pub fn sensors_page(&self, query: SensorsQuery<'_>, limit: usize) -> (Vec<Arc<Sensor>>, bool) {
        self.state().page(query, limit)
    }

    /// How many sensors there are.
    pub fn sensor_count(&self) -> usize {
        self.state().sensor_count()
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

    pub(crate) async fn writing(&self) -> MutexGuard<'_, ()> {
        self.0.writing.lock().await
    }

    pub(crate) fn pace(&self) -> &std::sync::Mutex<Pace> {
        &self.0.pace
    }

    pub(crate) fn settings(&self) -> Settings {
        self.0.settings
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.shared.state()
    }

    /// Appends documents and waits until the state has them.
    pub(crate) async fn append(&self, documents: Vec<Document>) -> Result<(), RegistryError> {
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

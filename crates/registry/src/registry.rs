//! The handle that services hold: reads from memory, writes through the log.

use std::sync::Arc;

use domain::{Place, Sensor, SensorId, SensorType, SensorTypeDraft, SensorTypeId, TypeVersion};
use ports::Log;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{FirstReadingRefusal, RegistryError};

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
#[derive(Clone)]
pub struct Registry {}

/// The sensors at one moment, locked for reading: hold it for a batch, never across an `await`.
pub struct Lookup<'a>(std::marker::PhantomData<&'a ()>);

impl Lookup<'_> {
    /// The sensor of that id.
    pub fn get(&self, _id: &str) -> Option<&Arc<Sensor>> {
        unimplemented!()
    }
}

impl Registry {
    /// Creates the topic where it is missing, reads it to its end and follows it from then on.
    ///
    /// # Errors
    /// [`RegistryError::Port`].
    pub async fn open(_log: Arc<dyn Log>, _settings: Settings) -> Result<Self, RegistryError> {
        unimplemented!()
    }

    /// Puts the types whose ids are absent; warns of each that differs from what is registered.
    ///
    /// # Errors
    /// As [`put_sensor_type`](Self::put_sensor_type).
    pub async fn seed(&self, _drafts: Vec<(SensorTypeId, SensorTypeDraft)>) -> Result<(), RegistryError> {
        unimplemented!()
    }

    /// The newest version of each sensor type, by id.
    pub fn sensor_types(&self) -> Vec<Arc<SensorType>> {
        unimplemented!()
    }

    /// The newest version of a sensor type.
    pub fn sensor_type(&self, _id: &str) -> Option<Arc<SensorType>> {
        unimplemented!()
    }

    /// One version of a sensor type.
    pub fn sensor_type_version(&self, _id: &str, _version: TypeVersion) -> Option<Arc<SensorType>> {
        unimplemented!()
    }

    /// The sensor of that id.
    pub fn sensor(&self, _id: &str) -> Option<Arc<Sensor>> {
        unimplemented!()
    }

    /// All sensors, or those of one type, by id.
    pub fn sensors(&self, _sensor_type: Option<&SensorTypeId>) -> Vec<Arc<Sensor>> {
        unimplemented!()
    }

    /// The sensors under one read lock: one lock per batch, a hash lookup per reading.
    pub fn lookup(&self) -> Lookup<'_> {
        unimplemented!()
    }

    /// Makes a sensor type or its next version; its topic is there before it is.
    ///
    /// # Errors
    /// [`RegistryError::SensorType`] for a bad definition or an impossible change; transient ones.
    pub async fn put_sensor_type(
        &self,
        _id: SensorTypeId,
        _draft: SensorTypeDraft,
    ) -> Result<(Arc<SensorType>, Change), RegistryError> {
        unimplemented!()
    }

    /// Takes out a sensor type with its versions, its sensors and its topic. The caller has checked that it has no readings.
    ///
    /// # Errors
    /// [`RegistryError::UnknownSensorType`]; transient ones.
    pub async fn remove_sensor_type(&self, _id: &SensorTypeId) -> Result<(), RegistryError> {
        unimplemented!()
    }

    /// Registers a sensor or changes what is said of it.
    ///
    /// # Errors
    /// [`RegistryError::Sensor`], [`UnknownSensorType`](RegistryError::UnknownSensorType),
    /// [`BoundToOtherType`](RegistryError::BoundToOtherType), [`TooManySensors`](RegistryError::TooManySensors); transient ones.
    pub async fn put_sensor(&self, _id: SensorId, _draft: SensorDraft) -> Result<(Arc<Sensor>, Change), RegistryError> {
        unimplemented!()
    }

    /// Registers the sensors of first readings with one append; answers for each id, in order.
    ///
    /// # Errors
    /// [`RegistryError::UnknownSensorType`]; transient ones.
    pub async fn register_first_readings(
        &self,
        _sensor_type: &SensorTypeId,
        _ids: &[SensorId],
    ) -> Result<Vec<Result<Arc<Sensor>, FirstReadingRefusal>>, RegistryError> {
        unimplemented!()
    }

    /// Moves at every change of a sensor type.
    pub fn changes(&self) -> watch::Receiver<u64> {
        unimplemented!()
    }

    /// Says whether this process follows the registry without trouble.
    ///
    /// # Errors
    /// What is wrong, in words for a person.
    pub async fn ready(&self) -> Result<(), String> {
        unimplemented!()
    }
}

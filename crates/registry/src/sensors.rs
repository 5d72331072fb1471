//! Changes of sensors: registering, changing, removing.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use domain::{Sensor, SensorId, SensorTypeId};
use ports::Document;

use crate::{
    Change, FirstReadingRefusal, FirstReadings, Registry, RegistryError, Removal, SensorDraft,
    document::{self, SensorDocument},
    registry::ATTEMPTS_MAX,
    state::State,
};

/// What is to be done for a sensor.
enum Plan {
    Nothing(Arc<Sensor>),
    Append(Document, Change),
}

/// What refuses the first readings that did not register their sensor.
#[derive(Clone, Copy)]
enum Limit {
    Places,
    Pace(Duration),
}

impl Registry {
    /// Registers a sensor or changes what is said of it; a sensor that was leaving stays.
    ///
    /// # Errors
    /// [`RegistryError::Sensor`], [`UnknownSensorType`](RegistryError::UnknownSensorType),
    /// [`BoundToOtherType`](RegistryError::BoundToOtherType), [`TooManySensors`](RegistryError::TooManySensors); transient ones.
    pub async fn put_sensor(&self, id: SensorId, draft: SensorDraft) -> Result<(Arc<Sensor>, Change), RegistryError> {
        self.put(id, draft, None).await
    }

    /// As [`put_sensor`](Self::put_sensor), and of the type that the draft names, if it is of type `from` now. The caller has checked
    /// that it has no readings.
    ///
    /// # Errors
    /// As [`put_sensor`](Self::put_sensor).
    pub async fn rebind_sensor(
        &self,
        id: SensorId,
        draft: SensorDraft,
        from: &SensorTypeId,
    ) -> Result<(Arc<Sensor>, Change), RegistryError> {
        self.put(id, draft, Some(from)).await
    }

    async fn put(
        &self,
        id: SensorId,
        draft: SensorDraft,
        from: Option<&SensorTypeId>,
    ) -> Result<(Arc<Sensor>, Change), RegistryError> {
        let SensorDraft { name, place, group, sensor_type } = draft;
        let mut wanted = Sensor { id, number: 0, sensor_type, name, place, group };
        wanted.check().map_err(|fault| RegistryError::Sensor { id: wanted.id.clone(), fault })?;
        let _writing = self.writing().await;
        for _ in 0..ATTEMPTS_MAX {
            let (document, change) = match self.plan_sensor(&mut wanted, from)? {
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
    fn plan_sensor(&self, wanted: &mut Sensor, from: Option<&SensorTypeId>) -> Result<Plan, RegistryError> {
        let state = self.state();
        let type_number = type_number(&state, &wanted.sensor_type)?;
        let Some(held) = state.sensor(wanted.id.as_str()) else {
            let settings = self.settings();
            let sensors_max = settings.sensors_max.saturating_add(settings.sensors_reserved);
            if state.sensor_count() >= sensors_max {
                return Err(RegistryError::TooManySensors { sensors_max });
            }
            return Ok(Plan::Append(registration(&state, wanted, type_number), Change::Created));
        };
        if held.sensor_type != wanted.sensor_type && from != Some(&held.sensor_type) {
            let (id, bound_to) = (held.id.clone(), held.sensor_type.clone());
            return Err(RegistryError::BoundToOtherType { id, bound_to, wanted: wanted.sensor_type.clone() });
        }
        wanted.number = held.number;
        if **held == *wanted && !state.is_leaving(wanted.id.as_str()) {
            return Ok(Plan::Nothing(Arc::clone(held)));
        }
        Ok(Plan::Append(change(&state, wanted, type_number, false), Change::Changed))
    }

    /// Registers the sensors of first readings with one append; answers for each id, in order.
    ///
    /// # Errors
    /// [`RegistryError::UnknownSensorType`]; transient ones.
    pub async fn register_first_readings(
        &self,
        sensor_type: &SensorTypeId,
        ids: &[SensorId],
        readings: FirstReadings,
    ) -> Result<Vec<Result<Arc<Sensor>, FirstReadingRefusal>>, RegistryError> {
        let _writing = self.writing().await;
        let (documents, limit) = self.first_documents(sensor_type, ids, readings)?;
        if !documents.is_empty() {
            self.append(documents).await?;
        }
        let state = self.state();
        type_number(&state, sensor_type)?;
        let sensors_max = self.settings().sensors_max;
        let answer = |id: &SensorId| match (state.sensor(id.as_str()), limit) {
            (Some(sensor), _) if sensor.sensor_type == *sensor_type => Ok(Arc::clone(sensor)),
            (Some(sensor), _) => Err(FirstReadingRefusal::BoundToOtherType { bound_to: sensor.sensor_type.clone() }),
            (None, Limit::Places) => Err(FirstReadingRefusal::TooManySensors { sensors_max }),
            (None, Limit::Pace(wait)) => {
                let per_minute = self.settings().first_readings_per_minute;
                Err(FirstReadingRefusal::TooFast { per_minute, retry_after_s: wait.as_secs() + 1 })
            }
        };
        Ok(ids.iter().map(answer).collect())
    }

    /// A registration for each id that has none, as far as there is room and the pace allows; and what refuses the others.
    fn first_documents(
        &self,
        sensor_type: &SensorTypeId,
        ids: &[SensorId],
        readings: FirstReadings,
    ) -> Result<(Vec<Document>, Limit), RegistryError> {
        let state = self.state();
        let type_number = type_number(&state, sensor_type)?;
        let settings = self.settings();
        let places = match readings {
            FirstReadings::Posted => settings.sensors_max,
            FirstReadings::InLog => settings.sensors_max.saturating_add(settings.sensors_reserved),
        };
        let mut seen = HashSet::new();
        let mut new: Vec<&SensorId> =
            ids.iter().filter(|id| state.sensor(id.as_str()).is_none() && seen.insert(id.as_str())).collect();
        new.truncate(places.saturating_sub(state.sensor_count()));
        let mut limit = Limit::Places;
        if readings == FirstReadings::Posted {
            let mut pace = self.pace().lock().unwrap_or_else(PoisonError::into_inner);
            let granted = pace.take(new.len(), Instant::now());
            if granted < new.len() {
                limit = Limit::Pace(pace.wait(new.len() - granted));
            }
            new.truncate(granted);
        }
        let document = |id: &SensorId| {
            let (id, sensor_type) = (id.clone(), sensor_type.clone());
            let sensor = Sensor { id, number: 0, sensor_type, name: None, place: None, group: None };
            registration(&state, &sensor, type_number)
        };
        Ok((new.into_iter().map(document).collect(), limit))
    }

    /// Removes a sensor. The caller has checked that it has no readings.
    ///
    /// # Errors
    /// Transient ones.
    pub async fn remove_sensor(&self, sensor: &Sensor) -> Result<Removal, RegistryError> {
        let _writing = self.writing().await;
        self.remove_held(&sensor.id, |_, held| held.number == sensor.number).await
    }

    /// Notes that a sensor goes once its readings are deleted, unless it is changed before.
    ///
    /// # Errors
    /// [`RegistryError::Contended`] where it is gone or changed meanwhile; transient ones.
    pub async fn begin_removal(&self, sensor: &Sensor) -> Result<(), RegistryError> {
        let _writing = self.writing().await;
        let contended = || RegistryError::Contended(sensor.id.to_string());
        for _ in 0..ATTEMPTS_MAX {
            let document = {
                let state = self.state();
                let held = state.sensor(sensor.id.as_str()).filter(|held| held.number == sensor.number);
                let held = held.ok_or_else(contended)?;
                if state.is_leaving(sensor.id.as_str()) {
                    return Ok(());
                }
                change(&state, held, type_number(&state, &held.sensor_type)?, true)
            };
            self.append(vec![document]).await?;
        }
        Err(contended())
    }

    /// Removes a sensor of the type that is leaving, now that its readings are deleted. Asked again after a crash, it changes
    /// nothing more.
    ///
    /// # Errors
    /// Transient ones.
    pub async fn end_removal(&self, sensor_type: &SensorTypeId, id: &SensorId) -> Result<Removal, RegistryError> {
        // That it is leaving was noted, by whatever process, before the deletion was appended.
        self.catch_up().await?;
        let _writing = self.writing().await;
        let goes = |state: &State, held: &Sensor| held.sensor_type == *sensor_type && state.is_leaving(id.as_str());
        self.remove_held(id, goes).await
    }

    /// Removes the sensor of an id as long as it `goes`.
    async fn remove_held(
        &self,
        id: &SensorId,
        goes: impl Fn(&State, &Sensor) -> bool,
    ) -> Result<Removal, RegistryError> {
        for attempt in 0..ATTEMPTS_MAX {
            let document = {
                let state = self.state();
                match state.sensor(id.as_str()).filter(|held| goes(&state, held)) {
                    Some(held) => document::removal(id, held.number),
                    None if attempt > 0 => return Ok(Removal::Removed),
                    None => return Ok(Removal::Kept),
                }
            };
            self.append(vec![document]).await?;
        }
        Err(RegistryError::Contended(id.to_string()))
    }
}

/// The first document of a sensor.
fn registration(state: &State, sensor: &Sensor, type_number: u64) -> Document {
    let document = SensorDocument::new(sensor, None, 1, type_number);
    document.with_removal(state.removed_number(&sensor.id), false).document(&sensor.id)
}

/// The next document of a sensor that has a number.
fn change(state: &State, sensor: &Sensor, type_number: u64, leaving: bool) -> Document {
    let revision = state.revision(sensor.id.as_str()).unwrap_or(0) + 1;
    let document = SensorDocument::new(sensor, Some(sensor.number), revision, type_number);
    document.with_removal(state.removed_number(&sensor.id), leaving).document(&sensor.id)
}

fn type_number(state: &State, id: &SensorTypeId) -> Result<u64, RegistryError> {
    let found = state.newest(id.as_str()).map(|sensor_type| sensor_type.number);
    found.ok_or_else(|| RegistryError::UnknownSensorType(id.clone()))
}

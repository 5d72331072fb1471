//! What the documents read so far add up to: a state machine without I/O, the same for every follower.
//!
//! # Which document holds
//!
//! The topic keeps only the newest document of each key, but of two registrations of one thing the *first* holds. The rules:
//!
//! * **Numbers.** A first registration carries no number: it gets the position of its document, which no other has. Every later
//!   document of the thing carries the number, so that compaction may drop the first.
//! * **Origin.** What a document says has the origin that it names: the position of the document that said it first. Without one it
//!   is the first itself, and its position is the origin. Of two that clash, the one with the lower origin holds.
//! * **Types.** A version of a type, once there, never changes. A type is there from version 1 on, whose origin is the type's
//!   number. The removal of version 1 removes the type and its sensors; its number never comes back.
//! * **Sensors.** A sensor names the number of the type it is bound to, so that a type made again later under the same id has none
//!   of the old one's sensors. Of two registrations the one with the lower number holds; of two changes the one with the higher
//!   revision, and of the same revision the one with the lower origin.
//! * **Removed sensors.** The removal of a sensor names its number: whatever number an id has had up to then never comes back. A
//!   sensor that is registered again says after which number it comes, so that no late document of the one before replaces it. The
//!   newest [`REMOVALS_MAX`] removals are remembered; older ones leave the topic. A removal without a number is meant for the
//!   documents of a type that is gone.
//! * **Repair.** A document that does not hold would still replace the one that does when the topic is compacted. So whoever
//!   refuses a document appends what holds under the same key again, with number and origin ([`State::repairs`]). Until then a
//!   process that starts may see the wrong one; the lower origin then brings it back in line.
//! * **Order.** After compaction and repair a sensor's document may come before its type's. It is parked until the type comes; at
//!   the end of the topic what is still parked belongs to nothing and is taken out ([`State::settle`]).

use std::{
    borrow::Borrow,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use domain::{Position, Sensor, SensorId, SensorType, SensorTypeId, TypeVersion};
use ports::Document;

use crate::{
    document::{self, Entry, Key, SensorDocument, TypeDocument, tombstone},
    order::{Order, SensorsQuery},
};

/// The most unreadable documents that are remembered by key; more are only counted.
const FAULTS_MAX: usize = 100;
/// The most removals of sensors that are remembered. A change is planned against what its process knows and appended within
/// seconds: none can be so late that this many others came in between.
const REMOVALS_MAX: usize = 10_000;

/// Sensor types and sensors at one position of the topic.
#[derive(Debug, Default)]
pub(crate) struct State {
    types: BTreeMap<SensorTypeId, Versions>,
    sensors: HashSet<Registered>,
    /// The same, sorted.
    order: Order,
    /// The highest number that was removed of each id, and when: position of the document.
    removals: HashMap<SensorId, (u64, Position)>,
    /// The ids of `removals` by position.
    removals_by_age: BTreeMap<Position, SensorId>,
    /// Sensors whose type has not been read yet.
    parked: HashMap<SensorId, (Position, SensorDocument)>,
    /// Numbers of the types seen to be removed.
    removed: HashSet<u64>,
    /// Keys whose newest document is not what holds.
    repairs: BTreeSet<Key>,
    /// Documents that can't be read: what is wrong, by key.
    faults: BTreeMap<String, String>,
    /// Counts the changes of sensor types.
    type_changes: u64,
}

/// One type and all its versions.
#[derive(Debug)]
struct Versions {
    number: u64,
    by_version: BTreeMap<TypeVersion, Version>,
}

/// One version of a type, and the position of the document that said it first.
#[derive(Debug)]
struct Version {
    sensor_type: Arc<SensorType>,
    origin: u64,
}

impl Versions {
    /// Says whether the type is there: it has its version 1.
    fn is_there(&self) -> bool {
        self.by_version.contains_key(&1)
    }
}

/// A sensor, found by its id; 24 bytes, because there may be millions.
#[derive(Debug)]
struct Registered {
    sensor: Arc<Sensor>,
    /// Position of the document that said this of it first.
    origin: u64,
    revision: u32,
    /// Whether it goes once its readings are deleted.
    leaving: bool,
}

impl Borrow<str> for Registered {
    fn borrow(&self) -> &str {
        self.sensor.id.as_str()
    }
}

impl Hash for Registered {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sensor.id.as_str().hash(state);
    }
}

impl PartialEq for Registered {
    fn eq(&self, other: &Self) -> bool {
        self.sensor.id == other.sensor.id
    }
}

impl Eq for Registered {}

impl State {
    /// An empty state that knows what another saw removed.
    pub(crate) fn after(other: &Self) -> Self {
        Self { removed: other.removed.clone(), type_changes: other.type_changes + 1, ..Self::default() }
    }

    pub(crate) fn sensor(&self, id: &str) -> Option<&Arc<Sensor>> {
        self.sensors.get(id).map(|registered| &registered.sensor)
    }

    /// How often the sensor was changed, counted from 1.
    pub(crate) fn revision(&self, id: &str) -> Option<u32> {
        self.sensors.get(id).map(|registered| registered.revision)
    }

    /// Whether the sensor goes once its readings are deleted.
    pub(crate) fn is_leaving(&self, id: &str) -> bool {
        self.sensors.get(id).is_some_and(|registered| registered.leaving)
    }

    /// The highest number that was removed of an id, as far as that is remembered.
    pub(crate) fn removed_number(&self, id: &SensorId) -> Option<u64> {
        self.removals.get(id).map(|(number, _)| *number)
    }

    /// All sensors, by id.
    pub(crate) fn sensors(&self) -> impl Iterator<Item = &Arc<Sensor>> {
        self.order.all()
    }

    /// All sensors of a type, by id.
    pub(crate) fn sensors_of_type(&self, id: &SensorTypeId) -> impl Iterator<Item = &Arc<Sensor>> {
        self.order.of_type(id)
    }

    /// The first `limit` sensors of the query, and whether there are more.
    pub(crate) fn page(&self, query: SensorsQuery<'_>, limit: usize) -> (Vec<Arc<Sensor>>, bool) {
        self.order.page(query, limit)
    }

    pub(crate) fn sensor_count(&self) -> usize {
        self.sensors.len()
    }

    /// The newest version of a type.
    pub(crate) fn newest(&self, id: &str) -> Option<&Arc<SensorType>> {
        let versions = self.types.get(id).filter(|versions| versions.is_there())?;
        versions.by_version.values().next_back().map(|version| &version.sensor_type)
    }

    pub(crate) fn version(&self, id: &str, version: TypeVersion) -> Option<&Arc<SensorType>> {
        self.held_version(id, version).map(|version| &version.sensor_type)
    }

    fn held_version(&self, id: &str, version: TypeVersion) -> Option<&Version> {
        self.types.get(id).filter(|versions| versions.is_there())?.by_version.get(&version)
    }

    /// All versions of a type, from the first.
    pub(crate) fn versions(&self, id: &str) -> impl Iterator<Item = &Arc<SensorType>> {
        let versions = self.types.get(id).into_iter().flat_map(|versions| versions.by_version.values());
        versions.map(|version| &version.sensor_type)
    }

    /// The newest version of each type, by id.
    pub(crate) fn types(&self) -> impl Iterator<Item = &Arc<SensorType>> {
        let there = self.types.values().filter(|versions| versions.is_there());
        there.filter_map(|it| it.by_version.values().next_back()).map(|version| &version.sensor_type)
    }

    pub(crate) fn type_changes(&self) -> u64 {
        self.type_changes
    }

    /// Documents that can't be read, by key, each with what is wrong.
    pub(crate) fn faults(&self) -> &BTreeMap<String, String> {
        &self.faults
    }

    /// Takes note of a document that can't be read. It stays as it is: a later version of the hub may have written it.
    pub(crate) fn note_fault(&mut self, key: String, fault: String) {
        if self.faults.len() < FAULTS_MAX || self.faults.contains_key(&key) {
            self.faults.insert(key, fault);
        }
    }

    /// An unreadable document was removed.
    pub(crate) fn forget_fault(&mut self, key: &str) {
        self.faults.remove(key);
    }

    /// Applies the document at `position`.
    pub(crate) fn apply(&mut self, position: Position, entry: Entry) {
        if !self.faults.is_empty() {
            self.faults.remove(&entry.key().to_string());
        }
        match entry {
            Entry::Type(id, version, document) => self.apply_type(position, id, version, document),
            Entry::Sensor(id, document) => self.apply_sensor(position, id, document),
            Entry::Removed(Key::Type(id, version)) => self.apply_type_removal(id, version),
            Entry::Removed(Key::Sensor(id)) => self.apply_sensor_tombstone(id),
            Entry::SensorRemoved(id, number) => self.apply_sensor_removal(position, id, number),
        }
    }

    fn apply_type(&mut self, position: Position, id: SensorTypeId, version: TypeVersion, document: TypeDocument) {
        let key = Key::Type(id.clone(), version);
        let number = document.number.unwrap_or(position.0);
        if self.removed.contains(&number) {
            self.repairs.insert(key);
            return;
        }
        if let Some(held) = self.types.get(&id).filter(|held| held.number != number) {
            let replaces = match held.is_there() {
                true => version == 1 && number < held.number,
                false => version == 1 || number > held.number,
            };
            if !replaces {
                self.repairs.insert(key);
                return;
            }
            self.drop_type(&id);
        }
        let held = self.types.entry(id.clone()).or_insert_with(|| Versions { number, by_version: BTreeMap::new() });
        let origin = document.origin.unwrap_or(position.0);
        if let Some(rival) = held.by_version.get(&version).filter(|rival| rival.origin <= origin) {
            match rival.origin == origin {
                true => self.repairs.remove(&key),
                false => self.repairs.insert(key),
            };
            return;
        }
        let sensor_type = Arc::new(SensorType::assemble(id.clone(), number, version, document.definition));
        held.by_version.insert(version, Version { sensor_type, origin });
        self.repairs.remove(&key);
        self.type_changes += 1;
        if version == 1 {
            self.admit_parked(&id, number);
        }
    }

    fn apply_type_removal(&mut self, id: SensorTypeId, version: TypeVersion) {
        let key = Key::Type(id.clone(), version);
        match self.types.get(&id) {
            Some(held) if version == 1 && held.is_there() => {
                self.removed.insert(held.number);
                self.drop_type(&id);
                self.repairs.remove(&key);
            }
            Some(held) if held.by_version.contains_key(&version) => {
                self.repairs.insert(key);
            }
            _ => {
                self.repairs.remove(&key);
            }
        }
    }

    /// Takes out a type with its sensors; their documents are to be taken out of the topic as well.
    fn drop_type(&mut self, id: &SensorTypeId) {
        let Some(dropped) = self.types.remove(id) else { return };
        self.repairs.extend(dropped.by_version.keys().map(|version| Key::Type(id.clone(), *version)));
        let sensors: Vec<_> = self.order.of_type(id).cloned().collect();
        for sensor in sensors {
            self.drop_sensor(sensor.id.as_str());
            self.repairs.insert(Key::Sensor(sensor.id.clone()));
        }
        self.type_changes += 1;
    }

    fn drop_sensor(&mut self, id: &str) {
        if let Some(dropped) = self.sensors.take(id) {
            self.order.remove(&dropped.sensor);
        }
    }

    fn admit_parked(&mut self, id: &SensorTypeId, number: u64) {
        let belongs = |document: &SensorDocument| document.sensor_type == *id && document.type_number == number;
        let admitted: Vec<_> = self.parked.extract_if(|_, (_, document)| belongs(document)).collect();
        for (id, (position, document)) in admitted {
            // Where another document of the key was applied in the meantime, the newest may be one that does not hold.
            let contested = self.sensors.contains(id.as_str()).then(|| Key::Sensor(id.clone()));
            self.apply_sensor(position, id, document);
            self.repairs.extend(contested);
        }
    }

    fn apply_sensor(&mut self, position: Position, id: SensorId, mut document: SensorDocument) {
        if let Some(after) = document.after {
            self.note_removal(position, &id, after);
        }
        let number = document.number.unwrap_or(position.0);
        if self.removed_number(&id).is_some_and(|removed| number <= removed) {
            self.repairs.insert(Key::Sensor(id));
            return;
        }
        let found = self.types.get_key_value(&document.sensor_type).filter(|(_, versions)| versions.is_there());
        let Some((type_id, _)) = found.filter(|(_, versions)| versions.number == document.type_number) else {
            self.park(position, id, document);
            return;
        };
        // All sensors of a type share its id.
        document.sensor_type = type_id.clone();
        let (revision, origin) = (document.revision, document.origin.unwrap_or(position.0));
        let leaving = document.leaving;
        let sensor = document.into_sensor(id, position);
        let key = Key::Sensor(sensor.id.clone());
        if let Some(rival) = self.sensors.get(sensor.id.as_str()) {
            // The lower number holds, then the higher revision, then the lower origin.
            let rank = |number, revision, origin| (number, Reverse(revision), origin);
            let (new, old) =
                (rank(sensor.number, revision, origin), rank(rival.sensor.number, rival.revision, rival.origin));
            if new >= old {
                match new == old {
                    true => self.repairs.remove(&key),
                    false => self.repairs.insert(key),
                };
                return;
            }
        }
        if !self.repairs.is_empty() {
            self.repairs.remove(&key);
        }
        self.drop_sensor(sensor.id.as_str());
        let sensor = Arc::new(sensor);
        self.order.insert(&sensor);
        self.sensors.insert(Registered { sensor, origin, revision, leaving });
    }

    fn park(&mut self, position: Position, id: SensorId, document: SensorDocument) {
        if self.removed.contains(&document.type_number) {
            self.repairs.insert(Key::Sensor(id));
            return;
        }
        self.parked.insert(id, (position, document));
    }

    /// A removal without a number.
    fn apply_sensor_tombstone(&mut self, id: SensorId) {
        self.parked.remove(&id);
        self.forget_removal(&id);
        let key = Key::Sensor(id);
        // It is meant for what is gone with its type, or for a removal that is old: what is there now was registered since.
        let Key::Sensor(id) = &key else { return };
        match self.sensors.contains(id.as_str()) {
            true => self.repairs.insert(key),
            false => self.repairs.remove(&key),
        };
    }

    fn apply_sensor_removal(&mut self, position: Position, id: SensorId, number: u64) {
        let is_newest = self.removed_number(&id).is_none_or(|known| known <= number);
        self.note_removal(position, &id, number);
        let key = Key::Sensor(id);
        let Key::Sensor(id) = &key else { return };
        match is_newest && !self.sensors.contains(id.as_str()) {
            true => self.repairs.remove(&key),
            false => self.repairs.insert(key),
        };
    }

    /// Remembers that an id has lost its sensors up to `number`; forgets the oldest removal where there are too many.
    fn note_removal(&mut self, position: Position, id: &SensorId, number: u64) {
        if self.removed_number(id).is_none_or(|known| known < number) {
            self.forget_removal(id);
            self.removals.insert(id.clone(), (number, position));
            self.removals_by_age.insert(position, id.clone());
        }
        if self.sensor(id.as_str()).is_some_and(|held| held.number <= number) {
            self.drop_sensor(id.as_str());
        }
        let is_over =
            |(parked_at, document): &(Position, SensorDocument)| document.number.unwrap_or(parked_at.0) <= number;
        if self.parked.get(id).is_some_and(is_over) {
            self.parked.remove(id);
        }
        if self.removals.len() > REMOVALS_MAX
            && let Some((_, oldest)) = self.removals_by_age.pop_first()
        {
            self.removals.remove(&oldest);
            if self.sensor(oldest.as_str()).is_none() {
                self.repairs.insert(Key::Sensor(oldest));
            }
        }
    }

    fn forget_removal(&mut self, id: &SensorId) {
        if let Some((_, position)) = self.removals.remove(id) {
            self.removals_by_age.remove(&position);
        }
    }

    /// Says whether [`settle`](Self::settle) has anything to do once the end of the topic is reached.
    pub(crate) fn is_unsettled(&self) -> bool {
        !self.parked.is_empty() || !self.repairs.is_empty() || self.types.values().any(|versions| !versions.is_there())
    }

    /// Takes out what belongs to nothing; only at the end of the topic.
    pub(crate) fn settle(&mut self) {
        self.repairs.extend(self.parked.drain().map(|(id, _)| Key::Sensor(id)));
        let orphans: Vec<_> = self.types.iter().filter(|(_, it)| !it.is_there()).map(|(id, _)| id.clone()).collect();
        for id in orphans {
            self.drop_type(&id);
        }
    }

    /// The documents that are to be appended so that the topic says what holds, at most `max`.
    pub(crate) fn repairs(&self, max: usize) -> Vec<Document> {
        self.repairs.iter().take(max).map(|key| self.document_of(key)).collect()
    }

    fn document_of(&self, key: &Key) -> Document {
        match key {
            Key::Type(id, version) => {
                let Some(held) = self.held_version(id.as_str(), *version) else { return tombstone(key) };
                let (number, definition) = (Some(held.sensor_type.number), held.sensor_type.definition.clone());
                TypeDocument::new(number, definition).with_origin(held.origin).document(id, *version)
            }
            Key::Sensor(id) => {
                let Some(held) = self.sensors.get(id.as_str()) else {
                    return self
                        .removed_number(id)
                        .map_or_else(|| tombstone(key), |number| document::removal(id, number));
                };
                let Some(bound_to) = self.newest(held.sensor.sensor_type.as_str()) else { return tombstone(key) };
                let number = Some(held.sensor.number);
                let document = SensorDocument::new(&held.sensor, number, held.revision, bound_to.number);
                let document = document.with_removal(self.removed_number(id), held.leaving);
                document.with_origin(held.origin).document(id)
            }
        }
    }
}

#[cfg(test)]
mod tests;

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

use crate::document::{Entry, Key, SensorDocument, TypeDocument, tombstone};

/// The most unreadable documents that are remembered by key; more are only counted.
const FAULTS_MAX: usize = 100;

/// Sensor types and sensors at one position of the topic.
#[derive(Debug, Default)]
pub(crate) struct State {
    types: BTreeMap<SensorTypeId, Versions>,
    sensors: HashSet<Registered>,
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

    /// All sensors, in no order.
    pub(crate) fn sensors(&self) -> impl Iterator<Item = &Arc<Sensor>> {
        self.sensors.iter().map(|registered| &registered.sensor)
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
            Entry::Removed(Key::Sensor(id)) => self.apply_sensor_removal(id),
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
        let repairs = &mut self.repairs;
        self.sensors.retain(|registered| {
            let stays = registered.sensor.sensor_type != *id;
            if !stays {
                repairs.insert(Key::Sensor(registered.sensor.id.clone()));
            }
            stays
        });
        self.type_changes += 1;
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
        let found = self.types.get_key_value(&document.sensor_type).filter(|(_, versions)| versions.is_there());
        let Some((type_id, _)) = found.filter(|(_, versions)| versions.number == document.type_number) else {
            self.park(position, id, document);
            return;
        };
        // All sensors of a type share its id.
        document.sensor_type = type_id.clone();
        let (revision, origin) = (document.revision, document.origin.unwrap_or(position.0));
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
        self.sensors.replace(Registered { sensor: Arc::new(sensor), origin, revision });
    }

    fn park(&mut self, position: Position, id: SensorId, document: SensorDocument) {
        if self.removed.contains(&document.type_number) {
            self.repairs.insert(Key::Sensor(id));
            return;
        }
        self.parked.insert(id, (position, document));
    }

    fn apply_sensor_removal(&mut self, id: SensorId) {
        self.parked.remove(&id);
        let key = Key::Sensor(id);
        // A sensor goes with its type alone: a removal that comes while it is there was meant for an older one.
        let Key::Sensor(id) = &key else { return };
        match self.sensors.contains(id.as_str()) {
            true => self.repairs.insert(key),
            false => self.repairs.remove(&key),
        };
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
                let Some(held) = self.sensors.get(id.as_str()) else { return tombstone(key) };
                let Some(bound_to) = self.newest(held.sensor.sensor_type.as_str()) else { return tombstone(key) };
                let number = Some(held.sensor.number);
                let document = SensorDocument::new(&held.sensor, number, held.revision, bound_to.number);
                document.with_origin(held.origin).document(id)
            }
        }
    }
}

#[cfg(test)]
mod tests;

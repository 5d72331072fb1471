//! All groups and the members of each, over all time.

use std::collections::{BTreeMap, BTreeSet};

use domain::{SensorId, Timestamp};

use crate::{History, Tree};

/// The id of a group: by the rules of sensors, among which it is unique, because a group can be used like a sensor.
pub type GroupId = SensorId;

/// Where a group was, and when: under which parent, or under none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPlace(pub History<Option<GroupId>>);

/// Where a sensor was, and when: directly under which groups, each of another tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SensorPlaces(pub History<BTreeSet<GroupId>>);

impl Default for GroupPlace {
    fn default() -> Self {
        Self(History::always(None))
    }
}

impl Default for SensorPlaces {
    fn default() -> Self {
        Self(History::always(BTreeSet::new()))
    }
}

/// The groups and where everything was when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forest {
    groups: BTreeMap<GroupId, GroupPlace>,
    sensors: BTreeMap<SensorId, SensorPlaces>,
}

impl Forest {
    /// Sets where a group was when; it is known from then on.
    pub fn put_group(&mut self, id: GroupId, place: GroupPlace) {
        self.groups.insert(id, place);
    }

    /// Forgets a group. What was under it stands alone, in what is answered of any time.
    pub fn remove_group(&mut self, id: &GroupId) {
        self.groups.remove(id);
    }

    /// Sets where a sensor was when.
    pub fn put_sensor(&mut self, id: SensorId, places: SensorPlaces) {
        if places == SensorPlaces::default() {
            self.sensors.remove(&id);
        } else {
            self.sensors.insert(id, places);
        }
    }

    /// The groups with their places, in the order of their ids.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&GroupId, &GroupPlace)> {
        self.groups.iter()
    }

    /// The sensors that were ever in a group, with their places, in the order of their ids.
    pub fn sensors(&self) -> impl ExactSizeIterator<Item = (&SensorId, &SensorPlaces)> {
        self.sensors.iter()
    }

    /// Where a group was when.
    pub fn group(&self, id: &str) -> Option<&GroupPlace> {
        self.groups.get(id)
    }

    /// Where a sensor was when, if it ever was in a group.
    pub fn sensor(&self, id: &str) -> Option<&SensorPlaces> {
        self.sensors.get(id)
    }

    /// The parent of a group at a time; none where that is unknown.
    pub fn parent(&self, id: &GroupId, time: Timestamp) -> Option<&GroupId> {
        self.groups.get(id)?.0.at(time).as_ref().filter(|parent| self.groups.contains_key(*parent))
    }

    /// The groups above one, the nearest first, at a time. Ends where one comes again, which none does that was put by
    /// [`rearrange`](Self::rearrange).
    pub fn above<'a>(&'a self, id: &'a GroupId, time: Timestamp) -> impl Iterator<Item = &'a GroupId> {
        let mut next = self.parent(id, time);
        std::iter::from_fn(move || {
            let here = next?;
            next = self.parent(here, time).filter(|parent| *parent != id);
            Some(here)
        })
        // A bound for what somebody else wrote.
        .take(self.groups.len())
    }

    /// The root of the tree that a group is in at a time.
    pub fn root<'a>(&'a self, id: &'a GroupId, time: Timestamp) -> &'a GroupId {
        self.above(id, time).last().unwrap_or(id)
    }

    /// The tree of all groups and their members at a time.
    pub fn at(&self, time: Timestamp) -> Tree {
        Tree::of(self, time)
    }

    /// The times at which something changes, from a time on, in order.
    pub fn changes_from(&self, from: Timestamp) -> BTreeSet<Timestamp> {
        let groups = self.groups.values().flat_map(|place| place.0.changes().iter().map(|(since, _)| *since));
        let sensors = self.sensors.values().flat_map(|places| places.0.changes().iter().map(|(since, _)| *since));
        groups.chain(sensors).filter(|since| *since >= from).collect()
    }
}

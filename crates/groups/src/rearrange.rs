//! Rearranging trees: many moves that take effect as one, or are refused by name.

use std::collections::{BTreeMap, BTreeSet};

use domain::{SensorId, Timestamp};

use crate::{Forest, GroupId, GroupPlace, SensorPlaces, TooManyChanges};

/// The most levels of groups in a tree.
pub const LEVELS_MAX: usize = 16;

/// What is moved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A group, with all under it.
    Group(GroupId),
    /// A sensor.
    Sensor(SensorId),
}

/// One move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// A group under another one; under none it becomes the root of a tree.
    Group {
        /// The group.
        group: GroupId,
        /// Its parent from then on.
        to: Option<GroupId>,
    },
    /// A sensor into a group, out of the place that it has in the tree of that group.
    SensorInto {
        /// The sensor.
        sensor: SensorId,
        /// The group.
        to: GroupId,
    },
    /// A sensor out of a group.
    SensorOutOf {
        /// The sensor.
        sensor: SensorId,
        /// The group.
        from: GroupId,
    },
}

/// Why moves are refused: the first fault of each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no such group.
    #[error("there is no group `{0}`")]
    UnknownGroup(GroupId),
    /// A group would be under itself.
    #[error("group `{group}` can't be under `{parent}`, which is the same or under it")]
    Cycle {
        /// The group that was moved.
        group: GroupId,
        /// The parent it was to have.
        parent: GroupId,
    },
    /// A tree would have too many levels.
    #[error("group `{0}` would be on level `{1}`: a tree has at most {LEVELS_MAX}")]
    TooDeep(GroupId, usize),
    /// A sensor would be in two places of one tree.
    #[error("sensor `{sensor}` would be in two places of the tree of `{root}`: in `{one}` and in `{other}`")]
    TwoPlaces {
        /// The sensor.
        sensor: SensorId,
        /// The root of the tree.
        root: GroupId,
        /// A group that it would be in.
        one: GroupId,
        /// Another one.
        other: GroupId,
    },
    /// A place has changed too often.
    #[error("the place of `{0}` can't change again: {1}")]
    TooManyChanges(SensorId, TooManyChanges),
}

/// What moves come to: the new places of all that they move.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rearranged {
    /// By group.
    pub groups: BTreeMap<GroupId, GroupPlace>,
    /// By sensor.
    pub sensors: BTreeMap<SensorId, SensorPlaces>,
}

impl Forest {
    /// What some moves come to, in order, from a time on. What was to become of the same subjects later does not any more.
    ///
    /// # Errors
    /// Every fault, each once; then nothing is to be moved.
    pub fn rearranged(&self, moves: &[Move], since: Timestamp) -> Result<Rearranged, Vec<Fault>> {
        let mut after = Draft { forest: self.clone(), moved: BTreeSet::new(), since };
        let mut faults: Vec<Fault> = moves.iter().filter_map(|one| after.apply(one).err()).collect();
        if faults.is_empty() {
            faults = after.faults();
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(after.into_rearranged())
    }

    /// Takes over what moves came to.
    pub fn rearrange(&mut self, rearranged: Rearranged) {
        rearranged.groups.into_iter().for_each(|(id, place)| self.put_group(id, place));
        rearranged.sensors.into_iter().for_each(|(id, places)| self.put_sensor(id, places));
    }
}

/// A forest in which some things have been moved.
struct Draft {
    forest: Forest,
    moved: BTreeSet<Subject>,
    since: Timestamp,
}

impl Draft {
    fn apply(&mut self, one: &Move) -> Result<(), Fault> {
        match one {
            Move::Group { group, to } => {
                let mut place = self.known(group)?.clone();
                if let Some(to) = to {
                    self.known(to)?;
                    let is_under = to == group || self.forest.above(to, self.since).any(|above| above == group);
                    if is_under {
                        return Err(Fault::Cycle { group: group.clone(), parent: to.clone() });
                    }
                }
                let changed = place.0.change(self.since, to.clone());
                changed.map_err(|full| Fault::TooManyChanges(group.clone(), full))?;
                self.forest.put_group(group.clone(), place);
                self.moved.insert(Subject::Group(group.clone()));
                Ok(())
            }
            Move::SensorInto { sensor, to } => {
                self.known(to)?;
                let root = self.forest.root(to, self.since).clone();
                self.place_sensor(sensor, |forest, since, groups| {
                    groups.retain(|group| *forest.root(group, since) != root);
                    groups.insert(to.clone());
                })
            }
            Move::SensorOutOf { sensor, from } => {
                self.known(from)?;
                self.place_sensor(sensor, |_, _, groups| groups.retain(|group| group != from))
            }
        }
    }

    fn known(&self, group: &GroupId) -> Result<&GroupPlace, Fault> {
        self.forest.group(group.as_str()).ok_or_else(|| Fault::UnknownGroup(group.clone()))
    }

    fn place_sensor(
        &mut self,
        sensor: &SensorId,
        change: impl FnOnce(&Forest, Timestamp, &mut BTreeSet<GroupId>),
    ) -> Result<(), Fault> {
        let mut places = self.forest.sensor(sensor.as_str()).cloned().unwrap_or_default();
        let mut groups = places.0.at(self.since).clone();
        change(&self.forest, self.since, &mut groups);
        let changed = places.0.change(self.since, groups);
        changed.map_err(|full| Fault::TooManyChanges(sensor.clone(), full))?;
        self.forest.put_sensor(sensor.clone(), places);
        self.moved.insert(Subject::Sensor(sensor.clone()));
        Ok(())
    }

    /// What is wrong with the forest now, at any time from the moves on.
    fn faults(&self) -> Vec<Fault> {
        let mut times = self.forest.changes_from(self.since);
        times.insert(self.since);
        let mut faults = Vec::new();
        for time in times {
            faults.extend(self.faults_at(time).into_iter().filter(|fault| !faults.contains(fault)).collect::<Vec<_>>());
        }
        faults
    }

    fn faults_at(&self, time: Timestamp) -> Vec<Fault> {
        let groups = self.moved.iter().filter_map(|subject| match subject {
            Subject::Group(group) => Some(group),
            Subject::Sensor(_) => None,
        });
        let cycles: Vec<Fault> = groups.clone().filter_map(|group| self.cycle(group, time)).collect();
        if !cycles.is_empty() {
            return cycles;
        }
        let mut sensors: BTreeSet<SensorId> = self
            .moved
            .iter()
            .filter_map(|subject| match subject {
                Subject::Sensor(sensor) => Some(sensor.clone()),
                Subject::Group(_) => None,
            })
            .collect();
        let mut faults = Vec::new();
        if groups.clone().next().is_some() {
            let tree = self.forest.at(time);
            for group in groups {
                faults.extend(self.too_deep(&tree.groups_under(group), time));
                sensors.extend(tree.sensors_under(group).into_iter().cloned());
            }
        }
        faults.extend(sensors.iter().filter_map(|sensor| self.two_places(sensor, time)));
        faults
    }

    fn cycle(&self, group: &GroupId, time: Timestamp) -> Option<Fault> {
        let parent = self.forest.parent(group, time)?;
        let mut here = parent;
        for _ in 0..self.forest.groups().len() {
            if here == group {
                return Some(Fault::Cycle { group: group.clone(), parent: parent.clone() });
            }
            here = self.forest.parent(here, time)?;
        }
        // A cycle further up, which somebody else wrote.
        Some(Fault::Cycle { group: here.clone(), parent: parent.clone() })
    }

    fn too_deep(&self, groups: &[GroupId], time: Timestamp) -> Option<Fault> {
        let level = |group: &GroupId| self.forest.above(group, time).count() + 1;
        groups
            .iter()
            .map(|group| (group, level(group)))
            .find(|(_, level)| *level > LEVELS_MAX)
            .map(|(group, level)| Fault::TooDeep(group.clone(), level))
    }

    fn two_places(&self, sensor: &SensorId, time: Timestamp) -> Option<Fault> {
        let places = self.forest.sensor(sensor.as_str())?;
        let mut seen: BTreeMap<&GroupId, &GroupId> = BTreeMap::new();
        for group in places.0.at(time).iter().filter(|group| self.forest.group(group.as_str()).is_some()) {
            let root = self.forest.root(group, time);
            if let Some(one) = seen.insert(root, group) {
                let (sensor, root, one, other) = (sensor.clone(), root.clone(), one.clone(), group.clone());
                return Some(Fault::TwoPlaces { sensor, root, one, other });
            }
        }
        None
    }

    fn into_rearranged(self) -> Rearranged {
        let mut rearranged = Rearranged::default();
        for subject in self.moved {
            match subject {
                Subject::Group(id) => {
                    let place = self.forest.group(id.as_str()).cloned().unwrap_or_default();
                    rearranged.groups.insert(id, place);
                }
                Subject::Sensor(id) => {
                    let places = self.forest.sensor(id.as_str()).cloned().unwrap_or_default();
                    rearranged.sensors.insert(id, places);
                }
            }
        }
        rearranged
    }
}

#[cfg(test)]
#[path = "rearrange/tests.rs"]
mod tests;

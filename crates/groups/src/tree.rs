//! The trees of groups as they stand at one time.

use std::collections::{BTreeMap, BTreeSet};

use domain::{SensorId, Timestamp};

use crate::{Forest, GroupId};

/// What stands directly under a group, each in the order of the ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Children {
    /// Groups.
    pub groups: Vec<GroupId>,
    /// Sensors.
    pub sensors: Vec<SensorId>,
}

/// All groups and their members at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    children: BTreeMap<GroupId, Children>,
    /// Groups without a parent, in the order of their ids.
    roots: Vec<GroupId>,
    /// Every group behind those under it.
    bottom_up: Vec<GroupId>,
}

impl Tree {
    pub(crate) fn of(forest: &Forest, time: Timestamp) -> Self {
        let mut children: BTreeMap<GroupId, Children> =
            forest.groups().map(|(id, _)| (id.clone(), Children::default())).collect();
        let mut roots = Vec::new();
        for (id, _) in forest.groups() {
            match forest.parent(id, time).and_then(|parent| children.get_mut(parent)) {
                Some(parent) => parent.groups.push(id.clone()),
                None => roots.push(id.clone()),
            }
        }
        for (id, places) in forest.sensors() {
            for group in places.0.at(time) {
                if let Some(group) = children.get_mut(group) {
                    group.sensors.push(id.clone());
                }
            }
        }
        let mut tree = Self { children, roots, bottom_up: Vec::new() };
        tree.bottom_up = tree.roots.iter().flat_map(|root| tree.groups_under(root)).collect();
        tree
    }

    /// The groups without a parent, in the order of their ids.
    pub fn roots(&self) -> &[GroupId] {
        &self.roots
    }

    /// What stands directly under a group; nothing of one that is not there.
    pub fn children(&self, id: &str) -> Option<&Children> {
        self.children.get(id)
    }

    /// Every group that hangs on a root, behind all that are under it.
    pub fn bottom_up(&self) -> &[GroupId] {
        &self.bottom_up
    }

    /// The sensors under a group, directly or in groups under it, each once, in the order of their ids.
    pub fn sensors_under(&self, id: &GroupId) -> BTreeSet<&SensorId> {
        let groups = self.groups_under(id);
        groups.iter().filter_map(|id| self.children.get(id)).flat_map(|children| &children.sensors).collect()
    }

    /// A group and all under it, each behind those under it.
    pub fn groups_under(&self, id: &GroupId) -> Vec<GroupId> {
        let mut open: Vec<&GroupId> = vec![self.children.get_key_value(id).map_or(id, |(id, _)| id)];
        let mut found = Vec::new();
        // What hangs on a root has one way up, so that each is met once; the bound is for what somebody else wrote.
        while let Some(here) = open.pop().filter(|_| found.len() < self.children.len()) {
            found.push(here.clone());
            open.extend(self.children.get(here).into_iter().flat_map(|children| &children.groups));
        }
        found.reverse();
        found
    }
}

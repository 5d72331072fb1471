//! Ids that come again and again are parsed and kept once.

use std::{collections::HashSet, sync::Arc};

use domain::{PropertyId, SensorId};

/// The most ids that are kept; then it starts anew.
const IDS_MAX: usize = 200_000;

/// Gives the same id for the same text without allocating.
#[derive(Debug, Default)]
pub struct Interner {
    sensor_ids: HashSet<SensorId>,
    properties: Option<Arc<[PropertyId]>>,
}

impl Interner {
    /// The sensor id of a text; `None` where it is not allowed.
    pub fn sensor_id(&mut self, text: &str) -> Option<SensorId> {
        if let Some(id) = self.sensor_ids.get(text) {
            return Some(id.clone());
        }
        let id = SensorId::parse(text).ok()?;
        if self.sensor_ids.len() == IDS_MAX {
            self.sensor_ids.clear();
        }
        self.sensor_ids.insert(id.clone());
        Some(id)
    }

    /// A shared list of these properties; the one given last, if it is the same.
    pub fn properties(&mut self, names: Vec<PropertyId>) -> Arc<[PropertyId]> {
        match &self.properties {
            Some(last) if last[..] == names[..] => Arc::clone(last),
            _ => Arc::clone(self.properties.insert(names.into())),
        }
    }
}

//! All versions of one sensor type, as quality control needs them.

use std::sync::Arc;

use domain::{Flag, SensorType, TypeVersion, Value};
use ports::Judge;
use registry::Registry;

use crate::gross_range;

/// A sensor type with every version of it, of which a reading is judged by the one it was stamped with.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) newest: Arc<SensorType>,
    /// By version, from 1; a version that the registry does not have is `None`.
    versions: Vec<Option<Arc<SensorType>>>,
}

impl Kind {
    /// The type as the registry has it now; `None` where it has not.
    pub(crate) fn find(registry: &Registry, id: &str) -> Option<Self> {
        let newest = registry.sensor_type(id)?;
        let versions = (1..=newest.version).map(|version| registry.sensor_type_version(id, version));
        Some(Self { versions: versions.collect(), newest })
    }

    /// The version that judges what is stamped with `version`: the newest where nothing is stamped.
    pub(crate) fn judging(&self, version: Option<TypeVersion>) -> Option<&Arc<SensorType>> {
        let Some(version) = version else { return Some(&self.newest) };
        self.versions.get((version as usize).checked_sub(1)?)?.as_ref()
    }

    /// Says whether it is the type that `other` is, at the same version.
    pub(crate) fn is_same_version(&self, other: &SensorType) -> bool {
        (self.newest.number, self.newest.version) == (other.number, other.version)
    }
}

impl Judge for Kind {
    fn judge(&self, type_version: TypeVersion, values: &[Value]) -> Vec<Flag> {
        // A row is only ever made by a version that was known: the newest stands in for one that has gone since.
        let judging = self.judging(Some(type_version)).unwrap_or(&self.newest);
        let mut flags = vec![Flag::NotEvaluated; values.len()];
        if !values.is_empty() {
            gross_range::flag_rows(&judging.definition.properties, values.len(), values, &mut flags);
        }
        flags
    }
}

//! All versions of one sensor type with their tests: a reading is judged by the one it was stamped with.

use std::sync::Arc;

use checks::{Checks, Reach, gross_range};
use domain::{Flag, Label, LabelRule, SensorId, SensorType, TypeVersion, Value};
use ports::Judge;
use registry::Registry;

/// A sensor type with every version of it, of which a reading is judged by the one it was stamped with.
#[derive(Debug, Clone)]
pub struct Kind {
    /// The newest version.
    pub newest: Arc<SensorType>,
    /// By version, from 1; a version that the registry does not have is `None`.
    versions: Arc<[Option<Version>]>,
    /// What the tests of any version reach.
    pub reach: Reach,
    is_plain: bool,
}

/// One version and its tests.
#[derive(Debug)]
struct Version {
    sensor_type: Arc<SensorType>,
    checks: Checks,
}

impl Kind {
    /// The type as the registry has it now; `None` where it has not.
    pub fn find(registry: &Registry, id: &str) -> Option<Self> {
        let newest = registry.sensor_type(id)?;
        let of = |sensor_type: Arc<SensorType>| Version { checks: Checks::new(&sensor_type.definition), sensor_type };
        let versions = (1..=newest.version).map(|version| registry.sensor_type_version(id, version).map(of));
        let versions: Arc<[_]> = versions.collect();
        let all = versions.iter().flatten().map(|version| &version.checks);
        let reach = all.clone().map(Checks::reach).fold(Reach::default(), Reach::union);
        let is_plain = all.clone().all(Checks::is_plain);
        Some(Self { reach, is_plain, versions, newest })
    }

    fn version(&self, version: TypeVersion) -> Option<&Version> {
        self.versions.get((version as usize).checked_sub(1)?)?.as_ref()
    }

    /// The version that judges what is stamped with `version`: the newest where nothing is stamped.
    pub fn judging(&self, version: Option<TypeVersion>) -> Option<&Arc<SensorType>> {
        let Some(version) = version else { return Some(&self.newest) };
        self.version(version).map(|version| &version.sensor_type)
    }

    /// By which flags a version labels a reading.
    pub fn label_rule(&self, version: TypeVersion) -> LabelRule {
        self.judging(Some(version)).unwrap_or(&self.newest).definition.anomaly_flags
    }

    /// The tests of a version. A row is only ever made by a version that was known: the newest stands in for one that has gone since.
    pub fn checks(&self, version: TypeVersion) -> &Checks {
        let known = self.version(version).or_else(|| self.versions.iter().rev().flatten().next());
        &known.expect("the newest version is there").checks
    }

    /// Says whether no version has another test than gross range: a flag follows from its value alone.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The sensors that are compared with this one by any version, each once.
    pub fn neighbours_of(&self, sensor_id: &SensorId) -> Vec<&SensorId> {
        let lists = self.versions.iter().flatten().flat_map(|version| version.checks.neighbours());
        let lists = lists.filter(|(_, sensors, _)| sensors.contains(sensor_id));
        let mut others: Vec<_> =
            lists.flat_map(|(_, sensors, _)| sensors).filter(|other| *other != sensor_id).collect();
        others.sort_unstable();
        others.dedup();
        others
    }

    /// Says whether it is the type that `other` is, at the same version.
    pub fn is_same_version(&self, other: &SensorType) -> bool {
        (self.newest.number, self.newest.version) == (other.number, other.version)
    }
}

impl Judge for Kind {
    fn judge(&self, type_version: TypeVersion, values: &[Value]) -> (Vec<Flag>, Label) {
        let judging = self.judging(Some(type_version)).unwrap_or(&self.newest);
        let mut flags = vec![Flag::NotEvaluated; values.len()];
        if !values.is_empty() {
            gross_range::flag_rows(&judging.definition.properties, values.len(), values, &mut flags);
        }
        let label = judging.definition.anomaly_flags.label(&flags);
        (flags, label)
    }
}

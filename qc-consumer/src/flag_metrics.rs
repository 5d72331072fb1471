//! What Prometheus is told of flags: how many values got which, by test, and by sensor as well where they stand out.
//!
//! **Invariant:** at most [`SENSORS_MAX`] sensors and [`TOPICS_MAX`] sensor types have series of their own; those that come later share one.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use checks::{Test, TestFlags};
use domain::{Flag, PropertyId, SensorId, SensorType, SensorTypeId};
use prometheus::{IntCounterVec, Opts};

use crate::named::{OTHERS, TOPICS_MAX};

/// Flags given by this process, by sensor type, property, test and flag; a judgement that takes the place of another counts again.
pub const FLAGS: &str = "iot_hub_quality_flags_total";
/// Flags 3, 4 and 9 given by this process, by sensor as well.
pub const FLAGGED: &str = "iot_hub_quality_flagged_total";

/// The most sensors with series of their own.
const SENSORS_MAX: usize = 1_000;

/// The flags, in the order in which they are counted.
const FLAGS_OF_VALUES: [Flag; 5] = [Flag::Good, Flag::NotEvaluated, Flag::Suspect, Flag::Fail, Flag::Missing];

/// The metrics of flags; clones share them.
#[derive(Clone)]
pub(crate) struct FlagMetrics {
    given: IntCounterVec,
    flagged: IntCounterVec,
    /// The sensor types with series of their own.
    types: Arc<Mutex<HashSet<SensorTypeId>>>,
    /// The sensors with series of their own.
    sensors: Arc<Mutex<HashSet<SensorId>>>,
}

impl FlagMetrics {
    /// Makes the metrics and registers them.
    pub(crate) fn register(registry: &prometheus::Registry) -> prometheus::Result<Self> {
        let given = Opts::new(FLAGS, "Flags given by this process, by test");
        let flagged = Opts::new(FLAGGED, "Flags 3, 4 and 9 given by this process, by sensor and test");
        let given = IntCounterVec::new(given, &["sensor_type", "property", "test", "flag"])?;
        let flagged = IntCounterVec::new(flagged, &["sensor_type", "sensor_id", "property", "test", "flag"])?;
        registry.register(Box::new(given.clone()))?;
        registry.register(Box::new(flagged.clone()))?;
        Ok(Self { given, flagged, types: Arc::default(), sensors: Arc::default() })
    }

    /// Takes note of flags given to the values of a sensor type.
    pub(crate) fn add(&self, sensor_type: &SensorType, counts: FlagCounts<'_>) {
        let mut types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        let id = &sensor_type.id;
        let is_named = types.contains(id) || types.len() < TOPICS_MAX && types.insert(id.clone());
        drop(types);
        let name = |property: &PropertyId| if is_named { property.to_string() } else { OTHERS.to_owned() };
        let type_name = if is_named { id.as_str() } else { OTHERS };
        for (property, counts) in sensor_type.property_ids.iter().map(name).zip(&counts.by_test) {
            for (test, counts) in Test::ALL.into_iter().zip(counts) {
                for (flag, count) in FLAGS_OF_VALUES.into_iter().zip(counts).filter(|(_, count)| **count > 0) {
                    let labels = [type_name, property.as_str(), test.as_str(), flag_text(flag)];
                    self.given.with_label_values(&labels).inc_by(*count);
                }
            }
        }
        let mut sensors = self.sensors.lock().unwrap_or_else(PoisonError::into_inner);
        for ((sensor_id, property, test, flag), count) in counts.by_sensor {
            let has_own =
                sensors.contains(sensor_id) || sensors.len() < SENSORS_MAX && sensors.insert(sensor_id.clone());
            let sensor = if has_own { sensor_id.as_str() } else { OTHERS };
            let property = name(&sensor_type.property_ids[property]);
            let labels = [type_name, sensor, &property, test.as_str(), flag_text(flag)];
            self.flagged.with_label_values(&labels).inc_by(count);
        }
    }
}

fn flag_text(flag: Flag) -> &'static str {
    match flag {
        Flag::Good => "1",
        Flag::NotEvaluated => "2",
        Flag::Suspect => "3",
        Flag::Fail => "4",
        Flag::Missing => "9",
    }
}

/// How many values got which flag: of each property, by test, and of each sensor where it stands out.
#[derive(Debug)]
pub(crate) struct FlagCounts<'a> {
    by_test: Vec<[[u64; FLAGS_OF_VALUES.len()]; Test::ALL.len()]>,
    by_sensor: HashMap<(&'a SensorId, usize, Test, Flag), u64>,
}

impl<'a> FlagCounts<'a> {
    /// Of `width` properties.
    pub(crate) fn new(width: usize) -> Self {
        Self { by_test: vec![Default::default(); width], by_sensor: HashMap::new() }
    }

    /// Counts the flags of a test, row-major with as many in a row as there are properties, of the sensor of each row.
    pub(crate) fn count_rows(&mut self, test: Test, sensor_ids: &'a [SensorId], flags: &[Flag]) {
        for (sensor_id, row) in sensor_ids.iter().zip(flags.chunks(self.by_test.len().max(1))) {
            row.iter().enumerate().for_each(|(property, flag)| self.count(sensor_id, property, test, *flag));
        }
    }

    /// Counts the flags of a reading by some tests. That of a spike test counts when it is known, not while it waits.
    pub(crate) fn count_tests(&mut self, sensor_id: &'a SensorId, tests: &[TestFlags], counts: impl Fn(Test) -> bool) {
        let waits = |test, flag| test == Test::Spike && flag == Flag::NotEvaluated;
        for (property, tests) in tests.iter().enumerate() {
            for (test, flag) in tests.iter().filter(|(test, flag)| counts(*test) && !waits(*test, *flag)) {
                self.count(sensor_id, property, test, flag);
            }
        }
    }

    fn count(&mut self, sensor_id: &'a SensorId, property: usize, test: Test, flag: Flag) {
        let place = match flag {
            Flag::Good => 0,
            Flag::NotEvaluated => 1,
            Flag::Suspect => 2,
            Flag::Fail => 3,
            Flag::Missing => 4,
        };
        self.by_test[property][test as usize][place] += 1;
        if place >= 2 {
            *self.by_sensor.entry((sensor_id, property, test, flag)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::SensorTypeId;

    use super::*;

    #[test]
    fn sensors_beyond_the_bound_share_a_series() {
        let (id, draft) =
            registry::built_in_types().into_iter().find(|(id, _)| id.as_str() == "power").expect("built in");
        let sensor_type = SensorType::assemble(SensorTypeId::clone(&id), 1, 1, draft);
        let metrics = FlagMetrics::register(&prometheus::Registry::new()).expect("registered");
        let ids: Vec<SensorId> =
            (0..SENSORS_MAX + 5).map(|n| SensorId::parse(&format!("p{n}")).expect("an id")).collect();
        for ids in ids.chunks(100) {
            let mut counts = FlagCounts::new(sensor_type.width());
            counts.count_rows(Test::GrossRange, ids, &vec![Flag::Fail; ids.len() * sensor_type.width()]);
            metrics.add(&sensor_type, counts);
        }
        let property = sensor_type.property_ids[0].as_str();
        let of = |sensor| metrics.flagged.with_label_values(&["power", sensor, property, "gross_range", "4"]).get();
        assert_eq!((of("p0"), of(OTHERS)), (1, 5));
    }
}

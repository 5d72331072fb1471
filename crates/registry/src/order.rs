//! Sensors in the order of their ids: all of them, those of a type, those of a group.
//!
//! **Invariant:** each set holds exactly the sensors that the state has; a page costs what it answers, whatever else is registered.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use domain::{Sensor, SensorId, SensorTypeId};

/// Which sensors a page lists.
#[derive(Debug, Clone, Copy, Default)]
pub struct SensorsQuery<'a> {
    /// Those of this type alone.
    pub sensor_type: Option<&'a SensorTypeId>,
    /// Those of this group alone.
    pub group: Option<&'a str>,
    /// Those behind this id alone.
    pub after: Option<&'a SensorId>,
}

/// The sensors, sorted.
#[derive(Debug, Default)]
pub(crate) struct Order {
    all: BTreeSet<ById>,
    by_type: BTreeMap<SensorTypeId, BTreeSet<ById>>,
    by_group: BTreeMap<String, BTreeSet<ById>>,
}

/// A sensor that is compared by its id.
#[derive(Debug, Clone)]
struct ById(Arc<Sensor>);

impl Order {
    /// Adds a sensor that is not there.
    pub(crate) fn insert(&mut self, sensor: &Arc<Sensor>) {
        let by_id = || ById(Arc::clone(sensor));
        self.all.insert(by_id());
        self.by_type.entry(sensor.sensor_type.clone()).or_default().insert(by_id());
        if let Some(group) = &sensor.group {
            self.by_group.entry(group.clone()).or_default().insert(by_id());
        }
    }

    /// Takes a sensor out, as it was put in.
    pub(crate) fn remove(&mut self, sensor: &Sensor) {
        let id = sensor.id.as_str();
        self.all.remove(id);
        take(&mut self.by_type, &sensor.sensor_type, id);
        if let Some(group) = &sensor.group {
            take(&mut self.by_group, group, id);
        }
    }

    /// All sensors of a type.
    pub(crate) fn of_type(&self, id: &SensorTypeId) -> impl Iterator<Item = &Arc<Sensor>> {
        self.by_type.get(id).into_iter().flatten().map(|by_id| &by_id.0)
    }

    /// All sensors.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Sensor>> {
        self.all.iter().map(|by_id| &by_id.0)
    }

    /// The first `limit` sensors of the query, and whether there are more. Where both type and group are given, all of the group
    /// may be looked at.
    pub(crate) fn page(&self, query: SensorsQuery<'_>, limit: usize) -> (Vec<Arc<Sensor>>, bool) {
        let set = match (query.group, query.sensor_type) {
            (Some(group), _) => self.by_group.get(group),
            (None, Some(sensor_type)) => self.by_type.get(sensor_type),
            (None, None) => Some(&self.all),
        };
        let Some(set) = set else { return (Vec::new(), false) };
        let start = query.after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_str()));
        let wanted = |sensor: &&Arc<Sensor>| query.sensor_type.is_none_or(|id| sensor.sensor_type == *id);
        let mut sensors = set.range::<str, _>((start, Bound::Unbounded)).map(|by_id| &by_id.0).filter(wanted);
        let page = sensors.by_ref().take(limit).cloned().collect();
        (page, sensors.next().is_some())
    }
}

/// Takes an id out of its set, and the set with its last one.
fn take<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<ById>>, key: &K, id: &str) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(id);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        #[cfg(test)]
        tests::LOOKS.with(|looks| looks.set(looks.get() + 1));
        self.0.id.as_str()
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.as_str().cmp(other.0.id.as_str())
    }
}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ById {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How often a look-up has looked at a sensor.
        pub(super) static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    fn sensor(number: u64, sensor_type: &str) -> Arc<Sensor> {
        Arc::new(Sensor {
            id: SensorId::parse(&format!("s{number:07}")).expect("an id"),
            number,
            sensor_type: SensorTypeId::parse(sensor_type).expect("an id"),
            name: None,
            place: None,
            group: number.is_multiple_of(2).then(|| "even".to_owned()),
        })
    }

    fn order(sensors: u64) -> Order {
        let mut order = Order::default();
        (0..sensors).for_each(|number| order.insert(&sensor(number, if number % 10 < 5 { "emb" } else { "air" })));
        order
    }

    #[test]
    fn pages_are_sorted_whole_and_filtered() {
        let mut order = order(100);
        order.remove(&sensor(4, "emb"));
        let emb = SensorTypeId::parse("emb").expect("an id");
        for (sensor_type, group, expected) in [
            (None, None, 99),
            (Some(&emb), None, 49),
            (None, Some("even"), 49),
            (Some(&emb), Some("even"), 29),
            (None, Some("odd"), 0),
        ] {
            let mut found: Vec<Arc<Sensor>> = Vec::new();
            loop {
                let after = found.last().map(|last| last.id.clone());
                let query = SensorsQuery { sensor_type, group, after: after.as_ref() };
                let (page, more) = order.page(query, 7);
                found.extend(page);
                if !more {
                    break;
                }
            }
            assert_eq!(found.len(), expected, "{sensor_type:?} {group:?}");
            assert!(found.is_sorted_by(|one, other| one.id < other.id));
        }
        (0..100).filter(|number| *number != 4).for_each(|number| {
            order.remove(&sensor(number, if number % 10 < 5 { "emb" } else { "air" }));
        });
        assert!(order.all.is_empty() && order.by_type.is_empty() && order.by_group.is_empty());
    }

    #[test]
    fn a_page_costs_what_it_answers() {
        let looks = |sensors: u64| {
            let order = order(sensors);
            let after = sensor(sensors / 2, "emb").id.clone();
            let emb = SensorTypeId::parse("emb").expect("an id");
            LOOKS.with(|looks| looks.set(0));
            for sensor_type in [None, Some(&emb)] {
                let (page, more) = order.page(SensorsQuery { sensor_type, group: None, after: Some(&after) }, 100);
                assert!(page.len() == 100 && more);
            }
            LOOKS.with(Cell::get)
        };
        let (small, large) = (looks(1_000), looks(100_000));
        // A tree of 100 times the sensors is less than two levels deeper, of 11 keys each, at each end of two ranges.
        assert!(large <= small + 100, "{small} looks at 1,000 sensors, {large} at 100,000");
    }
}

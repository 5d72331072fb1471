//! What quality control remembers of sensors from batch to batch, so that a reading behind all others is judged without asking the store.
//!
//! **Invariant:** bounded, and forgotten rather than wrong: what is remembered of a partition holds while nobody else has worked on it, which is
//! while it goes on at the position where this process has committed. Whatever is forgotten is read from the store again.

use std::collections::HashMap;

use checks::Tail;
use domain::{Partition, Position, SensorId, Topic, TypeVersion};

/// The most datastreams of a type that are remembered.
const DATASTREAMS_MAX: usize = 1 << 20;

/// What is remembered of one sensor, whose newest reading in the store is the last that `tail` has taken.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// The version that judged its last reading.
    pub(crate) version: TypeVersion,
    pub(crate) tail: Tail,
}

/// What is remembered of all types.
#[derive(Debug, Default)]
pub(crate) struct Tails(HashMap<Topic, TypeTails>);

/// What is remembered of one type. Sensors that have not been heard of since the younger half was full are forgotten with the older.
#[derive(Debug, Default)]
pub(crate) struct TypeTails {
    type_number: u64,
    next: HashMap<Partition, Position>,
    young: HashMap<SensorId, Remembered>,
    old: HashMap<SensorId, Remembered>,
    sensors_max: usize,
}

impl Tails {
    /// What is remembered of the type of a topic, of which `partition` goes on at `from`; nothing where another has worked on it since.
    pub(crate) fn resume(
        &mut self,
        topic: &Topic,
        (type_number, width): (u64, usize),
        (partition, from): (Partition, Position),
    ) -> &mut TypeTails {
        let tails = self.0.entry(topic.clone()).or_default();
        if tails.type_number != type_number || tails.next.get(&partition).is_some_and(|next| *next != from) {
            *tails = TypeTails { type_number, ..TypeTails::default() };
        }
        tails.next.insert(partition, from);
        tails.sensors_max = (DATASTREAMS_MAX / 2 / width.max(1)).max(1);
        tails
    }

    /// Takes note of a commit.
    pub(crate) fn committed(&mut self, topic: &Topic, partition: Partition, next: Position) {
        if let Some(tails) = self.0.get_mut(topic) {
            tails.next.insert(partition, next);
        }
    }

    /// What is remembered of a type that was resumed.
    pub(crate) fn of(&mut self, topic: &Topic) -> &mut TypeTails {
        self.0.entry(topic.clone()).or_default()
    }

    /// Forgets everything of a type.
    pub(crate) fn forget(&mut self, topic: &Topic) {
        self.0.remove(topic);
    }
}

impl TypeTails {
    /// Takes out what is remembered of a sensor: it is kept again when what follows from it is in the store.
    pub(crate) fn take(&mut self, sensor_id: &SensorId) -> Option<Remembered> {
        self.young.remove(sensor_id).or_else(|| self.old.remove(sensor_id))
    }

    /// Remembers a sensor.
    pub(crate) fn keep(&mut self, sensor_id: SensorId, remembered: Remembered) {
        if self.young.len() >= self.sensors_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(sensor_id, remembered);
    }
}

#[cfg(test)]
mod tests {
    use checks::Checks;
    use registry::built_in_types;

    use super::*;

    fn remembered() -> Remembered {
        let checks = Checks::new(&built_in_types()[0].1);
        Remembered { version: 1, tail: Tail::new(&checks) }
    }

    #[test]
    fn tails_hold_while_the_partition_goes_on_where_it_was_committed() {
        let (topic, partition) = (Topic::from_name("readings.t"), Partition(0));
        let sensor = SensorId::parse("s").expect("an id");
        let mut tails = Tails::default();
        tails.resume(&topic, (1, 5), (partition, Position(0))).keep(sensor.clone(), remembered());
        tails.committed(&topic, partition, Position(7));
        let mut knows = |number, from| {
            let tails = tails.resume(&topic, (number, 5), (partition, Position(from)));
            let found = tails.take(&sensor);
            let known = found.is_some();
            found.into_iter().for_each(|found| tails.keep(sensor.clone(), found));
            known
        };
        assert!(knows(1, 7));
        assert!(!knows(1, 9), "another member was at work in between");
        tails.resume(&topic, (1, 5), (partition, Position(9))).keep(sensor.clone(), remembered());
        assert!(tails.resume(&topic, (2, 5), (partition, Position(9))).take(&sensor).is_none(), "another type");
    }

    #[test]
    fn sensors_not_heard_of_are_forgotten_at_the_bound() {
        let topic = Topic::from_name("readings.t");
        let mut all = Tails::default();
        let tails = all.resume(&topic, (1, DATASTREAMS_MAX / 8), (Partition(0), Position(0)));
        for number in 0..12 {
            tails.keep(SensorId::parse(&format!("s{number}")).expect("an id"), remembered());
        }
        let known = (0..12).filter(|n| tails.take(&SensorId::parse(&format!("s{n}")).expect("an id")).is_some());
        assert_eq!(known.collect::<Vec<_>>(), (4..12).collect::<Vec<_>>());
    }
}

//! Readings that come in the order of their times, as most do: judged by what is remembered of their sensor, before they are written.
//!
//! **Invariant:** what is remembered is taken out here and given back by [`Followed::settle`] alone, after the write, for sensors all of whose
//! readings made new rows. All others are late, whatever was thought of them before: they are judged again by what the store has then.

use std::collections::HashMap;

use checks::{Next, Tail, TestFlags};
use domain::{Flag, Judged, SensorId, Timestamp, TypeVersion, Value};
use judge::{Kind, Span, joined};
use ports::Outcome;

use crate::{
    judgement::Judgement,
    plan::Rows,
    tails::{Remembered, TypeTails},
};

/// A write whose readings are judged as far as they came in order.
pub(crate) struct Followed {
    /// Flags per test, arranged as the values of the write; those of late readings are empty.
    tests: Vec<TestFlags>,
    width: usize,
    sensors: HashMap<SensorId, Following>,
}

/// The readings of one sensor in a write.
struct Following {
    /// Nothing where they are late.
    remembered: Option<Remembered>,
    /// Places of its readings in the write.
    rows: Vec<usize>,
    /// The judgement of its newest row in the store, where that is another now.
    revised: Option<Judgement>,
    /// Its flags, now that the reading behind it is there.
    completed: Vec<TestFlags>,
}

/// What is to be done after the write.
#[derive(Default)]
pub(crate) struct Settled {
    /// Of readings that came in order, and of the rows right before them.
    pub(crate) judgements: Vec<Judgement>,
    /// The flags of rows in the store that waited for the reading behind and roll up to what they did.
    pub(crate) completed: Vec<(SensorId, Vec<TestFlags>)>,
    /// Sensors that are to be judged again.
    pub(crate) late: Vec<Late>,
    /// What is to be remembered when the judgements are carried out.
    pub(crate) remembered: Vec<(SensorId, Remembered)>,
}

/// Readings of a sensor that made or changed rows.
pub(crate) struct Late {
    pub(crate) sensor_id: SensorId,
    /// Their times, and whether each changed a row that was there.
    pub(crate) written: HashMap<Timestamp, bool>,
}

impl Late {
    /// The times, where rows were made or changed.
    pub(crate) fn spans(&self) -> Vec<Span> {
        joined(self.written.keys().map(|time| Span { from: *time, to: *time }).collect())
    }
}

impl Followed {
    /// Judges the readings of a write that come in order; writes their flags over those they have.
    pub(crate) fn new(kind: &Kind, tails: &mut TypeTails, write: &mut Rows) -> Self {
        let width = kind.newest.width();
        let tests = vec![TestFlags::default(); write.values.len()];
        let mut followed = Self { tests, width, sensors: HashMap::new() };
        for row in 0..write.rows.len() {
            let sensor_id = &write.sensor_ids[row];
            if !followed.sensors.contains_key(sensor_id) {
                // A sensor's neighbours may have said something since.
                let remembered = tails.take(sensor_id).filter(|_| kind.neighbours_of(sensor_id).is_empty());
                let following = Following { remembered, rows: Vec::new(), revised: None, completed: Vec::new() };
                followed.sensors.insert(sensor_id.clone(), following);
            }
            followed.follow(kind, write, row);
        }
        followed
    }

    fn follow(&mut self, kind: &Kind, write: &mut Rows, row: usize) {
        let Some(following) = self.sensors.get_mut(&write.sensor_ids[row]) else { return };
        let before = following.rows.last().copied();
        following.rows.push(row);
        let (time, version) = (write.rows[row].phenomenon_time, write.rows[row].type_version);
        let in_order = |remembered: &Remembered| {
            remembered.version == version && remembered.tail.last().is_some_and(|last| last < time)
        };
        let Some(remembered) = following.remembered.as_mut().filter(|remembered| in_order(remembered)) else {
            following.remembered = None;
            return;
        };
        let checks = kind.checks(version);
        let tail = &mut remembered.tail;
        let stored = before.is_none().then(|| Stored::of(tail)).flatten();
        let cells = row * self.width..row * self.width + checks.width();
        let next = Next { time, values: &write.values[cells.clone()], neighbours: &[] };
        let mut previous: Vec<TestFlags> = tail.flags().collect();
        tail.push(checks, next, &mut previous, &mut self.tests[cells]);
        if let Some(stored) = stored {
            following.revised = stored.revised(&write.sensor_ids[row], version, &previous);
            following.completed.clone_from(&previous);
        }
        self.show(kind, write, row);
        if let Some(before) = before {
            let cells = before * self.width..before * self.width + checks.width();
            self.tests[cells].copy_from_slice(&previous);
            self.show(kind, write, before);
        }
    }

    /// Writes the flags that the tests roll up to over those the reading has, and its label.
    fn show(&self, kind: &Kind, write: &mut Rows, row: usize) {
        let version = write.rows[row].type_version;
        let cells = row * self.width..row * self.width + kind.checks(version).width();
        for (flag, tests) in write.flags[cells.clone()].iter_mut().zip(&self.tests[cells]) {
            *flag = tests.roll_up();
        }
        write.label(row, self.width, kind.label_rule(version));
    }

    /// Says what is to be done, now that the readings were written with these outcomes.
    pub(crate) fn settle(self, kind: &Kind, judged: &Judged, outcomes: &[Outcome]) -> Settled {
        let mut settled = Settled::default();
        for (sensor_id, following) in self.sensors {
            let all_new = following.rows.iter().all(|row| outcomes[*row] == Outcome::Stored);
            let Some(remembered) = following.remembered.filter(|_| all_new) else {
                let written = following.rows.iter().filter(|row| outcomes[**row] != Outcome::Duplicate);
                let written = written.map(|row| (judged.rows.times()[*row], outcomes[*row] == Outcome::Revised));
                settled.late.push(Late { sensor_id, written: written.collect() });
                continue;
            };
            if following.revised.is_none() {
                settled.completed.push((sensor_id.clone(), following.completed));
            }
            settled.judgements.extend(following.revised);
            for row in following.rows {
                let stored = judged.rows.get(row);
                let type_version = stored.row.type_version;
                let cells = row * self.width..row * self.width + kind.checks(type_version).width();
                settled.judgements.push(Judgement {
                    sensor_id: sensor_id.clone(),
                    time: stored.row.phenomenon_time,
                    type_version,
                    values: stored.values.to_vec(),
                    tests: self.tests[cells].to_vec(),
                    is_revision: false,
                    is_stored: true,
                });
            }
            settled.remembered.push((sensor_id, remembered));
        }
        settled
    }
}

/// The newest row of a sensor in the store, as it is remembered.
struct Stored {
    time: Timestamp,
    values: Vec<Value>,
    flags: Vec<Flag>,
}

impl Stored {
    fn of(tail: &Tail) -> Option<Self> {
        let flags = tail.flags().map(TestFlags::roll_up).collect();
        Some(Self { time: tail.last()?, values: tail.values().collect(), flags })
    }

    /// Its judgement, where it has other flags now that the reading behind it is there.
    fn revised(self, sensor_id: &SensorId, type_version: TypeVersion, tests: &[TestFlags]) -> Option<Judgement> {
        if self.flags.iter().copied().eq(tests.iter().map(|tests| tests.roll_up())) {
            return None;
        }
        Some(Judgement {
            sensor_id: sensor_id.clone(),
            time: self.time,
            type_version,
            values: self.values,
            tests: tests.to_vec(),
            is_revision: true,
            is_stored: false,
        })
    }
}

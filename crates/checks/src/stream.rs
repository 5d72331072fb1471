//! The streaming form: a bounded state per sensor that takes readings in the order of their times and gives their flags at once.
//!
//! **Invariant:** what it gives is what [`Checks::judge_series`] gives over all readings it has taken; the one flag that waits for the reading
//! behind, that of the spike test, is completed when that comes.

use std::collections::VecDeque;

use domain::{Flag, Timestamp, Value};

use crate::{
    Checks, Test, TestFlags, attenuated_signal, checks::PropertyChecks, flat_line::Run, rate_of_change, spike,
};

/// What the tests of a sensor's type remember of its readings.
#[derive(Debug, Clone)]
pub struct Tail {
    last: Option<Timestamp>,
    datastreams: Box<[Datastream]>,
}

/// A reading in the order of its time.
#[derive(Debug, Clone, Copy)]
pub struct Next<'a> {
    /// Its time, behind that of every reading before.
    pub time: Timestamp,
    /// A value per property with tests.
    pub values: &'a [Value],
    /// What neighbouring sensors said near it, arranged as `values`; empty where no test asks for it.
    pub neighbours: &'a [Value],
}

/// What is remembered of a datastream.
#[derive(Debug, Clone)]
struct Datastream {
    /// The value of the last reading but one, absent where there is none.
    before: Value,
    /// The value of the last reading.
    last: Value,
    /// The flags of the last reading, as far as they are known.
    flags: TestFlags,
    /// Of tests that look back further.
    windows: Option<Box<Windows>>,
}

/// What tests that look back further than a reading remember.
#[derive(Debug, Clone, Default)]
struct Windows {
    /// Of the flat line test.
    run: Run,
    /// Of the attenuated signal test: the numbers within its time.
    numbers: VecDeque<(Timestamp, f64)>,
}

impl Tail {
    /// Remembers nothing yet.
    pub fn new(checks: &Checks) -> Self {
        let datastreams = checks.properties().iter().map(|property| Datastream {
            before: Value::ABSENT,
            last: Value::ABSENT,
            flags: TestFlags::default(),
            windows: (property.lengths.is_some() || property.qc.attenuated_signal.is_some()).then(Box::default),
        });
        Self { last: None, datastreams: datastreams.collect() }
    }

    /// The time of the last reading it has taken.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// The flags of the last reading, as far as they are known without the one behind it.
    pub fn flags(&self) -> impl ExactSizeIterator<Item = TestFlags> {
        self.datastreams.iter().map(|datastream| datastream.flags)
    }

    /// The values of the last reading; absent before the first.
    pub fn values(&self) -> impl ExactSizeIterator<Item = Value> {
        self.datastreams.iter().map(|datastream| datastream.last)
    }

    /// Takes the next reading: writes what is known of its flags to `flags`, and those of the reading before, which are complete now,
    /// to `previous` (left as it is where there was none).
    ///
    /// # Panics
    /// Where the time is not behind the last one, or a slice has not one entry per property of `checks`, by which this was made.
    pub fn push(&mut self, checks: &Checks, next: Next<'_>, previous: &mut [TestFlags], flags: &mut [TestFlags]) {
        assert!(self.last.is_none_or(|last| last < next.time), "readings come in the order of their times");
        let width = self.datastreams.len();
        assert!(
            [next.values.len(), previous.len(), flags.len(), checks.width()] == [width; 4],
            "one entry per property"
        );
        let properties = checks.properties().iter().zip(&mut self.datastreams);
        for (index, (property, datastream)) in properties.enumerate() {
            if self.last.is_some() {
                previous[index] = datastream.complete(property, next.values[index]);
            }
            flags[index] = datastream.push(property, next, index, self.last);
        }
        self.last = Some(next.time);
    }

    /// Bytes it takes, those on the heap included.
    pub fn bytes(&self) -> usize {
        let of = |datastream: &Datastream| {
            let heap = |windows: &Windows| {
                windows.run.heap_bytes() + windows.numbers.capacity() * size_of::<(Timestamp, f64)>()
            };
            let windows = datastream.windows.as_ref().map_or(0, |windows| size_of::<Windows>() + heap(windows));
            size_of::<Datastream>() + windows
        };
        size_of::<Self>() + self.datastreams.iter().map(of).sum::<usize>()
    }
}

impl Datastream {
    /// The flags of the last reading, now that the value behind it is known.
    fn complete(&self, property: &PropertyChecks, next: Value) -> TestFlags {
        let (Some(settings), Some(last)) = (&property.qc.spike, self.last.as_number()) else { return self.flags };
        let flag = spike::flag(settings, self.before.as_number(), last, next.as_number());
        self.flags.with(Test::Spike, flag)
    }

    fn push(&mut self, property: &PropertyChecks, next: Next<'_>, index: usize, last: Option<Timestamp>) -> TestFlags {
        let value = next.values[index];
        self.flags = match value.as_number() {
            Some(number) => self.judge(property, next, (index, number), last),
            None => {
                if let Some(windows) = &mut self.windows {
                    windows.run.skip();
                }
                property.without_number(value)
            }
        };
        (self.before, self.last) = (self.last, value);
        self.flags
    }

    fn judge(
        &mut self,
        property: &PropertyChecks,
        next: Next<'_>,
        (index, number): (usize, f64),
        last: Option<Timestamp>,
    ) -> TestFlags {
        let since = last.map(|last| next.time.since(last));
        let mut flags = property.alone(next.time, number, since);
        if property.qc.spike.is_some() {
            flags = flags.with(Test::Spike, Flag::NotEvaluated);
        }
        if let Some(settings) = &property.qc.rate_of_change {
            let previous = self.last.as_number().zip(since);
            flags = flags.with(Test::RateOfChange, rate_of_change::flag(settings, previous, number));
        }
        if let Some(windows) = &mut self.windows {
            flags = windows.judge(property, next.time, number, flags);
        }
        match property.beside(number, next.values, next.neighbours, index) {
            Some(flag) => flags.with(Test::Neighbour, flag),
            None => flags,
        }
    }
}

impl Windows {
    /// Takes the next number; adds the flags of the tests that look back on more than one reading.
    fn judge(&mut self, property: &PropertyChecks, time: Timestamp, number: f64, mut flags: TestFlags) -> TestFlags {
        if let (Some(settings), Some(lengths)) = (&property.qc.flat_line, property.lengths) {
            flags = flags.with(Test::FlatLine, self.run.push(settings, lengths, number));
        }
        let Some(settings) = &property.qc.attenuated_signal else { return flags };
        let is_past = |(past, _): &(Timestamp, f64)| time.since(*past) >= settings.over;
        while self.numbers.len() == attenuated_signal::VALUES_MAX || self.numbers.front().is_some_and(is_past) {
            self.numbers.pop_front();
        }
        self.numbers.push_back((time, number));
        let numbers = self.numbers.iter().map(|(_, number)| *number);
        flags.with(Test::AttenuatedSignal, attenuated_signal::flag(settings, numbers))
    }
}

impl Checks {
    /// Judges a series by taking its readings one after the other: the flags of every value, row-major, and what is remembered behind the last.
    ///
    /// Of a part of a longer series the flags are those of the whole for every reading whose [`Reach`](crate::Reach) lies in the part.
    ///
    /// # Panics
    /// As [`Tail::push`].
    pub fn judge(&self, series: crate::Series<'_>) -> (Vec<TestFlags>, Tail) {
        let width = self.width();
        let mut tail = Tail::new(self);
        let mut flags = vec![TestFlags::default(); series.times.len() * width];
        let mut none = vec![TestFlags::default(); width];
        for (reading, time) in series.times.iter().enumerate() {
            let row = reading * width;
            let (before, own) = flags.split_at_mut(row);
            let previous = if reading == 0 { &mut none } else { &mut before[row - width..] };
            let values = &series.values[row..row + width];
            let neighbours = series.neighbours.get(row..row + width).unwrap_or_default();
            tail.push(self, Next { time: *time, values, neighbours }, previous, &mut own[..width]);
        }
        (flags, tail)
    }
}

//! All tests over a sorted series, each flag computed from scratch: what the streaming form has to equal.

use std::time::Duration;

use domain::{Flag, Timestamp, Value};

use crate::{
    Checks, Test, TestFlags, attenuated_signal, checks::PropertyChecks, climatology, flat_line, gap, gross_range,
    neighbour, rate_of_change, spike,
};

/// Readings of one sensor in the order of their times, each time once.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// The phenomenon times, ascending.
    pub times: &'a [Timestamp],
    /// The values, row-major, as many a reading as there are properties with tests.
    pub values: &'a [Value],
    /// What neighbouring sensors said near each reading, arranged as `values`; empty where no test asks for it.
    pub neighbours: &'a [Value],
}

impl Checks {
    /// The flags of every value of a series, row-major. Work grows with the readings times how far the tests reach.
    ///
    /// # Panics
    /// Where `values` does not hold [`width`](Self::width) values a reading.
    pub fn judge_series(&self, series: Series<'_>) -> Vec<TestFlags> {
        let width = self.width();
        assert_eq!(series.values.len(), series.times.len() * width, "one value per property");
        let mut flags = Vec::with_capacity(series.values.len());
        for reading in 0..series.times.len() {
            for (index, property) in self.properties().iter().enumerate() {
                flags.push(property.judge(&Datastream { series, width, index }, reading));
            }
        }
        flags
    }
}

/// One property of a series.
struct Datastream<'a> {
    series: Series<'a>,
    width: usize,
    index: usize,
}

impl Datastream<'_> {
    fn value(&self, reading: usize) -> Value {
        self.series.values[reading * self.width + self.index]
    }

    fn number(&self, reading: Option<usize>) -> Option<f64> {
        let reading = reading.filter(|reading| *reading < self.series.times.len())?;
        self.value(reading).as_number()
    }

    fn time(&self, reading: usize) -> Timestamp {
        self.series.times[reading]
    }
}

impl PropertyChecks {
    /// The flags of a value that is no number, the same of every test: 2 where an optional property was not mentioned, else 9.
    pub(crate) fn without_number(&self, value: Value) -> TestFlags {
        let flag = gross_range::without_number(self.required, value);
        self.tests.iter().fold(TestFlags::default(), |flags, test| flags.with(*test, flag))
    }

    /// The flag of the tests that look at a number and its time alone, and the gap test.
    pub(crate) fn alone(&self, time: Timestamp, number: f64, since: Option<Duration>) -> TestFlags {
        let range = self.gross_range.as_ref().map_or(Flag::NotEvaluated, |range| gross_range::flag(range, number));
        let mut flags = TestFlags::default().with(Test::GrossRange, range);
        if let Some(settings) = &self.qc.gap {
            flags = flags.with(Test::Gap, gap::flag(settings, since));
        }
        if !self.qc.climatology.is_empty() {
            flags = flags.with(Test::Climatology, climatology::flag(&self.qc.climatology, time, number));
        }
        flags
    }

    /// The flag of the neighbour test, if there is one: against the property of the same reading, or what neighbouring sensors said.
    pub(crate) fn beside(&self, number: f64, values: &[Value], neighbours: &[Value], index: usize) -> Option<Flag> {
        let settings = self.qc.neighbour.as_ref()?;
        let other = match self.neighbour {
            Some(property) => values.get(property),
            None => neighbours.get(index),
        };
        Some(neighbour::flag(settings, number, other.and_then(|value| value.as_number())))
    }

    fn judge(&self, datastream: &Datastream<'_>, reading: usize) -> TestFlags {
        let value = datastream.value(reading);
        let Some(number) = value.as_number() else { return self.without_number(value) };
        let before = reading.checked_sub(1);
        let time = datastream.time(reading);
        let since = before.map(|before| time.since(datastream.time(before)));
        let mut flags = self.alone(time, number, since);
        let previous = datastream.number(before);
        if let Some(settings) = &self.qc.spike {
            let next = datastream.number(Some(reading + 1));
            flags = flags.with(Test::Spike, spike::flag(settings, previous, number, next));
        }
        if let Some(settings) = &self.qc.rate_of_change {
            flags = flags.with(Test::RateOfChange, rate_of_change::flag(settings, previous.zip(since), number));
        }
        if let (Some(settings), Some(lengths)) = (&self.qc.flat_line, self.lengths) {
            let values = (0..=reading).map(|reading| datastream.value(reading));
            flags = flags.with(Test::FlatLine, flat_line::flag(settings, lengths, values));
        }
        if let Some(settings) = &self.qc.attenuated_signal {
            let within = |reading: &usize| time.since(datastream.time(*reading)) < settings.over;
            let numbers = (0..=reading).rev().take_while(within).filter_map(|reading| datastream.number(Some(reading)));
            let mut numbers: Vec<f64> = numbers.take(attenuated_signal::VALUES_MAX).collect();
            numbers.reverse();
            flags = flags.with(Test::AttenuatedSignal, attenuated_signal::flag(settings, numbers.into_iter()));
        }
        let row = reading * datastream.width;
        let values = &datastream.series.values[row..row + datastream.width];
        let neighbours = datastream.series.neighbours.get(row..).unwrap_or_default();
        match self.beside(number, values, neighbours, datastream.index) {
            Some(flag) => flags.with(Test::Neighbour, flag),
            None => flags,
        }
    }
}

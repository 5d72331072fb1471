//! Right whatever the order: shuffled, delayed, doubled and cut streams, with restarts anywhere, end with the flags of the sorted series.

use std::{collections::BTreeMap, time::Duration};

use checks::{Checks, Next, Reach, Series, Tail, Test, TestFlags};
use domain::{Flag, Timestamp, Value};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use crate::support::{EMB_QARTOD, checks, number};

/// Two properties with every test, thresholds among the values that [`value`] makes.
const EVERY_TEST: &str = r#"
sampling_interval = "1s"
[[properties]]
id = "a"
unit = "1"
required = true
gross_range = { fail = [0, 9], suspect = [1, 8] }
[properties.qc]
gap = { suspect = "2s", fail = "5s" }
climatology = [{ months = [1], suspect = [2, 7] }, { months = [2], suspect = [3, 6], fail = [1, 9] }]
spike = { suspect = 2, fail = 4 }
rate_of_change = { suspect = 1, fail = 3 }
flat_line = { tolerance = 2, suspect = "3s", fail = "8s" }
attenuated_signal = { over = "5s", suspect = 2, fail = 1, values_min = 3 }
neighbour = { property = "b", suspect = 2, fail = 5 }
[[properties]]
id = "b"
unit = "1"
[properties.qc]
spike = { suspect = 2, method = "differential" }
flat_line = { tolerance = 1.5, fail = "2s" }
attenuated_signal = { over = "4s", measure = "range", fail = 2 }
"#;

const WIDTH: usize = 2;

type Stored = BTreeMap<Timestamp, ([Value; WIDTH], Vec<TestFlags>)>;

/// What a consumer does with a store that is a map, and a tail that a restart loses.
struct Consumer<'a> {
    checks: &'a Checks,
    stored: Stored,
    tail: Option<Tail>,
}

impl Consumer<'_> {
    fn take(&mut self, batch: &[(Timestamp, [Value; WIDTH])]) {
        let mut news: Vec<Timestamp> = Vec::new();
        for (time, values) in batch {
            let stored = self.stored.get(time).map(|(values, _)| *values);
            let merged = stored.map_or(*values, |stored| std::array::from_fn(|i| stored[i].merged_with(values[i])));
            if stored != Some(merged) {
                news.push(*time);
                self.stored.insert(*time, (merged, vec![TestFlags::default(); WIDTH]));
            }
        }
        news.sort_unstable();
        news.dedup();
        let (Some(first), Some(last)) = (news.first(), news.last()) else { return };
        let in_order = self.tail.as_ref().is_some_and(|tail| tail.last().is_none_or(|last| last < *first));
        if in_order { self.follow(&news) } else { self.go_back(*first, *last) }
    }

    /// The readings are behind all others: the tail takes them.
    fn follow(&mut self, news: &[Timestamp]) {
        let tail = self.tail.as_mut().expect("a tail");
        for time in news {
            let last = tail.last();
            let (values, mut flags) = self.stored[time].clone();
            let mut previous = vec![TestFlags::default(); WIDTH];
            tail.push(self.checks, Next { time: *time, values: &values, neighbours: &[] }, &mut previous, &mut flags);
            if let Some(row) = last.and_then(|last| self.stored.get_mut(&last)) {
                row.1 = previous;
            }
            self.stored.insert(*time, (values, flags));
        }
    }

    /// Some are late: judges again what they reach, with what that reaches.
    fn go_back(&mut self, first: Timestamp, last: Timestamp) {
        let Reach { readings, time, successor, .. } = self.checks.reach();
        let readings = readings as usize;
        let before: Vec<_> = self.stored.range(..first).rev().map(|(time, _)| *time).collect();
        // The reading before the first one waits for its successor, which it has now.
        let affected_from = before.first().copied().filter(|_| successor).unwrap_or(first);
        let context = before
            .iter()
            .enumerate()
            .take_while(|(index, at)| *index < readings + usize::from(successor) || affected_from.since(**at) < time);
        let from = context.last().map_or(first, |(_, at)| *at);
        let behind: Vec<_> = self.stored.range(last..).map(|(time, _)| *time).skip(1).collect();
        let affected = behind.iter().enumerate().take_while(|(index, at)| *index < readings || at.since(last) < time);
        let affected = affected.count();
        let affected_to = affected.checked_sub(1).map_or(last, |index| behind[index]);
        let to = behind.get(affected).copied().filter(|_| successor).unwrap_or(affected_to);

        let slice = self.stored.range(from..=to);
        let times: Vec<_> = slice.clone().map(|(time, _)| *time).collect();
        let values: Vec<_> = slice.flat_map(|(_, (values, _))| *values).collect();
        let (flags, tail) = self.checks.judge(Series { times: &times, values: &values, neighbours: &[] });
        for (time, flags) in times.iter().zip(flags.chunks(WIDTH)) {
            if (affected_from..=affected_to).contains(time) {
                self.stored.get_mut(time).expect("a row").1 = flags.to_vec();
            }
        }
        // What is remembered serves the next reading only where it is that of the newest ones.
        let newest = self.stored.last_key_value().map(|(time, _)| *time);
        self.tail = Some(tail).filter(|tail| tail.last() == newest && newest == Some(to));
    }
}

fn flags_of_the_series(checks: &Checks, stored: &Stored) -> Vec<TestFlags> {
    let times: Vec<_> = stored.keys().copied().collect();
    let values: Vec<_> = stored.values().flat_map(|(values, _)| *values).collect();
    checks.judge_series(Series { times: &times, values: &values, neighbours: &[] })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::MISSING), 1 => Just(Value::ABSENT), 9 => (4..6i32).prop_map(|n| number(f64::from(n))), 3 => (-1..11i32).prop_map(|n| number(f64::from(n)))]
}

/// Readings a second apart with gaps, some a few times, around the end of January.
fn readings() -> impl Strategy<Value = Vec<(Timestamp, [Value; WIDTH])>> {
    let end_of_january = Timestamp::parse("2017-01-31T23:59:30Z").expect("a time");
    let at = move |half_seconds: u64| end_of_january.saturating_add(Duration::from_millis(500 * half_seconds));
    let reading = (0..120u64, [value(), value()]).prop_map(move |(place, values)| (at(place), values));
    prop::collection::vec(reading, 1..80)
}

proptest! {
    #[test]
    fn stream_ends_with_the_flags_of_the_sorted_series_whatever_the_order(
        mut readings in readings(),
        order in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
        cuts in prop::collection::vec((1..12usize, any::<bool>()), 80),
    ) {
        match order {
            None => readings.sort_by_key(|(time, _)| *time),
            // Delayed, not shuffled throughout, every other time: by up to 20 places.
            Some(seed) if seed % 2 == 0 => {
                let place = |index: usize| index as u64 + (seed.rotate_left(index as u32) % 20);
                let mut placed: Vec<_> = readings.iter().copied().enumerate().collect();
                placed.sort_by_key(|(_, (time, _))| *time);
                let mut placed: Vec<_> = placed.into_iter().enumerate().map(|(to, (_, one))| (place(to), one)).collect();
                placed.sort_by_key(|(place, _)| *place);
                readings = placed.into_iter().map(|(_, reading)| reading).collect();
            }
            Some(_) => {}
        }
        let checks = checks(EVERY_TEST);
        let mut consumer = Consumer { checks: &checks, stored: Stored::new(), tail: None };
        let mut rest = readings.as_slice();
        for (size, restarts) in cuts {
            let (batch, behind) = rest.split_at(size.min(rest.len()));
            consumer.take(batch);
            // A restart may bring what was taken again.
            if restarts {
                consumer.tail = None;
                consumer.take(batch);
            }
            rest = behind;
        }
        consumer.take(rest);
        let flags: Vec<_> = consumer.stored.values().flat_map(|(_, flags)| flags.clone()).collect();
        prop_assert_eq!(flags, flags_of_the_series(&checks, &consumer.stored));
    }

    #[test]
    fn stream_of_sorted_readings_equals_the_series(mut readings in readings()) {
        readings.sort_by_key(|(time, _)| *time);
        readings.dedup_by_key(|(time, _)| *time);
        let checks = checks(EVERY_TEST);
        let times: Vec<_> = readings.iter().map(|(time, _)| *time).collect();
        let values: Vec<_> = readings.iter().flat_map(|(_, values)| *values).collect();
        let series = Series { times: &times, values: &values, neighbours: &[] };
        let (flags, tail) = checks.judge(series);
        prop_assert_eq!(&flags, &checks.judge_series(series));
        prop_assert_eq!(tail.flags().collect::<Vec<_>>(), flags[flags.len() - WIDTH..].to_vec());
    }
}

#[test]
fn late_reading_revises_the_flags_of_those_whose_window_it_falls_into() {
    let checks = checks(EVERY_TEST);
    let time = |seconds| {
        Timestamp::parse("2017-01-10T00:00:00Z").expect("a time").saturating_add(Duration::from_secs(seconds))
    };
    let row = |value: f64| [number(value), number(value)];
    let mut consumer = Consumer { checks: &checks, stored: Stored::new(), tail: None };
    consumer.take(&[(time(0), row(5.0)), (time(1), row(5.0)), (time(3), row(5.0)), (time(4), row(5.0))]);
    let flag = |consumer: &Consumer<'_>, at, test| consumer.stored[&time(at)].1[0].get(test);
    assert_eq!(flag(&consumer, 4, Test::FlatLine), Some(Flag::Suspect));
    assert_eq!(flag(&consumer, 1, Test::Spike), Some(Flag::Good));
    assert_eq!(flag(&consumer, 3, Test::Gap), Some(Flag::Good));
    consumer.take(&[(time(2), row(9.0))]);
    assert_eq!(flag(&consumer, 4, Test::FlatLine), Some(Flag::Good));
    assert_eq!(flag(&consumer, 2, Test::Spike), Some(Flag::Suspect));
    assert_eq!(flag(&consumer, 3, Test::RateOfChange), Some(Flag::Fail));
}

#[test]
fn reach_is_that_of_the_tests_that_are_set() {
    let hourly = checks(EMB_QARTOD).reach();
    assert_eq!(hourly, Reach { readings: 72, time: Duration::ZERO, successor: true, neighbours: None });
    let alone = checks("sampling_interval = \"1s\"\n[[properties]]\nid = \"a\"\nunit = \"1\"\n");
    assert!(alone.reach().is_local());
}

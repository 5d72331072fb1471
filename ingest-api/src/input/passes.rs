//! The hour that comes twice when clocks go back: which of the two a line without an offset means.
//!
//! The order of a sensor's lines tells it: where local time goes up and steps back once, what is behind the step is the second pass; in
//! a file from the newest line to the oldest, what is before it. **Invariant:** nothing is guessed. Where the order does not tell, as of an hour that is
//! there once only, the lines are refused by name.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use domain::{SensorId, Timestamp};

use super::{
    Parsed, Rejection,
    collector::Collector,
    zone::{Moment, Zone},
};

/// Which of the two times a date and time means that comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The earlier one.
    First,
    /// The later one.
    Second,
}

impl Pass {
    /// Takes `first` or `second`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "first" => Some(Self::First),
            "second" => Some(Self::Second),
            _ => None,
        }
    }
}

/// The times of the lines of a body.
pub(super) struct LineTimes {
    zone: Zone,
    /// Which pass the request says is meant, if it does.
    pass: Option<Pass>,
    /// What the line in hand says, and how.
    now: Option<(Moment, String)>,
    /// The lines so far, in order; empty where no hour can come twice.
    lines: Vec<Line>,
}

/// A line of a known sensor with a readable time.
struct Line {
    sensor_id: SensorId,
    item: u32,
    time: Timestamp,
    /// Of a time that comes twice.
    again: Option<Box<Again>>,
}

/// The second time, and how the line says it.
struct Again {
    time: Timestamp,
    given: String,
}

impl LineTimes {
    pub(super) fn new(zone: Zone, pass: Option<Pass>) -> Self {
        Self { zone, pass, now: None, lines: Vec::new() }
    }

    /// Takes date and time of the line in hand, in one text.
    pub(super) fn combined(&mut self, collector: &mut Collector<'_>, text: &str) {
        let moment = self.zone.combined(text);
        self.take(collector, moment, || text.to_owned());
    }

    /// The same in two.
    pub(super) fn date_and_time(&mut self, collector: &mut Collector<'_>, date: &str, time_of_day: &str) {
        let moment = self.zone.time(date, time_of_day);
        self.take(collector, moment, || format!("{date} {time_of_day}"));
    }

    fn take(
        &mut self,
        collector: &mut Collector<'_>,
        moment: Result<Moment, Cow<'static, str>>,
        given: impl Fn() -> String,
    ) {
        let taken = moment.and_then(|moment| {
            let has_order = matches!(self.zone, Zone::Local(_)) && self.pass.is_none();
            match (moment, self.pass) {
                (Moment::Twice { first, second }, None) => {
                    self.now = Some((moment, given()));
                    collector.time(second)?;
                    collector.time(first)
                }
                (Moment::Once(time), _) => {
                    self.now = has_order.then(|| (moment, String::new()));
                    collector.time(time)
                }
                (Moment::Twice { first, .. }, Some(Pass::First)) => collector.time(first),
                (Moment::Twice { second, .. }, Some(Pass::Second)) => collector.time(second),
            }
        });
        if let Err(reason) = taken {
            collector.fault("phenomenon_time", given().as_bytes(), &reason);
        }
    }

    /// Takes note of the line in hand, whether it becomes a reading or not.
    pub(super) fn end_line(&mut self, collector: &Collector<'_>) {
        let (Some((moment, given)), Some(sensor_id)) = (self.now.take(), collector.sensor_in_hand()) else { return };
        let (time, again) = match moment {
            Moment::Once(time) => (time, None),
            Moment::Twice { first, second } => (first, Some(Box::new(Again { time: second, given }))),
        };
        self.lines.push(Line { sensor_id: sensor_id.clone(), item: collector.item_in_hand(), time, again });
    }

    /// Gives each reading whose time comes twice the one that the order tells, and refuses the others of them.
    pub(super) fn finish(self, mut parsed: Parsed, rejected_max: usize) -> Parsed {
        if self.lines.iter().all(|line| line.again.is_none()) {
            return parsed;
        }
        let mut by_sensor: HashMap<&SensorId, Vec<&Line>> = HashMap::new();
        for line in &self.lines {
            by_sensor.entry(&line.sensor_id).or_default().push(line);
        }
        let mut told: HashMap<u32, Result<Timestamp, Rejection>> = HashMap::new();
        for lines in by_sensor.values() {
            let moments: Vec<Moment> = lines.iter().map(|line| line.moment()).collect();
            for (index, pass) in passes(&moments) {
                let Line { item, time: first, again: Some(again), .. } = lines[index] else { continue };
                let time = match pass {
                    Some(Pass::First) => Ok(*first),
                    Some(Pass::Second) => Ok(again.time),
                    None => Err(self.refusal(*item, &again.given)),
                };
                told.insert(*item, time);
            }
        }
        parsed.sift(rejected_max, |item, reading| told.remove(&item).unwrap_or(Ok(reading.phenomenon_time)));
        parsed
    }

    fn refusal(&self, item: u32, given: &str) -> Rejection {
        let reason = format!(
            "came twice in {}, when clocks went back, and the order of the sensor's lines does not tell which is meant: \
             say so by `repeated_hour=first` or `repeated_hour=second`",
            self.zone.name()
        );
        Rejection {
            index: item,
            field: "phenomenon_time".to_owned(),
            value: given.to_owned(),
            reason,
            retry_after_s: None,
        }
    }
}

impl Line {
    fn moment(&self) -> Moment {
        match &self.again {
            None => Moment::Once(self.time),
            Some(again) => Moment::Twice { first: self.time, second: again.time },
        }
    }
}

/// Which pass each moment means that comes twice, by index; `None` where the order does not tell. The moments are those of one sensor.
fn passes(moments: &[Moment]) -> Vec<(usize, Option<Pass>)> {
    let mut stretches = stretches(moments);
    // Those of one hour are neighbours then.
    stretches.sort_by_key(|stretch| first_of(moments[stretch.start]));
    let mut told = Vec::new();
    for stretches in stretches.chunk_by(|one, other| is_same_hour(moments[one.start], moments[other.start])) {
        // Lines of other times between lines of the hour: they are in no order.
        let step = if let [stretch] = stretches { step(moments, stretch) } else { None };
        let indices = stretches.iter().cloned().flatten();
        told.extend(indices.map(|index| (index, step.map(|step| step.pass_of(index)))));
    }
    told
}

/// The runs of neighbours that speak of one hour that came twice.
fn stretches(moments: &[Moment]) -> Vec<Range<usize>> {
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for (index, moment) in moments.iter().enumerate() {
        match (moment, stretches.last_mut()) {
            (Moment::Once(_), _) => {}
            (_, Some(last)) if last.end == index && is_same_hour(moments[last.start], *moment) => last.end = index + 1,
            _ => stretches.push(index..index + 1),
        }
    }
    stretches
}

/// Says whether two moments that come twice do so for the same change of the clocks.
fn is_same_hour(one: Moment, other: Moment) -> bool {
    let (Moment::Twice { first, second }, Moment::Twice { first: other, .. }) = (one, other) else { return false };
    first.since(other).max(other.since(first)) < second.since(first)
}

/// Where local time steps from one pass to the other.
#[derive(Clone, Copy)]
struct Step {
    /// The first index behind it.
    at: usize,
    /// The pass before it.
    before: Pass,
    /// The pass behind it.
    behind: Pass,
}

impl Step {
    fn pass_of(self, index: usize) -> Pass {
        if index < self.at { self.before } else { self.behind }
    }
}

/// The one step in a stretch, as far as the order tells it.
fn step(moments: &[Moment], stretch: &Range<usize>) -> Option<Step> {
    let times: Vec<Timestamp> = stretch.clone().map(|index| first_of(moments[index])).collect();
    let (least, greatest) = (times.iter().min().copied()?, times.iter().max().copied()?);
    let before = stretch.start.checked_sub(1).map(|index| first_of(moments[index]));
    let behind = moments.get(stretch.end).map(|moment| first_of(*moment));
    let goes_up = before.is_none_or(|time| time < least) && behind.is_none_or(|time| time > greatest);
    let goes_down = before.is_none_or(|time| time > greatest) && behind.is_none_or(|time| time < least);
    let breaks = |goes: bool, in_order: fn(&Timestamp, &Timestamp) -> bool| -> Option<Vec<usize>> {
        let mut breaks = (1..times.len()).filter(|index| !in_order(&times[index - 1], &times[*index]));
        // More than two passes there are not: the lines are not in this order.
        let found: Vec<usize> = breaks.by_ref().take(2).collect();
        (goes && found.len() < 2).then_some(found)
    };
    let up = breaks(goes_up, |one, next| one < next);
    let down = breaks(goes_down, |one, next| one > next);
    let (found, before, behind) = match (up, down) {
        (Some(found), None) => (found, Pass::First, Pass::Second),
        (None, Some(found)) => (found, Pass::Second, Pass::First),
        _ => return None,
    };
    found.first().map(|index| Step { at: stretch.start + index, before, behind })
}

fn first_of(moment: Moment) -> Timestamp {
    match moment {
        Moment::Once(time) | Moment::Twice { first: time, .. } => time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The passes of local times of 25 October 2026 in Paris, as digits; `?` where they are not told, `-` where there is one time only.
    #[track_caller]
    fn check(times: &str, expected: &str) {
        let zone = Zone::named("Europe/Paris");
        let moments: Vec<Moment> =
            times.split(' ').map(|time| zone.time("2026-10-25", time).expect("a time")).collect();
        let mut told = vec!['-'; moments.len()];
        for (index, pass) in passes(&moments) {
            told[index] = match pass {
                Some(Pass::First) => '1',
                Some(Pass::Second) => '2',
                None => '?',
            };
        }
        assert_eq!(told.into_iter().collect::<String>(), expected, "{times}");
    }

    #[test]
    fn the_second_pass_is_the_later_hour() {
        check("01:45 02:00 02:15 02:30 02:45 02:00 02:15 02:30 02:45 03:00", "-11112222-");
        check("03:00 02:45 02:30 02:15 02:00 02:45 02:30 02:15 02:00 01:45", "-22221111-");
        check("01:00 02:00 02:00 03:00", "-12-");
        check("03:00 02:00 02:00 01:00", "-21-");
        check("02:30 02:45 02:00 02:15", "1122");
        check("02:15 02:00 02:45 02:30", "2211");
        check("01:00 02:30 02:00", "-12");
        check("02:30 02:00 03:00", "12-");
        check("02:00 02:30 01:00", "21-");
    }

    #[test]
    fn what_the_order_does_not_tell_is_not_guessed() {
        check("02:30", "?");
        check("02:00 02:00", "??");
        check("02:30 02:00", "??");
        check("02:00 02:30", "??");
        check("01:45 02:00 02:15 02:30 02:45 03:00", "-????-");
        check("03:00 02:45 02:00 01:45", "-??-");
        // Not in order.
        check("01:45 02:00 02:45 02:15 02:30 02:00 03:00", "-?????-");
        check("03:00 02:00 02:30 02:00 02:30 04:00", "-????-");
        check("01:00 02:00 02:30 03:00 02:00 02:30", "-??-??");
        check("01:00 02:00 02:00 02:00 03:00", "-???-");
    }

    #[test]
    fn hours_of_two_years_have_nothing_to_do_with_each_other() {
        let zone = Zone::named("Europe/Paris");
        let moments: Vec<Moment> =
            [("2025-10-26", "02:00"), ("2025-10-26", "02:00"), ("2026-10-25", "02:30"), ("2026-10-25", "02:00")]
                .map(|(date, time)| zone.time(date, time).expect("a time"))
                .to_vec();
        let told: Vec<_> = passes(&moments).into_iter().map(|(_, pass)| pass).collect();
        assert_eq!(told, [Some(Pass::First), Some(Pass::Second), Some(Pass::First), Some(Pass::Second)]);
    }
}

//! What is read at once of what is to be judged: many sensors with little each, or one part of a sensor with much.
//!
//! **Invariant:** every value to be judged is in one group; how many groups there are at a time does not grow with the span of time.

use std::{collections::VecDeque, time::Duration};

use domain::{RunPlace, SensorId, Timestamp};

use crate::{judge::TypeSettings, window::Bounds};

/// About the most values of a group, where its sensors are read with their history: 24 MB.
const SAMPLES_AT_ONCE: usize = 1_000_000;

/// A sensor and the range of phenomenon times of what is to be judged, both ends inclusive.
pub(crate) type Arrived = (SensorId, Timestamp, Timestamp);

/// Groups one after the other: the parts of long ranges, each as long as the history, then short ranges that lie near each other.
pub(crate) struct Groups {
    long: VecDeque<Arrived>,
    short: VecDeque<Arrived>,
    part: Duration,
    sensors_at_once: usize,
}

impl Groups {
    /// Groups of ranges; those of one sensor do not touch.
    pub(crate) fn new(arrived: impl IntoIterator<Item = Arrived>, settings: &TypeSettings, bounds: &Bounds) -> Self {
        let part = settings.history();
        let is_long = |(_, first, last): &Arrived| last.since(*first) > part;
        let (long, mut short): (Vec<Arrived>, Vec<Arrived>) = arrived.into_iter().partition(is_long);
        short.sort_by_key(|(_, first, _)| *first);
        let samples = 2 * settings.history_steps() * settings.datastreams().max(1);
        let sensors_at_once = bounds.sensors_at_once.min(SAMPLES_AT_ONCE / samples).max(1);
        Self { long: long.into(), short: short.into(), part, sensors_at_once }
    }

    /// Where the next part of a long range begins, and the range's end, inclusive.
    pub(crate) fn next_part(&self) -> Option<&Arrived> {
        self.long.front()
    }

    /// Leaves out the parts of the first long range that lie before `next`; all of them if that is `None`.
    pub(crate) fn jump(&mut self, next: Option<Timestamp>) {
        let Some((_, from, last)) = self.long.front_mut() else { return };
        let Some(next) = next.filter(|next| next <= last) else {
            self.long.pop_front();
            return;
        };
        *from = part_of(*from, next, self.part);
    }

    fn long_part(&mut self) -> Option<Arrived> {
        let (sensor_id, from, last) = self.long.front_mut()?;
        let behind = from.saturating_add(self.part.max(Duration::from_micros(1)));
        let to = Timestamp::from_micros(behind.as_micros().saturating_sub(1));
        if to >= *last {
            return self.long.pop_front();
        }
        let part = (sensor_id.clone(), *from, to);
        *from = behind;
        Some(part)
    }

    fn short_group(&mut self) -> Vec<Arrived> {
        let mut group: Vec<Arrived> = Vec::new();
        while let Some((id, _, last)) = self.short.front() {
            let is_near = group.first().is_none_or(|(_, first, _)| last.since(*first) <= 2 * self.part);
            if group.len() >= self.sensors_at_once || !is_near || group.iter().any(|(known, _, _)| known == id) {
                break;
            }
            group.extend(self.short.pop_front());
        }
        group
    }
}

impl Iterator for Groups {
    type Item = Vec<Arrived>;

    fn next(&mut self) -> Option<Vec<Arrived>> {
        if let Some(part) = self.long_part() {
            return Some(vec![part]);
        }
        Some(self.short_group()).filter(|group| !group.is_empty())
    }
}

/// Puts the times of what arrived together to ranges of whole intervals, as they come in canonical order.
///
/// Where less time than the history lies between two intervals they are of one range: the second is read with what is between.
pub(crate) struct Ranges {
    interval_micros: i64,
    /// The history.
    part: Duration,
    done: Vec<Arrived>,
    open: Option<Arrived>,
    /// How many sensors there are.
    sensors: u64,
    /// What is done already.
    place: Option<RunPlace>,
}

impl Ranges {
    /// Nothing yet. Phenomenon times are judged in whole intervals of this width, aligned to the epoch; what is before `place` is done.
    pub(crate) fn new(interval: Duration, settings: &TypeSettings, place: Option<RunPlace>) -> Self {
        let interval_micros = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
        Self { interval_micros, part: settings.history(), done: Vec::new(), open: None, sensors: 0, place }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.done.len() + usize::from(self.open.is_some())
    }

    /// Takes in a time of what arrived, behind all before it.
    pub(crate) fn take(&mut self, sensor_id: &SensorId, time: Timestamp) {
        let (first, end) = self.interval(time);
        if !self.is_apart(sensor_id, time) {
            self.open.iter_mut().for_each(|(_, _, last)| *last = end.max(*last));
            return;
        }
        let place = self.place.as_ref().filter(|place| place.sensor_id == *sensor_id);
        let is_new = self.open.as_ref().is_none_or(|(id, _, _)| id != sensor_id);
        self.sensors += u64::from(is_new && place.is_none());
        // What goes on at a place has its parts where they had been.
        let first = match place {
            Some(place) if is_new && first.since(place.before) < self.part => place.before,
            _ => first,
        };
        self.done.extend(self.open.replace((sensor_id.clone(), first, end)));
    }

    /// Ends before a time of what arrived, unless that is amid a part; answers where to go on.
    pub(crate) fn end_before(&mut self, sensor_id: &SensorId, time: Timestamp) -> Option<RunPlace> {
        let is_apart = self.is_apart(sensor_id, time);
        let (open_id, first, last) = self.open.as_mut()?;
        let place = |before| Some(RunPlace { sensor_id: open_id.clone(), before });
        if is_apart {
            return place(last.saturating_add(Duration::from_micros(1)));
        }
        let next = part_of(*first, time, self.part);
        if next <= *first {
            return None;
        }
        *last = (*last).min(Timestamp::from_micros(next.as_micros() - 1));
        place(next)
    }

    /// All of them, and of how many sensors that were not begun before.
    pub(crate) fn finish(mut self) -> (Vec<Arrived>, u64) {
        self.done.extend(self.open);
        (self.done, self.sensors)
    }

    /// Says whether a time begins another range.
    fn is_apart(&self, sensor_id: &SensorId, time: Timestamp) -> bool {
        let first = self.interval(time).0;
        self.open.as_ref().is_none_or(|(id, _, last)| id != sensor_id || first.since(*last) > self.part)
    }

    /// First and last time of an interval.
    fn interval(&self, time: Timestamp) -> (Timestamp, Timestamp) {
        let micros = time.as_micros();
        let start = micros.saturating_sub(micros.rem_euclid(self.interval_micros));
        (Timestamp::from_micros(start), Timestamp::from_micros(start.saturating_add(self.interval_micros - 1)))
    }
}

/// Where the part begins that has a time, of those that begin at `first`.
fn part_of(first: Timestamp, time: Timestamp, part: Duration) -> Timestamp {
    let width = i64::try_from(part.as_micros()).unwrap_or(i64::MAX).max(1);
    let parts = time.as_micros().saturating_sub(first.as_micros()).max(0) / width;
    Timestamp::from_micros(first.as_micros() + parts * width)
}

#[cfg(test)]
mod tests {
    use domain::{SensorType, SensorTypeDraft, SensorTypeId};

    use super::*;
    use crate::judge::Settings;

    const HOUR: i64 = 3_600_000_000;

    /// A type with hourly readings and a history of 100 hours.
    fn settings() -> TypeSettings {
        let text =
            r#"{"sampling_interval": "1h", "properties": [{"id": "a", "unit": "1"}], "detection": {"history": 100}}"#;
        let draft: SensorTypeDraft = serde_json::from_str(text).expect("a definition");
        let id = SensorTypeId::parse("emb").expect("an id");
        Settings::default().for_type(&SensorType::first(id, 1, draft).expect("valid"))
    }

    fn sensor(id: &str) -> SensorId {
        SensorId::parse(id).expect("an id")
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_micros(hour * HOUR)
    }

    fn ranges(place: Option<RunPlace>) -> Ranges {
        Ranges::new(Duration::from_secs(3600), &settings(), place)
    }

    /// Hours of ranges, the last exclusive.
    fn hours(ranges: &[Arrived]) -> Vec<(&str, i64, i64)> {
        let hour = |time: &Timestamp| (time.as_micros() + 1).div_euclid(HOUR);
        ranges.iter().map(|(id, first, last)| (id.as_str(), hour(first), hour(last))).collect()
    }

    #[test]
    fn what_lies_far_apart_are_ranges_of_their_own() {
        let mut ranges = ranges(None);
        for (id, hour) in [("a", -600_000), ("a", 5), ("a", 7), ("a", 90), ("a", 300), ("b", 301)] {
            ranges.take(&sensor(id), at(hour));
        }
        let (ranges, sensors) = ranges.finish();
        assert_eq!(hours(&ranges), [("a", -600_000, -599_999), ("a", 5, 91), ("a", 300, 301), ("b", 301, 302)]);
        assert_eq!(sensors, 2);
        let groups: Vec<_> = Groups::new(ranges, &settings(), &Bounds::default()).collect();
        let groups: Vec<_> = groups.iter().map(|group| hours(group)).collect();
        assert_eq!(
            groups,
            [vec![("a", -600_000, -599_999)], vec![("a", 5, 91)], vec![("a", 300, 301), ("b", 301, 302)]]
        );
    }

    #[test]
    fn a_long_range_is_cut_at_its_parts_and_goes_on_there() {
        let id = sensor("a");
        let whole = {
            let mut ranges = ranges(None);
            (10..1_000).for_each(|hour| ranges.take(&id, at(hour)));
            ranges.finish().0
        };
        let whole: Vec<_> = Groups::new(whole, &settings(), &Bounds::default()).flatten().collect();
        let (mut cut, mut place, mut sensors) = (Vec::new(), None::<RunPlace>, 0);
        loop {
            let mut ranges = ranges(place.clone());
            let from = place.take().map_or(10, |place| place.before.as_micros() / HOUR);
            for hour in from..1_000 {
                let is_enough = hour >= from + 130;
                if is_enough && let Some(next) = ranges.end_before(&id, at(hour)) {
                    place = Some(next);
                    break;
                }
                ranges.take(&id, at(hour));
            }
            let (some, of_sensors) = ranges.finish();
            cut.extend(Groups::new(some, &settings(), &Bounds::default()).flatten());
            sensors += of_sensors;
            if place.is_none() {
                break;
            }
        }
        assert_eq!((hours(&cut), sensors), (hours(&whole), 1));
    }

    #[test]
    fn a_jump_leaves_out_parts_alone() {
        let long = (sensor("a"), at(0), at(1_000_000));
        let mut groups = Groups::new([long.clone()], &settings(), &Bounds::default());
        assert_eq!(groups.next().map(|group| hours(&group)[0].1), Some(0));
        groups.jump(Some(at(999_950)));
        assert_eq!(groups.next_part().map(|(_, from, _)| *from), Some(at(999_900)));
        groups.jump(None);
        assert_eq!(groups.next(), None);
    }
}

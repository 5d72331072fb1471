//! What a replay is cut into.
//!
//! **Invariant:** parts are in order of sensors and times, do not overlap, and cover every reading of the scope that the store had.

use domain::{Rejudgement, SensorId, Timestamp};
use ports::SensorSummary;

use super::record::Replay;

/// About the most readings of a part, as far as a sensor's readings are spread evenly over its time.
const PART_READINGS: u64 = 8_192;

/// A stretch of a sensor's readings and about how many they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    sensor_id: SensorId,
    from: Timestamp,
    to: Timestamp,
    pub(super) readings: u64,
}

impl Part {
    /// The record that asks for it.
    pub(super) fn rejudgement(&self, replay: &Replay, part: u64) -> Rejudgement {
        Rejudgement {
            sensor_id: self.sensor_id.clone(),
            from: self.from,
            to: self.to,
            type_version: replay.type_version,
            replay: replay.id.clone(),
            part,
            is_dry: replay.scope.dry,
        }
    }
}

/// The parts of a replay of sensors with these extents.
pub(super) fn cut(replay: &Replay, summaries: &[SensorSummary]) -> Vec<Part> {
    let (from, to) = (replay.scope.from.unwrap_or(Timestamp::MIN), replay.scope.to.unwrap_or(Timestamp::MAX));
    let mut parts = Vec::new();
    for summary in summaries {
        let behind_last = Timestamp::from_micros(summary.last.as_micros().saturating_add(1));
        let (from, to) = (from.max(summary.first), to.min(behind_last));
        if from < to {
            cut_sensor(summary, (from, to), &mut parts);
        }
    }
    parts
}

fn cut_sensor(summary: &SensorSummary, (from, to): (Timestamp, Timestamp), parts: &mut Vec<Part>) {
    let micros = |from: Timestamp, to: Timestamp| i128::from(to.as_micros()) - i128::from(from.as_micros());
    let (whole, wanted) = (micros(summary.first, summary.last) + 1, micros(from, to));
    let readings = (i128::from(summary.count) * wanted / whole).max(1);
    let count = (readings as u64).div_ceil(PART_READINGS).min(wanted as u64).max(1);
    let bound = |part: u64| {
        let behind = wanted * i128::from(part) / i128::from(count);
        Timestamp::from_micros((i128::from(from.as_micros()) + behind) as i64)
    };
    parts.extend((0..count).map(|part| Part {
        sensor_id: summary.sensor_id.clone(),
        from: bound(part),
        to: bound(part + 1),
        readings: (readings as u64).div_ceil(count),
    }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn summary(first: i64, last: i64, count: u64) -> SensorSummary {
        let sensor_id = SensorId::parse("s").expect("an id");
        let (first, last) = (Timestamp::from_micros(first), Timestamp::from_micros(last));
        SensorSummary { sensor_id, count, first, last }
    }

    proptest! {
        #[test]
        fn parts_cover_a_stretch_without_a_gap(first in any::<i64>(), last in any::<i64>(), count in 1..1_000_000u64) {
            let (first, last) = (first.min(last), first.max(last).min(i64::MAX - 1));
            let summary = summary(first.min(last), last, count);
            let (from, to) = (summary.first, Timestamp::from_micros(last + 1));
            let mut parts = Vec::new();
            cut_sensor(&summary, (from, to), &mut parts);
            prop_assert_eq!(parts[0].from, from);
            prop_assert_eq!(parts[parts.len() - 1].to, to);
            prop_assert!(parts.windows(2).all(|pair| pair[0].to == pair[1].from));
            prop_assert!(parts.iter().all(|part| part.from < part.to && part.readings <= PART_READINGS));
        }
    }
}

//! Neighbour: whether a value agrees with another property of its reading, or with what neighbouring sensors said.
//!
//! Test 9, "Multi-Variate Test (Suggested)", between properties, and test 11, "Neighbor Test (Suggested)", between sensors: the difference
//! against thresholds. Neighbouring sensors are heard by the median of what each said nearest in time.

use std::time::Duration;

use domain::{Flag, Neighbour, Timestamp, Value};

/// The flag of a number beside what its neighbour says; 2 where that says nothing.
pub fn flag(settings: &Neighbour, number: f64, neighbour: Option<f64>) -> Flag {
    let Some(neighbour) = neighbour else { return Flag::NotEvaluated };
    let difference = (number - neighbour).abs();
    if settings.fail.is_some_and(|greatest| difference > greatest) {
        return Flag::Fail;
    }
    if settings.suspect.is_some_and(|greatest| difference > greatest) {
        return Flag::Suspect;
    }
    Flag::Good
}

/// The number of a sensor nearest to `time` and at most `within` away, the earlier of two as near; `times` ascend.
pub fn nearest(times: &[Timestamp], values: &[Value], time: Timestamp, within: Duration) -> Option<f64> {
    let distance = |at: Timestamp| at.since(time).max(time.since(at));
    let middle = times.partition_point(|at| *at < time);
    let reachable = |index: &usize| distance(times[*index]) <= within;
    let with_number = |index: usize| Some((distance(times[index]), values[index].as_number()?));
    let earlier = (0..middle).rev().take_while(reachable).find_map(with_number);
    let later = (middle..times.len()).take_while(reachable).find_map(with_number);
    let nearer = |(distance, _): &(Duration, f64)| earlier.is_none_or(|(other, _)| *distance < other);
    later.filter(nearer).or(earlier).map(|(_, number)| number)
}

/// The median of what neighbours say, the mean of the middle two where their number is even; `None` of none.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let upper = *numbers.get(numbers.len() / 2)?;
    let is_odd = !numbers.len().is_multiple_of(2);
    Some(if is_odd { upper } else { (numbers[numbers.len() / 2 - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_flagged_by_its_difference_from_its_neighbour() {
        let sensors = Vec::new();
        let settings = Neighbour { property: None, sensors, within: None, suspect: Some(1.0), fail: Some(3.0) };
        assert_eq!(flag(&settings, 5.0, None), Flag::NotEvaluated);
        assert_eq!(flag(&settings, 5.0, Some(6.0)), Flag::Good);
        assert_eq!(flag(&settings, 5.0, Some(3.9)), Flag::Suspect);
        assert_eq!(flag(&settings, 5.0, Some(8.1)), Flag::Fail);
    }

    #[test]
    fn nearest_number_is_that_of_the_closest_time_within_reach() {
        let times: Vec<_> = [0, 10, 20, 30].map(Timestamp::from_micros).to_vec();
        let number = |number| Value::number(number).expect("finite");
        let values = [number(0.0), number(1.0), Value::MISSING, number(3.0)];
        let at =
            |micros, within| nearest(&times, &values, Timestamp::from_micros(micros), Duration::from_micros(within));
        assert_eq!(at(10, 0), Some(1.0));
        assert_eq!(at(12, 1), None);
        assert_eq!(at(12, 2), Some(1.0));
        assert_eq!(at(20, 10), Some(1.0));
        assert_eq!(at(21, 10), Some(3.0));
        assert_eq!(at(-5, 5), Some(0.0));
        assert_eq!(at(99, 68), None);
    }

    #[test]
    fn median_is_the_middle_one_or_the_mean_of_the_middle_two() {
        assert_eq!(median(Vec::new()), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}

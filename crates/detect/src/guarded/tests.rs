//! Each guard by itself, on series made for it.

use proptest::{
    collection::vec,
    prelude::{Just, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    strategy::Strategy,
};

use super::*;

/// Numbers between -0.5 and 0.5, the same in every run.
fn noise(index: usize) -> f64 {
    let mixed = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 40) as f64 / f64::from(1_u32 << 24) - 0.5
}

fn cells(values: &[f64]) -> Vec<Cell> {
    let cell = |(sample, value): (usize, &f64)| {
        if value.is_nan() { Cell::Faulty { sample } } else { Cell::Value { sample, value: *value } }
    };
    values.iter().enumerate().map(cell).collect()
}

fn daily(count: usize) -> Vec<f64> {
    let phase = |index: usize| std::f64::consts::TAU * index as f64 / 24.0;
    (0..count).map(|index| 20.0 + 5.0 * phase(index).sin() + noise(index)).collect()
}

fn found(values: &[f64], new: Range<usize>, settings: &Settings) -> Vec<(Kind, usize, Option<usize>)> {
    let scan = scan(&cells(values), new, settings);
    scan.findings.iter().map(|finding| (finding.kind, finding.start, finding.end)).collect()
}

fn hourly() -> Settings {
    Settings { season: Season::Of(24), ..Settings::default() }
}

#[test]
fn a_value_out_of_season_is_a_point_with_its_expectation() {
    let mut values = daily(400);
    // As high as noon, at midnight.
    values[360] = 25.0;
    let scan = scan(&cells(&values), 300..400, &hourly());
    assert_eq!((scan.state, scan.period), (State::Judged, Some(24)));
    let [point] = scan.findings.as_slice() else { panic!("{:?}", scan.findings) };
    assert_eq!((point.kind, point.start, point.value), (Kind::Point, 360, Some(25.0)));
    assert!((point.expected.expect("a level") - 20.0).abs() < 0.7, "{point:?}");
    assert!(point.score > 0.6 && point.score < 1.0, "{point:?}");
    assert_eq!(scan.scores.len(), 100);
    assert!(scan.scores.iter().all(|(cell, score)| *cell == 360 || *score <= 0.5));
}

#[test]
fn the_season_is_found_where_it_is_not_given() {
    let mut values = daily(400);
    values[360] = 25.0;
    let settings = Settings { season: Season::Find { likely: [24, 168] }, ..Settings::default() };
    let scan = scan(&cells(&values), 300..400, &settings);
    assert_eq!(scan.period, Some(24));
    assert_eq!(scan.findings.len(), 1);
}

#[test]
fn a_spike_on_a_flat_line_is_a_point_and_a_step_of_the_resolution_is_none() {
    for level in [844.3, 845.0, 0.0, -1e-3, 0.123_456_789_012_345, 1e12] {
        let mut values = vec![level; 200];
        assert_eq!(found(&values, 0..200, &hourly()), [], "{level}");
        values[150] = level + level.abs().max(1.0) * 0.17;
        assert_eq!(found(&values, 0..200, &hourly()), [(Kind::Point, 150, None)], "{level}");
    }
    let mut values = vec![845.0; 200];
    values[150] = 847.0;
    assert_eq!(found(&values, 0..200, &hourly()), []);
    values[150] = 850.0;
    assert_eq!(found(&values, 0..200, &hourly()), [(Kind::Point, 150, None)]);
    let coarse = Settings { resolution: Some(3.0), ..hourly() };
    assert_eq!(found(&values, 0..200, &coarse), []);
}

#[test]
fn flagged_values_are_an_outage_once_and_do_not_hide_a_spike() {
    let mut values = daily(400);
    values[300..324].fill(f64::NAN);
    values[330] += 8.0;
    let expected = [(Kind::Outage, 300, Some(324)), (Kind::Point, 330, None)];
    assert_eq!(found(&values, 200..400, &hourly()), expected);
    assert_eq!(found(&values[..310], 300..301, &hourly()), [(Kind::Outage, 300, None)]);
    assert_eq!(found(&values[..310], 305..310, &hourly()), []);
}

#[test]
fn a_lasting_shift_is_reported_once_and_the_new_level_is_usual() {
    let mut values = daily(400);
    values[300..].iter_mut().for_each(|value| *value += 12.0);
    let mut reported = Vec::new();
    for count in 250..400 {
        reported.extend(found(&values[..count], count - 1..count, &hourly()));
    }
    assert_eq!(reported, [(Kind::Point, 300, None), (Kind::Point, 301, None), (Kind::LevelShift, 300, None)]);
    values[380] += 12.0;
    assert_eq!(found(&values, 370..400, &hourly()), [(Kind::Point, 380, None)]);
}

#[test]
fn steps_without_readings_change_nothing() {
    let mut values = daily(400);
    values[370] += 8.0;
    let mut cells = cells(&values);
    for index in (0..350).filter(|index| index % 5 == 2 || (100..140).contains(index)) {
        cells[index] = Cell::Empty;
    }
    let scan = scan(&cells, 300..400, &hourly());
    assert_eq!(scan.findings.iter().map(|finding| finding.start).collect::<Vec<_>>(), [370]);
}

#[test]
fn spikes_that_come_again_and_again_are_usual_and_a_greater_one_is_not() {
    let mut values: Vec<f64> = (0..800).map(|index| 10.0 + noise(index)).collect();
    (0..800).filter(|index| index * 7 % 53 < 7).for_each(|index| values[index] += 30.0 + 5.0 * noise(index + 9));
    let flat = Settings { season: Season::None, ..Settings::default() };
    let usual = found(&values, 400..800, &flat).len();
    assert!(usual <= 4, "{usual}");
    values[700] = 90.0;
    assert!(found(&values, 700..701, &flat).iter().any(|(_, start, _)| *start == 700));
}

#[test]
fn too_little_history_is_a_state() {
    let values = daily(80);
    let state = |count: usize| scan(&cells(&values[..count]), 0..count, &hourly()).state;
    assert_eq!(state(72), State::TooLittleHistory { usable: 72, needed: 72 });
    assert_eq!(state(73), State::Judged);
    assert_eq!(state(0), State::Judged);
    let flat = Settings { season: Season::None, ..Settings::default() };
    let scan = scan(&cells(&values[..30]), 29..30, &flat);
    assert_eq!(scan.state, State::TooLittleHistory { usable: 30, needed: 48 });
}

#[test]
fn a_direction_looks_at_its_own_side() {
    let mut values = daily(400);
    values[350] += 8.0;
    values[380] -= 8.0;
    let of = |direction| {
        let scan = scan(&cells(&values), 300..400, &Settings { direction, ..hourly() });
        scan.findings.iter().map(|finding| finding.start).collect::<Vec<_>>()
    };
    assert_eq!(of(Direction::Both), [350, 380]);
    assert_eq!(of(Direction::Positive), [350]);
    assert_eq!(of(Direction::Negative), [380]);
}

#[test]
fn noise_is_not_anomalous() {
    let values = daily(2_000);
    let mut points = 0;
    for count in (312..2_000).step_by(12) {
        points += found(&values[count - 300..count], 288..300, &hourly()).len();
    }
    assert!(points <= 8, "{points} of 1,692");
}

#[test]
fn a_season_found_before_serves_later_cells() {
    let mut values = daily(400);
    values[390] += 8.0;
    let cells = cells(&values);
    let season = fit(&cells[..300], &hourly());
    let scan = scan_with(&cells[53..], 300..347, &hourly(), &season.moved(53));
    assert_eq!(scan.findings.iter().map(|finding| finding.start + 53).collect::<Vec<_>>(), [390]);
}

fn any_cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        4 => any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| Cell::Value { sample: 0, value }),
        8 => (-3i8..3).prop_map(|value| Cell::Value { sample: 0, value: f64::from(value) }),
        2 => Just(Cell::Faulty { sample: 0 }),
        2 => Just(Cell::Empty),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_is_looked_at_and_nothing_outside_is_reported(
        cells in vec(any_cell(), 0..150),
        from in 0usize..150,
        length in 0usize..60,
        period in 0usize..20,
        anomalies_max in 0.0f64..0.49,
    ) {
        let season = if period == 0 { Season::Find { likely: [7, 0] } } else { Season::Of(period) };
        let settings = Settings { season, anomalies_max, points_min: 20, ..Settings::default() };
        let new = from..from + length;
        let scan = scan(&cells, new.clone(), &settings);
        for finding in &scan.findings {
            let is_new = new.contains(&finding.start) || finding.end.is_some_and(|end| new.contains(&end));
            // A shift is certain a few values behind its start.
            prop_assert!(is_new || finding.kind == Kind::LevelShift);
            prop_assert!((0.0..=1.0).contains(&finding.score));
        }
        prop_assert!(scan.scores.iter().all(|(cell, score)| new.contains(cell) && (0.0..=1.0).contains(score)));
    }

    #[test]
    fn scale_and_offset_of_the_values_change_no_finding(seed in 0usize..1_000, factor in 0i32..6) {
        let values: Vec<f64> = (0..300).map(|index| noise(index + seed) + if index == 250 { 9.0 } else { 0.0 }).collect();
        let other: Vec<f64> = values.iter().map(|value| value * 10_f64.powi(factor) + 7.0).collect();
        prop_assert_eq!(found(&values, 200..300, &hourly()), found(&other, 200..300, &hourly()));
    }
}

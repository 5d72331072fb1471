//! What the guarded method costs a datastream of four weeks of hourly values, and where the time goes.
//!
//! `cargo bench -p detect --bench guarded`

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use detect::{
    Cell, Direction, EsdSettings, decompose, esd, find_period,
    guarded::{Season, Settings, scan},
};

const POINTS: usize = 672;
const SERIES: usize = 400;
const ROUNDS: usize = 5;

/// Days with noise and a spike, different in every series and the same in every run.
fn series(seed: usize) -> Vec<f64> {
    let mut state = seed as u64 + 1;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(u32::MAX >> 1) - 0.5
    };
    let day = std::f64::consts::TAU / 24.0;
    let mut values: Vec<f64> =
        (0..POINTS).map(|hour| 20.0 + 5.0 * (hour as f64 * day).sin() + noise() + noise()).collect();
    values[POINTS - 1 - seed % 50] += 12.0;
    values
}

/// The shortest time of a few rounds over all series.
fn time<T>(series: &[Vec<f64>], work: impl Fn(&[f64]) -> T) -> Duration {
    let round = |_| {
        let started = Instant::now();
        for values in series {
            black_box(work(black_box(values)));
        }
        started.elapsed()
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

fn main() {
    let all: Vec<Vec<f64>> = (0..SERIES).map(series).collect();
    let cell = |(sample, value): (usize, &f64)| Cell::Value { sample, value: *value };
    let look = |values: &[f64], season: Season| {
        let cells: Vec<Cell> = values.iter().enumerate().map(cell).collect();
        scan(&cells, POINTS - 1..POINTS, &Settings { season, ..Settings::default() }).findings.len()
    };
    let (alpha, direction) = (0.05, Direction::Both);
    let test = EsdSettings { candidates_max: POINTS / 5, alpha, direction, scale_min: 0.0 };
    let found = time(&all, |values| look(values, Season::Find { likely: [24, 168] }));
    let given = time(&all, |values| look(values, Season::Of(24)));
    let season = time(&all, |values| find_period(values, &[24, 168]));
    let parts = time(&all, |values| decompose(values, 24));
    let esd = time(&all, |values| esd(values, &test));
    println!("{SERIES} series of {POINTS} points, shortest of {ROUNDS} rounds, one core");
    let rate = |time: Duration| SERIES as f64 / time.as_secs_f64();
    println!("guarded, season found   {:8.0} series/s", rate(found));
    println!("guarded, season given   {:8.0} series/s", rate(given));
    for (name, part) in [("season by autocorrelation", season), ("STL", parts), ("ESD", esd)] {
        println!("{name:26} {:5.1} % of the former", 100.0 * part.as_secs_f64() / found.as_secs_f64());
    }
}

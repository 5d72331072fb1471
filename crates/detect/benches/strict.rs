//! What the test costs beside the decomposition that it rests on: 14,398 points, a season of 1,440, a fifth of them candidates.
//!
//! `cargo bench -p detect`

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use detect::{
    decompose,
    strict::{Settings, anomalies},
};

const POINTS: usize = 14_398;
const PERIOD: usize = 1_440;
const ROUNDS: usize = 15;

/// A day's wave with noise, spikes and a step: the same in every run.
fn series() -> Vec<f64> {
    let mut state = 42_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(u32::MAX >> 1) - 0.5
    };
    let day = std::f64::consts::TAU / PERIOD as f64;
    let mut values: Vec<f64> = (0..POINTS)
        .map(|minute| 100.0 + 50.0 * (minute as f64 * day).sin() + 20.0 * (noise() + noise() + noise()))
        .collect();
    for spike in 0..130 {
        values[spike * 110 + 7] += 180.0;
    }
    values
}

fn time<T>(work: impl Fn() -> T) -> Duration {
    let started = Instant::now();
    black_box(work());
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let values = series();
    let settings = Settings { period: PERIOD, anomalies_max: 0.2, ..Settings::default() };
    let (mut alone, mut whole) = (Vec::new(), Vec::new());
    let mut found = 0;
    for _ in 0..ROUNDS {
        alone.push(time(|| decompose(black_box(&values), PERIOD)));
        whole.push(time(|| anomalies(black_box(&values), &settings)));
        found = anomalies(&values, &settings).map_or(0, |found| found.len());
    }
    let (alone, whole) = (median(alone), median(whole));
    println!("{POINTS} points, period {PERIOD}, {found} anomalies, median of {ROUNDS} rounds");
    println!("decomposition alone   {alone:?}");
    println!("S-H-ESD as a whole    {whole:?}, {:.3} times that", whole.as_secs_f64() / alone.as_secs_f64());
}

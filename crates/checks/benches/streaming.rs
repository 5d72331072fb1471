//! What the streaming form gives on one core with all tests of `emb-qartod`: values judged per second, and bytes of state.
//!
//! `cargo bench -p checks --bench streaming -- [--sensors 200000] [--values 50000000]`

use std::time::{Duration, Instant};

use checks::{Checks, Next, Tail, TestFlags};
use domain::{Flag, SensorTypeDraft, Timestamp, Value};

const TYPE: &str = include_str!("../../registry/src/built_in/emb-qartod.toml");

/// What the command line asks for.
struct Options {
    sensors: usize,
    values: usize,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { sensors: 200_000, values: 50_000_000 };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let mut number = || args.next().and_then(|text| text.parse().ok()).expect("a number behind the option");
            match name.as_str() {
                "--sensors" => options.sensors = number(),
                "--values" => options.values = number(),
                _ => {}
            }
        }
        options
    }
}

fn main() {
    let options = Options::parse();
    let mut table: toml::Table = toml::from_str(TYPE).expect("TOML");
    table.remove("id");
    let checks = Checks::new(&table.try_into::<SensorTypeDraft>().expect("a definition"));
    for (name, make) in [
        ("quantised, now and then a step or a fault", signal as fn(&mut Random, usize) -> [f64; 5]),
        ("noise that is never flat", noise),
        ("a slow drift within the tolerance", drift),
    ] {
        run(&checks, name, &options, make);
    }
}

/// Takes turns among the sensors, a reading each, as readings come in.
fn run(checks: &Checks, name: &str, options: &Options, make: fn(&mut Random, usize) -> [f64; 5]) {
    let width = checks.width();
    let mut random = Random(20_170_208);
    // Some readings to be gone through again and again, each sensor from another place on.
    let readings: Vec<[Value; 5]> =
        (0..1_021).map(|tick| make(&mut random, tick).map(|number| Value::number(number).expect("finite"))).collect();
    let mut tails: Vec<Tail> = (0..options.sensors).map(|_| Tail::new(checks)).collect();
    let (mut previous, mut flags) = (vec![TestFlags::default(); width], vec![TestFlags::default(); width]);
    let ticks = (options.values / width / options.sensors).max(1);
    let mut failed = 0;
    let started = Instant::now();
    for tick in 0..ticks {
        let time = Timestamp::from_micros(0).saturating_add(Duration::from_secs(3_600 * tick as u64));
        for (sensor, tail) in tails.iter_mut().enumerate() {
            let values = &readings[(sensor * 31 + tick) % readings.len()];
            tail.push(checks, Next { time, values, neighbours: &[] }, &mut previous, &mut flags);
            failed += previous.iter().filter(|flags| flags.roll_up() == Flag::Fail).count();
        }
    }
    let took = started.elapsed();
    let values = ticks * options.sensors * width;
    let bytes = tails.iter().map(Tail::bytes).sum::<usize>() / (options.sensors * width);
    let rate = values as f64 / took.as_secs_f64();
    println!("{name}: {values} values in {took:.2?}, {rate:.0} values/s, {failed} failed, {bytes} bytes a datastream");
}

fn signal(random: &mut Random, tick: usize) -> [f64; 5] {
    let fault = random.below(500) == 0;
    let step = |size: f64, random: &mut Random| (random.below(5) as f64 - 2.0) * size;
    let level = if tick % 300 < 100 { 0.0 } else { step(1.0, random) };
    [
        if fault { 0.0 } else { 850.0 + level },
        7.3 + step(0.01, random),
        16.4 + step(0.01, random),
        10.8 + step(0.1, random),
        if fault { 99_999.0 } else { 923.0 + step(1.0, random) },
    ]
}

fn noise(random: &mut Random, _: usize) -> [f64; 5] {
    std::array::from_fn(|_| random.below(1_000_000) as f64 / 1_000.0)
}

fn drift(_: &mut Random, tick: usize) -> [f64; 5] {
    [850.0, 7.3, 16.4, 10.8, 923.0].map(|level| level + tick as f64 * 1e-6)
}

/// Numbers that look random (xorshift64, Marsaglia 2003), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

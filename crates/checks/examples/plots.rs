//! Draws the plots of `docs/quality-control.md`: each test over real readings, with the values it flags.
//!
//! `cargo run -p checks --example plots`; the readings (Numenta Anomaly Benchmark, MIT licence) are beside the workspace, in `../shared/data/nab`.

use std::{fmt::Write as _, fs, path::PathBuf};

use checks::{Checks, Series, Test, neighbour};
use domain::{Flag, SensorTypeDraft, Timestamp, Value};

/// One plot: which test over which readings.
struct Plot {
    test: Test,
    file: &'static str,
    /// The first reading, and how many.
    readings: (usize, usize),
    unit: &'static str,
    interval: &'static str,
    settings: &'static str,
    /// The neighbour's readings.
    beside: Option<&'static str>,
}

const PLOTS: [Plot; 8] = [
    Plot {
        test: Test::GrossRange,
        file: "realTraffic/speed_t4013.csv",
        readings: (1_900, 500),
        unit: "mph",
        interval: "5m",
        settings: "gross_range = { fail = [0, 120], suspect = [40, 85] }",
        beside: None,
    },
    Plot {
        test: Test::Gap,
        file: "realTraffic/speed_7578.csv",
        readings: (600, 300),
        unit: "mph",
        interval: "5m",
        settings: "qc.gap = { suspect = \"30m\", fail = \"4h\" }",
        beside: None,
    },
    Plot {
        test: Test::Climatology,
        file: "realTraffic/TravelTime_387.csv",
        readings: (900, 500),
        unit: "s",
        interval: "10m",
        settings: "qc.climatology = [{ months = [7, 8], suspect = [0, 500] }, { months = [9], suspect = [0, 250], fail = [0, 1500] }]",
        beside: None,
    },
    Plot {
        test: Test::Spike,
        file: "realTraffic/occupancy_t4013.csv",
        readings: (1_900, 400),
        unit: "%",
        interval: "5m",
        settings: "qc.spike = { suspect = 5, fail = 10 }",
        beside: None,
    },
    Plot {
        test: Test::RateOfChange,
        file: "realAWSCloudwatch/ec2_cpu_utilization_ac20cd.csv",
        readings: (3_400, 400),
        unit: "%",
        interval: "5m",
        settings: "qc.rate_of_change = { suspect = 0.05, fail = 0.1 }",
        beside: None,
    },
    Plot {
        test: Test::FlatLine,
        file: "realAWSCloudwatch/ec2_cpu_utilization_ac20cd.csv",
        readings: (3_400, 400),
        unit: "%",
        interval: "5m",
        settings: "qc.flat_line = { tolerance = 2, suspect = \"1h\", fail = \"2h\" }",
        beside: None,
    },
    Plot {
        test: Test::AttenuatedSignal,
        file: "realAWSCloudwatch/ec2_cpu_utilization_ac20cd.csv",
        readings: (3_400, 400),
        unit: "%",
        interval: "5m",
        settings: "qc.attenuated_signal = { over = \"2h\", values_min = 12, suspect = 2, fail = 0.5 }",
        beside: None,
    },
    Plot {
        test: Test::Neighbour,
        file: "realTraffic/speed_t4013.csv",
        readings: (1_900, 400),
        unit: "mph",
        interval: "5m",
        settings: "qc.neighbour = { sensors = [\"a\", \"b\"], within = \"10m\", suspect = 20, fail = 35 }",
        beside: Some("realTraffic/speed_6005.csv"),
    },
];

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 200.0;
/// Room for the axis at the left, and for the times below.
const MARGIN: (f64, f64) = (52.0, 22.0);

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    for plot in &PLOTS {
        let (times, values) = read(&root, plot.file);
        let end = times.len().min(plot.readings.0 + plot.readings.1);
        let window = plot.readings.0..end;
        let checks = checks(plot);
        let within = checks.neighbours().next().map(|(_, _, within)| within);
        let beside: Vec<Value> = match plot.beside.zip(within) {
            Some((file, within)) => {
                let (near, said) = read(&root, file);
                let value = |time: &Timestamp| neighbour::nearest(&near, &said, *time, within);
                let to_value = |number: Option<f64>| number.map_or(Value::ABSENT, finite);
                times.iter().map(|time| to_value(value(time))).collect()
            }
            None => Vec::new(),
        };
        let flags = checks.judge_series(Series { times: &times, values: &values, neighbours: &beside });
        let flags: Vec<Flag> = flags.iter().map(|flags| flags.get(plot.test).expect("the test is set")).collect();
        let drawing = Drawing {
            times: &times[window.clone()],
            values: &values[window.clone()],
            flags: &flags[window.clone()],
            beside: beside.get(window.clone()).unwrap_or_default(),
        };
        let name = format!("docs/images/{}.svg", plot.test.as_str().replace('_', "-"));
        fs::write(root.join(&name), drawing.svg(plot)).expect("docs/images can be written");
        let count = |flag| drawing.flags.iter().filter(|other| **other == flag).count();
        println!("{name}: {} readings, {} suspect, {} fail", window.len(), count(Flag::Suspect), count(Flag::Fail));
    }
}

fn finite(number: f64) -> Value {
    Value::number(number).expect("numbers of the benchmark are finite")
}

fn checks(plot: &Plot) -> Checks {
    let Plot { interval, settings, unit, .. } = plot;
    let text =
        format!("sampling_interval = \"{interval}\"\n[[properties]]\nid = \"p\"\nunit = \"{unit}\"\n{settings}\n");
    let definition: SensorTypeDraft = toml::from_str(&text).expect("settings of a plot");
    definition.check().expect("settings of a plot are allowed");
    Checks::new(&definition)
}

/// A file's readings: `timestamp,value` behind a header, times in UTC, each taken once.
fn read(root: &std::path::Path, file: &str) -> (Vec<Timestamp>, Vec<Value>) {
    let path = root.join("../shared/data/nab").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("../shared/data/nab/{file}: {error}"));
    let reading = |line: &str| {
        let (time, value) = line.split_once(',').expect("two columns");
        let time = Timestamp::parse(&format!("{}Z", time.replace(' ', "T"))).expect("a time");
        (time, finite(value.trim().parse().expect("a number")))
    };
    let mut readings: Vec<_> = text.lines().skip(1).map(reading).collect();
    readings.sort_by_key(|(time, _)| *time);
    readings.dedup_by_key(|(time, _)| *time);
    readings.into_iter().unzip()
}

/// What is drawn.
struct Drawing<'a> {
    times: &'a [Timestamp],
    values: &'a [Value],
    flags: &'a [Flag],
    beside: &'a [Value],
}

impl Drawing<'_> {
    fn svg(&self, plot: &Plot) -> String {
        let numbers = self.values.iter().chain(self.beside).filter_map(|value| value.as_number());
        let (low, high) = numbers.fold((f64::MAX, f64::MIN), |(low, high), n| (low.min(n), high.max(n)));
        let span = (high - low).max(f64::MIN_POSITIVE);
        let (first, last) = (self.times[0].as_micros(), self.times[self.times.len() - 1].as_micros());
        let x = |time: Timestamp| {
            MARGIN.0 + (time.as_micros() - first) as f64 / (last - first) as f64 * (WIDTH - MARGIN.0 - 8.0)
        };
        let y = |number: f64| 8.0 + (high - number) / span * (HEIGHT - MARGIN.1 - 16.0);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
        );
        for number in [low, high] {
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{number:.3}</text>",
                MARGIN.0 - 6.0,
                y(number) + 4.0
            );
        }
        let _ = writeln!(out, "<text x=\"4\" y=\"{}\" fill=\"#555\">{}</text>", HEIGHT / 2.0, plot.unit);
        for (time, anchor) in [(self.times[0], "start"), (self.times[self.times.len() - 1], "end")] {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"#555\">{time}</text>",
                x(time),
                HEIGHT - 6.0
            );
        }
        for (values, colour) in [(self.beside, "#bbb"), (self.values, "#3b6ea5")] {
            let points =
                self.times.iter().zip(values).filter_map(|(time, value)| Some((x(*time), y(value.as_number()?))));
            let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            if !points.is_empty() {
                let _ = writeln!(out, "<polyline fill=\"none\" stroke=\"{colour}\" points=\"{}\"/>", points.join(" "));
            }
        }
        for ((time, value), flag) in self.times.iter().zip(self.values).zip(self.flags) {
            let colour = match flag {
                Flag::Suspect => "#e69f00",
                Flag::Fail => "#c0392b",
                _ => continue,
            };
            let Some(number) = value.as_number() else { continue };
            let _ =
                writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\" fill=\"{colour}\"/>", x(*time), y(number));
        }
        out.push_str("</svg>\n");
        out
    }
}

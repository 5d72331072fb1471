//! The guarded method on real boreholes' months, fed reading by reading, with the flags that sensor type `emb` gives.
//!
//! They lie beside the project, in `../shared/data/emb`; where they do not, each test says so.

use std::{collections::BTreeMap, fs, path::PathBuf};

use detect::{
    Sample,
    guarded::{Kind, Season, Settings, State, scan},
    to_grid,
};

const HOUR_MICROS: i64 = 3_600_000_000;
const PROPERTIES: [&str; 5] = ["sec", "ph", "water_level", "water_temp", "tdg"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A property of type `emb`: what its sensor can report, and its resolution.
struct Property {
    index: usize,
    fail: (f64, f64),
    resolution: f64,
}

fn property(id: &str) -> Property {
    let text = fs::read_to_string(root().join("crates/registry/src/built_in/emb.toml")).expect("it is built in");
    let table: toml::Table = text.parse().expect("TOML");
    let number = |value: &toml::Value| value.as_float().or(value.as_integer().map(|n| n as f64)).expect("a number");
    let index = PROPERTIES.iter().position(|other| *other == id).expect("a property");
    let property = &table["properties"][index];
    assert_eq!(property["id"].as_str(), Some(id));
    let fail = &property["gross_range"]["fail"];
    Property { index, fail: (number(&fail[0]), number(&fail[1])), resolution: number(&property["resolution"]) }
}

/// Microseconds since the start of 2017 of `2017-MM-DD` and `hh:mm:ss`.
fn micros(date: &str, time: &str) -> i64 {
    const DAYS_BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let days = DAYS_BEFORE[number(&date[5..7]) as usize - 1] + number(&date[8..10]) - 1;
    let second = number(&time[..2]) * 3600 + number(&time[3..5]) * 60 + number(&time[6..8]);
    (days * 86_400 + second) * 1_000_000
}

/// `MM-DD hh` of a time as [`micros`] gives it.
fn hour(micros: i64) -> String {
    let hours = micros / HOUR_MICROS;
    let mut day = hours / 24;
    for (month, days) in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate() {
        if day < days {
            return format!("{:02}-{:02} {:02}", month + 1, day + 1, hours % 24);
        }
        day -= days;
    }
    unreachable!("the year has ended")
}

/// One property of a borehole in months of 2017, flagged as type `emb` flags it.
fn samples(borehole: &str, months: &[&str], property: &Property) -> Option<Vec<Sample>> {
    let folder = root().join("../shared/data/emb").join(borehole);
    if !folder.exists() {
        println!("skipped: ../shared/data/emb is not there");
        return None;
    }
    let number = if borehole == "emb2" { "59702" } else { "61402" };
    let mut samples = Vec::new();
    for month in months {
        let text = fs::read_to_string(folder.join(format!("{number}.2017.{month}.csv"))).expect("a month");
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let cells: Vec<&str> = line.trim_end().split(',').collect();
            let value: Option<f64> = cells[2 + property.index].parse().ok();
            let usable = value.is_some_and(|value| property.fail.0 <= value && value <= property.fail.1);
            samples.push(Sample { time_micros: micros(cells[0], cells[1]), value, usable });
        }
    }
    samples.sort_by_key(|sample| sample.time_micros);
    Some(samples)
}

fn settings(property: &Property) -> Settings {
    Settings { season: Season::Of(24), resolution: Some(property.resolution), ..Settings::default() }
}

/// What is found when the readings come one by one, each looked at as it arrives: kind, hour of it and of its end.
fn fed_in_order(samples: &[Sample], settings: &Settings) -> Vec<(Kind, String, Option<String>)> {
    let mut found: BTreeMap<(String, u8), (Kind, Option<String>)> = BTreeMap::new();
    for count in 1..=samples.len() {
        let cells = to_grid(&samples[..count], HOUR_MICROS);
        let scan = scan(&cells, cells.len() - 1..cells.len(), settings);
        let time = |cell: usize| hour(samples[cells[cell].sample().expect("a reading")].time_micros);
        for finding in scan.findings {
            let key = (time(finding.start), finding.kind as u8);
            let known = found.entry(key).or_insert((finding.kind, None));
            known.1 = known.1.take().or(finding.end.map(time));
        }
    }
    found.into_iter().map(|((start, _), (kind, end))| (kind, start, end)).collect()
}

#[test]
fn a_spike_and_an_outage_are_found_as_they_arrive_and_the_new_level_is_usual() {
    let sec = property("sec");
    for months in [["02"].as_slice(), &["01", "02"]] {
        let Some(samples) = samples("emb3", months, &sec) else { return };
        let found = fed_in_order(&samples, &settings(&sec));
        println!("{months:?}: {found:?}");
        for spike in ["02-08 15", "02-08 16", "02-08 17"] {
            assert!(found.contains(&(Kind::Point, spike.to_owned(), None)), "{spike}: {found:?}");
        }
        let outages: Vec<_> = found.iter().filter(|(kind, _, _)| *kind == Kind::Outage).collect();
        assert_eq!(outages, [&(Kind::Outage, "02-08 18".to_owned(), Some("02-09 18".to_owned()))]);
        assert!(found.len() <= 3 + 1 + 3, "{found:?}");
    }
}

#[test]
fn a_quiet_quantised_month_has_no_anomalies() {
    let sec = property("sec");
    let Some(samples) = samples("emb3", &["01"], &sec) else { return };
    assert_eq!(fed_in_order(&samples, &settings(&sec)), []);
    let unknown = Settings { season: Season::Find { likely: [24, 168] }, resolution: None, ..settings(&sec) };
    assert_eq!(fed_in_order(&samples, &unknown), []);
}

#[test]
fn months_of_two_boreholes_have_few_anomalies() {
    for (borehole, months) in
        [("emb2", ["01", "02", "03", "04", "11"].as_slice()), ("emb3", &["01", "02", "03", "04", "05", "06"])]
    {
        for id in PROPERTIES {
            let property = property(id);
            let Some(samples) = samples(borehole, months, &property) else { return };
            let cells = to_grid(&samples, HOUR_MICROS);
            let mut counts = [0; 3];
            for month in 0..cells.len().div_ceil(672) {
                let (from, to) = (month * 672, ((month + 1) * 672).min(cells.len()));
                let start = from.saturating_sub(672);
                let scan = scan(&cells[start..to], from - start..to - start, &settings(&property));
                assert!(matches!(scan.state, State::Judged | State::TooLittleHistory { .. }));
                scan.findings.iter().for_each(|finding| counts[finding.kind as usize] += 1);
            }
            println!("{borehole} {id}: {counts:?} points, outages, shifts of {}", samples.len());
            assert!(counts[0] + counts[2] < samples.len() / 20, "{borehole} {id}: {counts:?}");
        }
    }
}

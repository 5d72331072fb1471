//! Two boreholes' real readings: every flag of every test, every roll-up and every label as ioos_qc 3.0.0 has them.

use std::{fs, path::PathBuf};

use checks::{Checks, Series, TestFlags};
use domain::{Label, LabelRule, Timestamp, Value};

use crate::support::{EMB_QARTOD, checks};

const PROPERTIES: [&str; 5] = ["sec", "ph", "water_level", "water_temp", "tdg"];

/// A folder beside the workspace, with data that are not shipped with it.
fn shared(folder: &str) -> Option<PathBuf> {
    let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(folder);
    if !place.is_dir() {
        println!("skipped: ../shared/{folder} is not there");
        return None;
    }
    Some(place)
}

/// A sensor's readings in the order of their times; files are `date,time,sec,ph,…` in UTC, `(na)` for missing.
fn readings(sensor: &str) -> Option<(Vec<Timestamp>, Vec<Value>)> {
    let mut readings = Vec::new();
    for file in fs::read_dir(shared("data/emb")?.join(sensor)).expect("a folder") {
        for line in fs::read_to_string(file.expect("a file").path()).expect("a text").lines() {
            let fields: Vec<&str> = line.trim_end().split(',').collect();
            let [date, time, values @ ..] = &fields[..] else { continue };
            let time = Timestamp::parse(&format!("{date}T{time}Z")).expect("a time");
            let value = |field: &&str| match *field {
                "(na)" => Value::MISSING,
                number => Value::number(number.parse().expect("a number")).expect("finite"),
            };
            readings.push((time, values.iter().map(value).collect::<Vec<_>>()));
        }
    }
    readings.sort_by_key(|(time, _)| *time);
    let (times, values): (Vec<_>, Vec<_>) = readings.into_iter().unzip();
    Some((times, values.concat()))
}

/// What the reference says of a sensor: a header, and a line per reading.
fn expected(sensor: &str) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    let text = fs::read_to_string(shared("reference/qartod")?.join(format!("{sensor}_flags.csv"))).expect("a text");
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect());
    Some((lines.next().expect("a header"), lines.collect()))
}

/// A column's flag of a reading: of a test of a property, rolled up of a property, or the label.
fn cell(checks: &Checks, column: &str, flags: &[TestFlags]) -> String {
    if column == "label" {
        return label(flags).as_str().to_owned();
    }
    let (property, test) = column.split_once('.').map_or((column, None), |(property, test)| (property, Some(test)));
    let index = PROPERTIES.iter().position(|id| *id == property).expect("a property");
    let Some(test) = test else { return flags[index].roll_up().code().to_string() };
    let test = checks.tests(index).iter().find(|configured| configured.as_str() == test).expect("a test");
    flags[index].get(*test).expect("a flag").code().to_string()
}

fn label(flags: &[TestFlags]) -> Label {
    let roll_ups: Vec<_> = flags.iter().map(|flags| flags.roll_up()).collect();
    LabelRule::default().label(&roll_ups)
}

#[track_caller]
fn check(sensor: &str, judge: impl Fn(&Checks, Series<'_>) -> Vec<TestFlags>, readings_and_anomalies: (usize, usize)) {
    let (Some((times, values)), Some((header, lines))) = (readings(sensor), expected(sensor)) else { return };
    let checks = checks(EMB_QARTOD);
    assert_eq!(times.len(), lines.len());
    let flags = judge(&checks, Series { times: &times, values: &values, neighbours: &[] });
    let mut anomalies = 0;
    for ((time, line), flags) in times.iter().zip(&lines).zip(flags.chunks(PROPERTIES.len())) {
        assert_eq!(time.to_string(), line[0]);
        for (column, expected) in header.iter().zip(line).skip(1) {
            assert_eq!(cell(&checks, column, flags), *expected, "{column} of {sensor} at {time}");
        }
        anomalies += usize::from(line.last().is_some_and(|label| label == "anomaly"));
    }
    assert_eq!((times.len(), anomalies), readings_and_anomalies);
}

#[test]
fn series_has_every_flag_of_the_reference() {
    check("emb2", |checks, series| checks.judge_series(series), (3_523, 997));
    check("emb3", |checks, series| checks.judge_series(series), (3_828, 611));
}

#[test]
fn stream_has_every_flag_of_the_reference() {
    check("emb2", |checks, series| checks.judge(series).0, (3_523, 997));
    check("emb3", |checks, series| checks.judge(series).0, (3_828, 611));
}

#[test]
fn settings_are_those_of_the_reference() {
    let Some(folder) = shared("reference/qartod") else { return };
    let text = fs::read_to_string(folder.join("emb.json")).expect("a text");
    let reference: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let table: toml::Table = toml::from_str(EMB_QARTOD).expect("TOML");
    assert_eq!(table["properties"].as_array().map(Vec::len), reference["properties"].as_object().map(|all| all.len()));
    for property in table["properties"].as_array().expect("properties") {
        let id = property["id"].as_str().expect("an id");
        let settings = &reference["properties"][id];
        assert_eq!(settings["unit"].as_str(), property["unit"].as_str(), "{id}");
        let mut ours = serde_json::to_value(&property["qc"]).expect("JSON");
        ours["gross_range"] = serde_json::to_value(&property["gross_range"]).expect("JSON");
        assert_eq!(ours.as_object().map(|all| all.len() + 1), settings.as_object().map(|all| all.len()), "{id}");
        for (test, keys) in ours.as_object().expect("tests") {
            for (key, ours) in keys.as_object().expect("thresholds") {
                let (suffix, theirs) = match test.as_str() {
                    "rate_of_change" => ("_per_s", ours.clone()),
                    "flat_line" if key != "tolerance" => ("_s", seconds(ours)),
                    _ => ("", ours.clone()),
                };
                let reference = &settings[test][format!("{key}{suffix}")];
                assert_eq!(floats(&theirs), floats(reference), "{id}.{test}.{key}");
            }
        }
    }
}

/// `3d` as seconds.
fn seconds(days: &serde_json::Value) -> serde_json::Value {
    let days = days.as_str().and_then(|text| text.strip_suffix('d')).and_then(|days| days.parse::<u64>().ok());
    (days.expect("days") * 86_400).into()
}

/// A number or an array of some, whole or not.
fn floats(value: &serde_json::Value) -> Vec<f64> {
    let one = |value: &serde_json::Value| value.as_f64().expect("a number");
    value.as_array().map_or_else(|| vec![one(value)], |all| all.iter().map(one).collect())
}

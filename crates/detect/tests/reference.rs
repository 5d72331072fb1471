//! The published program's own answers, row by row: a large series, two boreholes' months, and edge cases.
//!
//! They lie beside the project, in `../shared/reference/shesd`; where they do not, each test says so.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use detect::{
    Direction,
    strict::{Anomaly, Refusal, Settings, Threshold, anomalies},
    student_t_quantile,
};

/// A row of a CSV file by column name; a cell `NA` or an empty one is `None`.
type Row = BTreeMap<String, Option<String>>;

fn folder() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("../shared/reference/shesd");
    if folder.exists() {
        return Some(folder);
    }
    println!("skipped: ../shared/reference/shesd is not there");
    None
}

fn rows(path: PathBuf) -> Vec<Row> {
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let cell = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty() && text != "NA");
    let row = |line: &str| names.iter().map(|name| (*name).to_owned()).zip(line.split(',').map(cell)).collect();
    lines.map(row).collect()
}

fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    row[column].as_deref().unwrap_or_default()
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].as_deref().map_or(f64::NAN, |text| text.parse().expect("a number"))
}

fn column(rows: &[Row], name: &str) -> Vec<f64> {
    rows.iter().map(|row| number(row, name)).collect()
}

/// Compares anomalies with the reference's: index from 1, value, and the expectation where the reference gives one.
fn compare(what: &str, found: &[Anomaly], expected: &[Row]) {
    let indices: Vec<usize> = expected.iter().map(|row| number(row, "index") as usize - 1).collect();
    let mine: Vec<usize> = found.iter().map(|anomaly| anomaly.index).collect();
    assert_eq!(mine, indices, "{what}");
    for (anomaly, row) in found.iter().zip(expected) {
        let value = if row.contains_key("value") { "value" } else { "anoms" };
        assert_eq!(anomaly.value, number(row, value), "{what}");
        for name in ["expected", "expected_value"] {
            if row.contains_key(name) {
                let distance = (anomaly.expected - number(row, name)).abs();
                assert!(distance <= 1.0, "{what}: {anomaly:?}, expected {row:?}");
            }
        }
    }
}

fn direction(name: &str) -> Direction {
    match name {
        "both" => Direction::Both,
        "pos" => Direction::Positive,
        "neg" => Direction::Negative,
        other => panic!("`{other}` is no direction"),
    }
}

#[test]
fn quantiles_are_those_of_the_reference() {
    let Some(folder) = folder() else { return };
    for row in rows(folder.join("student_t_quantiles.csv")) {
        let (p, df, t) = (number(&row, "p"), number(&row, "df"), number(&row, "t"));
        let relative = (student_t_quantile(p, df) - t).abs() / t;
        assert!(relative < 1e-9, "p {p}, df {df}: {relative:e}");
    }
}

#[test]
fn a_large_series_has_the_anomalies_of_every_call() {
    let Some(folder) = folder() else { return };
    let folder = folder.join("raw");
    let values = column(&rows(folder.join("raw_data.csv")), "count");
    let base = Settings { period: 1440, anomalies_max: 0.02, ..Settings::default() };
    let check = |file: &str, count: usize, settings: Settings| {
        let found = anomalies(&values, &settings).expect("it is long enough");
        assert_eq!(found.len(), count, "{file}");
        compare(file, &found, &rows(folder.join(file)));
    };
    check("vec_both_m0.02_a0.05_e.csv", 131, base);
    check("vec_both_m0.2_a0.05_e.csv", 131, Settings { anomalies_max: 0.2, ..base });
    check("vec_both_m0.02_a0.001_e.csv", 114, Settings { alpha: 0.001, ..base });
    check("vec_pos_m0.02_a0.05_e.csv", 51, Settings { direction: Direction::Positive, ..base });
    check("vec_neg_m0.02_a0.05_e.csv", 87, Settings { direction: Direction::Negative, ..base });
    check("vec_both_002_onlylast.csv", 25, Settings { only_last: true, ..base });
    check("vec_both_002_thr_med_max_e.csv", 6, Settings { threshold: Some(Threshold::MedianOfMaxima), ..base });
    check("vec_both_002_thr_p95_e.csv", 1, Settings { threshold: Some(Threshold::Percentile95), ..base });
    check("vec_both_002_longterm7d_e.csv", 216, Settings { piece: Some(7 * 1440), ..base });
    for (days, count) in [(3, 203), (4, 237), (5, 150)] {
        let found = anomalies(&values, &Settings { piece: Some(days * 1440), ..base }).expect("it is long enough");
        assert_eq!(found.len(), count, "{days} days");
    }
}

#[test]
fn season_and_trend_are_those_of_the_reference() {
    let Some(folder) = folder() else { return };
    let values = column(&rows(folder.join("raw/raw_data.csv")), "count");
    let expected = rows(folder.join("raw/stl_raw_p1440.csv"));
    let parts = detect::decompose(&values, 1440).expect("it is long enough");
    for (name, mine) in [("seasonal", &parts.seasonal), ("trend", &parts.trend)] {
        let distance = |(mine, theirs): (&f64, f64)| (mine - theirs).abs();
        let greatest = mine.iter().zip(column(&expected, name)).map(distance).fold(0.0, f64::max);
        assert!(greatest < 1e-8, "{name}: {greatest:e}");
    }
}

/// Does with missing values what the reference did before it looked at the series.
fn with_policy(values: &[f64], policy: &str) -> Vec<f64> {
    match policy {
        "asis" => values.to_vec(),
        "drop" => values.iter().copied().filter(|value| !value.is_nan()).collect(),
        "interp" => interpolated(values),
        other => panic!("`{other}` is no policy"),
    }
}

/// Puts what a line between the neighbours has in place of missing values; holds the ends.
fn interpolated(values: &[f64]) -> Vec<f64> {
    let present: Vec<usize> = (0..values.len()).filter(|index| !values[*index].is_nan()).collect();
    let between = |index: usize| {
        let next = present.partition_point(|place| *place < index);
        let (Some(&right), Some(&left)) = (present.get(next), present.get(next.wrapping_sub(1))) else {
            return values[present[next.min(present.len() - 1)]];
        };
        let share = (index - left) as f64 / (right - left) as f64;
        values[left] + share * (values[right] - values[left])
    };
    (0..values.len()).map(|index| if values[index].is_nan() { between(index) } else { values[index] }).collect()
}

#[test]
fn boreholes_months_have_the_anomalies_of_the_reference() {
    let Some(folder) = folder() else { return };
    let folder = folder.join("emb");
    let key = |row: &Row| ["dataset", "month", "var", "policy", "direction"].map(|name| text(row, name).to_owned());
    let mut expected: BTreeMap<[String; 5], Vec<Row>> = BTreeMap::new();
    for row in rows(folder.join("anomalies.csv")) {
        expected.entry(key(&row)).or_default().push(row);
    }
    let mut seen = 0;
    for row in rows(folder.join("summary.csv")) {
        let [dataset, month, property, policy, side] = key(&row);
        let what = format!("{dataset} {month} {property} {policy} {side}");
        let values = column(&rows(folder.join(format!("inputs/{dataset}_2017_{month}.csv"))), &property);
        let values = with_policy(&values, &policy);
        assert_eq!(values.len(), number(&row, "n") as usize, "{what}");
        let found = anomalies(&values, &Settings { direction: direction(&side), ..Settings::default() });
        if row["error"].is_some() {
            assert!(found.is_err(), "{what}");
            continue;
        }
        let found = found.unwrap_or_else(|refusal| panic!("{what}: {refusal}"));
        assert_eq!(found.len(), number(&row, "n_anoms") as usize, "{what}");
        compare(&what, &found, expected.get(&key(&row)).map_or(&[], Vec::as_slice));
        seen += found.len();
    }
    assert_eq!(seen, expected.values().map(Vec::len).sum::<usize>());
}

/// Conductance of borehole EMB3 in a month of 2017.
fn conductance(folder: &Path, month: &str) -> Vec<f64> {
    column(&rows(folder.join(format!("inputs/EMB3_2017_{month}.csv"))), "sec")
}

#[test]
fn growing_prefixes_have_the_anomalies_of_the_reference() {
    let Some(folder) = folder() else { return };
    let folder = folder.join("emb");
    let values = conductance(&folder, "02");
    let mut expected: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
    for row in rows(folder.join("fig4_prefix_anoms.csv")) {
        expected.entry(number(&row, "n") as usize).or_default().push(row);
    }
    let summary = rows(folder.join("fig4_prefix_summary.csv"));
    assert_eq!(summary.len(), 625);
    for row in summary {
        let count = number(&row, "n") as usize;
        let found = anomalies(&values[..count], &Settings::default());
        if row["err"].is_some() {
            assert!(matches!(found, Err(Refusal::Season(_))), "{count}: {found:?}");
            continue;
        }
        let found = found.unwrap_or_else(|refusal| panic!("{count}: {refusal}"));
        assert_eq!(found.len(), number(&row, "n_anoms") as usize, "{count}");
        compare(&format!("prefix of {count}"), &found, expected.get(&count).map_or(&[], Vec::as_slice));
    }
}

#[test]
fn sliding_windows_have_as_many_anomalies_as_the_reference() {
    let Some(folder) = folder() else { return };
    let folder = folder.join("emb");
    let (january, february) = (conductance(&folder, "01"), conductance(&folder, "02"));
    let values = [january.as_slice(), &february].concat();
    for row in rows(folder.join("fig4_sliding_window.csv")) {
        let (window, end) = (number(&row, "window") as usize, january.len() + number(&row, "n") as usize);
        let values = &values[end - window..end];
        let found = anomalies(values, &Settings::default()).expect("it is long enough");
        assert_eq!(found.len(), number(&row, "n_anoms") as usize, "{window} up to {end}");
        let last = found.last().is_some_and(|anomaly| anomaly.index + 1 == values.len());
        assert_eq!(f64::from(u8::from(last)), number(&row, "last_flagged"), "{window} up to {end}");
    }
}

/// An edge case by the name of its files, and what it was called with.
fn edge_settings(name: &str) -> Settings {
    let base = Settings::default();
    let threshold = |threshold| Settings { threshold: Some(threshold), ..base };
    let negative = |settings: Settings| Settings { direction: Direction::Negative, ..settings };
    match name {
        "constant_1_n_1000_p_14" => Settings { period: 14, ..base },
        "period_2" => Settings { period: 2, ..base },
        "same_pos" => Settings { direction: Direction::Positive, ..base },
        "same_neg" => negative(base),
        "same_max_anoms_49" => Settings { anomalies_max: 0.49, ..base },
        "same_max_anoms_02_cap_13_" => Settings { anomalies_max: 0.02, ..base },
        "same_max_anoms_0" => Settings { anomalies_max: 0.0, ..base },
        "same_max_anoms_1" => Settings { anomalies_max: -1.0, ..base },
        "same_alpha_1e_6" => Settings { alpha: 1e-6, ..base },
        "same_alpha_5" => Settings { alpha: 0.5, ..base },
        "thr_both_med_max" | "thr_n_not_multiple_of_period_med_max" => threshold(Threshold::MedianOfMaxima),
        "thr_neg_med_max" => negative(threshold(Threshold::MedianOfMaxima)),
        "thr_both_p95" => threshold(Threshold::Percentile95),
        "thr_neg_p95" => negative(threshold(Threshold::Percentile95)),
        "thr_both_p99" => threshold(Threshold::Percentile99),
        "thr_neg_p99" => negative(threshold(Threshold::Percentile99)),
        "only_last" | "only_last_with_anomaly_in_last_period" => Settings { only_last: true, ..base },
        name => match name.strip_prefix("longterm_period_") {
            Some(rest) => Settings { piece: rest.split('_').next().and_then(|piece| piece.parse().ok()), ..base },
            None => base,
        },
    }
}

#[test]
fn edge_cases_have_the_answers_of_the_reference() {
    let Some(folder) = folder() else { return };
    let folder = folder.join("edge");
    let mut cases = 0;
    for entry in fs::read_dir(&folder).expect("a folder") {
        let file = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let Some(name) = file.strip_suffix("_in.csv") else { continue };
        // Here the reference was given an R list, which it does not take for a series.
        if name == "list_input" {
            continue;
        }
        let values = column(&rows(folder.join(&file)), "value");
        let found = anomalies(&values, &edge_settings(name)).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        let output = folder.join(format!("{name}_out.csv"));
        let expected = if output.exists() { rows(output) } else { Vec::new() };
        compare(name, &found, &expected);
        cases += 1;
    }
    assert_eq!(cases, 36);
}

#[test]
fn what_the_reference_refuses_is_refused() {
    let Some(folder) = folder() else { return };
    let values = column(&rows(folder.join("edge/int_seasonal_spike_24_zeros_in.csv")), "value");
    let refused = |values: &[f64], settings: Settings| assert!(anomalies(values, &settings).is_err(), "{settings:?}");
    let base = Settings::default();
    refused(&values, Settings { anomalies_max: 0.5, ..base });
    refused(&values[..48], base);
    refused(&values[..47], base);
    refused(&values, Settings { period: 1, ..base });
    refused(&values, Settings { period: 0, ..base });
    for bad in [f64::NAN, f64::INFINITY] {
        let mut values = values.clone();
        values[300] = bad;
        refused(&values, base);
    }
}

#[test]
fn expectations_are_truncated_towards_zero() {
    // Of the reference's log: 7.3 with a spike is expected at 7, and -2.5 or so with a spike at -2.
    for (level, spike, expected) in [(7.3, 6.5, 7.0), (-2.6, -3.5, -2.0)] {
        let mut values: Vec<f64> = (0..240).map(|index| level + ((index * 7919) % 13) as f64 / 200.0).collect();
        values[99] = spike;
        let found = anomalies(&values, &Settings::default()).expect("it is long enough");
        assert_eq!(found.iter().map(|anomaly| (anomaly.index, anomaly.expected)).collect::<Vec<_>>(), [(99, expected)]);
    }
}

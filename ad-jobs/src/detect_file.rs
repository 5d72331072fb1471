//! `ad-jobs detect`: looks at one column of a plain CSV file, in either mode.
//!
//! **Invariant:** strict mode sees the rows as they are; guarded mode sees them on the grid of their times.

use std::io::{self, Write};

use detect::{
    Cell, Sample, guarded,
    strict::{self, Refusal},
    to_grid,
};
use domain::{DetectionGaps as Gaps, Timestamp};
use serde::Serialize;

use crate::{csv_series::Series, gaps::without_gaps};

/// What is looked for, and how.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// The published method.
    Strict(strict::Settings, Gaps),
    /// The guarded one; values outside the span are not usable.
    Guarded(guarded::Settings, Option<(f64, f64)>),
}

/// Something anomalous in a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The row it is in or starts in, from 1.
    pub index: usize,
    /// The row's time.
    pub timestamp: Option<Timestamp>,
    /// `point`, `outage` or `level-shift`.
    pub kind: &'static str,
    /// What is there.
    pub value: Option<f64>,
    /// What was expected: in strict mode trend and season, truncated towards zero.
    pub expected: Option<f64>,
    /// From 0 to 1; 0.5 is critical.
    pub score: f64,
    /// Of an outage, the row of the first usable value behind it.
    pub end: Option<usize>,
}

/// What there is to say of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What is anomalous, by row.
    pub found: Vec<Found>,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

/// Looks at a series.
///
/// # Errors
/// [`Refusal`], in strict mode.
pub fn detect(series: &Series, mode: &Mode) -> Result<Report, Refusal> {
    match mode {
        Mode::Strict(settings, gaps) => detect_strict(series, settings, *gaps),
        Mode::Guarded(settings, span) => Ok(detect_guarded(series, settings, *span)),
    }
}

fn detect_strict(series: &Series, settings: &strict::Settings, gaps: Gaps) -> Result<Report, Refusal> {
    let (rows, values) = without_gaps(&series.values, gaps);
    let anomalies = strict::anomalies(&values, settings)?;
    let found = anomalies.into_iter().map(|anomaly| Found {
        index: rows[anomaly.index] + 1,
        timestamp: time(series, rows[anomaly.index]),
        kind: "point",
        value: Some(anomaly.value),
        expected: Some(anomaly.expected),
        score: anomaly.deviation / (anomaly.deviation + anomaly.critical),
        end: None,
    });
    Ok(Report { found: found.collect(), notes: Vec::new() })
}

fn detect_guarded(series: &Series, settings: &guarded::Settings, span: Option<(f64, f64)>) -> Report {
    let (cells, order) = cells(series, span);
    let scan = guarded::scan(&cells, 0..cells.len(), settings);
    let row = |cell: usize| cells[cell].sample().map(|sample| order[sample]);
    let found = scan.findings.iter().filter_map(|finding| {
        let start = row(finding.start)?;
        Some(Found {
            index: start + 1,
            timestamp: time(series, start),
            kind: kind_name(finding.kind),
            value: finding.value,
            expected: finding.expected,
            score: finding.score,
            end: finding.end.and_then(row).map(|row| row + 1),
        })
    });
    let mut notes = Vec::new();
    match scan.period {
        Some(period) => notes.push(format!("season of {period} steps")),
        None => notes.push("no season".to_owned()),
    }
    if let guarded::State::TooLittleHistory { usable, needed } = scan.state {
        notes.push(format!("too little history: {usable} usable values, {needed} must come before one that is judged"));
    }
    Report { found: found.collect(), notes }
}

/// What a kind is called.
pub fn kind_name(kind: guarded::Kind) -> &'static str {
    match kind {
        guarded::Kind::Point => "point",
        guarded::Kind::Outage => "outage",
        guarded::Kind::LevelShift => "level-shift",
    }
}

/// The rows on the grid of their times, or one behind the other where they have none; and which row each sample is.
fn cells(series: &Series, span: Option<(f64, f64)>) -> (Vec<Cell>, Vec<usize>) {
    let mut order: Vec<usize> = (0..series.values.len()).collect();
    let micros = |row: usize| series.times.as_ref().map_or(row as i64, |times| times[row].as_micros());
    order.sort_by_key(|row| micros(*row));
    let sample = |row: &usize| {
        let value = series.values[*row];
        let usable = value.is_finite() && span.is_none_or(|(low, high)| low <= value && value <= high);
        Sample { time_micros: micros(*row), value: Some(value).filter(|value| !value.is_nan()), usable }
    };
    let samples: Vec<Sample> = order.iter().map(sample).collect();
    let step = step_micros(&samples).unwrap_or(1);
    (to_grid(&samples, step), order)
}

/// The median time between two readings.
fn step_micros(samples: &[Sample]) -> Option<i64> {
    let step = |pair: &[Sample]| pair[1].time_micros.checked_sub(pair[0].time_micros);
    let mut steps: Vec<i64> = samples.windows(2).filter_map(step).filter(|step| *step > 0).collect();
    let middle = steps.len() / 2;
    (!steps.is_empty()).then(|| *steps.select_nth_unstable(middle).1)
}

/// How many steps a day and a week have by a series' times, 0 where it has none: seasons that are likely.
pub fn likely_seasons(series: &Series) -> [usize; 2] {
    let Some(times) = &series.times else { return [0, 0] };
    let sample = |time: &Timestamp| Sample { time_micros: time.as_micros(), value: None, usable: false };
    let mut samples: Vec<Sample> = times.iter().map(sample).collect();
    samples.sort_by_key(|sample| sample.time_micros);
    let Some(step) = step_micros(&samples) else { return [0, 0] };
    [1, 7].map(|days| usize::try_from((days * 86_400_000_000_i64 + step / 2) / step).unwrap_or(0))
}

fn time(series: &Series, row: usize) -> Option<Timestamp> {
    series.times.as_ref().map(|times| times[row])
}

/// Writes what was found as CSV: `index,timestamp,kind,value,expected,score,end`.
///
/// # Errors
/// Those of the writer.
pub fn write_csv(found: &[Found], out: impl Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(["index", "timestamp", "kind", "value", "expected", "score", "end"])?;
    let text = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
    for found in found {
        writer.write_record([
            found.index.to_string(),
            found.timestamp.map_or_else(String::new, |time| time.to_string()),
            found.kind.to_owned(),
            text(found.value),
            text(found.expected),
            format!("{:.6}", found.score),
            found.end.map_or_else(String::new, |end| end.to_string()),
        ])?;
    }
    writer.flush()
}

/// Writes what was found as JSON, one array.
///
/// # Errors
/// Those of the writer.
pub fn write_json(found: &[Found], mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, found)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: Vec<f64>) -> Series {
        Series { values, times: None }
    }

    fn wave(count: usize) -> Vec<f64> {
        (0..count).map(|index| 50.0 + (index % 12) as f64 + ((index * 7919) % 13) as f64 / 13.0).collect()
    }

    fn rows(report: &Report) -> Vec<(usize, &str, Option<usize>)> {
        report.found.iter().map(|found| (found.index, found.kind, found.end)).collect()
    }

    #[test]
    fn both_modes_name_rows_from_one() {
        let mut values = wave(240);
        values[200] = 90.0;
        let strict = Mode::Strict(strict::Settings { period: 12, ..Default::default() }, Gaps::Refuse);
        assert_eq!(rows(&detect(&series(values.clone()), &strict).expect("long enough")), [(201, "point", None)]);
        let season = guarded::Season::Of(12);
        let guarded = Mode::Guarded(guarded::Settings { season, ..Default::default() }, None);
        assert_eq!(rows(&detect(&series(values), &guarded).expect("long enough")), [(201, "point", None)]);
    }

    #[test]
    fn missing_values_are_refused_left_out_or_interpolated() {
        let mut values = wave(240);
        values[200] = 90.0;
        values[100] = f64::NAN;
        let of = |gaps| {
            let mode = Mode::Strict(strict::Settings { period: 12, ..Default::default() }, gaps);
            detect(&series(values.clone()), &mode).map(|report| report.found.iter().map(|found| found.index).collect())
        };
        assert_eq!(of(Gaps::Refuse), Err(Refusal::Gap(100)));
        assert_eq!(of(Gaps::Interpolate), Ok(vec![201]));
        let dropped: Vec<usize> = of(Gaps::Drop).expect("long enough");
        assert!(dropped.contains(&201), "{dropped:?}");
    }

    #[test]
    fn guarded_mode_goes_by_the_times_of_the_rows() {
        let hour = 3_600_000_000_i64;
        let mut values = wave(240);
        values[150..160].fill(0.0);
        let mut times: Vec<i64> = (0..240).map(|index| index * hour).collect();
        times[40] += 120_000_000;
        let kept: Vec<usize> = (0..240).rev().filter(|index| !(60..66).contains(index)).collect();
        let series = Series {
            values: kept.iter().map(|index| values[*index]).collect(),
            times: Some(kept.iter().map(|index| Timestamp::from_micros(times[*index])).collect()),
        };
        assert_eq!(likely_seasons(&series), [24, 168]);
        let settings = guarded::Settings { season: guarded::Season::Of(12), ..Default::default() };
        let report = detect(&series, &Mode::Guarded(settings, Some((1.0, 1_000.0)))).expect("never refused");
        // Rows come newest first: row 90 is hour 150, row 80 hour 160.
        assert_eq!(rows(&report), [(90, "outage", Some(80))]);
    }

    #[test]
    fn what_is_found_is_written_as_csv() {
        let found = Found {
            index: 184,
            timestamp: Timestamp::parse("2017-02-08T15:00:00Z").ok(),
            kind: "point",
            value: Some(904.0),
            expected: Some(845.0),
            score: 0.9375,
            end: None,
        };
        let mut out = Vec::new();
        write_csv(&[found], &mut out).expect("it can be written");
        let expected =
            "index,timestamp,kind,value,expected,score,end\n184,2017-02-08T15:00:00Z,point,904,845,0.937500,\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

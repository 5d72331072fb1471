//! Tests of the generator: the same whatever the sharing, JSON that parses, and faults at the rates stated.

use std::sync::Arc;

use serde_json::Value;

use super::*;

fn emb() -> SensorType {
    serde_json::from_str(
        r#"{"id":"emb","properties":[
        {"id":"sec","gross_range":{"fail":[5,100000],"suspect":[100,2000]},"resolution":1},
        {"id":"ph","gross_range":{"fail":[1,13],"suspect":[6,9]},"resolution":0.01}]}"#,
    )
    .expect("valid type")
}

/// Makes the readings of the sensors between each two boundaries, sorted.
fn readings(faults: Faults, seed: u64, boundaries: &[u32], moments: u32) -> (Vec<String>, FaultCounts) {
    let plan = Arc::new(Plan::new(&emb(), faults, seed, "sim"));
    let (mut lines, mut counts) = (Vec::new(), FaultCounts::default());
    for shard in boundaries.windows(2) {
        let mut shard = Shard::new(plan.clone(), shard[0]..shard[1]);
        for hour in 0..moments {
            let time = Timestamp::from_second(1_483_228_800 + i64::from(hour) * 3600).expect("valid");
            let moment = Moment::new(time);
            for sensor in 0..shard.len() {
                let mut out = BytesMut::new();
                shard.write_reading(sensor, &moment, &mut out);
                lines.push(String::from_utf8(out.to_vec()).expect("UTF-8"));
            }
        }
        counts.add(shard.counts());
    }
    lines.sort();
    (lines, counts)
}

const ALL_FAULTS: Faults = Faults { spikes: 0.01, outages: 0.001, missing: 0.02, drift: 0.001 };

#[test]
fn same_seed_makes_the_same_readings_however_shared_out() {
    let whole = readings(ALL_FAULTS, 7, &[1, 11], 200);
    assert_eq!(whole, readings(ALL_FAULTS, 7, &[1, 4, 5, 11], 200));
    assert_ne!(whole.0, readings(ALL_FAULTS, 8, &[1, 11], 200).0);
}

#[test]
fn first_reading_of_a_seed_stays_what_it_was() {
    let (lines, _) = readings(Faults::default(), 1, &[1, 2], 1);
    assert_eq!(
        lines,
        [r#"{"sensor_id":"sim1","phenomenon_time":"2017-01-01T00:00:00Z","sec":1097,"ph":7.82}"#],
        "reports name their seed: the same one must make the same readings in later releases"
    );
}

#[test]
fn readings_without_faults_stay_in_the_usual_span() {
    let (lines, counts) = readings(Faults::default(), 3, &[1, 21], 500);
    assert_eq!((lines.len(), counts), (10_000, FaultCounts::default()));
    for line in lines {
        let reading: Value = serde_json::from_str(&line).expect("JSON");
        let value = |property: &str| reading[property].as_f64().expect("a number");
        assert!((100.0..=2000.0).contains(&value("sec")) && (6.0..=9.0).contains(&value("ph")), "{line}");
        assert_eq!(reading.as_object().expect("an object").len(), 4);
    }
}

#[test]
fn faults_come_at_the_rates_stated_and_are_counted() {
    let faults = Faults { spikes: 0.01, outages: 0.0, missing: 0.02, drift: 0.0 };
    let (lines, counts) = readings(faults, 5, &[1, 101], 500);
    let values = 2.0 * lines.len() as f64;
    // Within 5 standard deviations of a binomial count.
    let near =
        |count: u64, rate: f64| (count as f64 - values * rate).abs() < 5.0 * (values * rate * (1.0 - rate)).sqrt();
    assert!(near(counts.missing, 0.02), "{counts:?}");
    assert!(near(counts.spikes, 0.01 * 0.98), "{counts:?}");
    let nulls: usize = lines.iter().map(|line| line.matches("null").count()).sum();
    assert_eq!(nulls as u64, counts.missing);
}

#[test]
fn outage_breaks_all_values_of_a_reading() {
    let faults = Faults { outages: 0.01, ..Faults::default() };
    let (lines, counts) = readings(faults, 5, &[1, 51], 400);
    let broken = lines.iter().filter(|line| {
        let reading: Value = serde_json::from_str(line).expect("JSON");
        let value = |property: &str| reading[property].as_f64().expect("a number");
        (value("sec") < 5.0 || value("sec") > 2000.0) && !(1.0..=13.0).contains(&value("ph"))
    });
    assert_eq!(broken.count() as u64, counts.outage_readings);
    let mean_length = counts.outage_readings as f64 / counts.outages as f64;
    assert!((15.0..45.0).contains(&mean_length), "{mean_length}");
}

#[test]
fn drift_leads_away_and_is_set_right() {
    let faults = Faults { drift: 0.002, ..Faults::default() };
    let (drifting, counts) = readings(faults, 5, &[1, 3], 3000);
    assert!(counts.drifts > 0);
    let spread = |lines: &[String]| {
        let of = |line: &String| serde_json::from_str::<Value>(line).expect("JSON")["ph"].as_f64().expect("a number");
        lines
            .iter()
            .filter(|line| line.contains("\"sim1\""))
            .map(of)
            .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (steady, _) = readings(Faults::default(), 5, &[1, 3], 3000);
    let ((low, high), (steady_low, steady_high)) = (spread(&drifting), spread(&steady));
    assert!(high - low > 1.2 * (steady_high - steady_low), "{low} to {high}");
}

#[test]
fn type_without_ranges_or_resolution_is_simulated_all_the_same() {
    let bare: SensorType =
        serde_json::from_str(r#"{"id":"x","properties":[{"id":"a"},{"id":"b","gross_range":{"fail":[-40,60]}}]}"#)
            .expect("valid");
    let mut shard = Shard::new(Arc::new(Plan::new(&bare, Faults::default(), 1, "x-")), 1..2);
    let mut out = BytesMut::new();
    shard.write_reading(0, &Moment::new(Timestamp::UNIX_EPOCH), &mut out);
    let reading: Value = serde_json::from_slice(&out).expect("JSON");
    assert!((0.0..=100.0).contains(&reading["a"].as_f64().expect("a number")), "{reading}");
    assert!((-40.0..=60.0).contains(&reading["b"].as_f64().expect("a number")), "{reading}");
}

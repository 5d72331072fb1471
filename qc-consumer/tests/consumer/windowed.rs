//! Tests that look beyond the value: right whatever the order, revised once, told to whoever subscribes.

use std::{collections::BTreeMap, time::Duration};

use checks::{Checks, Series, TestFlags, neighbour};
use domain::{
    Deletion, Flag, PartReport, Partition, PropertyId, Readings, Rejudgement, SensorTypeId, Timestamp, Topic, Value,
};
use ports::{Batch, Content, Log, ReadingQuery, Store, memory::LogSettings};
use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};
use registry::parse_toml;

use crate::support::{Hub, Step, number, sensor_id, time, wait_for};

const EVERY_TEST: &str = r#"
id = "t"
sampling_interval = "1s"
[[properties]]
id = "a"
unit = "1"
required = true
gross_range = { fail = [0, 9], suspect = [1, 8] }
[properties.qc]
gap = { suspect = "2s", fail = "5s" }
climatology = [{ months = [1], suspect = [2, 7] }]
spike = { suspect = 2, fail = 4 }
rate_of_change = { suspect = 1, fail = 3 }
flat_line = { tolerance = 2, suspect = "3s", fail = "8s" }
attenuated_signal = { over = "5s", suspect = 2, fail = 1, values_min = 3 }
neighbour = { property = "b", suspect = 3, fail = 6 }
[[properties]]
id = "b"
unit = "1"
[properties.qc]
spike = { suspect = 2, method = "differential" }
neighbour = { sensors = ["x", "y"], within = "1s", suspect = 2, fail = 4 }
"#;

const RATE: &str = r#"
id = "t"
sampling_interval = "1s"
[[properties]]
id = "a"
unit = "1"
required = true
[properties.qc]
spike = { suspect = 4, fail = 8 }
rate_of_change = { suspect = 1, fail = 3 }
[[properties]]
id = "b"
unit = "1"
"#;

const NEIGHBOURS: [&str; 2] = ["x", "y"];
const WIDTH: usize = 2;

async fn hub_with(text: &str, partitions: u32) -> Hub {
    let hub = Hub::new(LogSettings { partitions, ..LogSettings::default() }).await;
    let (id, draft) = parse_toml(text, "t.toml").expect("a type");
    hub.registry.put_sensor_type(id, draft).await.expect("put");
    hub
}

fn batch(type_version: u32, all: &[(&str, i64, [Value; WIDTH])]) -> Batch {
    let properties: Vec<_> = ["a", "b"].map(|id| PropertyId::parse(id).expect("an id")).into();
    let mut readings = Readings::new(properties.into());
    for (sensor, second, values) in all {
        readings.push(sensor_id(sensor), time(*second), values);
    }
    Batch::Readings { type_version, readings }
}

type Columns = (Vec<Timestamp>, Vec<Value>, Vec<Flag>);
type Rows = BTreeMap<String, Columns>;

/// What the store has of each sensor: times, values and flags, row-major.
async fn stored(hub: &Hub) -> Rows {
    let id = SensorTypeId::parse("t").expect("an id");
    let mut rows = Rows::new();
    // Until its first reading comes the store does not know the type.
    let Ok(mut scan) = hub.store.scan(&id, &ReadingQuery::default()).await else { return rows };
    while let Some(part) = scan.next(100).await.expect("rows") {
        let sensor = rows.entry(part.sensor_id.to_string()).or_default();
        sensor.0.extend_from_slice(part.rows.times());
        sensor.1.extend_from_slice(part.rows.values());
        sensor.2.extend_from_slice(part.rows.flags());
    }
    rows
}

/// The flags that the sorted series of all sensors give, computed from scratch.
fn expected(hub: &Hub, rows: &Rows) -> BTreeMap<String, Vec<Flag>> {
    let checks = Checks::new(&hub.registry.sensor_type("t").expect("the type").definition);
    let property_b = |values: &[Value]| values.iter().skip(1).step_by(WIDTH).copied().collect::<Vec<_>>();
    let of = |(sensor, (times, values, _)): (&String, &Columns)| {
        let other = NEIGHBOURS.iter().filter(|_| NEIGHBOURS.contains(&sensor.as_str())).find(|other| *other != sensor);
        let mut beside = vec![Value::ABSENT; values.len()];
        if let Some((near, said, _)) = other.and_then(|other| rows.get(*other)) {
            for (row, time) in times.iter().enumerate() {
                let near = neighbour::nearest(near, &property_b(said), *time, Duration::from_secs(1));
                beside[row * WIDTH + 1] = near.map_or(Value::ABSENT, number);
            }
        }
        let flags = checks.judge_series(Series { times, values, neighbours: &beside });
        (sensor.clone(), flags.into_iter().map(TestFlags::roll_up).collect())
    };
    rows.iter().map(of).collect()
}

/// The documents of the topic of judgements, in order.
async fn told(hub: &Hub) -> Vec<serde_json::Value> {
    let topic = Topic::judged(&SensorTypeId::parse("t").expect("an id"));
    let mut told = Vec::new();
    // It is made for the first reading.
    let Ok(mut reader) = hub.log.reader(&topic, Partition(0), domain::Position(0)).await else { return told };
    loop {
        let deliveries = reader.next(10_000, Duration::ZERO).await.expect("documents");
        if deliveries.is_empty() {
            return told;
        }
        for delivery in deliveries {
            let Content::Documents(documents) = delivery.content else { panic!("documents") };
            let body = |document: ports::Document| document.body.expect("a body");
            told.extend(
                documents.into_iter().map(|one| serde_json::from_slice::<serde_json::Value>(&body(one)).expect("JSON")),
            );
        }
    }
}

#[tokio::test]
async fn late_reading_revises_the_rows_whose_windows_it_falls_into_and_each_is_told_once() {
    let mut hub = hub_with(EVERY_TEST, 1).await;
    let running = hub.start();
    let row = |value: f64| [number(value), number(value)];
    hub.append("t", batch(1, &[("s", 0, row(5.0)), ("s", 1, row(5.0)), ("s", 3, row(5.0)), ("s", 4, row(5.0))])).await;
    hub.drained("t").await;
    assert_eq!(told(&hub).await.len(), 4);
    // The spike at 2 is known with its successor; it makes 3 change too fast, and 4 no longer flat.
    hub.append("t", batch(1, &[("s", 2, row(8.0))])).await;
    hub.drained("t").await;
    let rows = stored(&hub).await;
    assert_eq!(
        rows.iter().map(|(sensor, rows)| (sensor.clone(), rows.2.clone())).collect::<BTreeMap<_, _>>(),
        expected(&hub, &rows)
    );
    let after = told(&hub).await;
    let revised: Vec<_> =
        after[4..].iter().map(|told| (told["phenomenon_time"].clone(), told["revision"].clone())).collect();
    let at = |second: i64| serde_json::json!(time(second).to_string());
    assert!(revised.contains(&(at(2), false.into())), "{after:?}");
    let series = "iot_hub_quality_flags_total{flag=\"4\",property=\"a\",sensor_type=\"t\",test=\"rate_of_change\"}";
    assert_eq!(hub.series(series), None, "a change by 3 a second is suspect");
    assert!(hub.series(&series.replace("\"4\"", "\"3\"")).is_some_and(|count| count >= 1.0), "{}", hub.exposition());
    assert!(!revised.iter().any(|(at_time, _)| *at_time == at(0)), "nothing reaches so far back: {after:?}");
    let mut distinct = revised.clone();
    distinct.dedup();
    assert_eq!(distinct, revised, "each once: {after:?}");
    // The same again is told to nobody.
    hub.append("t", batch(1, &[("s", 2, row(8.0)), ("s", 4, row(5.0))])).await;
    hub.drained("t").await;
    assert_eq!(told(&hub).await.len(), after.len());
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn changed_thresholds_judge_new_readings_and_old_ones_keep_theirs() {
    let mut hub = hub_with(EVERY_TEST, 1).await;
    let running = hub.start();
    let row = |value: f64| [number(value), Value::ABSENT];
    hub.append("t", batch(1, &[("s", 0, row(5.0)), ("s", 1, row(3.5))])).await;
    hub.drained("t").await;
    let (id, draft) = parse_toml(
        &EVERY_TEST.replace("rate_of_change = { suspect = 1, fail = 3 }", "rate_of_change = { fail = 1 }"),
        "t.toml",
    )
    .expect("a type");
    hub.registry.put_sensor_type(id, draft).await.expect("put");
    hub.append("t", batch(2, &[("s", 2, row(5.0)), ("s", 3, row(5.0))])).await;
    hub.drained("t").await;
    running.stop().await.expect("stops");
    // Changes by 1.5 a second: suspect by the old version, a failure by the new one.
    let told = told(&hub).await;
    let rate = |second: i64| {
        let of_reading = |told: &&serde_json::Value| told["phenomenon_time"] == time(second).to_string();
        let last = told.iter().rfind(of_reading).expect("a judgement");
        (last["type_version"].clone(), last["tests"]["a"]["rate_of_change"].clone())
    };
    assert_eq!(rate(1), (1.into(), 3.into()));
    assert_eq!(rate(2), (2.into(), 4.into()));
    assert_eq!(rate(3), (2.into(), serde_json::Value::Null));
}

/// A part of a replay of all of a sensor's readings from a second on.
fn rejudgement(sensor: &str, (from, to): (i64, i64), type_version: u32, is_dry: bool) -> Batch {
    let (from, to) = (time(from), time(to));
    let (sensor_id, replay) = (sensor_id(sensor), "r".to_owned());
    Batch::Rejudgements(vec![Rejudgement { sensor_id, from, to, type_version, replay, part: 7, is_dry }])
}

/// What was told of the parts of replays.
async fn reports(hub: &Hub) -> Vec<PartReport> {
    let mut reader = hub.log.reader(&Topic::replay_parts(), Partition(0), domain::Position(0)).await.expect("a reader");
    let mut reports = Vec::new();
    for delivery in reader.next(10_000, Duration::ZERO).await.expect("documents") {
        let Content::Documents(documents) = delivery.content else { panic!("documents") };
        for document in documents {
            assert_eq!(document.key, "r");
            reports.push(serde_json::from_slice(&document.body.expect("a body")).expect("a report"));
        }
    }
    reports
}

#[tokio::test]
async fn replay_judges_by_the_version_it_names_and_a_dry_one_only_says_so() {
    let mut hub = hub_with(RATE, 1).await;
    let running = hub.start();
    let row = |value: f64| [number(value), Value::ABSENT];
    let values = [5.0, 3.5, 5.0, 5.0, 6.5, 5.0];
    let readings: Vec<_> = values.into_iter().zip(0..).map(|(value, second)| ("s", second, row(value))).collect();
    hub.append("t", batch(1, &readings)).await;
    hub.drained("t").await;
    let before = stored(&hub).await;
    let stricter = RATE.replace("rate_of_change = { suspect = 1, fail = 3 }", "rate_of_change = { fail = 1 }");
    let (id, draft) = parse_toml(&stricter, "t.toml").expect("a type");
    hub.registry.put_sensor_type(id, draft).await.expect("put");

    hub.append("t", rejudgement("s", (0, 100), 2, true)).await;
    let totals = hub.drained("t").await;
    assert_eq!((totals.stored, totals.rejudgement), (6, 1));
    assert_eq!(stored(&hub).await, before, "a dry replay changes nothing");
    let told_before = told(&hub).await.len();
    // From the second on, so that the change at 1 stays suspect.
    hub.append("t", rejudgement("s", (2, 100), 2, false)).await;
    hub.drained("t").await;
    let dry = reports(&hub).await.remove(0);
    assert_eq!((dry.part, dry.changes.readings, dry.changes.readings_changed), (7, 6, 4));
    assert_eq!((dry.changes.to_anomaly, dry.changes.to_normal), (4, 0));
    let after = stored(&hub).await;
    let whole = expected(&hub, &after);
    let (now, then) = (&after["s"].2, &before["s"].2);
    assert_eq!(now[2 * WIDTH..], whole["s"][2 * WIDTH..]);
    assert_eq!(now[..2 * WIDTH], then[..2 * WIDTH]);
    assert_eq!(told(&hub).await.len() - told_before, 3, "only what changes is told");
    let done = reports(&hub).await.remove(1);
    assert_eq!((done.changes.readings, done.changes.readings_changed), (4, 3));

    // Once more changes nothing, and what comes late is judged with its neighbours by their versions.
    hub.append("t", rejudgement("s", (2, 100), 2, false)).await;
    hub.append("t", rejudgement("s", (0, 2), 2, false)).await;
    hub.append("t", batch(2, &[("s", 7, row(5.0)), ("s", 6, row(3.0))])).await;
    hub.drained("t").await;
    running.stop().await.expect("stops");
    assert_eq!(reports(&hub).await[2].changes.readings_changed, 0);
    let rows = stored(&hub).await;
    assert_eq!(rows["s"].2, expected(&hub, &rows)["s"]);
}

#[tokio::test]
async fn replay_of_a_type_with_gross_range_alone_changes_flags_and_tells_nobody() {
    let text = "id = \"t\"\nsampling_interval = \"1s\"\n[[properties]]\nid = \"a\"\nunit = \"1\"\ngross_range = { fail = [0, 9] }\n[[properties]]\nid = \"b\"\nunit = \"1\"\n";
    let mut hub = hub_with(text, 1).await;
    let running = hub.start();
    let readings: Vec<_> =
        (0..40_000).map(|second| ("s", second, [number((second % 10) as f64), Value::ABSENT])).collect();
    hub.append("t", batch(1, &readings)).await;
    let (id, draft) = parse_toml(&text.replace("[0, 9]", "[0, 8]"), "t.toml").expect("a type");
    hub.registry.put_sensor_type(id, draft).await.expect("put");
    hub.append("t", rejudgement("s", (0, 50_000), 2, false)).await;
    hub.drained("t").await;
    running.stop().await.expect("stops");
    let changes = reports(&hub).await.remove(0).changes;
    assert_eq!((changes.readings, changes.readings_changed, changes.to_anomaly), (40_000, 4_000, 4_000));
    assert_eq!(changes.flags["a"]["1"]["4"], 4_000);
    let rows = stored(&hub).await;
    assert_eq!(rows["s"].2, expected(&hub, &rows)["s"]);
    assert!(hub.log.extents(&Topic::judged(&SensorTypeId::parse("t").expect("an id"))).await.is_err());
}

#[tokio::test]
async fn crash_between_any_two_steps_ends_with_the_same_flags() {
    let mut ends = Vec::new();
    for step in [Step::Write, Step::Written, Step::Revised, Step::Deleted, Step::Commit, Step::Committed] {
        let mut hub = hub_with(EVERY_TEST, 1).await;
        hub.faults.plan(step, 1, None);
        let running = hub.start();
        let row = |value: f64| [number(value), number(value)];
        hub.append("t", batch(1, &[("s", 0, row(5.0)), ("s", 1, row(5.0)), ("s", 3, row(5.0)), ("s", 4, row(5.0))]))
            .await;
        hub.append("t", batch(1, &[("s", 2, row(9.0)), ("x", 2, row(2.0)), ("y", 3, row(8.0)), ("s", 4, row(1.0))]))
            .await;
        let deletion = Deletion { sensor_id: sensor_id("s"), from: time(1), to: time(2) };
        hub.append("t", Batch::Deletions(vec![deletion])).await;
        hub.append("t", rejudgement("s", (0, 9), 1, false)).await;
        wait_for("the step to be reached", async || hub.faults.hanging() == 1).await;
        running.kill().await;
        let running = hub.start();
        hub.drained("t").await;
        running.stop().await.expect("stops");
        let rows = stored(&hub).await;
        let flags: BTreeMap<_, _> = rows.iter().map(|(sensor, rows)| (sensor.clone(), rows.2.clone())).collect();
        assert_eq!(flags, expected(&hub, &rows), "{step:?}");
        ends.push(flags);
    }
    assert!(ends.iter().all(|flags| *flags == ends[0]));
}

/// What happens to a hub.
#[derive(Debug, Clone)]
enum Event {
    Readings(Vec<(usize, i64, [Value; WIDTH])>),
    Deletion(usize, i64, i64),
    Rejudgement(usize, i64, bool),
    Kill,
    Pause,
}

const SENSORS: [&str; 3] = ["s", "x", "y"];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::MISSING), 1 => Just(Value::ABSENT), 9 => (4..6i32).prop_map(|n| number(f64::from(n))), 3 => (-1..11i32).prop_map(|n| number(f64::from(n)))]
}

fn event() -> impl Strategy<Value = Event> {
    let readings = prop::collection::vec((0..3usize, 0..40i64, [value(), value()]), 1..10);
    // In order by chance alone; and whole runs of one sensor in order.
    let run =
        (0..3usize, 0..60i64, prop::collection::vec([value(), value()], 1..12)).prop_map(|(sensor, from, values)| {
            values.into_iter().zip(from..).map(|(values, second)| (sensor, second, values)).collect()
        });
    prop_oneof![
        4 => readings.prop_map(Event::Readings),
        6 => run.prop_map(Event::Readings),
        1 => (0..3usize, 0..40i64, 1..10i64).prop_map(|(sensor, from, length)| Event::Deletion(sensor, from, from + length)),
        1 => (0..3usize, 0..40i64, prop::bool::ANY).prop_map(|(sensor, from, is_dry)| Event::Rejudgement(sensor, from, is_dry)),
        1 => Just(Event::Kill),
        3 => Just(Event::Pause),
    ]
}

async fn check_events(events: &[Event], partitions: u32, records_max: usize) {
    let mut hub = hub_with(EVERY_TEST, partitions).await;
    hub.records_max = records_max;
    let mut running = hub.start();
    for event in events {
        match event {
            Event::Readings(readings) => {
                let all: Vec<_> =
                    readings.iter().map(|(sensor, second, values)| (SENSORS[*sensor], *second, *values)).collect();
                hub.append("t", batch(1, &all)).await;
            }
            Event::Deletion(sensor, from, to) => {
                let deletion = Deletion { sensor_id: sensor_id(SENSORS[*sensor]), from: time(*from), to: time(*to) };
                hub.append("t", Batch::Deletions(vec![deletion])).await;
            }
            Event::Rejudgement(sensor, from, is_dry) => {
                hub.append("t", rejudgement(SENSORS[*sensor], (*from, from + 15), 1, *is_dry)).await;
            }
            Event::Kill => {
                tokio::task::yield_now().await;
                running.kill().await;
                running = hub.start();
            }
            Event::Pause => drop(hub.drained("t").await),
        }
    }
    hub.drained("t").await;
    running.stop().await.expect("stops");
    let rows = stored(&hub).await;
    let flags: BTreeMap<_, _> = rows.iter().map(|(sensor, rows)| (sensor.clone(), rows.2.clone())).collect();
    assert_eq!(flags, expected(&hub, &rows));
    let mut last: BTreeMap<(String, String), serde_json::Value> = BTreeMap::new();
    for told in told(&hub).await {
        let text = |key: &str| told[key].as_str().expect("a text").to_owned();
        last.insert((text("sensor_id"), text("phenomenon_time")), told["flags"].clone());
    }
    for (sensor, (times, _, flags)) in &rows {
        for (time, flags) in times.iter().zip(flags.chunks(WIDTH)) {
            let expected = serde_json::json!({"a": flags[0].code(), "b": flags[1].code()});
            assert_eq!(last.get(&(sensor.clone(), time.to_string())), Some(&expected), "{sensor} at {time}");
        }
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn flags_are_those_of_the_sorted_series_whatever_happens(
        events in prop::collection::vec(event(), 1..14),
        partitions in 1..4u32,
        records_max in 1..40usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(check_events(&events, partitions, records_max));
    }
}

//! What becomes of readings: stored, duplicate, revised, dead-lettered, deleted, skipped; and that arrival does not matter.

use std::{collections::BTreeMap, sync::Arc};

use domain::{Deletion, Payload, SensorTypeId, Topic, Value};
use ports::{Batch, ManualClock, Totals, memory::LogSettings};
use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};
use registry::{SensorDraft, parse_toml};

use crate::support::{Hub, number, power, readings, sensor_id, time, wait_for};

fn type_id(text: &str) -> SensorTypeId {
    SensorTypeId::parse(text).expect("an id")
}

#[tokio::test]
async fn each_outcome_is_counted_and_exposed() {
    let mut hub = Hub::new(LogSettings::default()).await;
    let running = hub.start();
    let all = [("a", 1, 5.0), ("a", 2, 90_000.0), ("b", 1, 50_000.0)];
    hub.append("power", power(1, &all)).await;
    hub.append("power", power(1, &all[..1])).await;
    hub.append("power", power(1, &[("a", 1, 6.0)])).await;
    let deletion = Deletion { sensor_id: sensor_id("b"), from: time(0), to: time(10) };
    hub.append("power", Batch::Deletions(vec![deletion])).await;
    let totals = hub.drained("power").await;
    assert_eq!(totals, Totals { stored: 3, duplicate: 1, revised: 1, deletion: 1, ..Totals::default() });
    let rows = hub.rows("power").await;
    assert_eq!(rows, ["a 2017-01-01T00:00:01Z [6.0] [Good] normal", "a 2017-01-01T00:00:02Z [90000.0] [Fail] anomaly"]);
    let topic = r#"topic="readings.power""#;
    wait_for("the metrics to follow", async || {
        hub.series(&format!("iot_hub_readings_appended_total{{{topic}}}")) == Some(6.0)
    })
    .await;
    for (outcome, count) in [("stored", 3.0), ("duplicate", 1.0), ("revised", 1.0), ("deletion", 1.0)] {
        let series = format!("iot_hub_readings_processed_total{{outcome=\"{outcome}\",{topic}}}");
        assert_eq!(hub.series(&series), Some(count), "{}", hub.exposition());
    }
    assert_eq!(hub.series(&format!("iot_hub_readings_pending{{{topic}}}")), Some(0.0));
    assert_eq!(hub.series(&format!("iot_hub_freshness_seconds_count{{{topic}}}")), Some(5.0));
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn what_cannot_be_processed_goes_to_the_dead_letters_with_its_reason() {
    let mut hub = Hub::new(LogSettings::default()).await;
    let draft = SensorDraft { name: None, place: None, group: None, sensor_type: type_id("emb") };
    hub.registry.put_sensor(sensor_id("borehole"), draft).await.expect("registered");
    let running = hub.start();
    let topic = Topic::readings(&type_id("power"));
    hub.append("power", power(1, &[("good", 1, 5.0), ("borehole", 1, 5.0), ("good", 2, 13.0)])).await;
    hub.append("power", power(9, &[("good", 3, 5.0)])).await;
    let unknown = readings("voltage", &[("good", 4, number(230.0)), ("good", 5, Value::ABSENT)]);
    hub.append("power", Batch::Readings { type_version: 1, readings: unknown }).await;
    hub.log.append_undecodable(&topic, b"noise", "no header").expect("appended");
    hub.append("power", power(1, &[("good", 6, 5.0)])).await;
    let totals = hub.drained("power").await;
    assert_eq!(totals, Totals { stored: 3, dead_lettered: 5, ..Totals::default() });
    let letters: BTreeMap<u64, _> =
        hub.dead_letters().await.into_iter().map(|letter| (letter.position, letter)).collect();
    let expect = |position: u64, reason: &str, payload: Payload| {
        let letter = &letters[&position];
        assert!(letter.reason.contains(reason), "{}", letter.reason);
        assert_eq!((&letter.payload, letter.topic.as_str(), letter.partition), (&payload, "readings.power", 0));
    };
    let reading = |sensor: &str, second: u32, rest: &str| {
        Payload::Reading(format!(
            r#"{{"sensor_id":"{sensor}","phenomenon_time":"2017-01-01T00:00:0{second}Z",{rest}}}"#
        ))
    };
    expect(1, "`borehole`: the sensor is bound to sensor type `emb`", reading("borehole", 1, "\"power\":5"));
    expect(2, "unlucky", reading("good", 2, "\"power\":13"));
    expect(3, "no version `9`", reading("good", 3, "\"power\":5"));
    expect(4, "`voltage`", reading("good", 4, "\"voltage\":230"));
    expect(6, "no header", Payload::Bytes("bm9pc2U=".to_owned()));
    assert_eq!(letters.len(), 5);
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn reading_is_judged_by_the_version_it_was_stamped_with() {
    let mut hub = Hub::new(LogSettings::default()).await;
    let text = |fail: &str, more: &str| {
        let property = "[[properties]]\nid = \"x\"\nunit = \"m\"\n";
        format!("id = \"t\"\nsampling_interval = \"1s\"\n{property}gross_range = {{ fail = {fail} }}\n{more}")
    };
    let more = "[[properties]]\nid = \"y\"\nunit = \"m\"\nrequired = true\n";
    let put = async |text: String| {
        let (id, draft) = parse_toml(&text, "t.toml").expect("a type");
        hub.registry.put_sensor_type(id, draft).await.expect("put")
    };
    put(text("[0, 10]", "")).await;
    put(text("[0, 100]", more)).await;
    let running = hub.start();
    let batch = |type_version, second| Batch::Readings {
        type_version,
        readings: readings("x", &[("s", second, number(50.0))]),
    };
    hub.append("t", batch(1, 1)).await;
    hub.append("t", batch(2, 2)).await;
    assert_eq!(hub.drained("t").await.stored, 2);
    let expected = [
        "s 2017-01-01T00:00:01Z [50.0, absent] [Fail, NotEvaluated] anomaly",
        "s 2017-01-01T00:00:02Z [50.0, absent] [Good, Missing] anomaly",
    ];
    assert_eq!(hub.rows("t").await, expected);
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn new_type_flows_at_once_and_a_removed_one_does_not_stop_the_others() {
    let mut hub = Hub::new(LogSettings::default()).await;
    let running = hub.start();
    let (id, draft) =
        parse_toml("id = \"t\"\nsampling_interval = \"1s\"\n[[properties]]\nid = \"power\"\nunit = \"W\"\n", "t.toml")
            .expect("a type");
    hub.registry.put_sensor_type(id.clone(), draft.clone()).await.expect("put");
    hub.append("t", power(1, &[("s", 1, 1.0)])).await;
    assert_eq!(hub.drained("t").await.stored, 1);
    hub.registry.remove_sensor_type(&id).await.expect("removed");
    hub.append("power", power(1, &[("p", 1, 1.0)])).await;
    assert_eq!(hub.drained("power").await.stored, 1);
    hub.registry.put_sensor_type(id, draft).await.expect("put again");
    hub.append("t", power(1, &[("s", 2, 1.0)])).await;
    let totals = hub.drained("t").await;
    assert_eq!((totals.stored, totals.skipped), (1, 1), "it starts behind the positions of the removed one");
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn records_gone_before_they_were_read_are_counted_as_skipped() {
    let clock = Arc::new(ManualClock::at(time(0)));
    let mut hub = Hub::with_clock(LogSettings::default(), clock.clone()).await;
    hub.append("power", power(1, &[("a", 1, 1.0), ("a", 2, 1.0)])).await;
    clock.set(time(8 * 24 * 3600));
    hub.append("power", power(1, &[("a", 3, 1.0)])).await;
    let running = hub.start();
    let totals = hub.drained("power").await;
    assert_eq!(totals, Totals { stored: 1, skipped: 2, ..Totals::default() });
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn readings_older_than_their_retention_are_taken_out_at_the_start() {
    let clock = Arc::new(ManualClock::at(time(10)));
    let mut hub = Hub::with_clock(LogSettings::default(), clock.clone()).await;
    let text =
        "id = \"t\"\nsampling_interval = \"1s\"\nretention = \"30d\"\n[[properties]]\nid = \"power\"\nunit = \"W\"\n";
    let (id, draft) = parse_toml(text, "t.toml").expect("a type");
    hub.registry.put_sensor_type(id, draft).await.expect("put");
    let running = hub.start();
    hub.append("t", power(1, &[("s", 1, 1.0)])).await;
    hub.append("power", power(1, &[("p", 1, 1.0)])).await;
    hub.drained("t").await;
    hub.drained("power").await;
    running.stop().await.expect("stops");
    assert_eq!(hub.rows("t").await.len(), 1);
    clock.set(time(60 * 24 * 3600));
    let running = hub.start();
    wait_for("the old reading to go", async || hub.rows("t").await.is_empty()).await;
    assert_eq!(hub.rows("power").await.len(), 1, "this type keeps for ever");
    running.stop().await.expect("stops");
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![3 => (0..3i32).prop_map(|n| number(f64::from(n) * 60_000.0)), 1 => Just(Value::MISSING)]
}

async fn final_rows(arrivals: &[(usize, i64, Value)], batch: usize, settings: (u32, usize)) -> Vec<String> {
    let mut hub = Hub::new(LogSettings { partitions: settings.0, ..LogSettings::default() }).await;
    hub.records_max = settings.1;
    let running = hub.start();
    for part in arrivals.chunks(batch) {
        let part: Vec<_> =
            part.iter().map(|(sensor, second, value)| (["a", "b", "c"][*sensor], *second, *value)).collect();
        hub.append("power", Batch::Readings { type_version: 1, readings: readings("power", &part) }).await;
    }
    hub.drained("power").await;
    running.stop().await.expect("stops");
    hub.rows("power").await
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]

    #[test]
    fn final_rows_do_not_depend_on_order_duplication_or_batching(
        readings in prop::collection::btree_map((0..3usize, 0..20i64), value(), 1..40),
        again in prop::collection::vec(0..40usize, 0..40),
        seed in 0..u64::MAX,
        batch in 1..30usize,
        records_max in 1..50usize,
        partitions in 1..4u32,
    ) {
        use rand::{SeedableRng, seq::SliceRandom};
        let ordered: Vec<_> = readings.into_iter().map(|((sensor, second), value)| (sensor, second, value)).collect();
        let mut shuffled = ordered.clone();
        shuffled.extend(again.iter().map(|index| ordered[index % ordered.len()]));
        shuffled.shuffle(&mut rand::rngs::StdRng::seed_from_u64(seed));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let expected = runtime.block_on(final_rows(&ordered, 1_000, (1, 32_768)));
        let actual = runtime.block_on(final_rows(&shuffled, batch, (partitions, records_max)));
        prop_assert_eq!(actual, expected);
    }
}

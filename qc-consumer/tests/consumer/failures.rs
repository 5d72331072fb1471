//! Backends that are away, refuse or are corrupt, and a process that is killed between any two steps.

use std::time::Duration;

use domain::{Deletion, Payload};
use ports::{Batch, ErrorKind, Totals, memory::LogSettings};

use crate::support::{Broken, Hub, Step, number, power, readings, sensor_id, time, wait_for};

const STEPS: [Step; 7] =
    [Step::Write, Step::Written, Step::Deleted, Step::DeadLetter, Step::DeadLettered, Step::Commit, Step::Committed];

/// Sends every kind of record: new, the same, another value, one that the store rejects, and a deletion between two writes.
async fn send_everything(hub: &Hub) {
    hub.append("power", power(1, &[("a", 1, 1.0), ("a", 2, 2.0), ("a", 2, 2.0), ("a", 2, 3.0), ("a", 9, 13.0)])).await;
    let deletion = Deletion { sensor_id: sensor_id("a"), from: time(1), to: time(2) };
    hub.append("power", Batch::Deletions(vec![deletion])).await;
    hub.append("power", power(1, &[("a", 3, 4.0), ("a", 3, 5.0)])).await;
}

/// A reading of the type `air`.
fn air(second: i64) -> Batch {
    Batch::Readings { type_version: 1, readings: readings("pm2_5", &[("b", second, number(3.0))]) }
}

const EVERYTHING: Totals =
    Totals { stored: 3, duplicate: 1, revised: 2, dead_lettered: 1, deletion: 1, rejudgement: 0, skipped: 0 };
const ROWS: [&str; 2] = ["a 2017-01-01T00:00:02Z [3.0] [Good] normal", "a 2017-01-01T00:00:03Z [5.0] [Good] normal"];

async fn check_everything(hub: &Hub, at: Step) {
    assert_eq!(hub.rows("power").await, ROWS, "{at:?}");
    let mut keys: Vec<_> = hub.dead_letters().await.iter().map(domain::DeadLetter::key).collect();
    keys.dedup();
    assert_eq!(keys, ["readings.power/0/4"], "{at:?}");
}

#[tokio::test]
async fn crash_between_any_two_steps_changes_nothing() {
    for step in STEPS {
        let mut hub = Hub::new(LogSettings::default()).await;
        hub.faults.plan(step, 1, None);
        let running = hub.start();
        send_everything(&hub).await;
        wait_for("the step to be reached", async || hub.faults.hanging() == 1).await;
        running.kill().await;
        let running = hub.start();
        let totals = hub.drained("power").await;
        assert_eq!(totals.sum(), 8, "{step:?}");
        assert_eq!((totals.dead_lettered, totals.deletion), (1, 1), "{step:?}");
        check_everything(&hub, step).await;
        running.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn backend_that_is_away_is_waited_for() {
    for kind in [ErrorKind::Unavailable, ErrorKind::DiskFull, ErrorKind::Full] {
        for step in STEPS {
            let mut hub = Hub::new(LogSettings::default()).await;
            hub.faults.plan(step, 5, Some(kind));
            let running = hub.start();
            send_everything(&hub).await;
            let totals = hub.drained("power").await;
            assert_eq!(totals.sum(), EVERYTHING.sum(), "{step:?}");
            check_everything(&hub, step).await;
            running.stop().await.expect("stops");
        }
    }
}

#[tokio::test]
async fn obstacle_is_told_while_it_lasts_and_a_stop_does_not_wait_for_it() {
    let mut hub = Hub::new(LogSettings::default()).await;
    hub.faults.plan(Step::Write, usize::MAX, Some(ErrorKind::DiskFull));
    let running = hub.start();
    send_everything(&hub).await;
    wait_for("the obstacle", async || hub.status.obstacle().is_some()).await;
    let obstacle = hub.status.obstacle().expect("told");
    assert!(obstacle.contains("writing to the store") && obstacle.contains("planned fault"), "{obstacle}");
    let topic = r#"topic="readings.power""#;
    wait_for("the metrics", async || hub.series(&format!("iot_hub_readings_pending{{{topic}}}")) == Some(8.0)).await;
    running.stop().await.expect("stops although the store is away");
    assert_eq!(hub.rows("power").await.len(), 0);
}

#[tokio::test]
async fn conflict_at_the_commit_goes_back_and_does_it_again() {
    let mut hub = Hub::new(LogSettings::default()).await;
    hub.faults.plan(Step::Commit, 2, Some(ErrorKind::Conflict));
    let running = hub.start();
    send_everything(&hub).await;
    assert_eq!(hub.drained("power").await.sum(), EVERYTHING.sum());
    check_everything(&hub, Step::Commit).await;
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn what_fails_for_good_is_done_again_like_what_fails_for_a_while() {
    for kind in [ErrorKind::Corrupt, ErrorKind::Failed, ErrorKind::NotFound, ErrorKind::Rejected] {
        for step in STEPS.into_iter().filter(|step| (*step, kind) != (Step::Deleted, ErrorKind::Corrupt)) {
            let mut hub = Hub::new(LogSettings::default()).await;
            hub.faults.plan(step, 2, Some(kind));
            let running = hub.start();
            send_everything(&hub).await;
            assert_eq!(hub.drained("power").await.sum(), EVERYTHING.sum(), "{kind:?} {step:?}");
            check_everything(&hub, step).await;
            running.stop().await.expect("stops");
        }
    }
}

#[tokio::test]
async fn sensor_type_that_fails_holds_no_other_back() {
    for broken in [Broken::Kind(ErrorKind::Corrupt), Broken::Kind(ErrorKind::Unavailable), Broken::Panic] {
        let mut hub = Hub::new(LogSettings::default()).await;
        hub.faults.break_type(Some(("power", broken)));
        let running = hub.start();
        send_everything(&hub).await;
        for round in 1..4 {
            hub.append("air", air(round)).await;
            hub.drained("air").await;
        }
        wait_for("the obstacle", async || hub.status.obstacle().is_some()).await;
        let obstacle = hub.status.obstacle().expect("told");
        assert!(obstacle.contains("`readings.power`, partition 0") && obstacle.contains("planned"), "{obstacle}");
        assert_eq!(hub.rows("air").await.len(), 3, "{broken:?}");
        hub.faults.break_type(None);
        assert_eq!(hub.drained("power").await, EVERYTHING, "{broken:?}");
        check_everything(&hub, Step::Write).await;
        wait_for("the end of the obstacle", async || hub.status.obstacle().is_none()).await;
        running.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn deletion_that_can_not_be_carried_out_is_a_dead_letter_that_can_be_replayed() {
    let mut hub = Hub::new(LogSettings::default()).await;
    hub.faults.plan(Step::Deleted, 1, Some(ErrorKind::Corrupt));
    let running = hub.start();
    hub.append("power", power(1, &[("a", 1, 1.0)])).await;
    let deletion = Deletion { sensor_id: sensor_id("a"), from: time(1), to: time(2) };
    hub.append("power", Batch::Deletions(vec![deletion.clone()])).await;
    let totals = hub.drained("power").await;
    assert_eq!((totals.stored, totals.deletion, totals.dead_lettered), (1, 0, 1));
    let letters = hub.dead_letters().await;
    assert_eq!(letters[0].payload, Payload::Deletion(deletion));
    assert!(letters[0].reason.contains("planned fault"), "{}", letters[0].reason);
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn counters_go_on_from_the_committed_totals_after_a_restart() {
    let mut hub = Hub::new(LogSettings::default()).await;
    let running = hub.start();
    send_everything(&hub).await;
    assert_eq!(hub.drained("power").await, EVERYTHING);
    running.stop().await.expect("stops");
    hub.faults.plan(Step::Write, usize::MAX, Some(ErrorKind::Unavailable));
    let running = hub.start();
    hub.append("power", power(1, &[("b", 1, 1.0), ("b", 2, 1.0)])).await;
    let series = |name: &str| hub.series(&format!("{name}{{topic=\"readings.power\"}}"));
    wait_for("the metrics", async || series("iot_hub_readings_appended_total") == Some(10.0)).await;
    assert_eq!(series("iot_hub_readings_pending"), Some(2.0));
    let stored = hub.series(r#"iot_hub_readings_processed_total{outcome="stored",topic="readings.power"}"#);
    assert_eq!(stored, Some(3.0), "{}", hub.exposition());
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn metrics_add_up_in_every_exposition_while_it_works() {
    let mut hub = Hub::new(LogSettings { partitions: 3, ..LogSettings::default() }).await;
    hub.records_max = 7;
    let running = hub.start();
    for round in 0..60 {
        let sensors = ["a", "b", "c", "d"];
        let all: Vec<_> = (0..20).map(|n| (sensors[n % 4], round * 10 + n as i64 / 2, n as f64)).collect();
        hub.append("power", power(1, &all)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let text = hub.exposition();
        let sum = |name: &str| -> f64 {
            let lines = text.lines().filter(|line| line.starts_with(name) && line.contains("readings.power"));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let (appended, processed) = (sum("iot_hub_readings_appended_total{"), sum("iot_hub_readings_processed_total{"));
        assert_eq!(appended, processed + sum("iot_hub_readings_pending{"), "{text}");
    }
    assert_eq!(hub.drained("power").await.sum(), 1_200);
    running.stop().await.expect("stops");
}

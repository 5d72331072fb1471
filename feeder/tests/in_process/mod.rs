//! The feeder as another program's library: told to stop, and telling when history is posted.

use std::time::Duration;

use feeder::simulate::{self, Backfill, Live};
use feeder::stop::Stop;
use feeder::{pace, replay};
use tokio::sync::watch;

use crate::Desk;
use crate::fake_hub::{FakeHub, Turn};

#[tokio::test]
async fn simulation_tells_when_history_is_posted_and_stops_when_asked() {
    let hub = FakeHub::start([]);
    let (backfilled, mut told) = watch::channel(false);
    let (stop, receiver) = watch::channel(false);
    let options = simulate::Options {
        hub: hub.url.clone(),
        sensor_type: "power".to_owned(),
        sensors: 3,
        backfill: Some(Backfill { span: Duration::from_secs(36_000), ..Backfill::default() }),
        live: Some(Live { every: Some(Duration::from_secs(3600)), ..Live::default() }),
        quiet: true,
        backfilled: Some(backfilled),
        stop: Stop::from(receiver),
        ..simulate::Options::default()
    };
    let run = tokio::spawn(simulate::run(options));
    told.wait_for(|done| *done).await.expect("the run is alive");
    let kept: usize = hub.kept().iter().map(|post| post.body.matches("sensor_id").count()).sum();
    assert!((30..=33).contains(&kept), "10 hours of 3 sensors, and at most the first live readings: {kept}");
    stop.send_replace(true);
    let report = run.await.expect("no panic").expect("no error");
    assert!(report.stopped_early && report.accepted >= 30, "{report}");
    assert_eq!(report.queryable_unknown.as_deref(), Some("stopped"));
}

#[tokio::test]
async fn run_that_is_stopped_before_it_reaches_a_hub_is_no_error() {
    let (_stop, receiver) = watch::channel(true);
    let stop = Stop::from(receiver);
    let nowhere = "http://127.0.0.1:9".to_owned();
    let live = Some(Live::default());
    let options = simulate::Options { hub: nowhere.clone(), live, stop: stop.clone(), ..simulate::Options::default() };
    assert!(simulate::run(options).await.expect("no error").stopped_early);
    let desk = Desk::with(&["a,1\n"]);
    let (sensor, files, quiet) = ("emb3".to_owned(), desk.files.clone(), true);
    let options = replay::Options { hub: nowhere, sensor, files, quiet, stop, ..replay::Options::default() };
    assert!(!replay::run(options).await.expect("no error").complete);
}

#[tokio::test]
async fn replay_that_waits_for_a_busy_hub_stops_when_asked() {
    let desk = Desk::with(&["a,1\nb,2\n"]);
    let hub = FakeHub::start([Turn::Accept, Turn::Answer(503, "300", "")]);
    let (stop, receiver) = watch::channel(false);
    let options = replay::Options {
        hub: hub.url.clone(),
        sensor: "emb3".to_owned(),
        files: desk.files.clone(),
        pace: pace::Pace::Every(Duration::ZERO),
        state: Some(desk.state()),
        quiet: true,
        stop: Stop::from(receiver),
        ..replay::Options::default()
    };
    let run = tokio::spawn(replay::run(options.clone()));
    let hub = tokio::task::spawn_blocking(move || {
        hub.wait_for_post();
        hub.wait_for_post();
        hub
    })
    .await
    .expect("both posts");
    stop.send_replace(true);
    let summary = run.await.expect("no panic").expect("no error");
    assert_eq!((summary.complete, summary.accepted), (false, 1));
    let summary = replay::run(replay::Options { stop: Stop::default(), ..options }).await.expect("no error");
    assert_eq!((summary.complete, summary.accepted, summary.resumed_lines), (true, 1, 1));
    assert_eq!(hub.kept_lines(), ["a,1", "b,2"]);
}

//! Storing runs and asking for them.

use domain::{Detection, DetectionMode, Run, RunRequest, RunState, SensorId, SensorTypeId, Timestamp, Trigger};

use super::{FindingsBackend, anomaly, run, run_id};
use crate::{ErrorKind, RunQuery};

const ALL: RunQuery = RunQuery::all(100);

/// A run is in its newest state; one that was never put is not there.
pub async fn a_run_is_as_it_was_put_last<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    findings.put_run(&run("one", 1)).await.expect("stored");
    let ended_at = Some(Timestamp::from_micros(9));
    let done = Run { state: RunState::Done, ended_at, datastreams_done: 4, ..run("one", 1) };
    findings.put_run(&done).await.expect("stored");
    assert_eq!(findings.run(&run_id("one")).await.expect("answered"), Some(done.clone()));
    assert_eq!(findings.run(&run_id("two")).await.expect("answered"), None);
    assert_eq!(findings.runs(&ALL).await.expect("answered"), [done]);
}

/// A run that has not ended is found by its state until it has, also where its start is another by then.
pub async fn runs_under_way_are_found_by_their_state<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let by_state = async |state: RunState| {
        let runs = findings.runs(&RunQuery { state: Some(state), ..ALL }).await.expect("answered");
        runs.iter().map(|run| run.id.to_string()).collect::<Vec<_>>()
    };
    for (id, second) in [("one", 1), ("two", 2)] {
        findings.put_run(&Run { state: RunState::Waiting, ..run(id, second) }).await.expect("stored");
    }
    assert_eq!(by_state(RunState::Waiting).await, ["two", "one"]);
    findings.put_run(&run("one", 5)).await.expect("stored");
    assert_eq!(
        (by_state(RunState::Waiting).await, by_state(RunState::Running).await),
        (vec!["two".into()], vec!["one".into()])
    );
    findings.cancel_run(&run_id("one")).await.expect("asked");
    assert_eq!(by_state(RunState::Running).await, ["one"]);
    findings.put_run(&Run { state: RunState::Done, ..run("one", 5) }).await.expect("stored");
    assert_eq!((by_state(RunState::Running).await, by_state(RunState::Done).await), (vec![], vec!["one".into()]));
}

/// What was asked for and what a dry run has found are kept.
pub async fn a_requested_run_keeps_what_it_was_asked_and_found<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let detection = Detection { mode: Some(DetectionMode::Strict), alpha: Some(0.5), ..Detection::default() };
    let request =
        RunRequest { sensor_ids: SensorId::parse("emb3").ok().map(|id| vec![id]), properties: None, detection };
    let found = vec![anomaly("emb3", 5, "one"), anomaly("emb3", 6, "one")];
    let asked = Run { trigger: Trigger::Request, dry: true, request: Some(request), found, ..run("one", 1) };
    findings.put_run(&asked).await.expect("stored");
    assert_eq!(findings.run(&run_id("one")).await.expect("answered"), Some(asked));
}

/// What a run reports of its progress does not undo that somebody asked it to stop; an unknown run can't be asked.
pub async fn asking_a_run_to_stop_outlives_its_progress<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let unknown = findings.cancel_run(&run_id("one")).await.expect_err("unknown");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    findings.put_run(&run("one", 1)).await.expect("stored");
    for _ in 0..2 {
        findings.cancel_run(&run_id("one")).await.expect("asked");
        findings.put_run(&Run { datastreams_done: 2, ..run("one", 1) }).await.expect("stored");
    }
    let stored = findings.run(&run_id("one")).await.expect("answered").expect("it is there");
    assert_eq!(stored, Run { datastreams_done: 2, cancel_requested: true, ..run("one", 1) });
}

/// Runs come by their start, newest first, and by their id; filters and pages leave out what they do not want.
pub async fn runs_are_answered_newest_first<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let air = SensorTypeId::parse("air").expect("an id");
    let expected = [
        run("c", 70_000),
        run("a", 9),
        run("b", 9),
        Run { state: RunState::Failed, trigger: Trigger::Request, ..run("z", 8) },
        Run { sensor_type: air.clone(), ..run("d", -3) },
    ];
    for index in [3, 0, 4, 2, 1] {
        findings.put_run(&expected[index]).await.expect("stored");
    }
    let check = async |query: RunQuery, indices: &[usize]| {
        let found = findings.runs(&query).await.expect("answered");
        let expected: Vec<Run> = indices.iter().map(|index| expected[*index].clone()).collect();
        assert_eq!(found, expected, "{query:?}");
    };
    check(ALL, &[0, 1, 2, 3, 4]).await;
    check(RunQuery { count_max: 2, ..ALL }, &[0, 1]).await;
    check(RunQuery { after: Some((expected[1].started_at, run_id("a"))), ..ALL }, &[2, 3, 4]).await;
    check(RunQuery { state: Some(RunState::Failed), ..ALL }, &[3]).await;
    check(RunQuery { sensor_type: Some(air), ..ALL }, &[4]).await;
    check(RunQuery { trigger: Some(Trigger::Request), ..ALL }, &[3]).await;
}

//! Taking findings out: by age, and with their sensor type.

use domain::{Anomaly, Run, RunState, SensorTypeId, Timestamp, Trigger};

use super::{FindingsBackend, anomaly, run, run_id};
use crate::{AnomalyQuery, Claim, Findings, Removal, RunQuery, contracts::Ending, leases};

/// Findings looked at in one part.
const LOOKED_AT_MAX: usize = 7;

fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn air() -> SensorTypeId {
    SensorTypeId::parse("air").expect("an id")
}

async fn remove(findings: &dyn Findings, removal: Removal) -> u64 {
    removal.whole(findings, LOOKED_AT_MAX).await.expect("removed")
}

/// The sensors of all anomalies, in order, and the ids of all runs.
async fn left(findings: &dyn Findings) -> (Vec<String>, Vec<String>) {
    let anomalies = findings.anomalies(&AnomalyQuery::all(10_000)).await.expect("answered");
    let runs = findings.runs(&RunQuery::all(10_000)).await.expect("answered");
    let sensors = anomalies.iter().map(|anomaly| anomaly.sensor_id.to_string()).collect();
    (sensors, runs.iter().map(|run| run.id.to_string()).collect())
}

async fn claim(findings: &dyn Findings, share: &str) -> Option<u64> {
    let claim = Claim { share: share.to_owned(), owner: "one".to_owned(), now: second(0), until: second(10) };
    let lease = findings.claim(&claim).await.expect("answered").expect("nobody else has it");
    findings.complete(&lease, second(5).into()).await.expect("in force");
    lease.done.map(|done| done.to.as_micros() as u64)
}

/// Anomalies before a time go, those at it and behind it stay; again, nothing more goes.
pub async fn old_anomalies_are_removed<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let all: Vec<Anomaly> = (-20..20).map(|number| anomaly(&format!("s{}", number + 20), number, "run")).collect();
    findings.record(&all).await.expect("recorded");
    findings.put_run(&run("run", -100)).await.expect("stored");
    assert_eq!(remove(&*findings, Removal::AnomaliesBefore(second(17))).await, 37);
    assert_eq!(remove(&*findings, Removal::AnomaliesBefore(second(17))).await, 0);
    let expected = ["s37", "s38", "s39"].map(str::to_owned);
    assert_eq!(left(&*findings).await, (expected.to_vec(), vec!["run".to_owned()]));
    // What went can be found again.
    assert_eq!(findings.record(&all[..1]).await.expect("recorded")[0].effect, crate::Effect::New);
}

/// Runs that started before a time go with their shares, unless they have not ended.
pub async fn old_runs_that_have_ended_are_removed<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    for number in 0..30 {
        let (state, trigger) = match number % 5 {
            0 => (RunState::Running, Trigger::Schedule),
            1 => (RunState::Waiting, Trigger::Request),
            2 => (RunState::Failed, Trigger::Request),
            _ => (RunState::Done, Trigger::Schedule),
        };
        let id = format!("run-{number:02}");
        findings.put_run(&Run { state, trigger, ..run(&id, number) }).await.expect("stored");
    }
    findings.record(&[anomaly("emb3", -5, "run-03")]).await.expect("recorded");
    let shares = ["run-02", "run-27"].map(leases::of_run);
    for share in &shares {
        assert_eq!(claim(&*findings, share).await, None);
    }
    assert_eq!(remove(&*findings, Removal::RunsBefore(second(25))).await, 15);
    assert_eq!(remove(&*findings, Removal::RunsBefore(second(25))).await, 0);
    let (anomalies, mut runs) = left(&*findings).await;
    runs.sort();
    let open = (0..25).filter(|number| number % 5 < 2);
    let expected: Vec<String> = open.chain(25..30).map(|number| format!("run-{number:02}")).collect();
    assert_eq!((anomalies, runs), (vec!["emb3".to_owned()], expected));
    assert_eq!(claim(&*findings, &shares[0]).await, None, "it went with its run");
    assert_eq!(claim(&*findings, &shares[1]).await, Some(5_000_000));
    assert_eq!(findings.run(&run_id("run-02")).await.expect("answered"), None);
    let waiting = RunQuery { state: Some(RunState::Waiting), ..RunQuery::all(100) };
    assert_eq!(findings.runs(&waiting).await.expect("answered").len(), 6);
}

/// Everything of a type goes, runs that have not ended among it, and nothing of another whose name begins alike.
pub async fn everything_of_a_sensor_type_is_removed<B: FindingsBackend>() {
    let mut backend = B::start().await;
    let findings = backend.findings();
    let air_b = SensorTypeId::parse("air-b").expect("an id");
    for number in 0..20 {
        let of_air = Anomaly { sensor_type: air(), ..anomaly("air", number, "run") };
        let of_air_b = Anomaly { sensor_type: air_b.clone(), ..anomaly("air-b", number, "run") };
        findings.record(&[of_air, of_air_b, anomaly("emb", number, "run")]).await.expect("recorded");
    }
    for (id, sensor_type, state) in [
        ("a", air(), RunState::Waiting),
        ("b", air_b.clone(), RunState::Waiting),
        ("c", air(), RunState::Done),
        ("d", air_b, RunState::Done),
    ] {
        findings.put_run(&Run { sensor_type, state, ..run(id, 1) }).await.expect("stored");
    }
    let shares = ["air/origin", "air/0-of-4", "air-b/0-of-4", &leases::of_run("a")].map(str::to_owned);
    for share in &shares {
        assert_eq!(claim(&*findings, share).await, None);
    }
    assert!(remove(&*findings, Removal::SensorType(air())).await >= 22);
    drop(findings);
    backend.reopen(Ending::Killed).await;
    let findings = backend.findings();
    let (anomalies, runs) = left(&*findings).await;
    assert_eq!((anomalies.len(), runs), (40, vec!["b".to_owned(), "d".to_owned()]));
    assert!(anomalies.iter().all(|sensor| sensor != "air"));
    let mut done = Vec::new();
    for share in &shares {
        done.push(claim(&*findings, share).await);
    }
    assert_eq!(done, [None, None, Some(5_000_000), None]);
    assert_eq!(remove(&*findings, Removal::SensorType(SensorTypeId::parse("nothing").expect("an id"))).await, 0);
}

/// A part looks at so many findings, whatever there is, and says where the next goes on.
pub async fn a_removal_goes_on_where_it_was_left<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let all: Vec<Anomaly> = (0..40).map(|number| anomaly("emb3", number, "run")).collect();
    findings.record(&all).await.expect("recorded");
    let removal = Removal::AnomaliesBefore(second(30));
    let (mut gone, mut from) = (0, None);
    for _ in 0..2 {
        let removed = findings.remove(&removal, from.as_ref(), LOOKED_AT_MAX).await.expect("removed");
        gone += removed.count;
        from = removed.rest;
        let (anomalies, _) = left(&*findings).await;
        assert_eq!(anomalies.len() as u64, 40 - gone);
    }
    assert_eq!(gone + remove(&*findings, removal).await, 30);
}

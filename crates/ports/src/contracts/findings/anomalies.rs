//! Recording anomalies and asking for them.

use domain::{Anomaly, AnomalyKind, PropertyId, SensorId, SensorTypeId, Timestamp};

use super::{FindingsBackend, anomaly, run_id};
use crate::{AnomalyQuery, Effect, Recorded, TimeRange, contracts::Ending};

fn effects(recorded: &[Recorded]) -> Vec<Effect> {
    recorded.iter().map(|recorded| recorded.effect).collect()
}

/// Recording an id again changes nothing, in another batch as in the same.
pub async fn the_first_finding_stays<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let first = anomaly("emb3", 5, "first");
    let later = Anomaly { value: Some(1.0), score: 0.9, ..anomaly("emb3", 5, "later") };
    let recorded = findings.record(&[first.clone(), later.clone()]).await.expect("recorded");
    assert_eq!(effects(&recorded), [Effect::New, Effect::Known]);
    let recorded = findings.record(&[later, anomaly("emb2", 5, "later")]).await.expect("recorded");
    assert_eq!(effects(&recorded), [Effect::Known, Effect::New]);
    assert_eq!(recorded[0].kept, first);
    let all = findings.anomalies(&AnomalyQuery::all(10)).await.expect("answered");
    assert_eq!(all, [anomaly("emb2", 5, "later"), first]);
    assert_eq!(findings.record(&[]).await.expect("recorded"), []);
}

/// The first end closes an open anomaly; nothing else of it changes, and no later end changes it again.
pub async fn an_open_end_is_closed_once<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let outage = |second: Option<i64>, run: &str| Anomaly {
        kind: AnomalyKind::Outage,
        value: None,
        expected: None,
        until: second.map(|second| Timestamp::from_micros(second * 1_000_000)),
        ..anomaly("emb3", 5, run)
    };
    let record = async |anomaly: Anomaly| {
        let recorded = findings.record(&[anomaly]).await.expect("recorded").remove(0);
        (recorded.effect, recorded.kept.until.map(|until| until.as_micros() / 1_000_000))
    };
    assert_eq!(record(outage(None, "first")).await, (Effect::New, None));
    assert_eq!(record(outage(None, "second")).await, (Effect::Known, None));
    assert_eq!(record(outage(Some(9), "third")).await, (Effect::Closed, Some(9)));
    assert_eq!(record(outage(Some(7), "fourth")).await, (Effect::Known, Some(9)));
    let all = findings.anomalies(&AnomalyQuery::all(10)).await.expect("answered");
    assert_eq!(all, [outage(Some(9), "first")]);
}

/// The order is by phenomenon time and id, times before 1970 among them; a page goes on behind any place.
pub async fn anomalies_are_answered_in_order_and_page_by_page<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let mut expected = Vec::new();
    for second in [-7, -1, 0, 3, 250, 70_000] {
        for sensor in ["a", "b", "c"] {
            expected.push(anomaly(sensor, second, "run"));
        }
    }
    let mut shuffled = expected.clone();
    shuffled.reverse();
    shuffled.swap(2, 9);
    findings.record(&shuffled).await.expect("recorded");
    assert_eq!(findings.anomalies(&AnomalyQuery::all(100)).await.expect("answered"), expected);
    let (mut paged, mut query) = (Vec::new(), AnomalyQuery::all(4));
    loop {
        let page = findings.anomalies(&query).await.expect("answered");
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        query.after = Some((last.phenomenon_time, last.id()));
        paged.extend(page);
    }
    assert_eq!(paged, expected);
    let place = Some((Timestamp::from_micros(1), anomaly("a", 0, "run").id()));
    let behind = findings.anomalies(&AnomalyQuery { after: place, ..AnomalyQuery::all(1) }).await.expect("answered");
    assert_eq!(behind, [anomaly("a", 3, "run")]);
}

/// Each filter leaves out what it does not want; a range of times includes its start and not its end.
pub async fn anomalies_are_answered_that_are_asked_for<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let other_type = SensorTypeId::parse("air").expect("an id");
    let other_property = PropertyId::parse("ph").expect("an id");
    let all = [
        anomaly("a", 1, "one"),
        Anomaly { sensor_type: other_type.clone(), ..anomaly("b", 2, "one") },
        Anomaly { property: other_property.clone(), ..anomaly("c", 3, "one") },
        Anomaly { detector: "level-shift".to_owned(), ..anomaly("d", 4, "one") },
        Anomaly { score: 0.95, ..anomaly("e", 5, "two") },
    ];
    findings.record(&all).await.expect("recorded");
    let check = async |query: AnomalyQuery, expected: &[usize]| {
        let found = findings.anomalies(&query).await.expect("answered");
        let expected: Vec<Anomaly> = expected.iter().map(|index| all[*index].clone()).collect();
        assert_eq!(found, expected, "{query:?}");
    };
    let base = || AnomalyQuery::all(10);
    check(base(), &[0, 1, 2, 3, 4]).await;
    check(AnomalyQuery { sensor_type: Some(other_type), ..base() }, &[1]).await;
    check(AnomalyQuery { sensor_id: SensorId::parse("a").ok(), ..base() }, &[0]).await;
    check(AnomalyQuery { property: Some(other_property), ..base() }, &[2]).await;
    check(AnomalyQuery { detector: Some("level-shift".to_owned()), ..base() }, &[3]).await;
    check(AnomalyQuery { run: Some(run_id("two")), ..base() }, &[4]).await;
    check(AnomalyQuery { score_min: 0.95, ..base() }, &[4]).await;
    let second = |second: i64| Timestamp::from_micros(second * 1_000_000);
    check(AnomalyQuery { times: TimeRange { from: second(2), to: second(4) }, ..base() }, &[1, 2]).await;
    check(AnomalyQuery { times: TimeRange { from: second(4), to: second(4) }, ..base() }, &[]).await;
    check(AnomalyQuery { times: TimeRange { from: second(4), to: second(2) }, ..base() }, &[]).await;
}

/// What a call answered is there after the process ends, in order or not.
pub async fn what_was_recorded_is_there_after_an_end<B: FindingsBackend>() {
    for ending in Ending::ALL {
        let mut backend = B::start().await;
        let findings = backend.findings();
        findings.record(&[anomaly("emb3", 5, "run")]).await.expect("recorded");
        findings.put_run(&super::run("run", 1)).await.expect("stored");
        drop(findings);
        backend.reopen(ending).await;
        let findings = backend.findings();
        let all = findings.anomalies(&AnomalyQuery::all(10)).await.expect("answered");
        assert_eq!(all, [anomaly("emb3", 5, "run")], "{ending:?}");
        assert_eq!(findings.run(&run_id("run")).await.expect("answered"), Some(super::run("run", 1)));
        let recorded = findings.record(&[anomaly("emb3", 5, "again")]).await.expect("recorded");
        assert_eq!(effects(&recorded), [Effect::Known]);
    }
}

/// An anomaly that opens and ends within a batch is recorded one by one: new, then closed; a batch of thousands answers in its order.
pub async fn a_large_batch_is_recorded_one_by_one<B: FindingsBackend>() {
    let backend = B::start().await;
    let findings = backend.findings();
    let open = Anomaly { kind: AnomalyKind::Outage, value: None, expected: None, ..anomaly("a", -1, "run") };
    let closed = Anomaly { until: Some(Timestamp::from_micros(9)), ..open.clone() };
    let mut batch: Vec<Anomaly> = (0..5_000).map(|second| anomaly("b", second, "run")).collect();
    batch.insert(0, open.clone());
    batch.insert(3_000, closed.clone());
    batch.push(open);
    let recorded = findings.record(&batch).await.expect("recorded");
    let mut expected = vec![Effect::New; 5_003];
    expected[3_000] = Effect::Closed;
    expected[5_002] = Effect::Known;
    assert_eq!(effects(&recorded), expected);
    let all = findings.anomalies(&AnomalyQuery::all(20_000)).await.expect("answered");
    assert_eq!(all.len(), 5_001);
    assert_eq!(all[0], closed);
}

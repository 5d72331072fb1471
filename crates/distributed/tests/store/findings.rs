//! The contracts of the findings on a real Elasticsearch, and answers that are lost on the way.

use std::sync::Arc;

use async_trait::async_trait;
use distributed::{findings::ElasticFindings, store::Settings};
use domain::{Anomaly, AnomalyKind, PropertyId, RunId, SensorId, SensorTypeId, Severity, Timestamp};
use ports::{
    Claim, Effect, Findings, Recorded,
    contracts::{Ending, findings::FindingsBackend},
};

use crate::place::{
    Place, address,
    proxy::{Fate, Proxy},
};

struct Elastic {
    place: Place,
    findings: Arc<ElasticFindings>,
}

fn open(place: &Place) -> Arc<ElasticFindings> {
    Arc::new(ElasticFindings::new(&place.settings()).expect("settings that make sense"))
}

#[async_trait]
impl FindingsBackend for Elastic {
    async fn start() -> Self {
        let place = Place::new();
        let findings = open(&place);
        Self { place, findings }
    }

    fn findings(&self) -> Arc<dyn Findings> {
        self.findings.clone()
    }

    /// What is known of Elasticsearch in memory is forgotten; there is nothing to close.
    async fn reopen(&mut self, _: Ending) {
        self.findings = open(&self.place);
    }
}

ports::findings_contracts!(Elastic);

/// An outage that is open.
fn outage() -> Anomaly {
    Anomaly {
        sensor_type: SensorTypeId::parse("emb").expect("an id"),
        sensor_id: SensorId::parse("emb3").expect("an id"),
        property: PropertyId::parse("sec").expect("an id"),
        phenomenon_time: Timestamp::from_micros(1_486_566_000_000_000),
        until: None,
        kind: AnomalyKind::Outage,
        value: None,
        expected: None,
        score: 1.0,
        severity: Severity::of(1.0),
        detector: "outage".to_owned(),
        detector_version: 1,
        settings: "00000000000000ff".to_owned(),
        run: RunId::parse("run").expect("an id"),
        found_at: Timestamp::from_micros(1),
    }
}

/// Findings behind a proxy that loses the answer to the first bulk request after each [`lose`].
async fn behind_a_proxy(place: &Place) -> (ElasticFindings, Proxy) {
    let proxy = Proxy::start(&address()).await;
    let settings = Settings { urls: vec![proxy.url.clone()], ..place.settings() };
    (ElasticFindings::new(&settings).expect("settings that make sense"), proxy)
}

fn lose(proxy: &Proxy) {
    let mut lost = false;
    proxy.set(move |line| match line.contains("_bulk") && !std::mem::replace(&mut lost, true) {
        true => Fate::AnswerLost,
        false => Fate::Passes,
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_without_an_answer_is_new_all_the_same() {
    let place = Place::new();
    let (findings, proxy) = behind_a_proxy(&place).await;
    let closed = Anomaly { until: Some(Timestamp::from_micros(1_486_566_000_000_001)), ..outage() };
    for (anomaly, effect) in [(outage(), Effect::New), (closed.clone(), Effect::Closed), (outage(), Effect::Known)] {
        lose(&proxy);
        let recorded = findings.record(std::slice::from_ref(&anomaly)).await.expect("recorded");
        let kept = if effect == Effect::New { outage() } else { closed.clone() };
        assert_eq!(recorded, [Recorded { effect, kept }]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn share_that_was_taken_without_an_answer_is_ones_own() {
    let place = Place::new();
    let (findings, proxy) = behind_a_proxy(&place).await;
    let (now, until) = (Timestamp::from_micros(0), Timestamp::from_micros(9));
    let claim = |owner: &str| Claim { share: "emb/0-of-8".to_owned(), owner: owner.to_owned(), now, until };
    lose(&proxy);
    let lease = findings.claim(&claim("one")).await.expect("answered").expect("nobody has it");
    assert_eq!(findings.claim(&claim("two")).await.expect("answered"), None);
    lose(&proxy);
    findings.complete(&lease, until.into()).await.expect("in force");
    lose(&proxy);
    findings.release(&lease).await.expect("given back");
    let next = findings.claim(&claim("two")).await.expect("answered").expect("it was given back");
    assert_eq!(next.done, Some(until.into()));
}

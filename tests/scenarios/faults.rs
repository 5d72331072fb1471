//! What goes wrong on more than one machine: services, brokers and the store that die, hang and come back, and members that come and go.
//! Nothing accepted is lost, nothing is doubled, memory stays bounded, and all recovers by itself.

use std::time::Duration;

use harness::{Hub, Launch, seeded, wait_for};
use rand::{RngExt, rngs::StdRng};

use crate::{
    folder, launch,
    load::{Load, PAUSE, assert_kept},
    stack::{self, PROGRAMS},
};

/// The most memory that a service may take meanwhile.
const MEMORY_MAX: u64 = 512 << 20;
/// How long the store is away.
const AWAY: Duration = Duration::from_secs(60);
/// How long it may take until a hub says that something is amiss, or all right again.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// A moment in which the load goes on, not the same each time.
async fn a_while(rng: &mut StdRng) {
    harness::a_moment(Duration::from_millis(rng.random_range(300..1_500))).await;
}

/// Waits until the hub takes readings, or does not.
async fn until_ready(hub: &Hub, ready: bool) {
    wait_for("a change of readiness", NOTICED_WITHIN, async || {
        let answer = hub.get("/health/ready").await;
        if (answer.status == 200) == ready { Ok(()) } else { Err(answer.text()) }
    })
    .await;
}

async fn processed_more(hub: &Hub) {
    let before = hub.metrics().await.processed("emb");
    hub.processed_some("emb", before + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_killed_one_after_the_other_lose_nothing() {
    let mut rng = seeded("faults: services");
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    let load = Load::start(&hub, &mut rng, PAUSE);
    for round in 0..8 {
        let program = ["ingest-api", "qc-consumer"][round % 2];
        a_while(&mut rng).await;
        hub.kill_program(program);
        a_while(&mut rng).await;
        hub.restart_program(program).await;
        load.follow(&hub);
    }
    processed_more(&hub).await;
    let model = load.end().await;
    assert_kept(&hub, &model).await;
    assert!(hub.memory_peak_bytes() < MEMORY_MAX, "{} bytes", hub.memory_peak_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_is_stopped_killed_and_started_loses_nothing() {
    let mut rng = seeded("faults: broker");
    let (data, kafka) = (folder(), servers::Kafka::start_own());
    let hub = stack::on(data.path(), &kafka.bootstrap(), &servers::elasticsearch().url()).start().await;
    let load = Load::start(&hub, &mut rng, PAUSE);
    hub.processed_some("emb", 200).await;
    kafka.stop();
    until_ready(&hub, false).await;
    kafka.start();
    until_ready(&hub, true).await;
    processed_more(&hub).await;
    kafka.kill();
    a_while(&mut rng).await;
    kafka.start();
    until_ready(&hub, true).await;
    processed_more(&hub).await;
    let model = load.end().await;
    assert_kept(&hub, &model).await;
    assert!(hub.memory_peak_bytes() < MEMORY_MAX, "{} bytes", hub.memory_peak_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn store_that_is_away_for_a_minute_under_load_gets_everything_afterwards() {
    let mut rng = seeded("faults: store");
    let (data, elasticsearch) = (folder(), servers::Elasticsearch::start_own());
    let hub = stack::on(data.path(), &servers::kafka().bootstrap(), &elasticsearch.url()).start().await;
    let load = Load::start(&hub, &mut rng, 10 * PAUSE);
    hub.processed_some("emb", 200).await;
    elasticsearch.kill();
    let appended = hub.metrics().await.appended("emb");
    harness::a_moment(AWAY).await;
    assert!(hub.metrics().await.appended("emb") > appended, "readings are taken while the store is away");
    elasticsearch.start();
    until_ready(&hub, true).await;
    processed_more(&hub).await;
    let model = load.end().await;
    assert_kept(&hub, &model).await;
    assert!(hub.memory_peak_bytes() < MEMORY_MAX, "{} bytes", hub.memory_peak_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_under_load_neither_lose_nor_double() {
    let mut rng = seeded("faults: members");
    let (data, other) = (folder(), folder());
    let hub = launch(data.path()).start().await;
    let load = Load::start(&hub, &mut rng, PAUSE);
    hub.processed_some("emb", 200).await;
    let mut second = member(data.path(), other.path()).start().await;
    for round in 0..4 {
        a_while(&mut rng).await;
        match round % 2 {
            0 => second.kill(),
            _ => assert!(second.stop().await.status.success(), "{}", second.said()),
        }
        a_while(&mut rng).await;
        second.restart().await;
    }
    processed_more(&hub).await;
    let model = load.end().await;
    assert_kept(&hub, &model).await;
}

/// One more process of quality control for a hub.
fn member(hub: &std::path::Path, addresses: &std::path::Path) -> Launch {
    let (kafka, elasticsearch) = (servers::kafka(), servers::elasticsearch());
    let launch = Launch::distributed(&PROGRAMS[1..], addresses);
    stack::with_servers(launch, hub, &kafka.bootstrap(), &elasticsearch.url())
}

//! Accepted is kept: a hub that is killed over and over under load holds what it has accepted, once, and invents nothing.

use std::time::Duration;

use harness::{Hub, seeded};
use rand::{RngExt, rngs::StdRng};

use crate::{
    folder, launch,
    load::{CLIENTS, Load, assert_kept},
    stack,
};

/// How often the hub is killed.
const KILLS: usize = 15;
/// How long a hub lives at most, from listening to being killed.
const LIFE_MAX_MS: u64 = 500;

async fn kill_over_and_over(hub: &mut Hub, load: &Load, rng: &mut StdRng) {
    for _ in 0..KILLS {
        load.follow(hub);
        harness::a_moment(Duration::from_millis(rng.random_range(20..LIFE_MAX_MS))).await;
        hub.kill();
        hub.restart().await;
        hub.metrics().await.add_up("emb").expect("counters add up after a kill");
    }
    load.follow(hub);
    harness::a_moment(Duration::from_millis(LIFE_MAX_MS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_reading_is_stored_once_whenever_the_hub_is_killed() {
    let mut rng = seeded("kill_nine");
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    let load = Load::start(&hub, &mut rng, Duration::ZERO);
    kill_over_and_over(&mut hub, &load, &mut rng).await;

    let model = load.end().await;
    assert!(model.certain() > KILLS * CLIENTS, "hardly anything was accepted");
    assert_kept(&hub, &model).await;
    assert!(hub.stop().await.status.success());
    stack::verify(data.path());
}

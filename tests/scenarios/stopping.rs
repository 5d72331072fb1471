//! SIGTERM: requests in flight are finished, what is pending is committed, and all is over within ten seconds.

use std::{sync::Arc, time::Duration};

use harness::Model;
use tokio::sync::Mutex;

use crate::{
    folder, launch,
    samples::{PROPERTIES, Sample, json_array},
    stack,
};

/// The promise.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Clients that post at once.
const CLIENTS: u32 = 6;
/// Readings of one post.
const BATCH: u32 = 500;

/// Posts without a pause until the hub is away; knows what was accepted.
async fn post_until_refused(url: String, client: u32, model: Arc<Mutex<Model>>) {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client needs nothing");
    for batch in 0.. {
        let sensor = format!("emb{client}");
        let samples: Vec<Sample> = (0..BATCH).map(|n| Sample::plain(&sensor, batch * BATCH + n, n)).collect();
        let request = http.post(&url).header("content-type", "application/json").body(json_array(&samples));
        let accepted = request.send().await.is_ok_and(|response| response.status() == 202);
        let how = if accepted { Model::accepted } else { Model::unanswered };
        let mut model = model.lock().await;
        samples.iter().for_each(|sample| how(&mut model, &sample.sensor_id, &sample.time, &sample.row));
        if !accepted {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_under_load_drains_and_commits_within_ten_seconds() {
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    let model = Arc::new(Mutex::new(Model::default()));
    let url = hub.url("/v1/readings/emb");
    let start = |client| tokio::spawn(post_until_refused(url.clone(), client, Arc::clone(&model)));
    let clients: Vec<_> = (0..CLIENTS).map(start).collect();
    hub.processed_some("emb", u64::from(10 * BATCH)).await;
    let ended = hub.stop().await;
    assert!(ended.status.success() && ended.took < STOP_MAX, "{ended:?}:\n{}", hub.said());
    for client in clients {
        client.await.expect("a client sees an end");
    }
    let model = model.lock().await;
    hub.restart().await;
    if stack::STOPS_DRAINED {
        let metrics = hub.metrics().await;
        assert_eq!(metrics.pending("emb"), 0, "what was accepted was not committed before the end:\n{metrics:?}");
    }
    hub.processed("emb", model.certain() as u64).await;
    let csv = String::from_utf8(hub.export("emb", "csv").await).expect("CSV is text");
    model.assert_holds(&csv, PROPERTIES.len());
}

#[tokio::test]
async fn second_signal_ends_at_once_and_loses_nothing() {
    let data = folder();
    let mut hub = launch(data.path()).start().await;
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
    hub.signal("INT");
    let interrupted = hub.stop().await;
    assert!(interrupted.took < STOP_MAX, "{interrupted:?}");
    hub.restart().await;
    hub.processed("emb", 1).await;
}

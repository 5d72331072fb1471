//! Dead letters: where nothing went wrong there is none, and what is asked for by a wrong id is not there.

use crate::{folder, launch, samples::Sample};

#[tokio::test]
async fn sound_readings_leave_no_dead_letter() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
    let metrics = hub.processed("emb", 1).await;
    assert_eq!(metrics.outcome("emb", "dead_lettered"), 0);
    let letters = hub.get("/v1/dead-letters").await.expect(200).json();
    assert_eq!(letters["items"], serde_json::json!([]), "{letters}");
    for id in ["1", "nonsense", "%00", "..%2f"] {
        let answer = hub.post(&format!("/v1/dead-letters/{id}/replay"), "application/json", "").await;
        assert!((400..500).contains(&answer.status), "{id}: {}", answer.text());
    }
}

//! Waiting for something to come true.

use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `look` answers `Ok`, and gives its answer.
///
/// # Panics
/// With the last status, where that takes longer than `within`.
pub async fn wait_for<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        let status = match look().await {
            Ok(answer) => return answer,
            Err(status) => status,
        };
        assert!(Instant::now() < deadline, "{what} did not happen within {within:?}; last status: {status}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets a moment pass in which something is to go on, such as the life of a hub before it is killed. Nothing may rely on what has
/// happened by then: whoever waits *for* something uses [`wait_for`].
pub async fn a_moment(moment: Duration) {
    tokio::time::sleep(moment).await;
}

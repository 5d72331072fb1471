//! The request to stop, as a run sees it.

use tokio::sync::watch;

/// Tells a run to end early; a run without one ends when its work is done.
#[derive(Debug, Clone, Default)]
pub struct Stop(Option<watch::Receiver<bool>>);

impl Stop {
    /// Returns whether stopping was asked for.
    pub fn requested(&self) -> bool {
        self.0.as_ref().is_some_and(|receiver| *receiver.borrow())
    }

    /// Waits until stopping is asked for; for ever when nobody can ask any more.
    pub async fn wait(&mut self) {
        if let Some(receiver) = &mut self.0
            && receiver.wait_for(|stop| *stop).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

impl From<watch::Receiver<bool>> for Stop {
    fn from(receiver: watch::Receiver<bool>) -> Self {
        Self(Some(receiver))
    }
}

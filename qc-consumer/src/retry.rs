//! Trying again for as long as a port says that it may succeed later.
//!
//! **Invariant:** nothing that was polled is given up because a backend is away; only a stop, or an error that no retry mends, ends it.

use std::{future::Future, time::Duration};

use ports::PortError;
use tokio::{sync::watch, time::sleep};

use crate::Status;

/// Bounds of the pause between two tries; it doubles from the first to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(5) }
    }
}

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The stop signal came first; what is not committed is done again after the next start.
    Stopped,
    /// An error that trying again does not mend.
    Port(PortError),
}

/// Tries again, and tells the status why it has to.
#[derive(Clone)]
pub(crate) struct Retry {
    pub(crate) backoff: Backoff,
    pub(crate) status: Status,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Retry {
    /// Calls `action` until it answers anything but a transient error. `what` is for messages: `writing to the store`.
    pub(crate) async fn until_done<T, F>(&self, what: &str, mut action: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, PortError>>,
    {
        let mut pause = self.backoff.first;
        let mut failed = false;
        loop {
            match action().await {
                Ok(done) => {
                    if failed {
                        tracing::info!("{what} works again");
                        self.status.set(None);
                    }
                    return Ok(done);
                }
                Err(error) if error.is_transient() => {
                    if !failed {
                        tracing::warn!(%error, "{what} does not work; it is tried again until it does");
                    }
                    failed = true;
                    self.status.set(Some(format!("{what} does not work: {error}")));
                    self.pause(pause).await?;
                    pause = (pause * 2).min(self.backoff.longest);
                }
                Err(error) => {
                    if failed {
                        self.status.set(None);
                    }
                    return Err(Failure::Port(error));
                }
            }
        }
    }

    /// Waits for about `pause`, so that many who fail together do not come back together; not beyond a stop.
    pub(crate) async fn pause(&self, pause: Duration) -> Result<(), Failure> {
        let jittered = pause.mul_f64(rand::random_range(0.5..=1.0));
        tokio::select! {
            () = sleep(jittered) => Ok(()),
            () = stopped(self.stop.clone()) => Err(Failure::Stopped),
        }
    }
}

/// Returns when the stop signal comes; never where nobody can send it any more.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

//! Trying again for as long as a port says that it may succeed later, or a few times where others wait meanwhile.
//!
//! **Invariant:** nothing that was polled is given up because a backend is away: what is not tried again at once is put aside and polled again.

use std::{future::Future, time::Duration};

use ports::PortError;
use tokio::{sync::watch, time::sleep};

use crate::Status;

/// How often what concerns one topic is tried before the topic is put aside: a short disturbance costs no second poll.
const TRIES: u32 = 3;

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
    tries: u32,
}

impl Retry {
    /// Tries for as long as it takes: for what nothing goes on without.
    pub(crate) fn new(backoff: Backoff, status: Status, stop: watch::Receiver<bool>) -> Self {
        Self { backoff, status, stop, tries: u32::MAX }
    }

    /// The same, but a few times only: for what concerns one topic.
    pub(crate) fn a_few_times(&self) -> Self {
        Self { tries: TRIES, ..self.clone() }
    }

    /// Calls `action` until it answers anything but a transient error, or until it was tried often enough. `what` is for messages: `writing to
    /// the store`.
    pub(crate) async fn until_done<T, F>(&self, what: &str, mut action: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, PortError>>,
    {
        let mut pause = self.backoff.first;
        let mut tries = 0;
        let done = loop {
            tries += 1;
            match action().await {
                Err(error) if error.is_transient() && tries < self.tries => {
                    if self.tries == u32::MAX {
                        if tries == 1 {
                            tracing::warn!(%error, "{what} does not work; it is tried again until it does");
                        }
                        self.status.set(what, Some(format!("{what} does not work: {error}")));
                    }
                    self.pause(pause).await?;
                    pause = (pause * 2).min(self.backoff.longest);
                }
                done => break done,
            }
        };
        if tries > 1 {
            self.status.set(what, None);
        }
        let named = |error: PortError| PortError::new(error.kind(), format!("{what} does not work")).with_source(error);
        done.map_err(|error| Failure::Port(named(error)))
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

//! Services that are begun again when they end early, so that the others, and the requests, go on.
//!
//! **Invariant:** a service ends with the stop signal alone; until then readiness says whenever it is down, and why.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use ingest_api::ReadinessCheck;
use tokio::{sync::watch, task::JoinError, time::Instant};

use crate::signals;

/// The first and the longest pause before a service is begun again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Why a service is down, and why one that is up does not go on.
#[derive(Clone)]
pub(crate) struct Health {
    name: &'static str,
    down: Arc<Mutex<Option<String>>>,
    obstacle: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Health {
    /// A service that is up; `obstacle` says what keeps it from going on.
    pub(crate) fn new(name: &'static str, obstacle: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { name, down: Arc::default(), obstacle: Arc::new(obstacle) }
    }

    /// Lets `/health/ready` say what keeps the service from going on.
    pub(crate) fn readiness(&self) -> ReadinessCheck {
        let health = self.clone();
        let check = move || -> BoxFuture<'static, Result<(), String>> {
            let reason = health.down().or_else(|| (health.obstacle)());
            Box::pin(std::future::ready(reason.map_or(Ok(()), Err)))
        };
        ReadinessCheck { name: self.name, check: Arc::new(check) }
    }

    fn down(&self) -> Option<String> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_down(&self, reason: Option<String>) {
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

/// Runs a service until the stop signal. One that ends before, by an error or a panic, is begun again after a pause that grows.
pub(crate) async fn run<F>(health: Health, mut stop: watch::Receiver<bool>, begin: impl Fn() -> F)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut pause = PAUSE.0;
    loop {
        let began = Instant::now();
        let ended = tokio::spawn(begin()).await;
        if *stop.borrow() {
            if let Some(reason) = reason(ended) {
                tracing::error!(service = health.name, reason, "a service did not stop in order");
            }
            return;
        }
        if began.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
        }
        let reason = reason(ended).unwrap_or_else(|| "it ended".to_owned());
        tracing::error!(service = health.name, reason, pause_s = pause.as_secs(), "a service is down; it begins again");
        health.set_down(Some(format!("it is down and begins again: {reason}")));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = signals::stopped(&mut stop) => return,
        }
        health.set_down(None);
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Why a service ended, in words; `None` where it did so in order.
fn reason(ended: Result<anyhow::Result<()>, JoinError>) -> Option<String> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn service_that_fails_or_panics_begins_again_and_its_readiness_says_so() {
        let (stopper, stop) = watch::channel(false);
        let health = Health::new("test", || None);
        let readiness = health.readiness();
        let (begun, of_service, stops) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), stop.clone());
        let counted = Arc::clone(&begun);
        let supervised = tokio::spawn(run(health, stop, move || {
            let (round, mut stop) = (counted.fetch_add(1, Ordering::SeqCst), stops.clone());
            let up = Arc::clone(&of_service);
            async move {
                match round {
                    0 => anyhow::bail!("the first time"),
                    1 => panic!("the second time"),
                    _ => {
                        up.store(1, Ordering::SeqCst);
                        signals::stopped(&mut stop).await;
                        Ok(())
                    }
                }
            }
        }));
        let mut told = Vec::new();
        while begun.load(Ordering::SeqCst) < 3 {
            tokio::time::advance(Duration::from_millis(100)).await;
            if let Err(reason) = (readiness.check)().await
                && told.last() != Some(&reason)
            {
                told.push(reason);
            }
        }
        assert!(told[0].contains("the first time") && told[1].contains("panicked"), "{told:?}");
        assert_eq!((readiness.check)().await, Ok(()));
        stopper.send_replace(true);
        supervised.await.expect("it stops in order");
    }
}

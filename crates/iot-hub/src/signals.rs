//! The request to stop: Ctrl-C or SIGTERM once to stop in order, twice to stop at once.

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Exit status after a second signal, as shells show an interrupted program.
const INTERRUPTED: i32 = 130;

/// Starts to listen for signals; the receiver turns true at the first, the process ends at the second.
///
/// # Errors
/// When the system refuses signal handlers.
pub fn listen() -> anyhow::Result<watch::Receiver<bool>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let name = either(&mut interrupt, &mut terminate).await;
        tracing::info!("{name}: stopping; once more to stop at once");
        sender.send_replace(true);
        let name = either(&mut interrupt, &mut terminate).await;
        tracing::warn!(
            "{name} again: stopped at once; what was accepted is in the log and is processed at the next start"
        );
        std::process::exit(INTERRUPTED);
    });
    Ok(receiver)
}

/// Waits until stopping is asked for.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

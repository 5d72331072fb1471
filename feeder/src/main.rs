//! The `feeder` command: reads the command line, runs, and prints how it went.

mod cli;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use feeder::stop::Stop;
use tokio::sync::watch;

use crate::cli::{Cli, Command};

/// The exit code of a run that was stopped before its end, as shells use it for Ctrl-C.
const STOPPED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(STOPPED),
        Err(error) => {
            eprintln!("feeder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command; returns whether it came to its end.
async fn run(cli: Cli) -> anyhow::Result<bool> {
    let stop = stop_on_signal()?;
    match cli.command {
        Command::Replay(arguments) => {
            let summary = feeder::replay::run(arguments.into_options(stop)).await?;
            println!("{summary}");
            Ok(summary.complete)
        }
        Command::Simulate(arguments) => {
            let report_path = arguments.report.clone();
            let report = feeder::simulate::run(arguments.into_options(stop)?).await?;
            println!("{report}");
            if let Some(path) = report_path {
                report.write(&path)?;
            }
            Ok(!report.stopped_early)
        }
    }
}

/// Asks for a stop at the first Ctrl-C or SIGTERM; at the second the process ends at once.
fn stop_on_signal() -> anyhow::Result<Stop> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        for asked_before in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
            if asked_before {
                std::process::exit(i32::from(STOPPED));
            }
            sender.send_replace(true);
        }
    });
    Ok(Stop::from(receiver))
}

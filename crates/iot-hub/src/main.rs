//! `iot-hub`: every service of the hub in one process, over the log and the store in one data folder.
//!
//! **Invariant:** this program only wires: what the services do is in their libraries, the same in every way to run them.

mod backup;
mod check;
mod cli;
mod config;
mod control;
mod data_folder;
mod demo;
mod logging;
mod serve;
mod signals;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("iot-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

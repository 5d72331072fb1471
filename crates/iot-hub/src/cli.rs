//! The command line: what each command takes, and which part of the program does it.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use toml::Value;

use crate::{
    backup, check,
    config::{Config, DEFAULT_TOML, Layers, text_of},
    demo, exit,
    hub::{self, Services},
    service::Flags,
};

const EXAMPLES: &str = "\
Examples:
  iot-hub demo                          look around: simulated boreholes, nothing kept
  iot-hub serve --data /srv/iot-hub     the real thing, on http://127.0.0.1:8080
  iot-hub backup --data /srv/iot-hub --to /backup/monday
  iot-hub check --data /backup/monday";

/// A scientific IoT data platform: readings in over REST, kept durably, quality-controlled, and out again to scientists.
#[derive(Debug, Parser)]
#[command(name = "iot-hub", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the hub over a data folder until it is told to stop (Ctrl-C or SIGTERM)
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    /// Run a hub over a temporary data folder, feed it simulated boreholes, and print what to look at
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
    /// Verify a data folder that no hub is using; the exit status is 1 where it has faults
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Copy a data folder consistently, also while a hub is using it
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(Backup),
    /// Print the commented default configuration, or check a configuration file and print what would hold
    #[command(after_help = CONFIG_EXAMPLES)]
    Config(ConfigFile),
}

const SERVE_EXAMPLES: &str = "\
Examples:
  iot-hub serve --data /srv/iot-hub
  iot-hub serve --data /srv/iot-hub --listen 127.0.0.1:8000 --sensor-types /etc/iot-hub/types
  iot-hub serve --data /srv/iot-hub --listen 0.0.0.0:8080 --allow-anonymous
  IOT_HUB_LOG__RETENTION=30d iot-hub serve --data /srv/iot-hub --config /etc/iot-hub.toml

The bound address stands in the file `address` of the data folder while the hub runs.";

#[derive(Debug, Args)]
struct Serve {
    /// The data folder; made where it is missing
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

const DEMO_EXAMPLES: &str = "\
Examples:
  iot-hub demo
  iot-hub demo --listen 127.0.0.1:9000";

#[derive(Debug, Args)]
struct Demo {
    /// Address and port of the REST API, on loopback
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  iot-hub check --data /backup/monday";

#[derive(Debug, Args)]
struct Check {
    /// The data folder
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

const BACKUP_EXAMPLES: &str = "\
Examples:
  iot-hub backup --data /srv/iot-hub --to /backup/monday

The copy is a data folder itself: `iot-hub check --data /backup/monday`, `iot-hub serve --data /backup/monday`.";

#[derive(Debug, Args)]
struct Backup {
    /// The data folder to copy
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to: a folder that is empty or not there yet
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

const CONFIG_EXAMPLES: &str = "\
Examples:
  iot-hub config > iot-hub.toml         a file to start from
  iot-hub config iot-hub.toml           every key with its value and where it comes from; faults, if any";

#[derive(Debug, Args)]
struct ConfigFile {
    /// The file to check, together with the environment
    file: Option<PathBuf>,
}

/// Runs the program `iot-hub`: does what its command line says.
pub fn main() -> ExitCode {
    exit("iot-hub", run(Arguments::parse()))
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Serve(flags) => serve(flags).map(|()| ExitCode::SUCCESS),
        Command::Demo(flags) => demo::run(flags.listen).map(|()| ExitCode::SUCCESS),
        Command::Check(flags) => check::run(&flags.data),
        Command::Backup(flags) => backup::run(&flags.data, &flags.to).map(|()| ExitCode::SUCCESS),
        Command::Config(flags) => print_config(flags.file).map(|()| ExitCode::SUCCESS),
    }
}

fn serve(serve: Serve) -> anyhow::Result<()> {
    let mut layers = serve.flags.layers()?;
    if let Some(data) = serve.data {
        layers.add_flag("data.folder", Value::String(text_of(data)?), "--data");
    }
    hub::run(&Config::validate(layers)?, Services::All)
}

fn print_config(file: Option<PathBuf>) -> anyhow::Result<()> {
    let Some(file) = file else {
        print!("{DEFAULT_TOML}");
        return Ok(());
    };
    let mut layers = Layers::defaults();
    layers.add_file(&file);
    layers.add_environment();
    let values: Vec<String> =
        layers.iter().map(|(key, given)| format!("{key} = {}  # {}", given.value, given.source)).collect();
    if layers.is_empty("data.folder") {
        layers.add_flag("data.folder", Value::String("DIR".to_owned()), "--data");
    }
    Config::validate(layers)?;
    println!("{}", values.join("\n"));
    Ok(())
}

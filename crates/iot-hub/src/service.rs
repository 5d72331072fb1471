//! What the programs of the distributed stack share: flags, configuration, and the run until a signal.

use std::{path::PathBuf, process::ExitCode};

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use toml::Value;

use crate::{
    config::{Config, DEFAULT_TOML, Layers, text_of},
    exit, hub,
};

pub use crate::hub::Services;

/// Flags that every program with services takes.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Address and port to listen on; port 0 takes any free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// A folder of sensor types, one TOML file each, beside the built-in ones
    #[arg(long, value_name = "DIR")]
    sensor_types: Option<PathBuf>,
    /// A configuration file; `iot-hub config` prints one with every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take requests from other machines, although there are no access keys: whoever reaches the port reads and writes
    #[arg(long)]
    allow_anonymous: bool,
}

impl Flags {
    /// Defaults, file, environment and these flags, one over the other.
    pub(crate) fn layers(self) -> anyhow::Result<Layers> {
        let mut layers = Layers::defaults();
        if let Some(file) = &self.config {
            layers.add_file(file);
        }
        layers.add_environment();
        let texts = [
            ("http.listen", "--listen", self.listen),
            ("registry.sensor_types", "--sensor-types", self.sensor_types.map(text_of).transpose()?),
        ];
        for (key, flag, text) in texts {
            if let Some(text) = text {
                layers.add_flag(key, Value::String(text), flag);
            }
        }
        if self.allow_anonymous {
            layers.add_flag("http.allow_anonymous", Value::Boolean(true), "--allow-anonymous");
        }
        Ok(layers)
    }
}

/// Flags of a program with one service.
#[derive(Debug, Args)]
struct ServiceFlags {
    #[command(flatten)]
    flags: Flags,
    /// Print the commented default configuration and end
    #[arg(long)]
    print_config: bool,
}

/// Runs the program `name`, which has one of the services of the distributed stack, until a signal stops it.
pub fn main(name: &'static str, about: &'static str, services: Services) -> ExitCode {
    let matches = command(name, about).get_matches();
    exit(name, serve(name, &matches, services))
}

/// Runs the program `ad-jobs`: scheduled detection until a signal stops it, or a detector on a file.
pub fn ad_jobs() -> ExitCode {
    let (name, about) =
        ("ad-jobs", "Detection: looks for anomalies that no single value shows, every quarter of an hour");
    let command = command(name, about).args_conflicts_with_subcommands(true);
    let matches = ad_jobs::cli::Command::augment_subcommands(command).get_matches();
    let run = || match matches.subcommand() {
        Some(_) => ad_jobs::files::run(ad_jobs::cli::Command::from_arg_matches(&matches)?).map(|()| ExitCode::SUCCESS),
        None => serve(name, &matches, Services::AdJobs),
    };
    exit(name, run())
}

fn command(name: &'static str, about: &'static str) -> Command {
    let command = Command::new(name).version(env!("CARGO_PKG_VERSION")).about(about).after_help(EXAMPLES);
    ServiceFlags::augment_args(command)
}

fn serve(name: &'static str, matches: &ArgMatches, services: Services) -> anyhow::Result<ExitCode> {
    let ServiceFlags { flags, print_config } = ServiceFlags::from_arg_matches(matches)?;
    if print_config {
        print!("{DEFAULT_TOML}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut layers = flags.layers()?;
    layers.add_flag("backends.stack", Value::String("distributed".to_owned()), name);
    hub::run(&Config::validate(layers)?, services).map(|()| ExitCode::SUCCESS)
}

const EXAMPLES: &str = "\
It works with the Apache Kafka and the Elasticsearch that the sections `kafka` and `elasticsearch` of its configuration name, by a
file or by environment variables such as IOT_HUB_KAFKA__BOOTSTRAP_SERVERS=kafka:9092.";

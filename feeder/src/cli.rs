//! The command line: what can be said, and what it means to the library.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};
use feeder::pace::{Pace, Rate, Speed};
use feeder::simulate::{Backfill, Faults, Live, Registration};
use feeder::stop::Stop;
use feeder::{
    replay::{self, Pass},
    simulate,
};
use jiff::Timestamp;

const REPLAY_EXAMPLES: &str = "\
Examples:
  feeder replay --sensor emb3 emb3/*.csv                         one reading every 10 s
  feeder replay --sensor emb3 --speed 3600x emb3/*.csv           an hour of observation each second
  feeder replay --sensor emb3 --as-fast-as-possible emb3/*.csv   in posts of 500 lines
  feeder replay --sensor st1 --type seismic --every 1s st1.csv

The lines are posted as they are; they must follow the CSV dialect of the sensor's type (GET /v1/sensor-types/TYPE). \
The same command continues where it was stopped. Once complete, it forgets, and the same command posts all lines again, which \
changes nothing in the hub. The exit code is 0 when complete (with or without refused lines, which the summary lists), 1 after \
an error, 130 when stopped; after both the same command continues.";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  feeder simulate --type power --sensors 20000 --duration 60s --report power.json
  feeder simulate --type power --sensors 20000 --duration 500s --as-fast-as-possible
  feeder simulate --type power --sensors 64 --batch 1 --connections 64 --duration 1h --as-fast-as-possible
  feeder simulate --type emb --sensors 5 --backfill 30d --rate 1/5s --register --faults spikes=0.002

Sensors are named power-sim1, power-sim2, ... after their type (--sensor-prefix). Values follow the gross range and resolution of each property of the type, \
with a daily cycle and noise. The same settings and --seed make the same readings, whatever --batch and --connections are, \
as long as --start is given or the run is as fast as possible. With a paced run and no --start the phenomenon times are the \
real time. A hub takes times up to 24 h ahead of its clock; a run that would end later than now is refused.";

/// Feeds an IoT-Hub through its REST API: replays CSV files, or simulates sensors.
#[derive(Debug, Parser)]
#[command(name = "feeder", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the feeder can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Posts the CSV files of a sensor, in order, at a pace, continuing where it stopped
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArguments),
    /// Makes up sensors and their readings: the load generator
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(SimulateArguments),
}

/// The arguments of `feeder replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// The sensor whose readings the files hold
    #[arg(long, value_name = "ID")]
    sensor: String,
    /// Its type [default: the type the hub knows the sensor by, else emb]
    #[arg(long = "type", value_name = "TYPE")]
    sensor_type: Option<String>,
    /// The hub
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    hub: String,
    /// Posts one reading every so often [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, group = "pace")]
    every: Option<Duration>,
    /// Paces by the phenomenon times of the lines, so many times faster (3600x)
    #[arg(long, value_name = "FACTOR", group = "pace")]
    speed: Option<Speed>,
    /// Posts all lines at once, in batches
    #[arg(long, group = "pace")]
    as_fast_as_possible: bool,
    /// The most lines in one post, when several are due
    #[arg(long, value_name = "LINES", default_value_t = 500)]
    batch: usize,
    /// Which of its two times a line means whose hour came twice, where the order of the lines does not tell
    /// (first or second) [default: such lines are refused]
    #[arg(long, value_name = "PASS")]
    repeated_hour: Option<Pass>,
    /// Where to remember how far it came [default: a file for this hub, sensor, type and files in
    /// $XDG_STATE_HOME/iot-hub/feeder or ~/.local/state/iot-hub/feeder]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Forgets how far an earlier run came and begins again
    #[arg(long)]
    restart: bool,
    /// How long to try again while the hub is busy or out of reach
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1h")]
    give_up_after: Duration,
    /// Shows no progress
    #[arg(long)]
    quiet: bool,
    /// CSV files, in the order of their readings
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl ReplayArguments {
    /// Says it in the library's terms.
    pub fn into_options(self, stop: Stop) -> replay::Options {
        let pace = match (self.speed, self.as_fast_as_possible) {
            (Some(speed), _) => Pace::Speed(speed),
            (None, true) => Pace::AsFastAsPossible,
            (None, false) => Pace::Every(self.every.unwrap_or(Duration::from_secs(10))),
        };
        replay::Options {
            hub: self.hub,
            sensor: self.sensor,
            sensor_type: self.sensor_type,
            files: self.files,
            pace,
            batch: self.batch,
            repeated_hour: self.repeated_hour,
            state: self.state,
            restart: self.restart,
            give_up_after: self.give_up_after,
            quiet: self.quiet,
            stop,
        }
    }
}

/// The arguments of `feeder simulate`.
#[derive(Debug, Args)]
pub struct SimulateArguments {
    /// The type of the sensors
    #[arg(long = "type", value_name = "TYPE")]
    sensor_type: String,
    /// How many sensors
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    sensors: u32,
    /// The hub
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    hub: String,
    /// Readings of each sensor per time (1/s, 4/m, 1/15m) [default: one per sampling interval of the type]
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// How long; of phenomenon time with --as-fast-as-possible [default: until stopped]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Posts without waiting; phenomenon times still advance by the rate
    #[arg(long, requires = "duration", conflicts_with = "backfill")]
    as_fast_as_possible: bool,
    /// First posts this much history as fast as possible, one reading per sampling interval of the type, up to now
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "start")]
    backfill: Option<Duration>,
    /// The first phenomenon time, RFC 3339 [default: now; 2020-01-01T00:00:00Z with --as-fast-as-possible, earlier when the
    /// run would otherwise end in the future]
    #[arg(long, value_name = "TIME")]
    start: Option<Timestamp>,
    /// Readings per post
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    batch: usize,
    /// Connections, each with its share of the sensors; no more than sensors
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    connections: usize,
    /// Where chance begins
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Faults and how likely each is per value (spikes, missing, drift: one that begins) or per reading (outages: one that
    /// begins), as spikes=0.001,outages=0.0001,missing=0.001,drift=0.0001 [default: none]
    #[arg(long, value_name = "RATES")]
    faults: Option<Faults>,
    /// What the sensors' ids begin with; a number from 1 follows [default: TYPE-sim]
    #[arg(long, value_name = "TEXT")]
    sensor_prefix: Option<String>,
    /// Registers each sensor with name, place (near 53.8, -2.9) and group before its first reading
    #[arg(long)]
    register: bool,
    /// The group they are registered in
    #[arg(long, value_name = "GROUP", default_value = "simulated", requires = "register")]
    group: String,
    /// How long to try again while the hub is busy or out of reach
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1m")]
    give_up_after: Duration,
    /// How long to wait at the end until everything is queryable
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1m")]
    settle_timeout: Duration,
    /// Writes the report as JSON too
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
    /// Shows no progress
    #[arg(long)]
    quiet: bool,
}

impl SimulateArguments {
    /// Says it in the library's terms.
    pub fn into_options(self, stop: Stop) -> anyhow::Result<simulate::Options> {
        let interval = self.rate.map(Rate::interval);
        let (backfill, live) = match (self.as_fast_as_possible, self.duration, self.backfill) {
            (true, Some(span), _) => (Some(Backfill { start: self.start, span, interval }), None),
            (true, None, _) => bail!("duration: --as-fast-as-possible needs one"),
            (false, duration, history) => {
                let history = history.map(|span| Backfill { start: Some(before_now(span)), span, interval: None });
                (history, Some(Live { start: self.start, every: interval, duration }))
            }
        };
        // An id belongs to one type in the whole hub, so simulations of two types must not share ids.
        let sensor_prefix = self.sensor_prefix.unwrap_or_else(|| format!("{}-sim", self.sensor_type));
        Ok(simulate::Options {
            hub: self.hub,
            sensor_type: self.sensor_type,
            sensors: self.sensors,
            sensor_prefix,
            backfill,
            live,
            batch: self.batch,
            connections: self.connections,
            seed: self.seed,
            faults: self.faults.unwrap_or_default(),
            registration: self.register.then(|| Registration { group: self.group, ..Registration::default() }),
            give_up_after: self.give_up_after,
            settle_timeout: self.settle_timeout,
            quiet: self.quiet,
            backfilled: None,
            stop,
        })
    }
}

fn before_now(span: Duration) -> Timestamp {
    Timestamp::now().checked_sub(span).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn options(arguments: &str) -> anyhow::Result<simulate::Options> {
        let line = format!("feeder simulate --type power {arguments}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Command::Simulate(arguments) => arguments.into_options(Stop::default()),
            Command::Replay(_) => bail!("not a simulation"),
        }
    }

    #[test]
    fn paced_run_has_no_backfill_unless_asked_for() {
        let paced = options("--rate 4/s --duration 60s").expect("valid");
        let every = Some(Duration::from_millis(250));
        assert_eq!(paced.live, Some(Live { start: None, every, duration: Some(Duration::from_secs(60)) }));
        assert_eq!(paced.backfill, None);
        let fast = options("--rate 4/s --duration 60s --as-fast-as-possible").expect("valid");
        assert_eq!(fast.backfill, Some(Backfill { start: None, span: Duration::from_secs(60), interval: every }));
        assert_eq!(fast.live, None);
        let both = options("--backfill 30d --rate 1/5s").expect("valid");
        assert_eq!(both.backfill.expect("history").interval, None);
        assert_eq!(both.live.expect("live").every, Some(Duration::from_secs(5)));
    }

    #[test]
    fn contradictions_are_refused() {
        for arguments in ["--as-fast-as-possible", "--rate 0/s", "--group a", "--faults spikes=2", "--start yesterday"]
        {
            assert!(options(arguments).is_err(), "{arguments}");
        }
    }
}

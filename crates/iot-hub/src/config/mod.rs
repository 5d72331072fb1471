//! The configuration of the hub: `default.toml`, laid over by a file, the environment and flags, then checked as a whole.
//!
//! **Invariant:** a [`Config`] is valid; every fault of all layers is reported at once, with key, value, rule and source.

#[cfg(feature = "distributed")]
mod distributed;
mod fields;
mod layers;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, time::Duration};

use toml::Value;
use tracing_subscriber::EnvFilter;

use fields::Fields;
pub use layers::{Layers, Source};

/// The commented defaults: what holds where nobody says otherwise, the reference of all keys, and an example.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// What the hub runs by.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the log and the store are, and what they go by.
    pub backends: backends::Settings,
    /// Where the bound address is written to.
    pub address_file: Option<PathBuf>,
    /// A folder of sensor types.
    pub sensor_types: Option<PathBuf>,
    /// What the registry goes by.
    pub registry: registry::Settings,
    /// What the REST API goes by.
    pub http: ingest_api::Config,
    /// What quality control goes by.
    pub qc: qc_consumer::Config,
    /// Whether the hub with every service looks for anomalies.
    pub detects: bool,
    /// What detection goes by, but for its name and its shares.
    pub detection: ad_jobs::schedule::Config,
    /// What is said on standard error.
    pub tracing: Tracing,
}

/// What the hub says on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// Which lines, in the words of `tracing-subscriber`'s filters.
    pub filter: String,
    /// For whom.
    pub format: Format,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// One fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    key: String,
    value: Option<String>,
    rule: String,
    source: Source,
}

impl Fault {
    fn new(key: &str, source: Source, rule: &str) -> Self {
        Self { key: key.to_owned(), value: None, rule: rule.to_owned(), source }
    }

    fn with_value(self, value: &Value) -> Self {
        Self { value: Some(value.to_string()), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " of `{value}`")?;
        }
        write!(f, ": {} ({})", self.rule, self.source)
    }
}

/// All faults of a configuration, one a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration can't be used:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}

/// How long requests in flight may take when the hub stops; quality control needs its share of the ten seconds, too.
const REQUESTS_GRACE: Duration = Duration::from_secs(4);

/// Why a hub that others can reach must be asked for.
const OFF_LOOPBACK: &str = "other machines could reach this address, and without access keys everybody who does may read, \
    write and delete; listen on 127.0.0.1, or give `--allow-anonymous` where the network itself keeps strangers out";

/// What hosts look like.
const HOSTS_RULE: &str =
    "must be names and addresses without ports, separated by commas, such as \"hub.example.org, 192.168.1.5\"";

impl Config {
    /// Checks all layers together.
    ///
    /// # Errors
    /// [`Faults`]: every one of them.
    pub fn validate(mut layers: Layers) -> Result<Self, Faults> {
        let layer_faults = layers.take_faults();
        let mut fields = Fields::new(&layers, layer_faults);
        let (backends, address_file) = backends(&mut fields);
        let config = Self {
            backends,
            address_file: fields.path("http.address_file").or(address_file),
            sensor_types: fields.path("registry.sensor_types"),
            registry: registry::Settings {
                sensors_max: fields.count("registry.sensors_max", 1..=10_000_000),
                sensors_reserved: fields.count("registry.sensors_reserved", 0..=10_000_000),
                first_readings_per_minute: fields.count("registry.first_readings_per_minute", 1..=100_000_000),
            },
            http: http(&mut fields),
            qc: qc_consumer::Config {
                records_max: fields.count("qc.records_max", 1..=1_000_000),
                ..qc_consumer::Config::default()
            },
            detects: fields.boolean("detection.enabled"),
            detection: detection(&mut fields),
            tracing: tracing(&mut fields),
        };
        match fields.into_faults() {
            faults if faults.is_empty() => Ok(config),
            faults => Err(Faults(faults)),
        }
    }
}

/// Where log and store are, and the file for the bound address that goes with them.
fn backends(fields: &mut Fields<'_>) -> (backends::Settings, Option<PathBuf>) {
    let is_distributed = fields.text("backends.stack", "must be \"embedded\" or \"distributed\"", |text| match text {
        "embedded" => Some(false),
        "distributed" => Some(true),
        _ => None,
    });
    if is_distributed == Some(true) {
        #[cfg(feature = "distributed")]
        return (distributed::backends(fields), None);
        #[cfg(not(feature = "distributed"))]
        fields.refuse(
            "backends.stack",
            "this program was built without that stack: build it with `--features distributed`",
        );
    }
    let folder = fields.path("data.folder");
    if folder.is_none() {
        fields.refuse("data.folder", "must name the data folder: `iot-hub serve --data DIR`");
    }
    let folder = folder.unwrap_or_default();
    let address_file = folder.join("address");
    (backends::Settings::Embedded { folder, settings: bounds(fields) }, Some(address_file))
}

fn bounds(fields: &mut Fields<'_>) -> embedded::Settings {
    embedded::Settings {
        log_retention: fields.duration("log.retention", ["1m", "3650d"]),
        log_size_max: fields.size("log.size_max", ["16MiB", "1PiB"]),
        disk_reserve: fields.size("data.disk_reserve", ["1MiB", "1TiB"]),
        ..embedded::Settings::default()
    }
}

fn http(fields: &mut Fields<'_>) -> ingest_api::Config {
    let listen = fields.address("http.listen");
    if !fields.boolean("http.allow_anonymous") && !listen.ip().is_loopback() {
        fields.refuse("http.listen", OFF_LOOPBACK);
    }
    let hosts = fields.text("http.hosts", HOSTS_RULE, |text| {
        let named = text.split(',').map(str::trim).filter(|host| !host.is_empty());
        named.map(ingest_api::Host::parse).collect::<Option<Vec<_>>>()
    });
    let body_size_max = fields.size("http.body_size_max", ["1KiB", "64MiB"]);
    let workers = match fields.count("http.workers", 0..=256) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let body_size_max = usize::try_from(body_size_max).expect("at most 64 MiB");
    let consumer_group = qc_consumer::GROUP.to_owned();
    let stop_grace = REQUESTS_GRACE;
    let hosts = hosts.unwrap_or_default();
    let defaults = ingest_api::Config::default();
    ingest_api::Config { listen, hosts, body_size_max, workers, consumer_group, stop_grace, ..defaults }
}

fn detection(fields: &mut Fields<'_>) -> ad_jobs::schedule::Config {
    ad_jobs::schedule::Config {
        every: fields.duration("detection.every", ["1s", "1d"]),
        grace: fields.duration("detection.grace", ["1s", "1h"]),
        lease: fields.duration("detection.lease", ["3s", "1h"]),
        ..ad_jobs::schedule::Config::new("", qc_consumer::GROUP)
    }
}

fn tracing(fields: &mut Fields<'_>) -> Tracing {
    let filter =
        fields.text("tracing.filter", "must be a level or a list such as \"info,qc_consumer=debug\"", |text| {
            EnvFilter::try_new(text).ok().map(|_| text.to_owned())
        });
    let format = fields.text("tracing.format", "must be \"human\" or \"json\"", |text| match text {
        "human" => Some(Format::Human),
        "json" => Some(Format::Json),
        _ => None,
    });
    Tracing { filter: filter.unwrap_or_default(), format: format.unwrap_or(Format::Human) }
}

/// A path as the text of a key.
///
/// # Errors
/// Where it is not UTF-8.
pub fn text_of(path: PathBuf) -> anyhow::Result<String> {
    let text = path.into_os_string().into_string();
    text.map_err(|path| anyhow::anyhow!("path `{}` is not UTF-8; choose another name", path.display()))
}

//! The flags that every program with services takes.

use std::path::PathBuf;

use clap::Args;
use toml::Value;

use crate::config::{Layers, text_of};

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

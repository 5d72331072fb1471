//! What the hub says on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{Format, Tracing};

/// Starts to write log lines; a second call in one process changes nothing.
pub fn start(settings: &Tracing) {
    let filter = EnvFilter::new(&settings.filter);
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let started = match settings.format {
        Format::Human => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    drop(started);
}

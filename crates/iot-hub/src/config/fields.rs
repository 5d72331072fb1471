//! Typed values out of the layers, every fault kept for one report.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use toml::Value;

use super::{
    Fault,
    layers::{Given, Layers},
};

/// Reads keys one after the other; a faulty one answers some value and is remembered.
pub(super) struct Fields<'a> {
    layers: &'a Layers,
    faults: Vec<Fault>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(layers: &'a Layers, faults: Vec<Fault>) -> Self {
        Self { layers, faults }
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// A size such as `16MiB`, from the first bound to the second.
    pub(super) fn size(&mut self, key: &str, [low, high]: [&str; 2]) -> u64 {
        let parse = |text: &str| text.parse::<ByteSize>().ok();
        let range = parse(low)..=parse(high);
        let rule = format!("must be a size from \"{low}\" to \"{high}\"");
        let size = self.text(key, &rule, |text| parse(text).filter(|size| range.contains(&Some(*size))));
        size.unwrap_or_default().as_u64()
    }

    /// A duration such as `15m`, from the first bound to the second.
    pub(super) fn duration(&mut self, key: &str, [low, high]: [&str; 2]) -> Duration {
        let parse = |text: &str| humantime::parse_duration(text).ok();
        let range = parse(low)..=parse(high);
        let rule = format!("must be a duration from \"{low}\" to \"{high}\"");
        let duration = self.text(key, &rule, |text| parse(text).filter(|duration| range.contains(&Some(*duration))));
        duration.unwrap_or_default()
    }

    /// A whole number.
    pub(super) fn count(&mut self, key: &str, range: RangeInclusive<usize>) -> usize {
        let rule = format!("must be a whole number from {} to {}", range.start(), range.end());
        let parse = |value: &Value| usize::try_from(value.as_integer()?).ok().filter(|count| range.contains(count));
        self.read(key, &rule, parse).unwrap_or_default()
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &str) -> bool {
        self.read(key, "must be true or false", Value::as_bool).unwrap_or_default()
    }

    /// Address and port.
    pub(super) fn address(&mut self, key: &str) -> SocketAddr {
        let rule = "must be an address and a port such as \"127.0.0.1:8080\"";
        self.read(key, rule, |value| value.as_str()?.parse().ok()).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// A path; `None` for the empty text.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.read(key, "must be a path as a text", |value| value.as_str().map(PathBuf::from))?;
        (!path.as_os_str().is_empty()).then_some(path)
    }

    /// Says whether a key has the empty text: not given.
    #[cfg(feature = "distributed")]
    pub(super) fn is_empty(&self, key: &str) -> bool {
        self.layers.is_empty(key)
    }

    /// What a file says, without the line's end; `None` for the empty path.
    #[cfg(feature = "distributed")]
    pub(super) fn secret(&mut self, key: &str) -> Option<String> {
        let path = self.path(key)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                self.refuse(key, &format!("must name a file that can be read: {error}"));
                None
            }
        }
    }

    /// A text that `parse` takes, by a rule in words.
    pub(super) fn text<T>(&mut self, key: &str, rule: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.read(key, rule, |value| parse(value.as_str()?))
    }

    /// Refuses a value for what it means beside another.
    pub(super) fn refuse(&mut self, key: &str, rule: &str) {
        let Given { value, source } = self.layers.get(key);
        self.faults.push(Fault::new(key, source.clone(), rule).with_value(value));
    }

    fn read<T>(&mut self, key: &str, rule: &str, parse: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let parsed = parse(&self.layers.get(key).value);
        if parsed.is_none() {
            self.refuse(key, rule);
        }
        parsed
    }
}

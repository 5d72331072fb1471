//! Layers of configuration: defaults, file, environment and flags, each value with the place it came from.
//!
//! **Invariant:** only keys of `default.toml` pass; the last layer that gives a key wins.

use std::{collections::BTreeMap, ffi::OsString, fmt, path::Path};

use toml::Value;

use super::Fault;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `default.toml`, embedded in the program.
    Default,
    /// A file, by its path.
    File(String),
    /// An environment variable, by its name.
    Environment(String),
    /// A flag, by its name with dashes.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file `{path}`"),
            Self::Environment(name) => write!(f, "environment variable `{name}`"),
            Self::Flag(name) => write!(f, "flag `{name}`"),
        }
    }
}

/// One value with its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The value as written.
    pub value: Value,
    /// Who wrote it.
    pub source: Source,
}

/// All keys, `section.key`, with the value that counts.
#[derive(Debug, Clone)]
pub struct Layers {
    values: BTreeMap<String, Given>,
    faults: Vec<Fault>,
}

/// Start of the environment variables that are ours.
const ENVIRONMENT_PREFIX: &str = "IOT_HUB_";

impl Layers {
    /// The defaults.
    pub fn defaults() -> Self {
        let table = super::DEFAULT_TOML.parse().expect("the embedded default.toml is tested to parse");
        let values = flatten(table).map(|(key, value)| (key, Given { value, source: Source::Default })).collect();
        Self { values, faults: Vec::new() }
    }

    /// Lays a file over it.
    pub fn add_file(&mut self, path: &Path) {
        let source = Source::File(path.display().to_string());
        let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
        match read.and_then(|text| text.parse::<toml::Table>().map_err(|error| error.to_string())) {
            Ok(table) => flatten(table).for_each(|(key, value)| self.add(&key, value, source.clone())),
            Err(error) => self.faults.push(Fault::new("configuration", source, error.trim())),
        }
    }

    /// Lays the environment over it, without variables that are no text: none of ours is.
    pub fn add_environment(&mut self) {
        let texts = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        self.add_variables(std::env::vars_os().filter_map(texts));
    }

    /// Lays variables over it; names that do not start with `IOT_HUB_` are not ours.
    pub fn add_variables(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let key = rest.to_lowercase().replacen("__", ".", 1);
            let value = self.like_default(&key, text);
            self.add(&key, value, Source::Environment(name));
        }
    }

    /// Lays a flag over it.
    pub fn add_flag(&mut self, key: &str, value: Value, flag: &'static str) {
        self.add(key, value, Source::Flag(flag));
    }

    /// All keys in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.values.iter().map(|(key, given)| (key.as_str(), given))
    }

    /// Says whether a key has the empty text: not given.
    pub fn is_empty(&self, key: &str) -> bool {
        self.get(key).value.as_str() == Some("")
    }

    /// The value of a key of `default.toml`.
    pub(super) fn get(&self, key: &str) -> &Given {
        self.values.get(key).unwrap_or_else(|| panic!("`{key}` is in default.toml"))
    }

    /// What was wrong with the layers themselves.
    pub(super) fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    fn add(&mut self, key: &str, value: Value, source: Source) {
        if let Some(slot) = self.values.get_mut(key) {
            *slot = Given { value, source };
            return;
        }
        let rule = match nearest(key, self.values.keys().map(String::as_str)) {
            Some(known) => format!("unknown key; did you mean `{known}`?"),
            None => "unknown key; `iot-hub config` lists all keys".to_owned(),
        };
        self.faults.push(Fault::new(key, source, &rule));
    }

    /// Reads a text from the environment as the kind of value that the default is; left a text where it is none.
    fn like_default(&self, key: &str, text: String) -> Value {
        let parsed = match self.values.get(key).map(|given| &given.value) {
            Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
            Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
            _ => None,
        };
        parsed.unwrap_or(Value::String(text))
    }
}

/// The leaves of a table under dotted keys.
fn flatten(table: toml::Table) -> impl Iterator<Item = (String, Value)> {
    table.into_iter().flat_map(|(section, value)| match value {
        Value::Table(inner) => inner.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)).collect(),
        leaf => vec![(section, leaf)],
    })
}

/// The known key that looks most like `key`, if any looks like it.
fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LIKENESS_MIN: f64 = 0.6;
    known
        .map(|candidate| (strsim::normalized_damerau_levenshtein(key, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

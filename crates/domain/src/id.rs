//! Ids of sensors, sensor types and observed properties: cheap to clone, valid by construction.

use std::{borrow::Borrow, fmt, marker::PhantomData, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What distinguishes one kind of id from another: its name in messages, its grammar and the ids nobody may take.
pub trait IdKind {
    /// The thing the id names, for messages: `sensor id`.
    const WHAT: &'static str;
    /// The grammar in words, for messages.
    const RULE: &'static str;
    /// Says whether the bytes follow the grammar and are not reserved.
    fn allows(text: &[u8]) -> bool;
}

/// Marks ids of sensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SensorKind {}
/// Marks ids of sensor types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SensorTypeKind {}
/// Marks ids of observed properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PropertyKind {}

impl IdKind for SensorKind {
    const WHAT: &'static str = "sensor id";
    const RULE: &'static str = "a letter or digit, then up to 127 of letters, digits, `.`, `_`, `:` and `-`";

    fn allows(text: &[u8]) -> bool {
        matches!(text, [first, rest @ ..] if first.is_ascii_alphanumeric() && rest.len() <= 127
            && rest.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-')))
    }
}

/// First path segments that routes use, so that no sensor type can shadow them at `POST /{sensor_type}`.
const ROUTES: [&[u8]; 6] = [b"v1", b"docs", b"health", b"metrics", b"openapi", b"api"];

impl IdKind for SensorTypeKind {
    const WHAT: &'static str = "sensor type id";
    const RULE: &'static str =
        "a lower-case letter, then up to 62 of lower-case letters, digits and `-`, and not the name of a route";

    fn allows(text: &[u8]) -> bool {
        matches!(text, [first, rest @ ..] if first.is_ascii_lowercase() && rest.len() <= 62
            && rest.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-'))
            && !ROUTES.contains(&text)
    }
}

/// Field names of a reading and its answers that no property may take.
const FIELDS: [&[u8]; 8] =
    [b"sensor_id", b"phenomenon_time", b"qc", b"flags", b"date", b"time", b"accepted_at", b"type_version"];

impl IdKind for PropertyKind {
    const WHAT: &'static str = "property id";
    const RULE: &'static str = "a lower-case letter, then up to 62 of lower-case letters, digits and `_`, not ending in `_flag` and not the name of a field of a reading";

    fn allows(text: &[u8]) -> bool {
        matches!(text, [first, rest @ ..] if first.is_ascii_lowercase() && rest.len() <= 62
            && rest.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_'))
            && !text.ends_with(b"_flag")
            && !FIELDS.contains(&text)
    }
}

/// A valid id of kind `K`; cloning copies a pointer. Ordered by its bytes.
pub struct Id<K>(Arc<str>, PhantomData<fn() -> K>);

/// Id of one device, unique in the hub: `[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`.
pub type SensorId = Id<SensorKind>;
/// Id of a kind of sensor: `[a-z][a-z0-9-]{0,62}`.
pub type SensorTypeId = Id<SensorTypeKind>;
/// Id of an observed property within its sensor type: `[a-z][a-z0-9_]{0,62}`.
pub type PropertyId = Id<PropertyKind>;

/// A text that is no id: says which kind was wanted, what was given and the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{given}` is not allowed: {rule}")]
pub struct InvalidId {
    /// The kind of id that was wanted.
    pub what: &'static str,
    /// The text, escaped and cut to 80 characters.
    pub given: String,
    /// The grammar in words.
    pub rule: &'static str,
}

impl<K: IdKind> Id<K> {
    /// Takes a text for an id.
    ///
    /// # Errors
    /// [`InvalidId`] where the text does not follow the kind's grammar or is reserved.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if K::allows(text.as_bytes()) {
            return Ok(Self(text.into(), PhantomData));
        }
        let mut given: String = text.chars().take(80).flat_map(char::escape_debug).collect();
        if text.chars().nth(80).is_some() {
            given.push('…');
        }
        Err(InvalidId { what: K::WHAT, given, rule: K::RULE })
    }
}

impl<K> Id<K> {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<K> Borrow<str> for Id<K> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, K: IdKind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_their_grammar() {
        for good in ["emb3", "A", "0:x.y_z-1", &"a".repeat(128)] {
            assert!(SensorId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a/b", "a b", "é", "a\0", "a\n", &"a".repeat(129)] {
            assert!(SensorId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(SensorTypeId::parse("emb-qartod").is_ok());
        for bad in ["", "Emb", "1a", "a_b", "v1", "metrics", &"a".repeat(64)] {
            assert!(SensorTypeId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(PropertyId::parse("water_level").is_ok());
        for bad in ["qc", "flags", "sensor_id", "ph_flag", "pH", "a-b"] {
            assert!(PropertyId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn refusal_of_a_huge_id_is_short_and_printable() {
        let error = SensorId::parse(&"\u{1b}".repeat(10_000)).expect_err("control characters are no id");
        assert!(error.to_string().len() < 1_000 && !error.to_string().contains('\u{1b}'));
    }
}

//! Where Elasticsearch is, who we are to it, how indices are made, and the bounds of what is asked of it.

use std::{fmt, time::Duration};

use super::period::Period;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Who we are to Elasticsearch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Access {
    /// Nobody: security is off.
    #[default]
    Anonymous,
    /// A user of a realm that takes passwords.
    Password {
        /// Its name.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// An API key in its encoded form: base64 of id and key.
    ApiKey(Secret),
}

/// What a store on Elasticsearch goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Addresses of nodes, asked in turn: `https://host:9200`.
    pub urls: Vec<String>,
    /// Who we are.
    pub access: Access,
    /// PEM certificates of the authorities that signed the nodes' certificates; the well-known ones if `None`.
    pub authorities: Option<Vec<u8>>,
    /// Goes before every name of an index, an alias and a template, so that several hubs can share one cluster.
    pub index_prefix: String,
    /// How much time an index holds; of a type that is there, the one that it was made with stays.
    pub period: Period,
    /// Primary shards of a new index.
    pub shards: u16,
    /// Copies of each shard.
    pub replicas: u16,
    /// The most documents in one bulk request.
    pub bulk_rows_max: usize,
    /// About the most bytes in one bulk request; below `http.max_content_length` of the servers.
    pub bulk_size_max: usize,
    /// The most bulk requests under way at once, over all writes.
    pub bulks_in_flight_max: usize,
    /// The most rows in one page of a search; at most 10,000, as `index.max_result_window` says.
    pub page_rows_max: usize,
    /// About the most bytes in one page of a search.
    pub page_size_max: usize,
    /// How long the servers keep a scan's point in time while nobody asks for its next page.
    pub scan_keep_alive: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How long a call tries again before it gives up with `Unavailable`.
    pub retry_for: Duration,
    /// The first pause before trying again; it doubles.
    pub retry_pause: Duration,
    /// The longest pause.
    pub retry_pause_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            urls: vec!["http://127.0.0.1:9200".to_owned()],
            access: Access::Anonymous,
            authorities: None,
            index_prefix: String::new(),
            period: Period::Year,
            shards: 1,
            replicas: 1,
            // A sixteenth of what quality control hands over at the most: no request is left over for which the others have to be waited.
            bulk_rows_max: 2_048,
            bulk_size_max: 4 << 20,
            bulks_in_flight_max: 4,
            page_rows_max: 10_000,
            page_size_max: 8 << 20,
            scan_keep_alive: Duration::from_secs(120),
            request_timeout: Duration::from_secs(30),
            retry_for: Duration::from_secs(15),
            retry_pause: Duration::from_millis(50),
            retry_pause_max: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let access = Access::Password { user: "hub".to_owned(), password: Secret::new("sesame") };
        let settings = Settings { access, ..Settings::default() };
        assert!(!format!("{settings:?}").contains("sesame"));
    }
}

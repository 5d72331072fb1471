//! Requests to Elasticsearch: sent, tried again within a bound, and their failures by what the caller does about them.
//!
//! **Invariant:** every request may be sent twice; those that change something are written so that the second time changes nothing.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use elasticsearch::{
    Error,
    auth::Credentials,
    cert::{Certificate, CertificateValidation},
    http::{
        Method, StatusCode, Url,
        headers::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
        transport::{MultiNodeConnectionPool, Transport, TransportBuilder},
    },
};
use ports::{ErrorKind, PortError};
use serde::Deserialize;
use tokio::time::Instant;

use super::settings::{Access, Settings};

/// Header that Elasticsearch names itself in; what is compatible with it does not.
const PRODUCT: &str = "x-elastic-product";
/// The most characters of an answer that go into a message.
const REASON_MAX: usize = 500;

/// What is to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path with its query.
    pub(crate) path: String,
    pub(crate) body: Option<Bytes>,
}

impl Request {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: None }
    }

    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        Self { body: Some(body.to_string().into()), ..self }
    }

    pub(crate) fn body(self, body: Vec<u8>) -> Self {
        Self { body: Some(body.into()), ..self }
    }
}

/// What the caller does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Try again later: no answer, too busy, starting.
    Away,
    /// A person must make room on the servers' disks.
    DiskFull,
    /// A person must let the servers have more shards, or take some away.
    ShardsFull,
    /// What was named is not there.
    Missing,
    /// The document is there already, or has changed.
    Changed,
    /// A person must give us the right to do this.
    Forbidden,
    /// The request itself is wrong.
    Refused,
}

/// A failure of one request or of one of its items.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// The type that Elasticsearch gives it; empty where it gave none.
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// The error of an answer, or of one item of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Cause {
    #[serde(rename = "type", default)]
    name: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    caused_by: Option<Box<Cause>>,
    #[serde(default)]
    root_cause: Vec<Cause>,
}

impl Fault {
    /// The failure that a status and its cause stand for.
    pub(crate) fn of(status: u16, cause: Option<Cause>) -> Self {
        let cause =
            cause.unwrap_or(Cause { name: String::new(), reason: None, caused_by: None, root_cause: Vec::new() });
        let mut reason = cause.reason.clone().unwrap_or_else(|| format!("status `{status}`"));
        let deeper = cause.caused_by.as_deref().or(cause.root_cause.first()).and_then(|cause| cause.reason.as_deref());
        if let Some(deeper) = deeper.filter(|deeper| !reason.contains(deeper)) {
            reason = format!("{reason}: {deeper}");
        }
        let is_block = cause.name == "cluster_block_exception";
        let kind = match status {
            _ if is_block && (reason.contains("flood-stage") || reason.contains("read-only")) => FaultKind::DiskFull,
            _ if is_block => FaultKind::Away,
            400 if is_about_shards(&cause.name, &reason) => FaultKind::ShardsFull,
            401 | 403 => FaultKind::Forbidden,
            404 => FaultKind::Missing,
            409 => FaultKind::Changed,
            408 | 429 | 500.. => FaultKind::Away,
            _ => FaultKind::Refused,
        };
        Self { kind, name: cause.name, reason: reason.chars().take(REASON_MAX).collect() }
    }

    pub(crate) fn away(reason: String) -> Self {
        Self { kind: FaultKind::Away, name: String::new(), reason }
    }

    /// The failure as the port says it; `doing` is for the message: `writing readings`.
    pub(crate) fn while_doing(&self, doing: &str) -> PortError {
        let kind = match self.kind {
            FaultKind::Away | FaultKind::Forbidden | FaultKind::Changed => ErrorKind::Unavailable,
            FaultKind::DiskFull => ErrorKind::DiskFull,
            FaultKind::ShardsFull => ErrorKind::Full,
            FaultKind::Missing => ErrorKind::NotFound,
            FaultKind::Refused => ErrorKind::Rejected,
        };
        PortError::new(kind, format!("{doing} in Elasticsearch: {}", self.reason))
    }
}

/// Says whether a refusal is that of `cluster.max_shards_per_node`.
fn is_about_shards(name: &str, reason: &str) -> bool {
    name == "validation_exception" && reason.contains("maximum") && reason.contains("shards open")
}

/// What Elasticsearch answered with success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    /// Whether the server called itself Elasticsearch.
    pub(crate) is_elasticsearch: bool,
}

impl Answer {
    /// The answer as JSON.
    pub(crate) fn json<'a, T: Deserialize<'a>>(&'a self, doing: &str) -> Result<T, PortError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            PortError::new(ErrorKind::Unavailable, format!("{doing}: an answer that makes no sense")).with_source(error)
        })
    }
}

/// Sends requests; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    transport: Transport,
    timeout: Duration,
    retry_for: Duration,
    pauses: Pauses,
}

/// Pauses before trying again: they double, and differ at random, so that many who fail together do not come back together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.next.mul_f64(rand::random_range(0.5..=1.0))).await;
        self.next = (self.next * 2).min(self.longest);
    }
}

impl Client {
    /// A client of the servers that the settings name; sends nothing yet.
    pub(crate) fn new(settings: &Settings) -> Result<Self, PortError> {
        let wrong = |what: String| PortError::new(ErrorKind::Rejected, what);
        let parse = |url: &String| Url::parse(url).map_err(|error| wrong(format!("`{url}` is no address: {error}")));
        let urls = settings.urls.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if urls.iter().any(|url| !url.username().is_empty() || url.password().is_some()) {
            return Err(wrong(
                "an address of Elasticsearch holds a user: addresses are shown, users and passwords are settings"
                    .to_owned(),
            ));
        }
        if urls.is_empty() {
            return Err(wrong("no address of an Elasticsearch is given".to_owned()));
        }
        let mut builder = TransportBuilder::new(MultiNodeConnectionPool::round_robin(urls, None)).disable_proxy();
        match &settings.access {
            Access::Anonymous => {}
            Access::Password { user, password } => {
                builder = builder.auth(Credentials::Basic(user.clone(), password.reveal().to_owned()));
            }
            Access::ApiKey(key) => builder = builder.auth(Credentials::EncodedApiKey(key.reveal().to_owned())),
        }
        if let Some(pem) = &settings.authorities {
            let authorities =
                Certificate::from_pem(pem).map_err(|error| wrong(format!("certificate authorities: {error}")))?;
            builder = builder.cert_validation(CertificateValidation::Full(authorities));
        }
        let transport = builder.build().map_err(|error| wrong(format!("settings of Elasticsearch: {error}")))?;
        let pauses = Pauses { next: settings.retry_pause, longest: settings.retry_pause_max };
        Ok(Self { transport, timeout: settings.request_timeout, retry_for: settings.retry_for, pauses })
    }

    /// Fresh pauses, and when to give up.
    pub(crate) fn patience(&self) -> (Pauses, Instant) {
        (self.pauses, Instant::now() + self.retry_for)
    }

    /// Sends a request, again and again where the servers are away, within the bound.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Fault> {
        let (mut pauses, until) = self.patience();
        loop {
            match self.send_once(request).await {
                Err(fault) if fault.kind == FaultKind::Away && Instant::now() < until => {
                    tracing::debug!(path = request.path, reason = fault.reason, "Elasticsearch is away; trying again");
                    pauses.pause().await;
                }
                answer => return answer,
            }
        }
    }

    /// Sends a request once.
    pub(crate) async fn send_once(&self, request: &Request) -> Result<Answer, Fault> {
        let mut headers = HeaderMap::new();
        // Packing answers costs more than a local network does.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if request.path.contains("/_bulk") {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        }
        let (path, body) = (request.path.as_str(), request.body.clone());
        let sent = self.transport.send(request.method, path, headers, None::<&()>, body, Some(self.timeout)).await;
        let response = sent.map_err(|error| Fault::away(chain(&error)))?;
        let (status, is_elasticsearch) = (response.status_code(), response.headers().contains_key(PRODUCT));
        let body = response.bytes().await.map_err(|error| Fault::away(chain(&error)))?;
        if status.is_success() {
            return Ok(Answer { body, is_elasticsearch });
        }
        Err(fault(status, &body))
    }
}

fn fault(status: StatusCode, body: &[u8]) -> Fault {
    #[derive(Deserialize)]
    struct Refusal {
        error: Cause,
    }
    let cause = serde_json::from_slice::<Refusal>(body).ok().map(|refusal| refusal.error);
    Fault::of(status.as_u16(), cause)
}

/// An error with its causes: the library's own messages leave them out.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> FaultKind {
        fault(StatusCode::from_u16(status).expect("a status"), body.as_bytes()).kind
    }

    #[test]
    fn failures_are_known_by_what_to_do_about_them() {
        let error =
            |name: &str, reason: &str| format!(r#"{{"error":{{"type":"{name}","reason":"{reason}"}},"status":0}}"#);
        let full = "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];";
        assert_eq!(kind(429, &error("cluster_block_exception", full)), FaultKind::DiskFull);
        let starting = "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];";
        assert_eq!(kind(503, &error("cluster_block_exception", starting)), FaultKind::Away);
        assert_eq!(kind(429, &error("es_rejected_execution_exception", "full queue")), FaultKind::Away);
        assert_eq!(kind(502, "<html>a proxy</html>"), FaultKind::Away);
        assert_eq!(kind(401, "no"), FaultKind::Forbidden);
        assert_eq!(kind(404, &error("index_not_found_exception", "no such index")), FaultKind::Missing);
        let shards = "Validation Failed: 1: this action would add [1] shards, but this cluster currently has [9]/[9] maximum normal shards open;";
        assert_eq!(kind(400, &error("validation_exception", shards)), FaultKind::ShardsFull);
        assert_eq!(kind(400, &error("document_parsing_exception", "a text for a number")), FaultKind::Refused);
    }

    #[test]
    fn users_are_not_part_of_addresses() {
        let settings = Settings { urls: vec!["http://hub:sesame@127.0.0.1:9200".to_owned()], ..Settings::default() };
        let error = Client::new(&settings).expect_err("a password that would be shown");
        assert!(!error.to_string().contains("sesame"), "{error}");
    }

    #[test]
    fn messages_name_the_cause() {
        let body = r#"{"error":{"type":"a","reason":"all shards failed","caused_by":{"type":"b","reason":"too many buckets"}}}"#;
        let fault = fault(StatusCode::BAD_REQUEST, body.as_bytes());
        assert_eq!(
            fault.while_doing("searching").to_string(),
            "searching in Elasticsearch: all shards failed: too many buckets"
        );
    }
}

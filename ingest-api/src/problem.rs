//! Every error a client sees: RFC 9457 problem details, from one table of codes.
//!
//! **Invariant:** a client never sees an internal message; those go to the log of the process.

use std::{fmt, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ALLOW, CONTENT_TYPE, RETRY_AFTER},
    },
};
use domain::SensorTypeFault;
use ports::{ErrorKind, PortError};
use serde_json::{Map, Value, json};

/// Media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Kinds of problem; each has one status and one title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// A path, query or header that can't be understood.
    BadRequest,
    /// A body that can't be read to its end.
    Syntax,
    /// A change asked for by a page of another origin.
    ForeignOrigin,
    /// A request for a host that is not this service.
    Misdirected,
    /// What was named is not there.
    NotFound,
    /// The route does not take this method.
    MethodNotAllowed,
    /// None of the media types the client takes can be answered.
    NotAcceptable,
    /// The client was too slow.
    Timeout,
    /// What is there does not allow it.
    Conflict,
    /// A body beyond a bound.
    TooLarge,
    /// A media type or content coding the route does not read.
    UnsupportedMediaType,
    /// A body that is well formed but means nothing valid.
    Invalid,
    /// A bound on what one client may do.
    TooManyRequests,
    /// A fault of the hub.
    Internal,
    /// A backend or a bound says: later.
    Unavailable,
    /// The disk is full.
    DiskFull,
}

impl Code {
    /// Status and title.
    fn table(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "Bad request"),
            Self::Syntax => (StatusCode::BAD_REQUEST, "syntax", "The body can't be read"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign-origin", "Foreign origin"),
            Self::Misdirected => (StatusCode::MISDIRECTED_REQUEST, "misdirected", "Misdirected request"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable"),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout", "Timeout"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Conflict"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
            }
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid content"),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
            Self::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk-full", "The disk is full"),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.table().0
    }

    /// The last part of the problem's `type`.
    pub fn name(self) -> &'static str {
        self.table().1
    }

    /// The problem's `title`.
    pub fn title(self) -> &'static str {
        self.table().2
    }
}

/// An error as the client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem(Box<Content>);

#[derive(Debug, Clone, PartialEq)]
struct Content {
    code: Code,
    detail: String,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
    allow: Option<String>,
}

impl Problem {
    /// A problem and what is wrong in this case, in words for the client.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Content { code, detail: detail.into(), members: Map::new(), retry_after: None, allow: None }))
    }

    /// What is named by `what` (`sensor type`) and `id` is not there.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no {what} `{}`", printable(id)))
    }

    /// The query parameter (or path segment) `name` with this `value` breaks `rule`.
    pub fn parameter(name: &str, value: &str, rule: impl fmt::Display) -> Self {
        let value = printable(value);
        Self::new(Code::BadRequest, format!("parameter `{name}` = `{value}`: {rule}"))
            .with("parameter", name)
            .with("value", value)
    }

    /// A definition has these faults; the problem lists each.
    pub fn faults(code: Code, detail: impl Into<String>, faults: &[SensorTypeFault]) -> Self {
        let shown = |fault: &SensorTypeFault| json!({"key": fault.key, "value": fault.value, "rule": fault.rule});
        Self::new(code, detail).with("faults", faults.iter().map(shown).collect::<Vec<_>>())
    }

    /// The same with an extension member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// The same, telling the client when to try again (whole seconds, at least one).
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// The same with the methods that would be allowed.
    #[must_use]
    pub fn allow(mut self, methods: &str) -> Self {
        self.0.allow = Some(methods.to_owned());
        self
    }

    /// The kind of problem.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What is wrong, in words for the client.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The problem as JSON.
    pub fn to_json(&self) -> Value {
        let code = self.0.code;
        let mut object = Map::new();
        object.insert("type".to_owned(), json!(format!("urn:iot-hub:problem:{}", code.name())));
        object.insert("title".to_owned(), json!(code.title()));
        object.insert("status".to_owned(), json!(code.status().as_u16()));
        object.insert("detail".to_owned(), json!(self.0.detail));
        for (name, value) in &self.0.members {
            object.insert(name.clone(), value.clone());
        }
        Value::Object(object)
    }
}

/// A client's text for a message: cut to 80 characters, control characters escaped.
pub fn printable(text: &str) -> String {
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

/// The message of a reader, which may repeat what the client sent: cut to 500 characters, control characters replaced.
pub fn message(error: &impl fmt::Display) -> String {
    const MESSAGE_CHARS_MAX: usize = 500;
    let text = error.to_string();
    text.chars().take(MESSAGE_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((CONTENT_TYPE, MEDIA_TYPE));
        if let Some(after) = self.0.retry_after {
            response.insert_header((RETRY_AFTER, after.as_secs().max(1).to_string()));
        }
        if let Some(methods) = &self.0.allow {
            response.insert_header((ALLOW, methods.as_str()));
        }
        response.body(self.to_json().to_string())
    }
}

impl From<PortError> for Problem {
    /// The one table from a port's error to what the client sees. The cause is logged here, as the client must not see it.
    fn from(error: PortError) -> Self {
        let second = Duration::from_secs(1);
        match error.kind() {
            ErrorKind::Unavailable => {
                tracing::warn!(%error, "a backend is not available");
                Self::new(Code::Unavailable, "a backend of the hub is not available now; try again later")
                    .retry_after(second)
            }
            ErrorKind::Full => {
                tracing::debug!(%error, "a bound is reached");
                Self::new(Code::Unavailable, "the hub has as much waiting as it may hold; try again later")
                    .retry_after(second)
            }
            ErrorKind::DiskFull => {
                tracing::error!(%error, "the disk is full");
                Self::new(Code::DiskFull, "the hub's disk is full; nothing was stored").retry_after(30 * second)
            }
            ErrorKind::NotFound => {
                tracing::debug!(%error, "not found");
                Self::new(Code::NotFound, "what the request names is not there (any more)")
            }
            ErrorKind::Rejected => {
                tracing::debug!(%error, "refused");
                Self::new(Code::Invalid, "a backend of the hub refuses this request; it would refuse it again")
            }
            ErrorKind::Conflict => {
                tracing::debug!(%error, "conflict");
                Self::new(Code::Conflict, "somebody else changed this at the same time; look again, then decide")
            }
            ErrorKind::Corrupt => {
                tracing::error!(%error, "stored data can't be read");
                Self::new(Code::Internal, "a part of what is stored can't be read; the hub's operator must look at it")
            }
            ErrorKind::Failed => {
                tracing::error!(%error, "nothing can be written any more");
                Self::new(Code::Internal, "the hub can't write any more; its operator must start it again")
            }
        }
    }
}

impl From<actix_web::error::BlockingError> for Problem {
    fn from(_: actix_web::error::BlockingError) -> Self {
        Self::new(Code::Unavailable, "the hub is stopping").retry_after(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_error_does_not_show_its_cause() {
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::Full,
            ErrorKind::DiskFull,
            ErrorKind::NotFound,
            ErrorKind::Rejected,
            ErrorKind::Conflict,
            ErrorKind::Corrupt,
            ErrorKind::Failed,
        ] {
            let problem = Problem::from(PortError::new(kind, "secret").with_source("/var/lib/secret"));
            assert!(!problem.to_json().to_string().contains("secret"), "{problem:?}");
        }
    }

    #[test]
    fn retry_after_is_in_whole_seconds_and_at_least_one() {
        let problem = Problem::new(Code::Unavailable, "later").retry_after(Duration::from_millis(10));
        let response = problem.error_response();
        assert_eq!(response.headers().get(RETRY_AFTER).expect("a header"), "1");
        assert_eq!(response.headers().get(CONTENT_TYPE).expect("a header"), MEDIA_TYPE);
    }
}

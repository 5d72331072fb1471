//! A hub as a patient client sees it: a request is sent until it is answered, refused or given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::http::{Connection, Endpoint, Reply, Request};
use crate::retry::{Backoff, Verdict, judge};
use crate::stop::Stop;

/// How long an answer is still waited for after stopping was asked for, so that what the hub acknowledges is known.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Takes a line for the person who watches.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// How often requests had to be sent again, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// After 429.
    pub too_many_requests: u64,
    /// After 502, 503 or 504.
    pub unavailable: u64,
    /// After a refused, reset or silent connection.
    pub network: u64,
}

impl Retries {
    /// Returns the sum over all causes.
    pub fn total(&self) -> u64 {
        self.too_many_requests + self.unavailable + self.network
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.too_many_requests += other.too_many_requests;
        self.unavailable += other.unavailable;
        self.network += other.network;
    }
}

/// How a hub answers for the readings of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Acknowledgement {
    /// How many readings the hub now keeps.
    pub accepted: u64,
    /// The readings that it refused, or the first of them where it names only so many.
    #[serde(default)]
    pub rejected: Vec<Rejection>,
    /// How many it refused, where it says so.
    #[serde(default)]
    rejected_count: Option<u64>,
}

impl Acknowledgement {
    /// Returns how many readings the hub refused.
    pub fn refused(&self) -> u64 {
        self.rejected_count.unwrap_or_default().max(self.rejected.len() as u64)
    }
}

/// One refused reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Which reading of the request, from 0.
    pub index: u64,
    /// The field at fault, none or empty when it is the reading as a whole.
    #[serde(default)]
    pub field: Option<String>,
    /// The value at fault as it was sent.
    #[serde(default)]
    pub value: Option<serde_json::Value>,
    /// The rule that it breaks.
    #[serde(default)]
    pub reason: String,
}

impl Rejection {
    /// Returns the field at fault, none when it is the reading as a whole.
    pub fn field_name(&self) -> Option<&str> {
        self.field.as_deref().filter(|field| !field.is_empty())
    }

    /// Returns the value as text, without the quotes of a string, cut to `chars_max`.
    pub fn value_text(&self, chars_max: usize) -> String {
        let text = match &self.value {
            None | Some(serde_json::Value::Null) => String::new(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        text.chars().take(chars_max).collect()
    }
}

/// RFC 9457 problem details.
#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    detail: Option<String>,
}

/// Says what a hub's refusal says: its problem detail, or the beginning of whatever it sent.
pub fn problem_text(reply: &Reply) -> String {
    let said = match serde_json::from_slice::<Problem>(&reply.body) {
        Ok(Problem { title, detail }) => detail.or(title).unwrap_or_default(),
        Err(_) => String::from_utf8_lossy(&reply.body[..reply.body.len().min(200)]).trim().to_owned(),
    };
    if said.is_empty() { format!("status {}", reply.status) } else { format!("status {}: {said}", reply.status) }
}

/// A client of one hub over one connection.
pub struct Hub {
    connection: Connection,
    backoff: Backoff,
    stop: Stop,
    give_up_after: Duration,
    retries: Retries,
    notice: Notice,
}

impl Hub {
    /// Makes a client that sends a request again for up to `give_up_after` while the hub cannot be reached or is busy.
    ///
    /// # Errors
    ///
    /// As [`Connection::new`].
    pub fn new(endpoint: Endpoint, give_up_after: Duration, stop: Stop) -> anyhow::Result<Self> {
        let connection = Connection::new(endpoint)?;
        let notice: Notice = Arc::new(|_| ());
        Ok(Self { connection, backoff: Backoff::default(), stop, give_up_after, retries: Retries::default(), notice })
    }

    /// Tells of each retry through `notice`.
    #[must_use]
    pub fn with_notice(mut self, notice: Notice) -> Self {
        self.notice = notice;
        self
    }

    /// Changes how long a request is sent again.
    pub fn set_give_up_after(&mut self, give_up_after: Duration) {
        self.give_up_after = give_up_after;
    }

    /// Returns where the hub listens.
    pub fn endpoint(&self) -> &Endpoint {
        self.connection.endpoint()
    }

    /// Returns how often requests were sent again so far.
    pub fn retries(&self) -> Retries {
        self.retries
    }

    /// Sends a request until the hub answers it with anything but "try again"; `None` when stopped before that.
    ///
    /// A request is sent again after a lost answer, so it must be one that has the same effect twice.
    ///
    /// # Errors
    ///
    /// When the hub could not be reached, or was busy, for as long as this client is patient.
    pub async fn send(&mut self, request: &Request) -> anyhow::Result<Option<Reply>> {
        let first_tried = Instant::now();
        loop {
            if self.stop.requested() {
                return Ok(None);
            }
            let attempt = tokio::select! {
                biased;
                attempt = self.connection.send(request) => attempt,
                () = stopped_and_grace(&mut self.stop) => return Ok(None),
            };
            let (problem, retry_after) = match attempt {
                Ok(reply) if judge(reply.status) != Verdict::Again => {
                    self.backoff.reset();
                    return Ok(Some(reply));
                }
                Ok(reply) => {
                    self.count(reply.status);
                    (problem_text(&reply), reply.retry_after)
                }
                Err(error) => {
                    self.retries.network += 1;
                    (format!("{error:#}"), None)
                }
            };
            let wait = self.backoff.next_wait(retry_after);
            if first_tried.elapsed() + wait > self.give_up_after {
                let patience = humantime::format_duration(self.give_up_after);
                bail!("hub {}: gave up after {patience}: {problem}", self.endpoint());
            }
            (self.notice)(&format!("hub {}: {problem}; trying again in {:.1} s", self.endpoint(), wait.as_secs_f64()));
            tokio::select! {
                () = tokio::time::sleep(wait) => (),
                () = self.stop.wait() => return Ok(None),
            }
        }
    }

    /// Gets a JSON document; `None` when the hub has none there (404) or stopping was asked for.
    ///
    /// # Errors
    ///
    /// As [`Hub::send`]; when the hub refuses; when the answer is not the document expected.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<Option<T>> {
        let request = Request::get(self.endpoint().path(path)?);
        let Some(reply) = self.send(&request).await? else { return Ok(None) };
        match reply.status {
            200 => serde_json::from_slice(&reply.body)
                .map(Some)
                .with_context(|| format!("hub {}: GET {path}: unexpected answer", self.endpoint())),
            404 => Ok(None),
            _ => bail!("hub {}: GET {path}: {}", self.endpoint(), problem_text(&reply)),
        }
    }

    /// Posts readings and returns how the hub answers for them; `None` when stopped before it answered.
    ///
    /// # Errors
    ///
    /// As [`Hub::send`]; when the hub refuses the request as a whole (4xx but 429 and 422, 5xx but those of a busy hub).
    pub async fn post_readings(&mut self, request: &Request) -> anyhow::Result<Option<(Acknowledgement, Duration)>> {
        let Some(reply) = self.send(request).await? else { return Ok(None) };
        if judge(reply.status) == Verdict::Stop {
            bail!("hub {}: POST {}: {}", self.endpoint(), request.uri, problem_text(&reply));
        }
        let acknowledgement = serde_json::from_slice(&reply.body).with_context(|| {
            format!("hub {}: POST {}: status {} without a count", self.endpoint(), request.uri, reply.status)
        })?;
        Ok(Some((acknowledgement, reply.took)))
    }

    fn count(&mut self, status: u16) {
        match status {
            429 => self.retries.too_many_requests += 1,
            _ => self.retries.unavailable += 1,
        }
    }
}

async fn stopped_and_grace(stop: &mut Stop) {
    stop.wait().await;
    tokio::time::sleep(STOP_GRACE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &'static str) -> Reply {
        Reply { status, retry_after: None, body: body.into(), took: Duration::ZERO }
    }

    #[test]
    fn problem_is_told_in_the_hubs_words() {
        let problem = r#"{"title":"not found","status":404,"detail":"sensor type `x` is not known"}"#;
        assert_eq!(problem_text(&reply(404, problem)), "status 404: sensor type `x` is not known");
        assert_eq!(problem_text(&reply(404, r#"{"title":"not found"}"#)), "status 404: not found");
        assert_eq!(problem_text(&reply(502, " bad gateway\n")), "status 502: bad gateway");
        assert_eq!(problem_text(&reply(500, "")), "status 500");
    }

    #[test]
    fn rejection_value_is_text_and_bounded() {
        let rejection = |value: &str| Rejection {
            index: 0,
            field: None,
            value: serde_json::from_str(value).expect("json"),
            reason: String::new(),
        };
        assert_eq!(rejection("\"abc\"").value_text(2), "ab");
        assert_eq!(rejection("12.5").value_text(100), "12.5");
        assert_eq!(rejection("null").value_text(100), "");
    }
}

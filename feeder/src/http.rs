//! One HTTP/1.1 connection to a hub: kept open, reused, and opened again when the hub closed it.
//!
//! **Invariant:** one request is in flight at most, and it is sent once: whether to send it again is the caller's decision.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a hub listens, parsed from a URL such as `http://127.0.0.1:8080`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    authority: String,
    connect_to: String,
    base_path: String,
}

impl Endpoint {
    /// Parses a hub's URL.
    ///
    /// # Errors
    ///
    /// When it is not an `http://` URL with a host, or has a query.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("hub: `{url}` is not a URL like http://127.0.0.1:8080"))?;
        if uri.scheme_str() != Some("http") {
            bail!("hub: `{url}` must begin with http://");
        }
        let Some(authority) = uri.authority() else { bail!("hub: `{url}` names no host") };
        if authority.as_str().contains('@') {
            bail!("hub: a URL with a user name is not supported");
        }
        if uri.query().is_some() {
            bail!("hub: `{url}` must not have a query");
        }
        Ok(Self {
            authority: authority.to_string(),
            connect_to: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            base_path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Returns the address of a path of the hub's API, to be used in a [`Request`].
    ///
    /// # Errors
    ///
    /// When `path` holds a character that a URL cannot have.
    pub fn path(&self, path: &str) -> anyhow::Result<Uri> {
        format!("{}{path}", self.base_path).parse().with_context(|| format!("path `{path}` is not valid in a URL"))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.base_path)
    }
}

/// A request that can be sent several times: its body is shared, not copied.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The address, from [`Endpoint::path`].
    pub uri: Uri,
    /// The media type of the body, none for a request without a body.
    pub content_type: Option<&'static str>,
    /// The body, empty for a request without one.
    pub body: Bytes,
}

impl Request {
    /// Makes a `GET` request.
    pub fn get(uri: Uri) -> Self {
        Self { method: Method::GET, uri, content_type: None, body: Bytes::new() }
    }
}

/// What a hub answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The `Retry-After` header, when it was given in seconds.
    pub retry_after: Option<Duration>,
    /// The whole body.
    pub body: Bytes,
    /// From the moment of sending to the last byte of the answer.
    pub took: Duration,
}

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

/// An open connection. Its driver is polled by whoever waits for an answer: no second task, no wake-ups between threads.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// None once it ended: dropping it tells the sender so.
    driver: Option<Pin<Box<Driver>>>,
}

impl Open {
    /// Runs `work` on the sender while driving the connection.
    async fn drive<T>(&mut self, work: impl AsyncFnOnce(&mut SendRequest<Full<Bytes>>) -> T) -> T {
        let Self { sender, driver } = self;
        let mut work = pin!(work(sender));
        std::future::poll_fn(|context| {
            poll_driver(driver, context);
            if let Poll::Ready(result) = work.as_mut().poll(context) {
                return Poll::Ready(result);
            }
            // What the work just asked for is handed to the socket in the same turn.
            poll_driver(driver, context);
            work.as_mut().poll(context)
        })
        .await
    }
}

fn poll_driver(driver: &mut Option<Pin<Box<Driver>>>, context: &mut Context<'_>) {
    if let Some(running) = driver
        && running.as_mut().poll(context).is_ready()
    {
        *driver = None;
    }
}

/// A connection to one hub.
pub struct Connection {
    endpoint: Endpoint,
    host: HeaderValue,
    open: Option<Open>,
}

impl Connection {
    /// Makes a connection that opens with its first request.
    ///
    /// # Errors
    ///
    /// When the host cannot stand in a header.
    pub fn new(endpoint: Endpoint) -> anyhow::Result<Self> {
        let host = HeaderValue::from_str(&endpoint.authority)
            .with_context(|| format!("hub: `{}` is not a host", endpoint.authority))?;
        Ok(Self { endpoint, host, open: None })
    }

    /// Returns where the hub listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request once and reads the whole answer. After an error the hub may or may not have acted on it.
    ///
    /// # Errors
    ///
    /// When no answer came: connection refused, reset, closed early, or too slow.
    pub async fn send(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let mut open = self.ready().await?;
        let message = self.message(request)?;
        let started = Instant::now();
        let exchange = open.drive(async |sender| {
            let response = sender.send_request(message).await?;
            let (head, body) = response.into_parts();
            let body = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => bail!("reading the answer: {error}"),
            };
            Ok((head, body))
        });
        let (head, body) = tokio::time::timeout(ANSWER_TIMEOUT, exchange)
            .await
            .with_context(|| format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))??;
        // Only a connection whose last answer is complete is used again.
        self.open = Some(open);
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Ok(Reply {
            status: head.status.as_u16(),
            retry_after: retry_after.map(Duration::from_secs),
            body,
            took: started.elapsed(),
        })
    }

    /// Takes the open connection if the hub has not closed it meanwhile, else opens another.
    async fn ready(&mut self) -> anyhow::Result<Open> {
        if let Some(mut open) = self.open.take()
            && open.drive(async |sender| sender.ready().await).await.is_ok()
        {
            return Ok(open);
        }
        let address = &self.endpoint.connect_to;
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .with_context(|| format!("connecting to {address}: no answer within {} s", CONNECT_TIMEOUT.as_secs()))?
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true).with_context(|| format!("connecting to {address}"))?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Open { sender, driver: Some(Box::pin(driver)) })
    }

    fn message(&self, request: &Request) -> anyhow::Result<hyper::Request<Full<Bytes>>> {
        let mut message = hyper::Request::new(Full::new(request.body.clone()));
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = request.uri.clone();
        let headers = message.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("iot-hub-feeder/", env!("CARGO_PKG_VERSION"))));
        if let Some(content_type) = request.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(request.body.len()));
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_keeps_host_port_and_base_path() {
        let endpoint = Endpoint::parse("http://hub.example:8080/iot/").expect("valid");
        assert_eq!(endpoint.connect_to, "hub.example:8080");
        assert_eq!(endpoint.to_string(), "http://hub.example:8080/iot");
        assert_eq!(endpoint.path("/v1/sensors").expect("valid").to_string(), "/iot/v1/sensors");
        assert_eq!(Endpoint::parse("http://hub").expect("valid").connect_to, "hub:80");
    }

    #[test]
    fn endpoint_takes_an_ipv6_address() {
        assert_eq!(Endpoint::parse("http://[::1]:8080").expect("valid").connect_to, "[::1]:8080");
    }

    #[test]
    fn endpoint_does_not_repeat_a_password() {
        let error = Endpoint::parse("http://me:secret@hub").expect_err("refused").to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn endpoint_refuses_what_it_cannot_reach() {
        for url in ["", "hub:8080", "https://hub", "/v1", "http://hub?x=1", "ftp://hub"] {
            let error = Endpoint::parse(url).expect_err(url).to_string();
            assert!(error.contains(&format!("`{url}`")), "{error}");
        }
    }
}

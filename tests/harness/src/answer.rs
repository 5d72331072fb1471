//! What a hub answers to a request.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use serde_json::Value;

/// How long an answer may take before the test is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A header as text; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The answer itself, where its status is the one expected.
    ///
    /// # Panics
    /// Where it is another.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:.2000}", self.text());
        self
    }
}

/// A client without retries or proxies.
pub(crate) fn client() -> Client {
    Client::builder().no_proxy().timeout(ANSWER_TIMEOUT).build().expect("a client needs nothing")
}

/// A request of any method.
pub(crate) fn request(client: &Client, method: &str, url: String) -> RequestBuilder {
    client.request(Method::from_bytes(method.as_bytes()).expect("a method"), url)
}

/// Sends a request; an error where no whole answer came back.
pub(crate) async fn send(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
}

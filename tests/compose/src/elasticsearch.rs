//! The requests that the tests send to Elasticsearch.

use reqwest::{Client, Method};
use serde_json::Value;

/// An Elasticsearch, and who asks it.
#[derive(Debug, Clone)]
pub struct Elasticsearch {
    url: String,
    user: Option<(String, String)>,
    client: Client,
}

impl Elasticsearch {
    /// One that asks for no password.
    pub fn open(url: impl Into<String>) -> Self {
        Self { url: url.into(), user: None, client: Client::new() }
    }

    /// The same as a user with a password.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// Sends a request with a body of JSON, or of lines of JSON; gives the status and the answer.
    ///
    /// # Panics
    /// Where no whole answer of JSON comes back.
    pub async fn ask(&self, method: &str, path: &str, body: impl Into<String>) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method of HTTP");
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some((name, password)) = &self.user {
            request = request.basic_auth(name, Some(password));
        }
        let kind = if path.contains("/_bulk") { "application/x-ndjson" } else { "application/json" };
        let answer = request.header("content-type", kind).body(body.into()).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a whole answer");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sends a request that must succeed.
    ///
    /// # Panics
    /// With the answer, where it does not.
    pub async fn expect(&self, method: &str, path: &str, body: impl Into<String>) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer:#}");
        answer
    }
}

//! A place of its own in the Elasticsearch that all tests share: a prefix that no other test has, cleared at the end.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use distributed::store::{Period, Settings};
use elasticsearch::http::{
    Method,
    headers::HeaderMap,
    transport::{SingleNodeConnectionPool, Transport, TransportBuilder},
};
use serde_json::Value;

pub mod proxy;
pub mod rows;

/// Where the shared Elasticsearch is.
pub fn address() -> String {
    servers::elasticsearch().url()
}

/// Indices and templates whose names begin alike.
pub struct Place {
    pub prefix: String,
    url: String,
}

impl Place {
    pub fn new() -> Self {
        Self::at(address())
    }

    /// A place in an Elasticsearch of the test's own.
    pub fn at(url: String) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock behind 1970");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { prefix: format!("t{:x}-{:x}-{count}-", std::process::id(), since.as_micros()), url }
    }

    /// Settings for a store there; few and small shards, because many tests share the server.
    pub fn settings(&self) -> Settings {
        Settings {
            urls: vec![self.url.clone()],
            index_prefix: self.prefix.clone(),
            period: Period::Decade,
            replicas: 0,
            ..Settings::default()
        }
    }

    /// Asks the server; answers status and JSON.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&str>) -> (u16, Value) {
        let body = body.map(ToOwned::to_owned);
        let sent = transport(&self.url)
            .send(method, path, HeaderMap::new(), None::<&()>, body, Some(Duration::from_secs(30)))
            .await;
        let response = sent.expect("an answer");
        let status = response.status_code().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or(Value::Null))
    }

    /// Names of all indices of the place, in order.
    pub async fn indices(&self) -> Vec<String> {
        let (_, indices) = self.ask(Method::Get, &format!("/{}*/_alias", self.prefix), None).await;
        let mut names: Vec<String> = indices.as_object().expect("indices by name").keys().cloned().collect();
        names.sort();
        names
    }

    async fn clear(&self) {
        for index in self.indices().await {
            self.ask(Method::Delete, &format!("/{index}"), None).await;
        }
        self.ask(Method::Delete, &format!("/_index_template/{}*", self.prefix), None).await;
    }
}

fn transport(url: &str) -> Transport {
    let url = url.parse().expect("an address");
    TransportBuilder::new(SingleNodeConnectionPool::new(url)).disable_proxy().build().expect("a transport")
}

impl Drop for Place {
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(self.clear());
            });
        });
    }
}

//! Whether Elasticsearch can take writes, and whether it is Elasticsearch.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use elasticsearch::http::Method;
use ports::{ErrorKind, PortError};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Answer, Client, FaultKind, Request};

/// Asks the servers how they are.
#[derive(Debug)]
pub(crate) struct Health {
    client: Client,
    pattern_of_all: String,
    /// Whether the servers have said that they are Elasticsearch.
    is_elasticsearch: AtomicBool,
}

#[derive(Deserialize)]
struct ClusterHealth {
    status: String,
}

#[derive(Deserialize)]
struct IndexSettings {
    #[serde(default)]
    settings: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Report {
    indicators: Indicators,
}

#[derive(Deserialize)]
struct Indicators {
    shards_capacity: Capacity,
}

#[derive(Deserialize)]
struct Capacity {
    status: String,
    symptom: String,
    #[serde(default)]
    details: BTreeMap<String, Shards>,
}

/// Shards of one kind of node, by Elasticsearch's count.
#[derive(Deserialize)]
struct Shards {
    max_shards_in_cluster: u64,
    /// Said where few are left.
    #[serde(default)]
    current_used_shards: Option<u64>,
}

impl Health {
    pub(crate) fn new(client: Client, pattern_of_all: String) -> Self {
        Self { client, pattern_of_all, is_elasticsearch: AtomicBool::new(false) }
    }

    /// Says whether writes can be taken: no index of ours has lost a shard or is closed to writes.
    pub(crate) async fn check(&self) -> Result<(), PortError> {
        let health: ClusterHealth = self.health().await?.json("asking for the health")?;
        if health.status == "red" {
            let message = format!("indices `{}` of Elasticsearch are red: a shard has no primary", self.pattern_of_all);
            return Err(PortError::new(ErrorKind::Unavailable, message));
        }
        let doing = "asking for blocked indices";
        let path = format!("/{}/_settings/index.blocks*?flat_settings=true", self.pattern_of_all);
        let answer = self.client.send_once(&Request::new(Method::Get, path)).await;
        let answer = match answer {
            // No index of ours, on servers that find that wrong.
            Err(fault) if fault.kind == FaultKind::Missing => return Ok(()),
            answer => answer.map_err(|fault| fault.while_doing(doing))?,
        };
        let indices: BTreeMap<String, IndexSettings> = answer.json(doing)?;
        for (index, IndexSettings { settings }) in indices {
            let is_set = |block: &str| settings.get(block).is_some_and(|value| value == "true");
            if is_set("index.blocks.read_only_allow_delete") {
                let message = format!("Elasticsearch has closed index `{index}` to writes: its disk is full");
                return Err(PortError::new(ErrorKind::DiskFull, message));
            }
            if is_set("index.blocks.write") || is_set("index.blocks.read_only") {
                let message = format!("index `{index}` of Elasticsearch is closed to writes");
                return Err(PortError::new(ErrorKind::Unavailable, message));
            }
        }
        Ok(())
    }

    /// Says whether the servers may have as many more shards as Elasticsearch finds enough; by default that is 10.
    pub(crate) async fn check_shards(&self) -> Result<(), PortError> {
        let doing = "asking how many shards are left";
        let answer = self.client.send_once(&Request::new(Method::Get, "/_health_report/shards_capacity")).await;
        let report: Report = answer.map_err(|fault| fault.while_doing(doing))?.json(doing)?;
        let Capacity { status, symptom, details } = report.indicators.shards_capacity;
        if !matches!(&*status, "yellow" | "red") {
            return Ok(());
        }
        let crowded = details.iter().filter_map(|(nodes, shards)| {
            let (used, max) = (shards.current_used_shards?, shards.max_shards_in_cluster);
            Some(format!(" (`{used}` of `{max}` on `{nodes}` nodes)"))
        });
        let message = format!(
            "{symptom}{}: no index for a new period or sensor type can be made soon; raise `cluster.max_shards_per_node`, add a node, or \
             take longer periods",
            crowded.collect::<String>()
        );
        Err(PortError::new(ErrorKind::Full, message))
    }

    /// Refuses what is not Elasticsearch, the first time that it is met.
    pub(crate) async fn check_product(&self) -> Result<(), PortError> {
        match self.is_elasticsearch.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.health().await.map(drop),
        }
    }

    async fn health(&self) -> Result<Answer, PortError> {
        let path = format!("/_cluster/health/{}?timeout=1s", self.pattern_of_all);
        let answer = self.client.send_once(&Request::new(Method::Get, path)).await;
        let answer = answer.map_err(|fault| fault.while_doing("asking for the health"))?;
        if !answer.is_elasticsearch {
            let message = "the server does not say that it is Elasticsearch; OpenSearch and others are not supported";
            return Err(PortError::new(ErrorKind::Unavailable, message));
        }
        self.is_elasticsearch.store(true, Ordering::Relaxed);
        Ok(answer)
    }
}

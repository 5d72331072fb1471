//! Taking findings out: one by one, in bulk requests. They are few beside the readings, and an index for each time or type would cost the servers
//! a shard.
//!
//! **Invariant:** what is found is what is left, so that a removal that was broken off is begun again.

use ports::{PortError, Removal, RemovalPlace, Removed, leases};
use serde_json::{Value, json};

use super::{ElasticFindings, shares};

/// Takes out the next part.
pub(super) async fn part(
    findings: &ElasticFindings,
    removal: &Removal,
    count_max: usize,
) -> Result<Removed, PortError> {
    let count = match removal {
        Removal::AnomaliesBefore(time) => {
            let old = json!([{"range": {"phenomenon_time": {"lt": time.as_micros()}}}]);
            findings.anomalies.delete_found(&old, count_max).await?
        }
        Removal::RunsBefore(time) => {
            let has_ended = json!({"bool": {"must_not": {"terms": {"state": ["waiting", "running"]}}}});
            let old = json!([{"range": {"started_at": {"lt": time.as_micros()}}}, has_ended]);
            runs(findings, &old, count_max).await?
        }
        Removal::SensorType(id) => {
            let of_type = json!([{"term": {"sensor_type": id}}]);
            let mut count = findings.anomalies.delete_found(&of_type, count_max).await?;
            if count == 0 {
                count = runs(findings, &of_type, count_max).await?;
            }
            if count == 0 {
                count = shares::remove_beginning(&findings.shares, &leases::prefix_of_type(id), count_max).await?;
            }
            count
        }
    };
    // Where something was found, there may be more.
    let rest = (count > 0).then(|| RemovalPlace(Vec::new()));
    Ok(Removed { count: count as u64, rest })
}

/// Takes out runs, each behind its share, which nobody finds without it.
async fn runs(findings: &ElasticFindings, filter: &Value, count_max: usize) -> Result<usize, PortError> {
    let found = findings.runs.find(filter, count_max).await?;
    let names: Vec<String> = found.iter().map(|(id, _)| leases::of_run(id)).collect();
    if !names.is_empty() {
        shares::remove(&findings.shares, &names).await?;
    }
    findings.runs.delete(&found).await?;
    Ok(found.len())
}

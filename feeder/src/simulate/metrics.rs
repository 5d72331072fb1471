//! What a hub's `/metrics` says of one topic, and when all that was accepted is queryable.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::http::Request;
use crate::hub::{Hub, problem_text};

const PENDING: &str = "iot_hub_readings_pending";
const PROCESSED: &str = "iot_hub_readings_processed_total";
const FRESHNESS_BUCKET: &str = "iot_hub_freshness_seconds_bucket";
/// How far apart the last polls are: the precision of "when everything became queryable".
const SETTLE_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The metrics of one topic at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopicMetrics {
    /// Accepted readings that are not processed yet.
    pub pending: u64,
    /// Processed readings by outcome (`stored`, `duplicate`, `revised`, `dead_lettered`, `deletion`).
    pub processed: BTreeMap<String, u64>,
    /// Upper bound in seconds and cumulative count of each freshness bucket, bounds ascending.
    pub freshness: Vec<(f64, f64)>,
}

impl TopicMetrics {
    /// Reads the metrics of a topic from the Prometheus text format; a metric that is not there is 0.
    pub fn parse(text: &str, topic: &str) -> Self {
        let mut metrics = Self::default();
        for sample in text.lines().filter_map(Sample::parse).filter(|sample| sample.label("topic") == Some(topic)) {
            let count = sample.value.max(0.0) as u64;
            match sample.name {
                PENDING => metrics.pending += count,
                PROCESSED => {
                    let outcome = sample.label("outcome").unwrap_or_default();
                    *metrics.processed.entry(outcome.to_owned()).or_default() += count;
                }
                FRESHNESS_BUCKET => {
                    let bound = sample.label("le").and_then(|bound| bound.parse().ok()).unwrap_or(f64::INFINITY);
                    metrics.freshness.push((bound, sample.value));
                }
                _ => (),
            }
        }
        metrics.freshness.sort_by(|a, b| a.0.total_cmp(&b.0));
        metrics
    }

    /// Returns how many readings had an outcome since an earlier time.
    pub fn processed_since(&self, before: &Self, outcome: &str) -> u64 {
        let count = |metrics: &Self| metrics.processed.get(outcome).copied().unwrap_or_default();
        count(self).saturating_sub(count(before))
    }

    /// Returns how many readings were processed in any way since an earlier time.
    pub fn all_processed_since(&self, before: &Self) -> u64 {
        self.processed.keys().map(|outcome| self.processed_since(before, outcome)).sum()
    }

    /// Estimates a quantile of the freshness since an earlier time, in seconds, as PromQL's `histogram_quantile` does: linear
    /// within a bucket. `None` when nothing was processed or the quantile lies beyond the last bound.
    pub fn freshness_quantile(&self, before: &Self, quantile: f64) -> Option<f64> {
        let count_before =
            |bound: f64| before.freshness.iter().find(|(other, _)| *other == bound).map_or(0.0, |(_, count)| *count);
        let total =
            self.freshness.last().map(|(bound, count)| count - count_before(*bound)).filter(|total| *total > 0.0)?;
        let rank = quantile * total;
        let (mut bound_below, mut count_below) = (0.0, 0.0);
        for (bound, count) in &self.freshness {
            let count = count - count_before(*bound);
            if count >= rank {
                let share = if count > count_below { (rank - count_below) / (count - count_below) } else { 1.0 };
                return bound.is_finite().then(|| bound_below + (bound - bound_below) * share);
            }
            (bound_below, count_below) = (*bound, count);
        }
        None
    }
}

/// One line of the text format, `name{label="value",...} number`. Topics, outcomes and bounds hold no quotes or commas.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, rest) = line.split_once('{')?;
        let (labels, value) = rest.split_once('}')?;
        Some(Self { name, labels, value: value.split_whitespace().next()?.parse().ok()? })
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.split(',').find_map(|label| {
            let (label_name, value) = label.split_once('=')?;
            (label_name.trim() == name).then(|| value.trim().trim_matches('"'))
        })
    }
}

/// Follows the metrics of one topic through a run.
pub struct MetricsWatch {
    hub: Hub,
    topic: String,
    before: TopicMetrics,
    /// The most readings seen pending at once.
    pub pending_max: u64,
}

impl MetricsWatch {
    /// Begins to follow a topic, from what it says now.
    ///
    /// # Errors
    ///
    /// When the hub does not answer `/metrics`.
    pub async fn begin(hub: Hub, topic: String) -> anyhow::Result<Self> {
        let mut watch = Self { hub, topic, before: TopicMetrics::default(), pending_max: 0 };
        watch.before = watch.poll().await?;
        Ok(watch)
    }

    /// Returns what the topic said at the beginning.
    pub fn before(&self) -> &TopicMetrics {
        &self.before
    }

    /// Asks what the topic says now.
    ///
    /// # Errors
    ///
    /// When the hub does not answer `/metrics`, or stopping was asked for.
    pub async fn poll(&mut self) -> anyhow::Result<TopicMetrics> {
        let request = Request::get(self.hub.endpoint().path("/metrics")?);
        let reply = self.hub.send(&request).await?.context("stopped before the metrics were there")?;
        if reply.status != 200 {
            bail!("GET /metrics: {}", problem_text(&reply));
        }
        let text = std::str::from_utf8(&reply.body).context("GET /metrics: not UTF-8")?;
        let metrics = TopicMetrics::parse(text, &self.topic);
        self.pending_max = self.pending_max.max(metrics.pending);
        Ok(metrics)
    }

    /// Polls until `accepted` readings are processed since the beginning and nothing is pending; returns what the topic said then
    /// and at what moment. Nothing pending is not enough: a hub may count what it accepted a moment later.
    ///
    /// # Errors
    ///
    /// When that is not so after `timeout`, or the hub does not answer.
    pub async fn settle(&mut self, accepted: u64, timeout: Duration) -> anyhow::Result<(TopicMetrics, Instant)> {
        let began = Instant::now();
        loop {
            let metrics = self.poll().await?;
            let processed = metrics.all_processed_since(&self.before);
            if metrics.pending == 0 && processed >= accepted {
                return Ok((metrics, Instant::now()));
            }
            if began.elapsed() > timeout {
                let pending = metrics.pending.max(accepted.saturating_sub(processed));
                let patience = humantime::format_duration(timeout);
                bail!("`{pending}` readings are still pending {patience} after the last one was accepted");
            }
            tokio::time::sleep(SETTLE_POLL_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP iot_hub_readings_pending Accepted and not yet processed
# TYPE iot_hub_readings_pending gauge
iot_hub_readings_pending{topic=\"readings.emb\"} 7
iot_hub_readings_pending{topic=\"readings.power\"} 12
iot_hub_readings_processed_total{outcome=\"stored\",topic=\"readings.power\"} 1e3
iot_hub_readings_processed_total{topic=\"readings.power\",outcome=\"duplicate\"} 5 1700000000
iot_hub_freshness_seconds_bucket{topic=\"readings.power\",le=\"0.1\"} 50
iot_hub_freshness_seconds_bucket{topic=\"readings.power\",le=\"0.5\"} 90
iot_hub_freshness_seconds_bucket{topic=\"readings.power\",le=\"+Inf\"} 100
iot_hub_freshness_seconds_count{topic=\"readings.power\"} 100
up 1
";

    #[test]
    fn metrics_of_one_topic_are_read() {
        let metrics = TopicMetrics::parse(TEXT, "readings.power");
        assert_eq!(metrics.pending, 12);
        assert_eq!(metrics.all_processed_since(&TopicMetrics::default()), 1005);
        assert_eq!(metrics.processed_since(&TopicMetrics::default(), "duplicate"), 5);
        assert_eq!(metrics.freshness.len(), 3);
        assert_eq!(TopicMetrics::parse(TEXT, "readings.air"), TopicMetrics::default());
    }

    #[test]
    fn freshness_quantile_is_linear_within_a_bucket() {
        let metrics = TopicMetrics::parse(TEXT, "readings.power");
        let quantile = |quantile| metrics.freshness_quantile(&TopicMetrics::default(), quantile);
        assert_eq!(quantile(0.25), Some(0.05));
        assert!((quantile(0.7).expect("within the bounds") - 0.3).abs() < 1e-12);
        assert_eq!(quantile(0.99), None, "beyond the last bound");
        assert_eq!(metrics.freshness_quantile(&metrics, 0.5), None, "nothing since");
    }
}

//! What Prometheus is told: promise 1 as counters that add up, and how long things take.
//!
//! **Invariant:** within one exposition `appended = sum of processed + pending` for every topic, because all three are derived from one
//! snapshot under one lock. They start from the committed totals, so that they still add up after a restart.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{Partition, Position, SensorTypeId, Timestamp, Topic};
use ports::{Committed, Standing, Totals};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{flag_metrics::FlagMetrics, named::Named};

/// Readings and deletions the log took, by topic.
pub const APPENDED: &str = "iot_hub_readings_appended_total";
/// What became of them, by topic and outcome.
pub const PROCESSED: &str = "iot_hub_readings_processed_total";
/// Those still to be processed, by topic.
pub const PENDING: &str = "iot_hub_readings_pending";
/// From accepted to queryable, in seconds, by topic.
pub const FRESHNESS: &str = "iot_hub_freshness_seconds";
/// Dead letters appended by this process, by topic of their records; again after a crash.
pub const DEAD_LETTERS: &str = "iot_hub_dead_letters_total";
/// Readings in one write to the store.
pub const BATCH: &str = "iot_hub_quality_batch_readings";
/// Stretches of stored readings that could not be judged again because they can't be read, by sensor type.
pub const UNJUDGED: &str = "iot_hub_quality_unjudged_total";
/// How long one write to the store takes, in seconds.
pub const WRITE: &str = "iot_hub_quality_write_duration_seconds";

/// Upper bounds of freshness, in seconds: 1 ms to 60 s.
const FRESHNESS_BUCKETS_S: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The metrics of quality control; clones share them.
#[derive(Clone)]
pub struct Metrics {
    progress: Progress,
    freshness: HistogramVec,
    dead_letters: IntCounterVec,
    named: Named,
    unjudged: IntCounterVec,
    batch: Histogram,
    write: Histogram,
    pub(crate) flags: FlagMetrics,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// Where they are registered already.
    pub fn register(registry: &prometheus::Registry) -> prometheus::Result<Self> {
        let freshness = HistogramOpts::new(FRESHNESS, "Time from a reading's acceptance until queries see it");
        let batch = HistogramOpts::new(BATCH, "Readings in one write to the store")
            .buckets(prometheus::exponential_buckets(1.0, 4.0, 9)?);
        let write = HistogramOpts::new(WRITE, "Duration of one write to the store");
        let dead_letters = Opts::new(DEAD_LETTERS, "Dead letters appended by this process");
        let progress = Progress::register(registry)?;
        let named = progress.named.clone();
        let metrics = Self {
            progress,
            named,
            freshness: HistogramVec::new(freshness.buckets(FRESHNESS_BUCKETS_S.to_vec()), &["topic"])?,
            dead_letters: IntCounterVec::new(dead_letters, &["topic"])?,
            unjudged: IntCounterVec::new(
                Opts::new(UNJUDGED, "Stretches of readings that can't be judged again"),
                &["sensor_type"],
            )?,
            batch: Histogram::with_opts(batch)?,
            write: Histogram::with_opts(write)?,
            flags: FlagMetrics::register(registry)?,
        };
        registry.register(Box::new(metrics.freshness.clone()))?;
        registry.register(Box::new(metrics.dead_letters.clone()))?;
        registry.register(Box::new(metrics.unjudged.clone()))?;
        registry.register(Box::new(metrics.batch.clone()))?;
        registry.register(Box::new(metrics.write.clone()))?;
        Ok(metrics)
    }

    /// How far the group is.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Takes note of a write that returned at `now`, of readings accepted at the given times.
    pub(crate) fn written(
        &self,
        topic: &Topic,
        took: Duration,
        now: Timestamp,
        accepted: impl ExactSizeIterator<Item = Timestamp>,
    ) {
        self.write.observe(took.as_secs_f64());
        self.batch.observe(accepted.len() as f64);
        let freshness = self.freshness.with_label_values(&[self.named.name(topic)]).local();
        // A clock that was set back makes no negative times: `since` stops at zero.
        accepted.for_each(|accepted_at| freshness.observe(now.since(accepted_at).as_secs_f64()));
        freshness.flush();
    }

    /// Takes note of a stretch of readings that can't be read to be judged again.
    pub(crate) fn unjudged(&self, sensor_type: &SensorTypeId) {
        self.unjudged.with_label_values(&[sensor_type.as_str()]).inc();
    }

    /// Takes note of dead letters that are durable.
    pub(crate) fn dead_letters(&self, topic: &Topic, count: usize) {
        self.dead_letters.with_label_values(&[self.named.name(topic)]).inc_by(count as u64);
    }
}

/// How far the group is on every partition: the snapshot behind appended, processed and pending; clones share it.
///
/// It speaks of the whole group: where several members run, all say the same, and a query takes one of them, not their sum.
#[derive(Clone)]
pub(crate) struct Progress {
    /// Only of topics that ever had a record.
    places: Arc<Mutex<BTreeMap<Topic, Places>>>,
    named: Named,
    appended: IntCounterVec,
    processed: IntCounterVec,
    pending: IntGaugeVec,
}

/// The partitions of one topic.
#[derive(Default)]
struct Places {
    /// Number of the sensor type: a topic made again under the same name starts over.
    type_number: u64,
    by_partition: BTreeMap<Partition, Place>,
}

#[derive(Default, Clone, Copy)]
struct Place {
    /// What is before it is gone, read or not.
    start: u64,
    end: u64,
    committed: Committed,
}

impl Progress {
    /// Makes the counters and registers them.
    pub(crate) fn register(registry: &prometheus::Registry) -> prometheus::Result<Self> {
        let processed = Opts::new(PROCESSED, "What became of the records of a topic, since it was made");
        let progress = Self {
            places: Arc::default(),
            named: Named::default(),
            appended: IntCounterVec::new(
                Opts::new(APPENDED, "Records the log took, since the topic was made"),
                &["topic"],
            )?,
            processed: IntCounterVec::new(processed, &["topic", "outcome"])?,
            pending: IntGaugeVec::new(Opts::new(PENDING, "Records that are not processed yet"), &["topic"])?,
        };
        registry.register(Box::new(progress.clone()))?;
        Ok(progress)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Topic, Places>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the log says of a topic.
    pub(crate) fn refresh(&self, standing: &Standing, type_number: u64) {
        if standing.extents.iter().all(|extent| extent.end == Position(0)) {
            return;
        }
        let mut topics = self.lock();
        let places = topics.entry(standing.topic.clone()).or_default();
        if places.type_number != type_number {
            *places = Places { type_number, by_partition: BTreeMap::new() };
        }
        for extent in &standing.extents {
            let place = places.by_partition.entry(extent.partition).or_default();
            place.start = place.start.max(extent.start.0);
            place.end = place.end.max(extent.end.0);
        }
        for committed in &standing.committed {
            places.by_partition.entry(committed.partition).or_default().advance(*committed);
        }
    }

    /// Takes over a commit.
    pub(crate) fn committed(&self, topic: &Topic, committed: Committed) {
        let mut topics = self.lock();
        let places = topics.entry(topic.clone()).or_default();
        places.by_partition.entry(committed.partition).or_default().advance(committed);
    }

    /// Forgets every topic but these.
    pub(crate) fn keep_only(&self, is_kept: impl Fn(&Topic) -> bool) {
        self.lock().retain(|topic, _| is_kept(topic));
    }
}

impl Place {
    /// What became of all records that are read or gone; those that were gone before the group came to them count as skipped.
    fn totals(&self) -> Totals {
        let gone = self.start.saturating_sub(self.committed.position.0);
        Totals { skipped: self.committed.totals.skipped + gone, ..self.committed.totals }
    }

    /// Moves on; what is older than what is known already changes nothing.
    fn advance(&mut self, committed: Committed) {
        if committed.position >= self.committed.position {
            self.committed = committed;
        }
        self.end = self.end.max(self.committed.position.0);
    }
}

/// The outcomes that [`PROCESSED`] tells apart.
fn outcomes(totals: &Totals) -> [(&'static str, u64); 7] {
    [
        ("stored", totals.stored),
        ("duplicate", totals.duplicate),
        ("revised", totals.revised),
        ("dead_lettered", totals.dead_lettered),
        ("deletion", totals.deletion),
        ("rejudgement", totals.rejudgement),
        ("skipped", totals.skipped),
    ]
}

impl Collector for Progress {
    fn desc(&self) -> Vec<&Desc> {
        [self.appended.desc(), self.processed.desc(), self.pending.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Held to the end: two expositions at once must not fill the same series.
        let topics = self.lock();
        self.appended.reset();
        self.processed.reset();
        self.pending.reset();
        for (topic, places) in topics.iter() {
            let topic = self.named.name(topic);
            for place in places.by_partition.values() {
                self.appended.with_label_values(&[topic]).inc_by(place.end);
                let totals = place.totals();
                let pending = place.end.saturating_sub(totals.sum());
                self.pending.with_label_values(&[topic]).add(i64::try_from(pending).unwrap_or(i64::MAX));
                for (outcome, count) in outcomes(&totals) {
                    self.processed.with_label_values(&[topic, outcome]).inc_by(count);
                }
            }
        }
        [self.appended.collect(), self.processed.collect(), self.pending.collect()].concat()
    }
}

#[cfg(test)]
mod tests {
    use ports::Extent;

    use super::*;
    use crate::named::{OTHERS, TOPICS_MAX};

    /// A topic of which all but one of `records` records are stored.
    fn standing(number: usize, records: u64) -> Standing {
        let partition = Partition(0);
        let stored = records.saturating_sub(1);
        Standing {
            topic: Topic::from_name(&format!("readings.t{number}")),
            extents: vec![Extent { partition, start: Position(0), end: Position(records) }],
            committed: vec![Committed {
                partition,
                position: Position(stored),
                totals: Totals { stored, ..Totals::default() },
            }],
        }
    }

    #[test]
    fn topics_without_records_have_no_series_and_those_beyond_the_bound_share_some() {
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry).expect("registered");
        let topics = TOPICS_MAX + 500;
        for number in 0..topics {
            metrics.progress().refresh(&standing(number, 3), 1);
        }
        for number in topics..2 * topics {
            metrics.progress().refresh(&standing(number, 0), 1);
        }
        for round in 0..2 {
            let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
            assert_eq!(text.matches("iot_hub_readings_appended_total{").count(), TOPICS_MAX + 1, "round {round}");
            let of_others = |name: &str| {
                let its = |line: &&str| line.starts_with(name) && line.contains(&format!("topic=\"{OTHERS}\""));
                let values =
                    text.lines().filter(its).map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()));
                values.map(|value| value.expect("a number")).sum::<u64>()
            };
            assert_eq!([APPENDED, PROCESSED, PENDING].map(of_others), [1_500, 1_000, 500]);
        }
    }
}

//! What `/metrics` says.

use std::collections::BTreeMap;

/// One look at all metrics.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Values by name and labels as written: `name{a="b"}`.
    values: BTreeMap<String, f64>,
}

impl Metrics {
    /// Reads the text format of Prometheus.
    ///
    /// # Panics
    /// Where a line is not in that format.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: `{line}`"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: `{line}`")))
        };
        Self { values: samples.map(sample).collect() }
    }

    /// The sum of all samples of a metric whose labels contain `label`, such as `topic="readings.emb"`.
    pub fn sum(&self, metric: &str, label: &str) -> u64 {
        let of_metric = |name: &str| {
            name.strip_prefix(metric)
                .is_some_and(|rest| (rest.is_empty() || rest.starts_with('{')) && rest.contains(label))
        };
        self.values.iter().filter(|(name, _)| of_metric(name)).map(|(_, value)| *value as u64).sum()
    }

    /// Readings appended to the topic of a sensor type.
    pub fn appended(&self, sensor_type: &str) -> u64 {
        self.sum("iot_hub_readings_appended_total", &topic(sensor_type))
    }

    /// Readings of a sensor type that wait for quality control.
    pub fn pending(&self, sensor_type: &str) -> u64 {
        self.sum("iot_hub_readings_pending", &topic(sensor_type))
    }

    /// Readings of a sensor type that quality control is done with, whatever the outcome.
    pub fn processed(&self, sensor_type: &str) -> u64 {
        self.sum("iot_hub_readings_processed_total", &topic(sensor_type))
    }

    /// The same with one outcome.
    pub fn outcome(&self, sensor_type: &str, outcome: &str) -> u64 {
        let label = format!("outcome=\"{outcome}\"");
        let of_topic = topic(sensor_type);
        let is_meant = |name: &str| {
            name.starts_with("iot_hub_readings_processed_total{") && name.contains(&label) && name.contains(&of_topic)
        };
        self.values.iter().filter(|(name, _)| is_meant(name)).map(|(_, value)| *value as u64).sum()
    }

    /// Says promise 1 in numbers: appended = stored + duplicate + revised + dead-lettered + deletions + pending.
    ///
    /// # Errors
    /// The numbers, where they do not add up.
    pub fn add_up(&self, sensor_type: &str) -> Result<(), String> {
        let [appended, processed, pending] =
            [self.appended(sensor_type), self.processed(sensor_type), self.pending(sensor_type)];
        if appended == processed + pending {
            return Ok(());
        }
        Err(format!("{sensor_type}: appended {appended}, processed {processed}, pending {pending}"))
    }
}

fn topic(sensor_type: &str) -> String {
    format!("topic=\"readings.{sensor_type}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_by_topic_and_outcome() {
        let text = "# HELP x y\niot_hub_readings_appended_total{topic=\"readings.emb\"} 7\n\
            iot_hub_readings_processed_total{outcome=\"stored\",topic=\"readings.emb\"} 4\n\
            iot_hub_readings_processed_total{outcome=\"revised\",topic=\"readings.emb\"} 1\n\
            iot_hub_readings_processed_total{outcome=\"stored\",topic=\"readings.power\"} 9\n\
            iot_hub_readings_pending{topic=\"readings.emb\"} 2\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.add_up("emb"), Ok(()));
        assert_eq!(metrics.outcome("emb", "stored"), 4);
        assert!(metrics.add_up("power").is_err());
    }
}

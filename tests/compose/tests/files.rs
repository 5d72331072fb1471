//! The files of Prometheus name metrics that there are, and Prometheus finds nothing wrong with them.

use std::{collections::BTreeSet, fs, process::Command};

/// The metrics that a text names, without what a histogram adds.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = text.match_indices("iot_hub_").map(|(start, _)| start);
    let name = |start: usize| text[start..].chars().take_while(|c| is_part(*c)).collect::<String>();
    let without = |name: String| {
        let short =
            ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).map(str::to_owned);
        short.unwrap_or(name)
    };
    starts.map(name).map(without).collect()
}

#[test]
fn alerts_read_metrics_that_are_documented() {
    let alerts = fs::read_to_string(compose::folder().join("prometheus/alerts.yml")).expect("the alerts are there");
    let documented = fs::read_to_string(compose::folder().join("../docs/operations.md")).expect("they are documented");
    let unknown: Vec<String> = metrics(&alerts).difference(&metrics(&documented)).cloned().collect();
    assert!(unknown.is_empty(), "docs/operations.md has no {unknown:?}");
    assert!(metrics(&alerts).len() > 3);
}

#[test]
fn prometheus_takes_its_files() {
    let files = [("config", "prometheus/prometheus.yml"), ("rules", "prometheus/alerts.yml")];
    for (kind, file) in files {
        let checked = Command::new("promtool").args(["check", kind]).arg(compose::folder().join(file)).output();
        match checked {
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
            }
            Err(error) if std::env::var_os("TEST_PROMTOOL").is_none() => {
                println!("{file}: NOT CHECKED by promtool: {error}")
            }
            Err(error) => panic!("promtool is required: {error}"),
        }
    }
}

//! Documents tell the truth: links resolve, every key and every metric is explained, and nothing is explained that is not there.

use std::collections::BTreeSet;

use crate::workspace::{TextFile, assert_none, files, read, root};

/// Targets of the inline links of a Markdown text, code blocks left out.
fn links(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        found.extend(targets.map(|(target, _)| target.to_owned()));
    }
    found
}

/// The anchors of a Markdown text's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

fn broken_link(file: &TextFile, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let place = if path.is_empty() { root().join(&file.path) } else { root().join(folder).join(path) };
    if !place.exists() {
        return Some(format!("{}: link to `{target}`, which is not there", file.path));
    }
    let text = std::fs::read_to_string(&place).unwrap_or_default();
    let lost = anchor.is_some_and(|anchor| !anchors(&text).contains(anchor));
    lost.then(|| format!("{}: link to `{target}`, which has no such heading", file.path))
}

#[test]
fn links_resolve() {
    let mut faults = Vec::new();
    for file in files(&[".md"]) {
        faults.extend(links(&file.text).iter().filter_map(|target| broken_link(&file, target)));
    }
    assert_none(faults);
}

/// `section.key` of every key of the default configuration.
fn configuration_keys() -> BTreeSet<String> {
    let table: toml::Table = read("crates/iot-hub/src/config/default.toml").parse().expect("default.toml is TOML");
    let sections = table.iter().map(|(section, keys)| (section, keys.as_table().expect("a section")));
    sections.flat_map(|(section, keys)| keys.keys().map(move |key| format!("{section}.{key}"))).collect()
}

#[test]
fn every_configuration_key_is_explained() {
    let rows = |line: &str| line.strip_prefix("| `").and_then(|rest| rest.split('`').next()).map(str::to_owned);
    let text = read("docs/configuration.md");
    let explained: BTreeSet<String> = text.lines().filter_map(rows).filter(|key| key.contains('.')).collect();
    assert_eq!(configuration_keys(), explained, "default.toml (left) and the table of docs/configuration.md (right)");
}

/// The metric names in a text, without what a histogram adds to its own.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let names = text.match_indices("iot_hub_").filter(|(start, _)| !text[..*start].ends_with(is_part));
    let name = |(start, _): (usize, &str)| {
        let name: String = text[start..].chars().take_while(|c| is_part(*c)).collect();
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        of_histogram.unwrap_or(&name).to_owned()
    };
    names.map(name).collect()
}

#[test]
fn every_metric_is_explained() {
    let sources = files(&[".rs"]).into_iter().filter(|file| !file.path.starts_with("tests/"));
    let code: String = sources
        .flat_map(|file| {
            let lines: Vec<String> =
                file.lines().filter(|(_, _, in_tests)| !in_tests).map(|(_, line, _)| format!("{line}\n")).collect();
            lines
        })
        .filter(|line| line.contains("\"iot_hub_"))
        .collect();
    let explained = metrics(&read("docs/operations.md"));
    assert_eq!(metrics(&code), explained, "metrics in the code (left) and in docs/operations.md (right)");
}

#[test]
fn readers_of_markdown_read() {
    assert_eq!(links("[a](b.md#c) and [d](e)\n```\n[x](y)\n```"), ["b.md#c", "e"]);
    assert!(anchors("# One, two\n## `Three`").is_superset(&["one-two".to_owned(), "three".to_owned()].into()));
    assert_eq!(metrics("a `iot_hub_x_total{y}` xiot_hub_z iot_hub_x_total_sum"), ["iot_hub_x_total".to_owned()].into());
}

//! Dependencies run one way, and all that is built in is permissively licensed and from the public registry.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use spdx::{Expression, ParseMode};

use crate::workspace::{assert_none, read, root};

/// Which crates of the workspace each may know: pure domain <- ports <- adapters and services <- the binary that wires them.
/// Services see no adapter and not each other; the feeder and the harness see a hub from outside alone.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("checks", &["domain"]),
    ("detect", &[]),
    ("groups", &["domain"]),
    ("ports", &["domain"]),
    ("judge", &["domain", "checks", "ports", "registry"]),
    ("embedded", &["domain", "ports"]),
    ("distributed", &["domain", "ports"]),
    ("backends", &["domain", "ports", "embedded", "distributed"]),
    ("registry", &["domain", "ports"]),
    ("ingest-api", &["domain", "checks", "ports", "judge", "registry"]),
    ("qc-consumer", &["domain", "checks", "ports", "judge", "registry"]),
    ("ad-jobs", &["domain", "detect", "ports", "registry"]),
    ("feeder", &[]),
    (
        "iot-hub",
        &[
            "domain",
            "ports",
            "embedded",
            "distributed",
            "backends",
            "registry",
            "ingest-api",
            "qc-consumer",
            "ad-jobs",
            "feeder",
        ],
    ),
    ("services", &["iot-hub"]),
    ("harness", &[]),
    ("compose", &["distributed", "domain", "harness", "ports", "registry", "servers"]),
    ("servers", &[]),
    ("tidy", &[]),
];

/// What tests may know beyond that: a crate itself with other features, the harness where the binary is built, and real servers; and
/// the data folder that a benchmark of detection reads.
const ARROWS_OF_TESTS: &[(&str, &[&str])] = &[
    ("iot-hub", &["harness"]),
    ("ad-jobs", &["embedded"]),
    ("services", &["harness", "servers", "distributed", "registry", "feeder", "domain", "ports"]),
    ("distributed", &["servers"]),
];

fn metadata() -> Metadata {
    let manifest = root().join("Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).exec().expect("cargo knows the workspace")
}

fn is_allowed(from: &str, to: &str, kind: DependencyKind) -> bool {
    let known = ARROWS.iter().find(|(name, _)| *name == from).is_some_and(|(_, targets)| targets.contains(&to));
    let of_tests = ARROWS_OF_TESTS.iter().any(|(name, targets)| *name == from && targets.contains(&to));
    known || kind == DependencyKind::Development && (from == to || of_tests)
}

#[test]
fn arrows_between_crates_run_one_way() {
    let metadata = metadata();
    let members = metadata.workspace_packages();
    let names: BTreeSet<&str> = members.iter().map(|package| package.name.as_str()).collect();
    let listed: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, listed, "a crate of the workspace has no row in ARROWS, or a row has no crate");

    let arrows = members.iter().flat_map(|package| package.dependencies.iter().map(move |to| (*package, to)));
    let faults = arrows
        .filter(|(_, to)| names.contains(to.name.as_str()))
        .filter(|(from, to)| !is_allowed(&from.name, &to.name, to.kind))
        .map(|(from, to)| format!("`{}` must not know `{}`", from.name, to.name));
    assert_none(faults.collect());
}

/// What `deny.toml` says under a section and a key.
fn denied(section: &str, key: &str) -> Vec<toml::Value> {
    let rules: toml::Table = read("deny.toml").parse().expect("deny.toml is TOML");
    rules[section][key].as_array().expect("an array").clone()
}

fn from_outside(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata.packages.iter().filter(|package| !metadata.workspace_members.contains(&package.id))
}

#[test]
fn licences_are_permissive() {
    let allow = denied("licenses", "allow");
    let metadata = metadata();
    let faults = from_outside(&metadata).filter_map(|package| {
        let licence = package.license.as_deref().unwrap_or("none");
        let expression = Expression::parse_mode(licence, ParseMode::LAX);
        let allowed = expression.is_ok_and(|expression| {
            expression.evaluate(|wanted| {
                let id = wanted.license.id().map(|id| id.name);
                id.is_some_and(|id| allow.iter().any(|allowed| allowed.as_str() == Some(id)))
            })
        });
        (!allowed).then(|| format!("`{}`: licence `{licence}` is not in deny.toml", package.name))
    });
    assert_none(faults.collect());
}

#[test]
fn sources_are_the_public_registry_and_nothing_banned_is_built() {
    let registries = denied("sources", "allow-registry");
    let banned = denied("bans", "deny");
    let metadata = metadata();
    let mut faults = Vec::new();
    for package in from_outside(&metadata) {
        let source = package.source.as_ref().map_or("none", |source| source.repr.as_str());
        let address = source.strip_prefix("registry+").unwrap_or(source);
        if !registries.iter().any(|registry| registry.as_str() == Some(address)) {
            faults.push(format!("`{}`: source `{source}` is not in deny.toml", package.name));
        }
        let bans = banned.iter().filter(|ban| ban["name"].as_str() == Some(package.name.as_str()));
        for ban in bans {
            let users = users(&metadata, package).filter(|user| !wraps(ban, user));
            faults.extend(users.map(|user| format!("`{}` is banned in deny.toml, and `{user}` uses it", package.name)));
        }
    }
    assert_none(faults);
}

/// The packages that depend on one.
fn users<'a>(metadata: &'a Metadata, on: &'a Package) -> impl Iterator<Item = &'a str> {
    let nodes = &metadata.resolve.as_ref().expect("cargo resolves the workspace").nodes;
    let using = nodes.iter().filter(|node| node.deps.iter().any(|dependency| dependency.pkg == on.id));
    using.map(|node| metadata[&node.id].name.as_str())
}

/// Says whether a ban lets this package use what is banned.
fn wraps(ban: &toml::Value, user: &str) -> bool {
    let wrappers = ban.get("wrappers").and_then(toml::Value::as_array);
    wrappers.is_some_and(|wrappers| wrappers.iter().any(|wrapper| wrapper.as_str() == Some(user)))
}

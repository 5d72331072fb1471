//! Looks through all that the folder holds of the log and says what is not as it should be.

use std::sync::Arc;

use ports::{Content, PortError, TopicKind};

use super::{
    Keyspaces,
    keys::{decode_committed, parse_record_key, record_key},
    topics::{TopicState, Topics},
};
use crate::{check::Findings, error::from_database, interner::Interner, records_codec::decode_entry};

/// Checks every topic: entries can be read and follow without a gap, extents and positions are theirs, totals add up.
pub(crate) fn verify(keyspaces: &Keyspaces, findings: &mut Findings<'_>) -> Result<(), PortError> {
    let mut topics: Vec<Arc<TopicState>> = Topics::load(keyspaces)?.all();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    for topic in topics {
        verify_entries(keyspaces, &topic, findings)?;
        verify_groups(keyspaces, &topic, findings)?;
        findings.report.topics += 1;
    }
    Ok(())
}

fn verify_entries(keyspaces: &Keyspaces, topic: &TopicState, findings: &mut Findings<'_>) -> Result<(), PortError> {
    let (name, extent) = (&topic.name, topic.extent());
    let mut next = extent.start;
    let mut ids = Interner::default();
    let mut accepted_last = i64::MIN;
    for item in keyspaces.records.range(record_key(topic.number, 0, 0)..=record_key(topic.number, u64::MAX, u32::MAX)) {
        let (key, value) = item.into_inner().map_err(|e| from_database("reading the log", e))?;
        findings.progress(key.len() + value.len());
        let (position, count) = parse_record_key(&key)?;
        // Compaction leaves gaps; nothing else may.
        if position != next && (topic.kind != TopicKind::Documents || position < next) {
            findings.fault(format!("topic `{name}`: position {next} should follow, {position} does"));
        }
        next = position + u64::from(count);
        let (accepted_at, contents) = decode_entry(&value, u64::from(count), &mut ids);
        if let Some(Content::Undecodable(undecodable)) = contents.first() {
            findings.fault(format!("topic `{name}`: the entry at {position} can't be read: {}", undecodable.reason));
            continue;
        }
        if accepted_at.as_micros() < accepted_last {
            findings.fault(format!("topic `{name}`: the entry at {position} was accepted before the one before it"));
        }
        accepted_last = accepted_at.as_micros();
        findings.report.records += u64::from(count);
    }
    let ends = if topic.kind == TopicKind::Documents { next <= extent.end } else { next == extent.end };
    if !ends {
        findings.fault(format!("topic `{name}` should end at position {} and ends at {next}", extent.end));
    }
    Ok(())
}

fn verify_groups(keyspaces: &Keyspaces, topic: &TopicState, findings: &mut Findings<'_>) -> Result<(), PortError> {
    let (name, extent) = (&topic.name, topic.extent());
    for item in keyspaces.groups.prefix(topic.number.to_be_bytes()) {
        let (key, value) = item.into_inner().map_err(|e| from_database("reading a group's position", e))?;
        let group = String::from_utf8_lossy(key.get(4..).unwrap_or_default()).into_owned();
        match decode_committed(&value) {
            Err(error) => findings.fault(format!("group `{group}` on topic `{name}` can't be read: {error}")),
            Ok(committed) => {
                let (position, sum) = (committed.position.0, committed.totals.sum());
                if position > extent.end {
                    findings.fault(format!(
                        "group `{group}` is at {position} of topic `{name}`, which ends at {}",
                        extent.end
                    ));
                }
                if sum != position {
                    findings
                        .fault(format!("group `{group}` accounts for {sum} of {position} records of topic `{name}`"));
                }
            }
        }
    }
    Ok(())
}

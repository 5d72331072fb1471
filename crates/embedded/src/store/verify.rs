//! Looks through all that the folder holds of the store and says what is not as it should be.

use std::{collections::HashMap, time::Duration};

use domain::{SensorId, SensorTypeId, Timestamp};
use ports::PortError;

use super::{
    TypeRecord,
    blocks::{sensor_key, start_of},
    load_types,
    sensors::{Folded, decode_staged},
    space::{Keyspaces, parse_sensor_key, parse_staged_key},
};
use crate::{
    check::Findings,
    error::{self, from_database},
    rows_codec,
};

/// What the blocks of one sensor hold.
#[derive(Default)]
struct Seen {
    count: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// Checks every sensor type's rows.
pub(crate) fn verify(keyspaces: &Keyspaces, findings: &mut Findings<'_>) -> Result<(), PortError> {
    for (id, record) in load_types(keyspaces)? {
        let seen = verify_blocks(keyspaces, &id, &record, findings)?;
        verify_sensors(keyspaces, &id, &record, seen, findings)?;
        verify_staged(keyspaces, &id, &record, findings)?;
    }
    Ok(())
}

fn verify_blocks(
    keyspaces: &Keyspaces,
    id: &SensorTypeId,
    record: &TypeRecord,
    findings: &mut Findings<'_>,
) -> Result<HashMap<SensorId, Seen>, PortError> {
    let mut all: HashMap<SensorId, Seen> = HashMap::new();
    let mut unreadable: Option<Unreadable> = None;
    for item in keyspaces.blocks.prefix(record.number.to_be_bytes()) {
        let (key, value) = error::entry(item).map_err(|e| from_database("reading the blocks", e))?;
        findings.progress(key.len() + value.as_ref().map_or(0, |value| value.len()));
        let start = start_of(&key)?;
        let sensor_id = match parse_sensor_key(&key[..key.len() - 8]) {
            Ok(sensor_id) => sensor_id,
            Err(error) => {
                findings.fault(format!("sensor type `{id}`: {error}"));
                continue;
            }
        };
        if let Some(block) = unreadable.take() {
            let end = (block.sensor_id == sensor_id).then_some(start);
            findings.fault(block.fault(keyspaces, id, record, end));
        }
        let rows = value.map_err(|error| error.to_string());
        let rows = match rows.and_then(|value| rows_codec::decode(&value).map_err(|error| error.to_string())) {
            Ok(rows) => rows,
            Err(error) => {
                unreadable = Some(Unreadable { sensor_id, start, error });
                continue;
            }
        };
        let seen = all.entry(sensor_id.clone()).or_default();
        let in_order = rows.times().windows(2).all(|pair| pair[0] < pair[1]);
        let behind =
            rows.times().first().is_some_and(|first| *first == start && seen.last.is_none_or(|last| last < *first));
        if !in_order || !behind || rows.width() > record.properties.len() {
            findings.fault(format!(
                "sensor `{sensor_id}` of type `{id}`: the rows of the block at {start} are out of order"
            ));
        }
        seen.count += rows.len() as u64;
        seen.first = seen.first.or(rows.times().first().copied());
        seen.last = rows.times().last().copied();
        findings.report.rows += rows.len() as u64;
        findings.report.blocks += 1;
    }
    if let Some(block) = unreadable {
        findings.fault(block.fault(keyspaces, id, record, None));
    }
    Ok(all)
}

/// A block whose rows can't be read.
struct Unreadable {
    sensor_id: SensorId,
    start: Timestamp,
    error: String,
}

impl Unreadable {
    /// What is wrong and how to go on without its rows; `end` is the start of the sensor's next block.
    fn fault(&self, keyspaces: &Keyspaces, id: &SensorTypeId, record: &TypeRecord, end: Option<Timestamp>) -> String {
        let Self { sensor_id, start, error } = self;
        let folded = keyspaces.sensors.get(sensor_key(record.number, sensor_id)).ok().flatten();
        let folded = folded.and_then(|bytes| Folded::decode(&bytes).ok());
        let behind_last = folded.map(|folded| folded.last.saturating_add(Duration::from_micros(1)));
        let way = end.or(behind_last).map_or_else(String::new, |end| {
            format!(
                "; `DELETE /v1/readings/{id}?sensor_id={sensor_id}&from={start}&to={end}` goes on without its readings"
            )
        });
        format!("sensor `{sensor_id}` of type `{id}`: the block at {start} can't be read: {error}{way}")
    }
}

fn verify_sensors(
    keyspaces: &Keyspaces,
    id: &SensorTypeId,
    record: &TypeRecord,
    mut seen: HashMap<SensorId, Seen>,
    findings: &mut Findings<'_>,
) -> Result<(), PortError> {
    for item in keyspaces.sensors.prefix(record.number.to_be_bytes()) {
        let (key, value) = item.into_inner().map_err(|e| from_database("reading the sensors", e))?;
        let sensor_id = parse_sensor_key(&key)?;
        let seen = seen.remove(&sensor_id).unwrap_or_default();
        match Folded::decode(&value) {
            Err(error) => findings.fault(format!("sensor `{sensor_id}` of type `{id}` can't be read: {error}")),
            Ok(folded) if folded.count != seen.count => {
                let (said, found) = (folded.count, seen.count);
                findings.fault(format!(
                    "sensor `{sensor_id}` of type `{id}` should have {said} rows in blocks and has {found}"
                ));
            }
            Ok(folded) if Some(folded.first) != seen.first || Some(folded.last) != seen.last => {
                findings.fault(format!(
                    "sensor `{sensor_id}` of type `{id}`: its first or last time is not that of its blocks"
                ));
            }
            Ok(_) => {}
        }
    }
    for sensor_id in seen.keys() {
        findings.fault(format!("sensor `{sensor_id}` of type `{id}` has blocks but is not listed"));
    }
    Ok(())
}

fn verify_staged(
    keyspaces: &Keyspaces,
    id: &SensorTypeId,
    record: &TypeRecord,
    findings: &mut Findings<'_>,
) -> Result<(), PortError> {
    for item in keyspaces.staged.prefix(record.number.to_be_bytes()) {
        let (key, value) = item.into_inner().map_err(|e| from_database("reading staged rows", e))?;
        findings.progress(key.len() + value.len());
        let sequence = parse_staged_key(&key)?;
        match decode_staged(&value) {
            Ok((rows, _)) => findings.report.staged_rows += rows.len() as u64,
            Err(error) => findings.fault(format!("sensor type `{id}`: staged rows {sequence} can't be read: {error}")),
        }
    }
    Ok(())
}

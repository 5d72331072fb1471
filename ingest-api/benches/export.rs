//! Measures the encoders: rows per second and bytes per row of each format, on one core, for one property and for five.
//!
//! Rows are made beforehand, so that the figures are those of writing alone. Run with `cargo bench -p ingest-api --bench export`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    Flag, Label, LabelRule, ObservedProperty, Position, PropertyId, Row, RowRef, Rows, SensorId, SensorType,
    SensorTypeDraft, SensorTypeId, Timestamp, Value,
};
use ingest_api::output::{Format, Selection, encoder};

/// Rows of a block, as an export reads them.
const BLOCK_ROWS: usize = 8_192;
/// Blocks of a run: 2.1 million rows.
const BLOCKS: usize = 256;
/// Runs of each, of which the fastest counts.
const RUNS: usize = 5;
/// Bytes at which what is written is taken, as an export does.
const PIECE_SIZE: usize = 64 * 1024;

fn main() {
    println!("{:>8} {:>10} {:>12} {:>10} {:>10}", "format", "properties", "rows/s", "MB/s", "bytes/row");
    for width in [1, 5] {
        let selection = Selection::new(sensor_type(width), None);
        let blocks: Vec<(SensorId, Rows)> = (0..8).map(|n| block(n, width)).collect();
        for format in Format::ALL {
            let runs = (0..RUNS).map(|_| run(*format, &selection, &blocks));
            let (time, size_bytes) = runs.min().expect("at least one run");
            let rows = (BLOCKS * BLOCK_ROWS) as f64;
            println!(
                "{:>8} {width:>10} {:>12.0} {:>10.0} {:>10.1}",
                format.name(),
                rows / time.as_secs_f64(),
                size_bytes as f64 / 1e6 / time.as_secs_f64(),
                size_bytes as f64 / rows
            );
        }
    }
}

/// Writes all blocks; answers with the time it took and the bytes there were.
fn run(format: Format, selection: &Selection, blocks: &[(SensorId, Rows)]) -> (Duration, usize) {
    let start = Instant::now();
    let mut encoder = encoder(format, selection, None).expect("an encoder");
    let mut size_bytes = 0;
    for n in 0..BLOCKS {
        let (sensor_id, rows) = &blocks[n * blocks.len() / BLOCKS];
        for row in rows.iter() {
            encoder.row(sensor_id, row).expect("a row");
            if encoder.ready() >= PIECE_SIZE {
                size_bytes += encoder.take().len();
            }
        }
    }
    encoder.finish(None).expect("an end");
    size_bytes += encoder.take().len();
    (start.elapsed(), size_bytes)
}

fn sensor_type(width: usize) -> Arc<SensorType> {
    let property = |n| ObservedProperty {
        id: PropertyId::parse(&format!("power{n}")).expect("a property id"),
        name: String::new(),
        unit: "W".to_owned(),
        gross_range: None,
        required: true,
        qc: Default::default(),
        detection: Default::default(),
        resolution: None,
    };
    let draft = SensorTypeDraft {
        name: String::new(),
        description: String::new(),
        sampling_interval: Duration::from_secs(1),
        retention: None,
        anomaly_flags: LabelRule::default(),
        properties: (0..width).map(property).collect(),
        csv: None,
        detection: Default::default(),
    };
    Arc::new(SensorType::first(SensorTypeId::parse("power").expect("a type id"), 1, draft).expect("a valid type"))
}

/// A sensor's rows, one a second, of numbers with one decimal; every 100th is missing.
fn block(sensor: usize, width: usize) -> (SensorId, Rows) {
    let mut rows = Rows::new(width);
    let mut state = sensor as u64 + 1;
    for n in 0..BLOCK_ROWS {
        let time = Timestamp::from_micros(1_486_566_000_000_000 + n as i64 * 1_000_000);
        let row = Row {
            phenomenon_time: time,
            accepted_at: time,
            position: Position(n as u64),
            first_position: Position(n as u64),
            type_version: 1,
            label: Label::Normal,
        };
        let cells = (0..width).map(|_| {
            // A linear congruential generator (Knuth, MMIX) is noise enough.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (Value::number((state >> 51) as f64 / 10.0).expect("finite"), Flag::Good)
        });
        let cell = |cell| if n % 100 == 99 { (Value::MISSING, Flag::Missing) } else { cell };
        let (values, flags): (Vec<Value>, Vec<Flag>) = cells.map(cell).unzip();
        rows.push(RowRef { row, values: &values, flags: &flags });
    }
    (SensorId::parse(&format!("meter-{sensor:05}")).expect("a sensor id"), rows)
}

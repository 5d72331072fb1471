//! Measures how many readings a second one core makes up and writes as JSON, without sending them.
//!
//! `cargo run --release -p feeder --example generation_rate`

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use feeder::sensor_type::SensorType;
use feeder::simulate::{Faults, Moment, Plan, Shard};
use jiff::Timestamp;

const SENSORS: u32 = 20_000;
const READINGS: u64 = 4_000_000;
const BATCH: usize = 500;
const POWER: &str = r#"{"id":"power","properties":[{"id":"power","gross_range":{"fail":[0,10000]},"resolution":0.1}]}"#;
const EMB: &str = r#"{"id":"emb","properties":[
    {"id":"sec","gross_range":{"fail":[5,100000],"suspect":[100,2000]},"resolution":1},
    {"id":"ph","gross_range":{"fail":[1,13],"suspect":[6,9]},"resolution":0.01},
    {"id":"water_level","gross_range":{"fail":[0.1,200],"suspect":[10,40]},"resolution":0.01},
    {"id":"water_temp","gross_range":{"fail":[-5,50],"suspect":[5,20]},"resolution":0.1},
    {"id":"tdg","gross_range":{"fail":[100,2500],"suspect":[500,1500]},"resolution":1}]}"#;

fn main() -> anyhow::Result<()> {
    for sensor_type in [POWER, EMB] {
        measure(&serde_json::from_str(sensor_type)?)?;
    }
    Ok(())
}

fn measure(sensor_type: &SensorType) -> anyhow::Result<()> {
    let faults: Faults = "spikes=0.001,outages=0.0001,missing=0.001,drift=0.0001".parse()?;
    let mut shard = Shard::new(Arc::new(Plan::new(sensor_type, faults, 1, "sim")), 1..SENSORS + 1);
    let mut buffer = BytesMut::with_capacity(256 * BATCH);
    let (mut made, mut bytes) = (0, 0);
    let began = Instant::now();
    let mut time = Timestamp::from_second(1_577_836_800)?;
    while made < READINGS {
        let moment = Moment::new(time);
        for sensor in 0..shard.len() {
            shard.write_reading(sensor, &moment, &mut buffer);
            made += 1;
            if made.is_multiple_of(BATCH as u64) {
                bytes += buffer.len();
                buffer.clear();
            }
        }
        time += Duration::from_secs(1);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{}: {:.0} readings/s, {:.0} MB/s", sensor_type.id, made as f64 / seconds, bytes as f64 / seconds / 1e6);
    Ok(())
}

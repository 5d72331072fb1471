//! The sensors as Kibana shows them on a map: a document each, in an index of their own.
//!
//! **Invariant:** nothing of the hub reads them; the registry alone says what a sensor is.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use domain::Sensor;
use elasticsearch::http::Method;
use ports::PortError;
use serde_json::json;
use tokio::sync::Mutex;

use super::{
    bulk::{Action, Bulk},
    client::{Client, FaultKind, Request},
    settings::Settings,
};

/// How the index is made.
const INDEX: &str = include_str!("sensors.json");
/// About how many bytes one document takes, with the line before it.
const DOCUMENT_SIZE: usize = 256;
const DOING: &str = "showing sensors";

/// What was written of the sensors.
#[derive(Debug)]
pub(crate) struct Sensors {
    client: Client,
    index: String,
    bulk_rows_max: usize,
    /// By number.
    written: Mutex<HashMap<u64, Arc<Sensor>>>,
}

impl Sensors {
    pub(crate) fn new(client: Client, settings: &Settings) -> Self {
        let index = format!("{}sensors", settings.index_prefix);
        Self { client, index, bulk_rows_max: settings.bulk_rows_max, written: Mutex::default() }
    }

    /// Writes those that differ from what this process has written; answers how many did. One bulk request is under way at a time.
    pub(crate) async fn show(&self, sensors: &[Arc<Sensor>]) -> Result<usize, PortError> {
        let mut written = self.written.lock().await;
        let is_new = |sensor: &&Arc<Sensor>| {
            written.get(&sensor.number).is_none_or(|known| !Arc::ptr_eq(known, sensor) && known != *sensor)
        };
        let changed: Vec<&Arc<Sensor>> = sensors.iter().filter(is_new).collect();
        if changed.is_empty() && written.len() <= sensors.len() {
            return Ok(0);
        }
        self.make_index().await?;
        for some in changed.chunks(self.bulk_rows_max) {
            let mut bulk = Bulk::new(&self.index, some.len() * DOCUMENT_SIZE);
            for sensor in some {
                bulk.begin(Action::Put, &self.index, |out| out.extend_from_slice(sensor.id.as_str().as_bytes()));
                bulk.document(|out| out.extend_from_slice(document(sensor).as_bytes()));
            }
            let outcomes = bulk.send(self.client.clone()).await.map_err(|fault| fault.while_doing(DOING))?;
            if let Some(fault) = outcomes.into_iter().find_map(Result::err) {
                return Err(fault.while_doing(DOING));
            }
            written.extend(some.iter().map(|sensor| (sensor.number, Arc::clone(sensor))));
        }
        if written.len() > sensors.len() {
            self.hide(&mut written, sensors).await?;
        }
        Ok(changed.len())
    }

    /// Takes out what this process has written of sensors that are gone.
    async fn hide(&self, written: &mut HashMap<u64, Arc<Sensor>>, sensors: &[Arc<Sensor>]) -> Result<(), PortError> {
        let numbers: HashSet<u64> = sensors.iter().map(|sensor| sensor.number).collect();
        let ids: HashSet<&str> = sensors.iter().map(|sensor| sensor.id.as_str()).collect();
        let gone: Vec<_> = written.values().filter(|sensor| !numbers.contains(&sensor.number)).cloned().collect();
        for sensor in gone {
            // Registered again, it has another number and the same document.
            if !ids.contains(sensor.id.as_str()) {
                let path = format!("/{}/_doc/{}", self.index, sensor.id);
                match self.client.send(&Request::new(Method::Delete, path)).await {
                    Err(fault) if matches!(fault.kind, FaultKind::Missing) => {}
                    answer => drop(answer.map_err(|fault| fault.while_doing(DOING))?),
                }
            }
            written.remove(&sensor.number);
        }
        Ok(())
    }

    async fn make_index(&self) -> Result<(), PortError> {
        let body = INDEX.as_bytes().to_vec();
        match self.client.send(&Request::new(Method::Put, format!("/{}", self.index)).body(body)).await {
            Err(fault) if fault.name == "resource_already_exists_exception" => Ok(()),
            answer => answer.map(drop).map_err(|fault| fault.while_doing(DOING)),
        }
    }
}

fn document(sensor: &Sensor) -> String {
    let place = sensor.place.map(|place| json!({"lat": place.latitude, "lon": place.longitude}));
    json!({
        "sensor_id": sensor.id,
        "sensor_type": sensor.sensor_type,
        "name": sensor.name,
        "group": sensor.group,
        "place": place,
    })
    .to_string()
}

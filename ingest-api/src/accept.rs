//! The one way of parsed readings into the log.

use std::{collections::HashMap, time::Duration};

use domain::{SensorId, SensorType, Topic};
use ports::{Batch, ErrorKind, PortError, TopicKind};
use registry::{FirstReadingRefusal, FirstReadings, RegistryError};
use serde::Serialize;
use serde_json::json;

use crate::{
    App, Code, Problem,
    input::{Parsed, Rejection},
};

/// What became of the items of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// How many items the log holds on disk.
    pub accepted: usize,
    /// The refused items, as many as are told.
    pub rejected: Vec<Rejection>,
    /// How many were refused, where that is more than are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_count: Option<usize>,
}

/// Registers the sensors of first readings, appends the readings and answers when they are durable.
///
/// # Errors
/// 422 where no item is valid, 404 where the type was removed meanwhile, and what the log and the registry say.
pub async fn accept(app: &App, sensor_type: &SensorType, mut parsed: Parsed) -> Result<Accepted, Problem> {
    let _in_use = app.types_in_use.read().await;
    app.sensor_type(sensor_type.id.as_str())?;
    if !parsed.unknown.is_empty() {
        register(app, sensor_type, &mut parsed).await?;
    }
    let Parsed { readings, rejected, rejected_count, .. } = parsed;
    let accepted = readings.len();
    let retry_after_s = rejected.iter().map(|rejection| rejection.retry_after_s).max().flatten();
    let rejected_count = (rejected_count > rejected.len()).then_some(rejected_count);
    let answer = Accepted { accepted, rejected, rejected_count };
    if accepted == 0 {
        let problem =
            nothing_valid(answer, if retry_after_s.is_some() { Code::TooManyRequests } else { Code::Invalid });
        return Err(match retry_after_s {
            Some(seconds) => problem.retry_after(Duration::from_secs(seconds)),
            None => problem,
        });
    }
    let batch = Batch::Readings { type_version: sensor_type.version, readings };
    append(app, sensor_type, batch).await?;
    Ok(answer)
}

fn nothing_valid(answer: Accepted, code: Code) -> Problem {
    let detail = match answer.rejected_count.unwrap_or(answer.rejected.len()) {
        0 => "there is no item in the body".to_owned(),
        count if code == Code::TooManyRequests => {
            format!("none of the `{count}` items is accepted now; `rejected` says why")
        }
        count => format!("none of the `{count}` items is valid; `rejected` says why"),
    };
    let mut problem = Problem::new(code, detail);
    for (name, value) in answer.members() {
        problem = problem.with(name, value);
    }
    match answer.rejected_count {
        Some(count) => problem.with("rejected_count", count),
        None => problem,
    }
}

async fn append(app: &App, sensor_type: &SensorType, batch: Batch) -> Result<(), PortError> {
    let topic = Topic::readings(&sensor_type.id);
    match app.ports.log.append(&topic, batch.clone()).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // The registry makes the topic before the type; a log that lost it gets it again.
            app.ports.log.create_topic(&topic, TopicKind::Records).await?;
            app.ports.log.append(&topic, batch).await.map(drop)
        }
        outcome => outcome.map(drop),
    }
}

/// Registers the unknown sensors; the readings of those that are refused become rejections.
async fn register(app: &App, sensor_type: &SensorType, parsed: &mut Parsed) -> Result<(), Problem> {
    let unknown = std::mem::take(&mut parsed.unknown);
    let answers = app.ports.registry.register_first_readings(&sensor_type.id, &unknown, FirstReadings::Posted).await?;
    app.count_first_readings(&answers);
    let refused: HashMap<SensorId, FirstReadingRefusal> =
        unknown.into_iter().zip(answers).filter_map(|(id, answer)| Some((id, answer.err()?))).collect();
    if !refused.is_empty() {
        refuse(parsed, &refused, app.config.rejected_max);
    }
    Ok(())
}

fn refuse(parsed: &mut Parsed, refused: &HashMap<SensorId, FirstReadingRefusal>, rejected_max: usize) {
    parsed.sift(rejected_max, |index, reading| match refused.get(reading.sensor_id) {
        None => Ok(reading.phenomenon_time),
        Some(refusal) => {
            let (field, value) = ("sensor_id".to_owned(), reading.sensor_id.to_string());
            Err(Rejection { index, field, value, reason: refusal.to_string(), retry_after_s: refusal.retry_after_s() })
        }
    });
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let detail = error.to_string();
        let conflict = error.is_conflict();
        match error {
            RegistryError::SensorType { faults, .. } => {
                let code = if conflict { Code::Conflict } else { Code::Invalid };
                Self::faults(code, detail, &faults)
            }
            RegistryError::Sensor { fault, .. } => {
                let fault = json!({"key": fault.field(), "rule": fault.to_string()});
                Self::new(Code::Invalid, detail).with("faults", vec![fault])
            }
            RegistryError::UnknownSensorType(_) => Self::new(Code::NotFound, detail),
            RegistryError::BoundToOtherType { .. } => Self::new(Code::Conflict, detail),
            RegistryError::TooManySensors { .. } => {
                Self::new(Code::TooManyRequests, detail).retry_after(Duration::from_secs(60))
            }
            RegistryError::Contended(_) | RegistryError::Behind { .. } => {
                tracing::warn!(%detail, "the registry is behind");
                let detail = "the registry of the hub is busy; try again later";
                Self::new(Code::Unavailable, detail).retry_after(Duration::from_secs(1))
            }
            RegistryError::Port(error) => error.into(),
        }
    }
}

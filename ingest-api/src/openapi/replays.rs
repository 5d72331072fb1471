//! The shapes of replays.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// What is to be judged again.
#[derive(ToSchema)]
#[schema(example = json!({"sensor_type": "emb-qartod", "sensor_ids": ["emb3"], "from": "2017-02-01T00:00:00Z", "dry": true}))]
pub struct ReplayRequest {
    /// Id of the sensor type.
    pub sensor_type: String,
    /// Only these sensors, at most 1,000; all of the type where it is left out.
    #[schema(nullable = false)]
    pub sensor_ids: Option<Vec<String>>,
    /// First phenomenon time, inclusive.
    #[schema(nullable = false)]
    pub from: Option<String>,
    /// Last phenomenon time, exclusive.
    #[schema(nullable = false)]
    pub to: Option<String>,
    /// Whether to say what would change, and change nothing.
    #[schema(required = false)]
    pub dry: bool,
}

/// The replays that are known.
#[derive(ToSchema)]
pub struct Replays {
    /// The newest first.
    pub items: Vec<Replay>,
}

/// A replay and how far it is.
#[derive(ToSchema)]
#[schema(example = json!({
    "format": 1, "id": "emb-qartod-644b2a1d3c900-1b7f03ac", "sensor_type": "emb-qartod", "dry": true, "type_version": 2, "state": "done",
    "requested_at": "2026-11-25T20:00:00Z", "updated_at": "2026-11-25T20:00:01Z", "parts": 1, "parts_done": 1,
    "changes": {"readings": 3828, "readings_changed": 12, "to_anomaly": 12, "to_normal": 0, "flags": {"sec": {"1": {"4": 12}}}}
}))]
pub struct Replay {
    /// Version of this form.
    pub format: u32,
    /// Id of the replay.
    pub id: String,
    /// Id of the sensor type.
    pub sensor_type: String,
    /// Only these sensors.
    #[schema(nullable = false)]
    pub sensor_ids: Option<Vec<String>>,
    /// First phenomenon time, inclusive.
    #[schema(nullable = false)]
    pub from: Option<String>,
    /// Last phenomenon time, exclusive.
    #[schema(nullable = false)]
    pub to: Option<String>,
    /// Whether it changes nothing.
    pub dry: bool,
    /// The version of the sensor type that it judges by.
    pub type_version: u32,
    /// How it is.
    pub state: ReplayState,
    /// When it was asked for.
    pub requested_at: String,
    /// When this was written.
    pub updated_at: String,
    /// How many parts it has; 0 until that is known.
    pub parts: u64,
    /// How many of them are carried out.
    pub parts_done: u64,
    /// How many of those were left out in part, because what is stored can't be read.
    #[schema(nullable = false)]
    pub parts_unreadable: Option<u64>,
    /// What they changed or, of a dry one, would change.
    pub changes: Changes,
}

/// How a replay is. `interrupted`: its process ended first; what was on its way is carried out. `failed`: the sensor type is gone.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ReplayState {
    /// Parts are still to be carried out.
    Running,
    /// All parts are carried out.
    Done,
    /// Somebody has ended it.
    Cancelled,
    /// Its process ended first.
    Interrupted,
    /// The sensor type is gone.
    Failed,
}

/// What judging readings again changes. After a crash of quality control, what it had changed of a part does not count again.
#[derive(ToSchema)]
pub struct Changes {
    /// Readings that were judged.
    pub readings: u64,
    /// Those of which a rolled-up flag is another.
    pub readings_changed: u64,
    /// Those that become anomalies.
    pub to_anomaly: u64,
    /// Those that become normal.
    pub to_normal: u64,
    /// How many rolled-up flags change, by property, flag before and flag after.
    pub flags: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>,
}

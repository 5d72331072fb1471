//! The words of the platform as types: ids, times, values, flags, sensor types, readings and the rule that merges them.
//!
//! **Invariant:** nothing here does I/O or asks for the time; every value of a type here is valid, because only `parse`
//! functions and checked constructors make one.

mod anomaly;
mod dead_letter;
mod detection;
mod duration_text;
mod id;
mod judged;
mod objects;
mod quality_control;
mod reading;
mod replay;
mod run;
mod sensor;
mod sensor_type;
mod time;
mod topic;
mod value;

pub use anomaly::{Anomaly, AnomalyId, AnomalyKind, Severity};
pub use dead_letter::{DeadLetter, Payload};
pub use detection::{
    Detection, DetectionDirection, DetectionGaps, DetectionMode, DetectionThreshold, HISTORY_STEPS_DEFAULT,
};
pub use id::{Id, IdKind, InvalidId, PropertyId, PropertyKind, SensorId, SensorKind, SensorTypeId, SensorTypeKind};
pub use judged::{Judged, Merge, Row, RowRef, Rows};
pub use objects::{Objects, from_json};
pub use quality_control::{
    AttenuatedSignal, Climate, FlatLine, Gap, Neighbour, QualityControl, RateOfChange, SignalMeasure, Spike,
    SpikeMethod, WINDOW_READINGS_MAX,
};
pub use reading::{Deletion, Reading, Readings};
pub use replay::{Changes, PartReport, Rejudgement};
pub use run::{RUN_FOUND_MAX, Run, RunId, RunKind, RunPlace, RunRequest, RunState, S_H_ESD, Trigger};
pub use sensor::{Place, Sensor, SensorFault};
pub use sensor_type::{
    Column, CsvDialect, GrossRange, ObservedProperty, PROPERTIES_MAX, SensorType, SensorTypeDraft, SensorTypeFault,
    Span, TypeVersion,
};
pub use time::{InvalidTime, Timestamp};
pub use topic::{Partition, Position, Topic};
pub use value::{Flag, InvalidNumber, Label, LabelRule, Value, write_number};

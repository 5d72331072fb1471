//! The contract of the [`Findings`](crate::Findings), sentence by sentence.

mod anomalies;
mod removal;
mod runs;
mod shares;

pub use anomalies::{
    a_large_batch_is_recorded_one_by_one, an_open_end_is_closed_once, anomalies_are_answered_in_order_and_page_by_page,
    anomalies_are_answered_that_are_asked_for, the_first_finding_stays, what_was_recorded_is_there_after_an_end,
};
pub use removal::{
    a_removal_goes_on_where_it_was_left, everything_of_a_sensor_type_is_removed, old_anomalies_are_removed,
    old_runs_that_have_ended_are_removed,
};
pub use runs::{
    a_requested_run_keeps_what_it_was_asked_and_found, a_run_is_as_it_was_put_last,
    asking_a_run_to_stop_outlives_its_progress, runs_are_answered_newest_first,
    runs_under_way_are_found_by_their_state,
};
pub use shares::{
    a_lease_of_a_clock_that_was_ahead_keeps_nobody_out, a_lease_that_was_taken_over_completes_nothing,
    a_share_has_one_owner, what_is_done_stays_done,
};

use async_trait::async_trait;
use domain::{
    Anomaly, AnomalyKind, PropertyId, Run, RunId, RunState, SensorId, SensorTypeId, Severity, Timestamp, Trigger,
};
use std::{collections::BTreeMap, sync::Arc};

use crate::{Findings, contracts::Ending};

/// Findings under test, alone in a place of their own.
///
/// Handles that [`findings`](Self::findings) gave out are dropped by the contracts before they call [`reopen`](Self::reopen).
#[async_trait]
pub trait FindingsBackend: Send + Sync + Sized + 'static {
    /// Opens an empty one.
    async fn start() -> Self;

    /// The findings.
    fn findings(&self) -> Arc<dyn Findings>;

    /// Ends it and opens it again in the same place. One that lives in memory goes on.
    async fn reopen(&mut self, ending: Ending);
}

/// Makes a test of each contract of the findings, for the [`FindingsBackend`] named.
#[macro_export]
macro_rules! findings_contracts {
    ($backend:ty) => {
        $crate::contract_tests!($backend, findings:
            a_large_batch_is_recorded_one_by_one,
            an_open_end_is_closed_once,
            anomalies_are_answered_in_order_and_page_by_page,
            anomalies_are_answered_that_are_asked_for,
            the_first_finding_stays,
            what_was_recorded_is_there_after_an_end,
            a_run_is_as_it_was_put_last,
            asking_a_run_to_stop_outlives_its_progress,
            runs_are_answered_newest_first,
            runs_under_way_are_found_by_their_state,
            a_requested_run_keeps_what_it_was_asked_and_found,
            a_lease_of_a_clock_that_was_ahead_keeps_nobody_out,
            a_lease_that_was_taken_over_completes_nothing,
            a_share_has_one_owner,
            what_is_done_stays_done,
            a_removal_goes_on_where_it_was_left,
            everything_of_a_sensor_type_is_removed,
            old_anomalies_are_removed,
            old_runs_that_have_ended_are_removed,
        );
    };
}

fn run_id(text: &str) -> RunId {
    RunId::parse(text).expect("an id")
}

/// A point of datastream `sensor`/sec at second `second`, found by `run`.
fn anomaly(sensor: &str, second: i64, run: &str) -> Anomaly {
    Anomaly {
        sensor_type: SensorTypeId::parse("emb").expect("an id"),
        sensor_id: SensorId::parse(sensor).expect("an id"),
        property: PropertyId::parse("sec").expect("an id"),
        phenomenon_time: Timestamp::from_micros(second * 1_000_000),
        until: None,
        kind: AnomalyKind::Point,
        value: Some(904.0),
        expected: Some(845.1),
        score: 0.7,
        severity: Severity::of(0.7),
        detector: "s-h-esd".to_owned(),
        detector_version: 1,
        settings: "00000000000000ff".to_owned(),
        run: run_id(run),
        found_at: Timestamp::from_micros(1),
    }
}

/// A run over type `emb` that started at second `second`.
fn run(id: &str, second: i64) -> Run {
    Run {
        id: run_id(id),
        detector: "s-h-esd".to_owned(),
        detector_version: 1,
        settings: "00000000000000ff".to_owned(),
        parameters: "{}".to_owned(),
        sensor_type: SensorTypeId::parse("emb").expect("an id"),
        share: Some(3),
        from: Timestamp::from_micros(0),
        to: Timestamp::from_micros(900_000_000),
        trigger: Trigger::Schedule,
        dry: false,
        state: RunState::Running,
        started_at: Timestamp::from_micros(second * 1_000_000),
        ended_at: None,
        datastreams: 4,
        datastreams_done: 1,
        points: 10,
        anomalies: 2,
        failures: BTreeMap::from([("too little history".to_owned(), 1)]),
        cancel_requested: false,
        request: None,
        found: Vec::new(),
        place: None,
    }
}

//! The shapes of the settings of quality control.

use utoipa::ToSchema;

/// Settings of the QARTOD tests of a property. In each, beyond `suspect` a value is flagged 3, beyond `fail` 4; one may be left out.
#[derive(ToSchema)]
#[schema(example = json!({
    "spike": {"suspect": 10, "fail": 50}, "rate_of_change": {"suspect": 0.005, "fail": 0.05},
    "flat_line": {"tolerance": 0.5, "suspect": "1d", "fail": "3d"}
}))]
pub struct QualityControl {
    /// The longest time since the reading before.
    pub gap: Option<Gap>,
    /// What is usual at which time of the year; of several that speak of a month the last counts.
    #[schema(required = false)]
    pub climatology: Vec<Climate>,
    /// How far a value may stand out between its neighbours in time.
    pub spike: Option<Spike>,
    /// How fast values may change, in the property's unit per second.
    pub rate_of_change: Option<RateOfChange>,
    /// For how long values may stay the same.
    pub flat_line: Option<FlatLine>,
    /// How little values may vary.
    pub attenuated_signal: Option<AttenuatedSignal>,
    /// How far a value may be from another property's or other sensors'.
    pub neighbour: Option<Neighbour>,
}

/// Settings of the gap test: durations such as `15m`, `2h`, `1d`.
#[derive(ToSchema)]
pub struct Gap {
    /// After a longer one a value is flagged 3.
    pub suspect: Option<String>,
    /// After a longer one it is flagged 4.
    pub fail: Option<String>,
}

/// Settings of the climatology test: what is usual in some months.
#[derive(ToSchema)]
pub struct Climate {
    /// The months, 1 to 12, in UTC.
    #[schema(min_items = 1)]
    pub months: Vec<u8>,
    /// Outside, a value is flagged 3.
    #[schema(min_items = 2, max_items = 2)]
    pub suspect: Option<Vec<f64>>,
    /// Outside, a value is flagged 4.
    #[schema(min_items = 2, max_items = 2)]
    pub fail: Option<Vec<f64>>,
}

/// Settings of the spike test, in the property's unit.
#[derive(ToSchema)]
pub struct Spike {
    /// A larger spike is flagged 3.
    pub suspect: Option<f64>,
    /// A larger spike is flagged 4.
    pub fail: Option<f64>,
    /// How large a spike is.
    #[schema(required = false)]
    pub method: SpikeMethod,
}

/// `average`: the distance from the mean of the values before and behind (the default). `differential`: the lesser of the distances from
/// both, where both lie on the same side; else 0.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum SpikeMethod {
    /// The distance from the mean of both neighbours.
    Average,
    /// The lesser of the distances from both neighbours.
    Differential,
}

/// Settings of the rate of change test, in the property's unit per second.
#[derive(ToSchema)]
pub struct RateOfChange {
    /// A faster change is flagged 3.
    pub suspect: Option<f64>,
    /// A faster change is flagged 4.
    pub fail: Option<f64>,
}

/// Settings of the flat line test: durations of 2 to 4,096 sampling intervals, counted in readings.
#[derive(ToSchema)]
pub struct FlatLine {
    /// Values whose range is less are the same, in the property's unit.
    pub tolerance: f64,
    /// The same for so long is flagged 3.
    pub suspect: Option<String>,
    /// The same for so long is flagged 4.
    pub fail: Option<String>,
}

/// Settings of the attenuated signal test.
#[derive(ToSchema)]
pub struct AttenuatedSignal {
    /// How far it looks back, this far back not included: 2 to 4,096 sampling intervals.
    pub over: String,
    /// How variation is measured.
    #[schema(required = false)]
    pub measure: SignalMeasure,
    /// With fewer values it is not evaluated; 2 if not given.
    #[schema(required = false, minimum = 2, maximum = 4096)]
    pub values_min: u32,
    /// Less variation is flagged 3.
    pub suspect: Option<f64>,
    /// Less variation is flagged 4.
    pub fail: Option<f64>,
}

/// `standard_deviation`: of the population (the default). `range`: greatest less least.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum SignalMeasure {
    /// Population standard deviation.
    StandardDeviation,
    /// Greatest less least.
    Range,
}

/// Settings of the neighbour test: either `property`, or `sensors` and `within`.
#[derive(ToSchema)]
pub struct Neighbour {
    /// Another property, of the same reading.
    pub property: Option<String>,
    /// Sensors that are neighbours of each other: each is compared with the median of what the others said nearest in time.
    #[schema(required = false, max_items = 16)]
    pub sensors: Vec<String>,
    /// How far apart in time their readings may be.
    pub within: Option<String>,
    /// A greater difference is flagged 3.
    pub suspect: Option<f64>,
    /// A greater difference is flagged 4.
    pub fail: Option<f64>,
}

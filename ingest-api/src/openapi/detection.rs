//! The shapes of the settings of detection.

use utoipa::ToSchema;

/// Settings of detection of a property. What it leaves open its type says, and what that leaves open the hub.
#[derive(ToSchema)]
#[schema(example = json!({"mode": "guarded", "period": 24, "max_anoms": 0.1}))]
pub struct PropertyDetection {
    #[schema(inline)]
    #[serde(flatten)]
    pub settings: Detection,
}

/// Settings of detection of a type.
#[derive(ToSchema)]
#[schema(example = json!({"every": "5m", "history": 2016, "mode": "guarded"}))]
pub struct TypeDetection {
    /// Time from one look to the next, from `1s` to `1d`; the hub's if not given.
    #[schema(nullable = false)]
    pub every: Option<String>,
    #[schema(inline)]
    #[serde(flatten)]
    pub settings: RunDetection,
}

/// Settings of detection of a run: what is given counts before what types and properties say.
#[derive(ToSchema)]
#[schema(example = json!({"mode": "strict", "period": 24, "gaps": "interpolate"}))]
pub struct RunDetection {
    /// Steps of the sampling interval before a value that it is judged by; 672 if not given, or four times the longest `period`.
    #[schema(nullable = false, minimum = 48, maximum = 50000)]
    pub history: Option<u32>,
    #[schema(inline)]
    #[serde(flatten)]
    pub settings: Detection,
}

/// How anomalies are looked for.
#[derive(ToSchema)]
pub struct Detection {
    /// The method; `guarded` if not given.
    #[schema(nullable = false)]
    pub mode: Option<Mode>,
    /// Steps of one season, 0 for none, at most a third of the history; found by autocorrelation if not given.
    #[schema(nullable = false, minimum = 0, maximum = 16666)]
    pub period: Option<u32>,
    /// The greatest share of values that may be anomalies: greater than 0, less than 0.5; 0.2 if not given.
    #[schema(nullable = false, exclusive_minimum = 0, exclusive_maximum = 0.5)]
    pub max_anoms: Option<f64>,
    /// Chance of finding an anomaly where there is none; 0.05 if not given.
    #[schema(nullable = false, exclusive_minimum = 0, exclusive_maximum = 1)]
    pub alpha: Option<f64>,
    /// On which side of the level to look; `both` if not given.
    #[schema(nullable = false)]
    pub direction: Option<Direction>,
    /// Strict mode: steps that share a median and a season, more than two seasons.
    #[schema(nullable = false)]
    pub long_term: Option<u32>,
    /// Strict mode: leaves anomalies below this level out.
    #[schema(nullable = false)]
    pub threshold: Option<Threshold>,
    /// Strict mode: leaves anomalies before the last season out.
    #[schema(nullable = false)]
    pub only_last: Option<bool>,
    /// Strict mode: what to do with missing values between others; `refuse` if not given.
    #[schema(nullable = false)]
    pub gaps: Option<Gaps>,
}

/// `guarded`: the published method made fit for sensors. `strict`: the published method as it is. `off`: not at all.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Mode {
    /// Fit for sensors.
    Guarded,
    /// As published.
    Strict,
    /// Not at all.
    Off,
}

/// On which side of the level an anomaly may lie.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Direction {
    /// On either.
    Both,
    /// Above it.
    Pos,
    /// Below it.
    Neg,
}

/// A level: median, 95th or 99th percentile of the greatest values of all seasons.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Threshold {
    /// Their median.
    MedMax,
    /// Their 95th percentile.
    P95,
    /// Their 99th percentile.
    P99,
}

/// `refuse`: the datastream is not judged. `drop`: they are left out. `interpolate`: a line between their neighbours takes their place.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Gaps {
    /// Does not judge the datastream.
    Refuse,
    /// Leaves them out.
    Drop,
    /// Puts a line in their place.
    Interpolate,
}

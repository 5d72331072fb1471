//! Readings out: queries, exports, the latest reading of each sensor, statistics.

/// Adds the routes that answer readings.
pub fn configure(cfg: &mut actix_web::web::ServiceConfig) {
    let _ = cfg;
}

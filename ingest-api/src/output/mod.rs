//! Readings out: queries, exports, the latest reading of each sensor, statistics.
//!
//! **Invariant:** an answer that ends cleanly is whole; what fails on the way breaks the transfer off.

mod anomalies;
mod answer;
mod buckets;
mod coding;
pub(crate) mod cursor;
mod encoder;
mod export;
mod find;
mod flags;
mod format;
mod latest;
pub mod openapi;
mod parameters;
mod readings;
#[cfg(test)]
mod samples;
mod summary;
mod table;
mod text;

pub(crate) use anomalies::Shown;
pub use cursor::{Fingerprint, decode as decode_cursor};
pub use encoder::{EncodeError, Encoder, Selection, encoder};
pub use format::Format;

use actix_web::{
    Handler, Responder,
    guard::{Any, Get, Head},
    web::{ServiceConfig, route},
};

/// The routes of this module, for the OpenAPI description.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    readings::readings,
    latest::latest,
    buckets::buckets,
    flags::flags,
    summary::summary,
    anomalies::anomalies
))]
pub struct OutputApi;

/// Adds the routes that answer readings. They take `GET` and `HEAD` alone and leave the other methods of their paths to the
/// routes added behind them.
pub fn configure(cfg: &mut ServiceConfig) {
    add(cfg, "/v1/readings/{sensor_type}", readings::readings);
    add(cfg, "/v1/readings/{sensor_type}/latest", latest::latest);
    add(cfg, "/v1/datastreams/{sensor_id}/{property}/buckets", buckets::buckets);
    add(cfg, "/v1/qc/flags", flags::flags);
    add(cfg, "/v1/qc/summary", summary::summary);
    add(cfg, "/v1/anomalies", anomalies::anomalies);
}

fn add<F, Args>(cfg: &mut ServiceConfig, path: &str, handler: F)
where
    F: Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: Responder + 'static,
{
    cfg.route(path, route().guard(Any(Get()).or(Head())).to(handler));
}

//! The handlers that take something in or describe the hub, one file for each thing they speak of.

pub mod dead_letters;
pub mod health;
mod named;
mod query;
pub mod readings;
pub mod replays;
pub mod runs;
pub mod sensor_types;
pub mod sensors;

use actix_web::{
    FromRequest, Handler, Responder,
    guard::{Any, Delete, Get, Head, Post, Put},
    web::{ServiceConfig, route},
};

/// Adds the routes of this module. Each takes its own methods and leaves the others of its path to the routes behind it.
pub fn configure(cfg: &mut ServiceConfig) {
    configure_health(cfg);
    get(cfg, "/", health::root);
    cfg.route("/v1/readings/{sensor_type}", route().guard(Post()).to(readings::post));
    cfg.route("/v1/readings/{sensor_type}", route().guard(Delete()).to(readings::delete));
    get(cfg, "/v1/sensor-types", sensor_types::list);
    get(cfg, "/v1/sensor-types/{id}", sensor_types::get);
    cfg.route("/v1/sensor-types/{id}", route().guard(Put()).to(sensor_types::put));
    cfg.route("/v1/sensor-types/{id}", route().guard(Delete()).to(sensor_types::delete));
    get(cfg, "/v1/sensors", sensors::list);
    get(cfg, "/v1/sensors/{id}", sensors::get);
    cfg.route("/v1/sensors/{id}", route().guard(Put()).to(sensors::put));
    cfg.route("/v1/sensors/{id}", route().guard(Delete()).to(sensors::delete));
    get(cfg, "/v1/dead-letters", dead_letters::list);
    get(cfg, "/v1/dead-letters/{id}", dead_letters::get);
    cfg.route("/v1/dead-letters/{id}/replay", route().guard(Post()).to(dead_letters::replay));
    cfg.route("/v1/qc/replays", route().guard(Post()).to(replays::begin));
    get(cfg, "/v1/qc/replays", replays::list);
    get(cfg, "/v1/qc/replays/{id}", replays::get);
    cfg.route("/v1/qc/replays/{id}", route().guard(Delete()).to(replays::end));
    cfg.route("/v1/runs", route().guard(Post()).to(runs::begin));
    get(cfg, "/v1/runs", runs::list);
    get(cfg, "/v1/runs/{id}", runs::get);
    cfg.route("/v1/runs/{id}", route().guard(Delete()).to(runs::cancel));
    cfg.route("/{sensor_type}", route().guard(Post()).to(readings::post_lines));
}

/// Adds the routes that say how the process is.
pub fn configure_health(cfg: &mut ServiceConfig) {
    get(cfg, "/health/live", health::live);
    get(cfg, "/health/ready", health::ready);
    get(cfg, "/metrics", health::metrics);
}

fn get<F, Args>(cfg: &mut ServiceConfig, path: &str, handler: F)
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    cfg.route(path, route().guard(Any(Get()).or(Head())).to(handler));
}

//! Settings of the service: where it listens and the bound of everything a client can make grow.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::Host;

/// Settings of the service.
#[derive(Debug, Clone)]
pub struct Config {
    /// What to serve.
    pub surface: Surface,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The hosts it answers for besides loopback and the address it listens on.
    pub hosts: Vec<Host>,
    /// Threads that serve requests.
    pub workers: usize,
    /// Connections waiting to be accepted.
    pub backlog: u32,
    /// Connections open at once; the next ones wait in the backlog.
    pub connections_max: usize,
    /// The largest body in bytes, as sent and as unpacked.
    pub body_size_max: usize,
    /// Bytes of bodies held at once over all requests, as sent and as unpacked.
    pub in_flight_size_max: usize,
    /// The most items of one body.
    pub items_max: usize,
    /// The most refused items that an answer lists; the others are counted.
    pub rejected_max: usize,
    /// How long a client may take to send its request line and headers.
    pub head_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// How long a connection without a request stays open.
    pub keep_alive: Duration,
    /// How long requests in flight may take to finish when the service stops.
    pub stop_grace: Duration,
    /// The consumer group that must have read a sensor type's records before the type can be removed.
    pub consumer_group: String,
    /// What else must be well for the service to be ready.
    pub readiness: Vec<ReadinessCheck>,
}

impl Default for Config {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            surface: Surface::Everything,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            hosts: Vec::new(),
            workers: 2,
            backlog: 1024,
            connections_max: 4096,
            body_size_max: 16 * MIB,
            in_flight_size_max: 128 * MIB,
            items_max: 100_000,
            rejected_max: 1000,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(75),
            stop_grace: Duration::from_secs(5),
            consumer_group: "qc-consumer".to_owned(),
            readiness: Vec::new(),
        }
    }
}

/// Which routes the service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// All of them.
    Everything,
    /// Health and metrics: for a process that does something else.
    Health,
}

/// Asks a part of the process whether it is ready; the answer says why not.
#[derive(Clone)]
pub struct ReadinessCheck {
    /// The part: `consumer`.
    pub name: &'static str,
    /// Asks it.
    pub check: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

impl fmt::Debug for ReadinessCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadinessCheck").field(&self.name).finish()
    }
}

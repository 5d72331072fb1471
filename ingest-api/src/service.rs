//! The service: listens, serves, stops.

use std::{io, net::SocketAddr, time::Duration};

use actix_web::{App as Routes, HttpServer, dev::Server, http::KeepAlive, middleware::from_fn, web::Data};
use tokio::sync::watch;

use crate::{App, Config, Ports, gate, routes};

/// How long a connection may take to close.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Threads beside each worker that parse large bodies.
const PARSERS_PER_WORKER: usize = 2;

/// The REST service, listening.
pub struct Service {
    server: Server,
    local_addr: SocketAddr,
}

/// Why the service can't serve.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its metrics are registered already.
    #[error("the metrics of the service can't be registered")]
    Metrics(#[from] prometheus::Error),
    /// The address is not free, or not this machine's.
    #[error("can't listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The server failed.
    #[error("the server failed")]
    Serve(#[source] io::Error),
}

impl Service {
    /// Listens; connections wait until [`run`](Self::run).
    ///
    /// # Errors
    /// [`ServiceError::Listen`], [`ServiceError::Metrics`].
    pub fn bind(ports: Ports, config: Config) -> Result<Self, ServiceError> {
        let (address, surface) = (config.listen, config.surface);
        let listen = |source| ServiceError::Listen { address, source };
        let app = Data::new(App::new(ports, config.clone())?);
        let workers = config.workers.max(1);
        let server = HttpServer::new(move || {
            Routes::new()
                .app_data(Data::clone(&app))
                .wrap(from_fn(gate::pass))
                .configure(|cfg| routes::configure(cfg, surface))
        })
        .workers(workers)
        .worker_max_blocking_threads(PARSERS_PER_WORKER)
        .backlog(config.backlog)
        .max_connections((config.connections_max / workers).max(1))
        .client_request_timeout(config.head_timeout)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        // Without it the last piece of a streamed answer waits 40 ms for the client to acknowledge the one before.
        .tcp_nodelay(true)
        .keep_alive(KeepAlive::Timeout(config.keep_alive))
        .shutdown_timeout(config.stop_grace.as_secs())
        .disable_signals()
        .bind(address)
        .map_err(listen)?;
        let local_addr = server.addrs().first().copied().unwrap_or(address);
        Ok(Self { server: server.run(), local_addr })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `stop` is true, then lets requests in flight finish within the grace of the settings.
    ///
    /// # Errors
    /// [`ServiceError::Serve`].
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), ServiceError> {
        let handle = self.server.handle();
        tokio::select! {
            served = &mut self.server => return served.map_err(ServiceError::Serve),
            // A stop that nobody can give any more is one.
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let stopped = handle.stop(true);
        self.server.await.map_err(ServiceError::Serve)?;
        stopped.await;
        Ok(())
    }
}

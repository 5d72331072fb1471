//! `iot-hub demo`: a hub over a temporary data folder, fed with simulated boreholes through its own REST API.
//!
//! **Invariant:** the demo can nothing that a user can't: it calls the same hub and the same feeder.

use std::{io, net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use feeder::simulate::{Backfill, Faults, Live, Options, Registration};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use toml::Value;

use crate::{
    config::{Config, Layers},
    hub::{self, Services},
    logging, signals,
};

/// How many boreholes.
const SENSORS: u32 = 8;
/// How far back their history goes.
const HISTORY: Duration = Duration::from_hours(30 * 24);
/// Time between two new readings of a borehole.
const LIVE_EVERY: Duration = Duration::from_secs(5);
/// What befalls them; more than in the field, so that there is something to see.
const FAULTS: Faults = Faults { spikes: 0.0005, outages: 0.0005, missing: 0.001, drift: 0.0002 };

/// Runs the demo until a signal stops it; nothing is kept.
///
/// # Errors
/// When the address is taken or not on loopback, or the hub or the feeder fails.
pub fn run(listen: SocketAddr) -> anyhow::Result<()> {
    if !listen.ip().is_loopback() {
        bail!("listen: `{listen}` is not on loopback, where alone the demo listens; try `--listen 127.0.0.1:9000`");
    }
    let folder = TempDir::with_prefix("iot-hub-demo-").context("can't make a temporary folder")?;
    let config = config(&folder, listen)?;
    logging::start(&config.tracing);
    println!("IoT-Hub demo: starting over {}", folder.path().display());
    let result = hub::block_on(async {
        let stop = signals::listen()?;
        let (started, address) = oneshot::channel();
        let hub = hub::run_until(&config, Services::All, stop.clone(), |address| {
            let _ = started.send(address);
        });
        tokio::try_join!(hub, feed(address, stop)).map(drop)
    });
    if result.as_ref().is_err_and(is_address_taken) {
        bail!("listen: `{listen}` is in use by another program; try another port: `iot-hub demo --listen 127.0.0.1:0`");
    }
    folder.close().context("can't remove the temporary folder")?;
    result?;
    println!("The demo is over; nothing of it is left.");
    Ok(())
}

fn config(folder: &TempDir, listen: SocketAddr) -> anyhow::Result<Config> {
    let data = folder.path().to_str().context("the path of temporary folders is not UTF-8")?;
    let mut layers = Layers::defaults();
    layers.add_flag("data.folder", Value::String(data.to_owned()), "--data");
    layers.add_flag("http.listen", Value::String(listen.to_string()), "--listen");
    layers.add_flag("tracing.filter", Value::String("warn".to_owned()), "--demo");
    Ok(Config::validate(layers)?)
}

fn is_address_taken(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::AddrInUse)
}

/// Feeds the hub at `address`, once it has one, until told to stop; says what to open when the history is in.
async fn feed(address: oneshot::Receiver<SocketAddr>, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let Ok(address) = address.await else { return Ok(()) };
    let (backfilled, mut is_backfilled) = watch::channel(false);
    let now = jiff::Timestamp::now();
    let options = Options {
        hub: format!("http://{address}"),
        sensors: SENSORS,
        sensor_prefix: "borehole".to_owned(),
        backfill: Some(Backfill { start: Some(now - HISTORY), span: HISTORY, interval: None }),
        live: Some(Live { every: Some(LIVE_EVERY), ..Live::default() }),
        faults: FAULTS,
        registration: Some(Registration { group: "demo".to_owned(), ..Registration::default() }),
        settle_timeout: Duration::ZERO,
        quiet: true,
        backfilled: Some(backfilled),
        stop: stop.into(),
        ..Options::default()
    };
    let tell = async {
        if is_backfilled.wait_for(|done| *done).await.is_ok() {
            println!("{}", what_to_open(address));
        }
    };
    let (fed, ()) = tokio::join!(feeder::simulate::run(options), tell);
    fed.context("the feeder failed").map(drop)
}

fn what_to_open(address: SocketAddr) -> String {
    let every = LIVE_EVERY.as_secs();
    format!(
        "
{SENSORS} simulated boreholes have sent the readings of the last 30 days, with faults, and go on with one each every {every} s.

Open in a browser:
  the API, to try out            http://{address}/docs
  newest reading of each         http://{address}/v1/readings/emb/latest
  water level, mean of each day  http://{address}/v1/datastreams/borehole1/water_level/buckets?interval=1d&statistics=count,mean,min,max
  anomalies, newest first        http://{address}/v1/readings/emb?qc=anomaly&order=desc&limit=20
  one borehole as a CSV file     http://{address}/v1/readings/emb?sensor_id=borehole1&format=csv

Or in another terminal:
  curl -s 'http://{address}/v1/sensors?sensor_type=emb'
  curl -s 'http://{address}/v1/readings/emb?format=parquet' -o emb.parquet
  curl -s 'http://{address}/v1/readings/emb' -H 'content-type: application/json' \\
    -d '{{\"sensor_id\":\"mine\",\"phenomenon_time\":\"2026-01-01T12:00:00Z\",\"sec\":904,\"ph\":17.34}}'
  curl -s 'http://{address}/v1/readings/emb?sensor_id=mine'

Ctrl-C ends the demo; nothing is kept."
    )
}

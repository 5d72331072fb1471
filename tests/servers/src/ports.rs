//! Ports that nothing listens on.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::UNIX_EPOCH,
};

use anyhow::{Context, Result};

/// Below the range that systems take ports of outgoing connections from, so that a server finds its port free when it starts again.
const FIRST: u16 = 20_000;
/// How many ports may be asked for.
const COUNT: u32 = 12_000;

/// A port of loopback that nobody listens on now.
pub(crate) fn free() -> Result<u16> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let moment = UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
    let start = process::id().wrapping_mul(7919).wrapping_add(moment);
    let port = (0..COUNT).find_map(|_| {
        let number = start.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + u16::try_from(number).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    });
    port.context("every port is taken")
}

//! Waiting for something to come true, where there is no runtime to wait in.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `look` answers with something, and gives its answer; an error with the last status where that takes longer.
pub(crate) fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let status = match look() {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        if Instant::now() >= deadline {
            bail!("{what} did not happen within {within:?}; last status: {status}");
        }
        thread::park_timeout(LOOK_EVERY);
    }
}

//! What a person sees while a replay runs: a bar on a terminal, else a line now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::hub::Notice;

/// How far apart plain lines are.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows how far a replay has come, on standard error.
pub struct Progress {
    bar: ProgressBar,
    terminal: bool,
    quiet: bool,
    last_line: Instant,
}

impl Progress {
    /// Begins to show progress over a number of bytes; a quiet one shows nothing.
    pub fn new(bytes: u64, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        let terminal = !bar.is_hidden();
        if let Ok(style) = ProgressStyle::with_template("[{elapsed}] {wide_bar} {percent:>3} % {msg} (ends in {eta})") {
            bar.set_style(style);
        }
        if terminal {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Self { bar, terminal, quiet, last_line: Instant::now() }
    }

    /// Shows where the replay is: bytes done over all files, and a few words.
    pub fn at(&mut self, bytes: u64, message: impl FnOnce() -> String) {
        if self.quiet {
            return;
        }
        self.bar.set_position(bytes);
        if self.terminal {
            self.bar.set_message(message());
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let percent = 100 * bytes / self.bar.length().unwrap_or(1).max(1);
            eprintln!("{percent} % {}", message());
        }
    }

    /// Returns what puts a line above the bar.
    pub fn notice(&self) -> Notice {
        let (bar, terminal, quiet) = (self.bar.clone(), self.terminal, self.quiet);
        Arc::new(move |line| {
            if quiet {
                return;
            }
            if terminal { bar.println(line) } else { eprintln!("{line}") }
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

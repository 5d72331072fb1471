//! How fast first readings may register sensors: a bucket of tokens, one per registration.

use std::time::{Duration, Instant};

/// Tokens that come back with time.
#[derive(Debug)]
pub(crate) struct Pace {
    per_minute: usize,
    tokens: f64,
    filled_at: Instant,
}

impl Pace {
    /// A full bucket: `per_minute` at once, and as many a minute from then on.
    pub(crate) fn new(per_minute: usize, now: Instant) -> Self {
        Self { per_minute, tokens: per_minute as f64, filled_at: now }
    }

    /// Takes up to `wanted` tokens; answers how many there were.
    pub(crate) fn take(&mut self, wanted: usize, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.filled_at);
        self.filled_at = now;
        let per_second = self.per_minute as f64 / 60.0;
        self.tokens = (self.tokens + passed.as_secs_f64() * per_second).min(self.per_minute as f64);
        let taken = wanted.min(self.tokens as usize);
        self.tokens -= taken as f64;
        taken
    }

    /// How long until `wanted` tokens are there, at most a minute.
    pub(crate) fn wait(&self, wanted: usize) -> Duration {
        let missing = (wanted.min(self.per_minute) as f64 - self.tokens).max(0.0);
        Duration::from_secs_f64(missing * 60.0 / self.per_minute as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_with_time_up_to_a_minutes_worth() {
        let start = Instant::now();
        let mut pace = Pace::new(60, start);
        assert_eq!((pace.take(50, start), pace.take(50, start)), (50, 10));
        assert_eq!(pace.take(1, start + Duration::from_millis(900)), 0);
        assert_eq!(pace.wait(1).as_millis(), 100);
        assert_eq!(pace.take(9, start + Duration::from_secs(3)), 3);
        assert_eq!(pace.take(100, start + Duration::from_secs(3_600)), 60);
        assert_eq!(pace.wait(1_000), Duration::from_secs(60));
        assert_eq!(pace.take(1, start), 0, "a clock that goes back gives nothing");
    }
}

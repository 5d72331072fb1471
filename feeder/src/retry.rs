//! When to send again, and how long to wait before it.

use std::time::Duration;

use rand::RngExt;

/// The first wait is drawn from the upper half of this, each further one from twice as much.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// No wait that the hub did not ask for is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// No wait that the hub asked for is longer.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What a status code asks of the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The hub has decided about every item: 2xx and 422.
    Answered,
    /// The hub, or what stands before it, cannot now: 429, 502, 503, 504.
    Again,
    /// Sending again would not help.
    Stop,
}

/// Judges a status code.
pub fn judge(status: u16) -> Verdict {
    match status {
        200..=299 | 422 => Verdict::Answered,
        429 | 502 | 503 | 504 => Verdict::Again,
        _ => Verdict::Stop,
    }
}

/// Waits that double with each failure in a row, with jitter so that many senders do not come back at once.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns the next wait: at least `retry_after` where the hub named one (5 minutes at most), else between half and
    /// all of a step that doubles from 100 ms to 10 s.
    pub fn next_wait(&mut self, retry_after: Option<Duration>) -> Duration {
        let step = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        let share: f64 = rand::rng().random();
        match retry_after {
            Some(asked) => asked.min(LONGEST_RETRY_AFTER) + FIRST_WAIT.mul_f64(share),
            None => step.mul_f64(0.5 + share / 2.0),
        }
    }

    /// Begins again with the shortest wait.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    #[test]
    fn only_a_busy_hub_is_asked_again() {
        for (status, expected) in [
            (200, Verdict::Answered),
            (202, Verdict::Answered),
            (422, Verdict::Answered),
            (429, Verdict::Again),
            (502, Verdict::Again),
            (503, Verdict::Again),
            (504, Verdict::Again),
            (301, Verdict::Stop),
            (400, Verdict::Stop),
            (404, Verdict::Stop),
            (413, Verdict::Stop),
            (500, Verdict::Stop),
            (507, Verdict::Stop),
        ] {
            assert_eq!(judge(status), expected, "{status}");
        }
    }

    #[test]
    fn waits_double_up_to_ten_seconds_and_begin_again() {
        let mut backoff = Backoff::default();
        for step_ms in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let wait = backoff.next_wait(None);
            assert!(wait >= Duration::from_millis(step_ms / 2) && wait <= Duration::from_millis(step_ms), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait(None) <= FIRST_WAIT);
    }

    proptest! {
        #[test]
        fn never_comes_back_before_retry_after(seconds in 0_u64..300, failures in any::<u32>()) {
            let asked = Duration::from_secs(seconds);
            let wait = Backoff { failures }.next_wait(Some(asked));
            prop_assert!(wait >= asked && wait <= asked + FIRST_WAIT);
        }
    }
}

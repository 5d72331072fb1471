//! The time of day, injected so that tests set it.
//!
//! **Invariant:** nothing is stamped, expired or removed by a clock that is not believed.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use domain::Timestamp;

use crate::{ErrorKind, PortError};

/// How far the time of day may run ahead of the time that has passed before it is not believed, and how far it may fall behind.
const JUMP_MAX: Duration = Duration::from_secs(60);
/// How long the time of day must have been behind before it is believed.
const BEHIND_MIN: Duration = Duration::from_secs(60);
/// How far an acceptance time may be ahead of the clock before it is taken for the work of a clock that was wrong: a day.
const STAMP_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// The time now, UTC. It may jump, in either direction.
    fn now(&self) -> Timestamp;

    /// The time now, where the clock is believed: the time to stamp, to expire and to remove by.
    ///
    /// # Errors
    /// `Unavailable` where it is not; the message says why, and what to do.
    fn believed(&self) -> Result<Timestamp, PortError> {
        Ok(self.now())
    }
}

/// Says whether an acceptance time can only come from a clock that was wrong: it is more than a day ahead of `now`.
pub fn is_ahead(accepted_at: Timestamp, now: Timestamp) -> bool {
    accepted_at > latest_stamp(now)
}

/// The latest acceptance time that is believed at a time.
pub fn latest_stamp(now: Timestamp) -> Timestamp {
    now.saturating_add(STAMP_AHEAD_MAX)
}

/// The acceptance time of the next record of a partition whose last one has `last`: not before that, unless that is
/// [ahead](is_ahead) of `now`.
pub fn next_acceptance(now: Timestamp, last: Timestamp) -> Timestamp {
    if is_ahead(last, now) { now } else { now.max(last) }
}

/// Records at the front of a partition that are stamped [ahead](is_ahead) of the clock, and so do not say how old they are: as old as
/// the time at which they were seen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenAhead {
    /// When they were seen.
    pub at: Timestamp,
    /// Where the partition ended then: all before it had been accepted.
    pub end: u64,
}

/// The machine's clock, as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Timestamp::from_micros(micros)
    }
}

/// The machine's clock, compared with the time that has passed since the process started, the machine's sleep included.
///
/// Where it has run ahead by more than a minute it is not believed until it agrees again or the process is started anew; [`now`](Clock::now)
/// goes on with the time that has passed. Where it has fallen back by more than a minute it is believed after another minute.
#[derive(Debug)]
pub struct WatchedClock(Mutex<Watch>);

impl WatchedClock {
    /// Believes the machine's clock for a start.
    pub fn start() -> Self {
        Self(Mutex::new(Watch { wall: SystemClock.now(), steady: since_boot(), behind_since: None }))
    }

    fn look(&self) -> Result<Timestamp, Ahead> {
        let mut watch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watch.look(SystemClock.now(), since_boot())
    }
}

impl Clock for WatchedClock {
    fn now(&self) -> Timestamp {
        self.look().unwrap_or_else(|ahead| ahead.expected)
    }

    fn believed(&self) -> Result<Timestamp, PortError> {
        self.look().map_err(|Ahead { wall, expected }| {
            let message = format!(
                "the clock of this machine says `{wall}` where `{expected}` is expected by the time that has passed, and is not believed: \
                 set it right, or start the hub anew where it is right"
            );
            PortError::new(ErrorKind::Unavailable, message)
        })
    }
}

/// The time since the machine was started, its sleep included.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A time of day that belongs together with a time since the start, and what was seen since.
#[derive(Debug)]
struct Watch {
    wall: Timestamp,
    steady: Duration,
    /// Since when the clock has been behind.
    behind_since: Option<Duration>,
}

/// A time of day that is not believed.
#[derive(Debug, PartialEq, Eq)]
struct Ahead {
    wall: Timestamp,
    expected: Timestamp,
}

impl Watch {
    /// The time where it is believed or has fallen back.
    fn look(&mut self, wall: Timestamp, steady: Duration) -> Result<Timestamp, Ahead> {
        let expected = self.wall.saturating_add(steady.saturating_sub(self.steady));
        if wall.since(expected) > JUMP_MAX {
            self.behind_since = None;
            return Err(Ahead { wall, expected });
        }
        if expected.since(wall) <= JUMP_MAX {
            self.behind_since = None;
            return Ok(wall);
        }
        let since = *self.behind_since.get_or_insert(steady);
        if steady.saturating_sub(since) < BEHIND_MIN {
            return Ok(expected);
        }
        (self.wall, self.steady, self.behind_since) = (wall, steady, None);
        Ok(wall)
    }
}

/// A clock that stands still until it is set. It is always believed.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `time`.
    pub fn at(time: Timestamp) -> Self {
        Self(AtomicI64::new(time.as_micros()))
    }

    /// Sets it, forwards or backwards.
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEARS: Duration = Duration::from_secs(63 * 365 * 24 * 3600);

    fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn at(time: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).saturating_add(second(time))
    }

    fn watch() -> Watch {
        Watch { wall: at(0), steady: second(5), behind_since: None }
    }

    #[test]
    fn clock_that_jumps_ahead_is_not_believed_until_it_agrees() {
        let mut watch = watch();
        assert_eq!(watch.look(at(110), second(105)), Ok(at(110)), "ten seconds are none");
        let wall = at(110).saturating_add(YEARS);
        assert_eq!(watch.look(wall, second(115)), Err(Ahead { wall, expected: at(110) }));
        let wall = at(3_610).saturating_add(YEARS);
        assert_eq!(watch.look(wall, second(3_615)), Err(Ahead { wall, expected: at(3_610) }), "however long");
        assert_eq!(watch.look(at(3_612), second(3_615)), Ok(at(3_612)));
    }

    #[test]
    fn clock_that_falls_back_is_believed_after_a_minute() {
        let mut watch = watch();
        let before = Timestamp::from_micros(1_600_000_000_000_000);
        assert_eq!(watch.look(before, second(15)), Ok(at(10)));
        assert_eq!(watch.look(at(12), second(17)), Ok(at(12)), "a glitch is over");
        assert_eq!(watch.look(before, second(20)), Ok(at(15)));
        assert_eq!(watch.look(before.saturating_add(second(59)), second(79)), Ok(at(74)));
        let set_back = before.saturating_add(second(60));
        assert_eq!(watch.look(set_back, second(80)), Ok(set_back));
        assert_eq!(
            watch.look(at(80), second(81)),
            Err(Ahead { wall: at(80), expected: set_back.saturating_add(second(1)) })
        );
    }

    #[test]
    fn acceptance_comes_down_from_a_wrong_clock_alone() {
        let day = second(24 * 3600);
        assert_eq!(next_acceptance(at(10), at(20)), at(20));
        assert_eq!(next_acceptance(at(20), at(10)), at(20));
        assert_eq!(next_acceptance(at(0), at(0).saturating_add(day)), at(0).saturating_add(day));
        assert_eq!(next_acceptance(at(0), at(0).saturating_add(day + second(1))), at(0));
    }
}

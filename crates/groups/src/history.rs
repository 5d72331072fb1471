//! What changes with time: a value from the beginning, and another one from each change on.

use domain::Timestamp;

/// The most changes of one history.
pub const CHANGES_MAX: usize = 4_096;

/// A history can't take one more change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has changed {CHANGES_MAX} times, the most it may")]
pub struct TooManyChanges;

/// A value over time.
///
/// **Invariant:** changes are in the order of their times, the first is at [`Timestamp::MIN`], and no two neighbours are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History<T>(Vec<(Timestamp, T)>);

impl<T: PartialEq> History<T> {
    /// A value that has always held.
    pub fn always(value: T) -> Self {
        Self(vec![(Timestamp::MIN, value)])
    }

    /// A history of changes as they are stored, in any order; `before` holds in front of the first.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn of(before: T, mut changes: Vec<(Timestamp, T)>) -> Result<Self, TooManyChanges> {
        changes.sort_by_key(|(since, _)| *since);
        let mut history = Self::always(before);
        for (since, value) in changes {
            history.change(since, value)?;
        }
        Ok(history)
    }

    /// Lets a value hold from a time on; what was to change later does not any more.
    ///
    /// # Errors
    /// Where there were too many changes before that time.
    pub fn change(&mut self, since: Timestamp, value: T) -> Result<(), TooManyChanges> {
        let kept = self.0.partition_point(|(time, _)| *time < since);
        self.0.truncate(kept);
        match self.0.last() {
            Some((_, last)) if *last == value => return Ok(()),
            None => self.0.push((Timestamp::MIN, value)),
            Some(_) if kept > CHANGES_MAX => return Err(TooManyChanges),
            Some(_) => self.0.push((since, value)),
        }
        Ok(())
    }

    /// What holds at a time.
    pub fn at(&self, time: Timestamp) -> &T {
        let behind = self.0.partition_point(|(since, _)| *since <= time).max(1);
        &self.0[behind - 1].1
    }

    /// What holds in the end.
    pub fn newest(&self) -> &T {
        &self.0[self.0.len() - 1].1
    }

    /// The changes behind the beginning, with the time from which each holds.
    pub fn changes(&self) -> &[(Timestamp, T)] {
        &self.0[1..]
    }

    /// What holds in front of the first change.
    pub fn before(&self) -> &T {
        &self.0[0].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn a_change_holds_from_its_time_on_and_ends_what_was_to_come() {
        let mut history = History::always('a');
        history.change(at(10), 'b').expect("there is room");
        history.change(at(20), 'c').expect("there is room");
        let seen = |history: &History<char>| [9, 10, 19, 20].map(|second| *history.at(at(second)));
        assert_eq!(seen(&history), ['a', 'b', 'b', 'c']);
        history.change(at(15), 'd').expect("there is room");
        assert_eq!((seen(&history), *history.newest()), (['a', 'b', 'd', 'd'], 'd'));
        history.change(at(10), 'a').expect("there is room");
        assert_eq!((history.changes(), *history.at(Timestamp::MIN)), (&[][..], 'a'));
    }

    #[test]
    fn changes_are_bounded_and_one_that_changes_nothing_is_none() {
        let mut history = History::always(0);
        for second in 0..CHANGES_MAX as i64 {
            history.change(at(second), second + 1).expect("there is room");
            history.change(at(second), second + 1).expect("nothing changes");
        }
        assert_eq!(history.change(at(1_000_000), -1), Err(TooManyChanges));
        assert_eq!(*history.newest(), CHANGES_MAX as i64);
    }
}

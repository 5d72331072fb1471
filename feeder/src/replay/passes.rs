//! The hour that comes twice when clocks go back: which of the two each line of the files means.
//!
//! Posts hold a few lines each, too few for the hub to tell by their order; the files hold all of them. So they are read through beforehand,
//! where clocks ever went back, by the hub's own rule: where local time goes up and steps back once, what is behind the step is the second
//! pass; where it goes down, what is before it. Where that does not tell, nothing is guessed.

use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;

use super::source::{Line, Position, Source};
use crate::dialect::{LineClock, Moment};

/// The most stretches that are remembered; the lines of others are not told. Files in order have one a year.
const STRETCHES_MAX: usize = 10_000;

/// Which of the two times is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The earlier one.
    First,
    /// The later one.
    Second,
}

impl Pass {
    /// Returns its name in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

impl FromStr for Pass {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::First, Self::Second].into_iter().find(|pass| pass.name() == text).ok_or("must be first or second")
    }
}

/// A line: the file, counted from 0, and its number there.
type Place = (usize, u64);

/// What is known of the lines whose hour comes twice.
#[derive(Debug, Default)]
pub struct Passes(Vec<Stretch>);

/// Lines, one behind the other, that speak of one hour that came twice.
#[derive(Debug)]
struct Stretch {
    from: Place,
    to: Place,
    /// A time of the hour, and how much later it came again.
    hour: (Timestamp, jiff::SignedDuration),
    before: Option<Timestamp>,
    behind: Option<Timestamp>,
    least: Timestamp,
    greatest: Timestamp,
    last: Timestamp,
    up: Breaks,
    down: Breaks,
    /// Whether other lines lie between these and more of the same hour.
    is_torn: bool,
}

/// Where lines are out of an order.
#[derive(Debug, Clone, Copy, Default)]
struct Breaks {
    count: u64,
    first: Option<Place>,
}

impl Breaks {
    fn add(&mut self, place: Place) {
        self.count += 1;
        self.first.get_or_insert(place);
    }
}

impl Passes {
    /// Reads files through.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn scan(files: &[PathBuf], header: bool, clock: &LineClock) -> anyhow::Result<Self> {
        let (mut stretches, mut previous): (Vec<Stretch>, Option<Timestamp>) = (Vec::new(), None);
        let mut is_open = false;
        let mut line = Vec::new();
        for (file, path) in files.iter().enumerate() {
            let mut source = Source::open(path, header, Position::START)?;
            while let Some(kind) = source.next_line(&mut line)? {
                let Some(moment) = (kind == Line::Reading).then(|| clock.moment_of(&line)).flatten() else { continue };
                let place = (file, source.position().line);
                let open = stretches.last_mut().filter(|_| is_open);
                match (moment, open) {
                    (Moment::Twice { first, .. }, Some(open)) if open.has(first) => open.push(place, first),
                    (_, open) => {
                        if let Some(open) = open {
                            open.behind = Some(moment.first());
                        }
                        is_open = matches!(moment, Moment::Twice { .. }) && stretches.len() < STRETCHES_MAX;
                        if let Moment::Twice { first, second } = moment
                            && is_open
                        {
                            stretches.push(Stretch::new(place, (first, second.duration_since(first)), previous));
                        }
                    }
                }
                previous = Some(moment.first());
            }
        }
        mark_torn(&mut stretches);
        Ok(Self(stretches))
    }

    /// Returns the pass of a line whose time comes twice; `None` when the order of the lines does not tell.
    pub fn of(&self, place: Place) -> Option<Pass> {
        let index = self.0.partition_point(|stretch| stretch.to < place);
        self.0.get(index).filter(|stretch| stretch.from <= place)?.pass_of(place)
    }
}

/// Marks the stretches of one hour where there are several.
fn mark_torn(stretches: &mut [Stretch]) {
    let mut by_time: Vec<&mut Stretch> = stretches.iter_mut().collect();
    by_time.sort_by_key(|stretch| stretch.hour.0);
    for of_one_hour in by_time.chunk_by_mut(|one, other| one.has(other.hour.0)) {
        let is_torn = of_one_hour.len() > 1;
        of_one_hour.iter_mut().for_each(|stretch| stretch.is_torn = is_torn);
    }
}

impl Stretch {
    fn new(place: Place, hour: (Timestamp, jiff::SignedDuration), before: Option<Timestamp>) -> Self {
        Self {
            from: place,
            to: place,
            hour,
            before,
            behind: None,
            least: hour.0,
            greatest: hour.0,
            last: hour.0,
            up: Breaks::default(),
            down: Breaks::default(),
            is_torn: false,
        }
    }

    /// Says whether a time that comes twice does so for the same change of the clocks.
    fn has(&self, first: Timestamp) -> bool {
        first.duration_since(self.hour.0).abs() < self.hour.1
    }

    fn push(&mut self, place: Place, first: Timestamp) {
        if first <= self.last {
            self.up.add(place);
        }
        if first >= self.last {
            self.down.add(place);
        }
        (self.to, self.last) = (place, first);
        (self.least, self.greatest) = (self.least.min(first), self.greatest.max(first));
    }

    fn pass_of(&self, place: Place) -> Option<Pass> {
        let below = |time: Option<Timestamp>| time.is_none_or(|time| time < self.least);
        let above = |time: Option<Timestamp>| time.is_none_or(|time| time > self.greatest);
        // More than two passes there are not: the lines are not in this order.
        let goes_up = below(self.before) && above(self.behind) && self.up.count < 2;
        let goes_down = above(self.before) && below(self.behind) && self.down.count < 2;
        let (step, before, behind) = match (goes_up, goes_down) {
            (true, false) => (self.up.first, Pass::First, Pass::Second),
            (false, true) => (self.down.first, Pass::Second, Pass::First),
            _ => return None,
        };
        let step = step.filter(|_| !self.is_torn)?;
        Some(if place < step { before } else { behind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor_type::Dialect;

    /// The passes of the lines of files, local times of 25 October 2026 in Paris, as digits; `?` where they are not told.
    #[track_caller]
    fn check(files: &[&str], expected: &str) {
        let columns = ["date", "time", "p"].map(str::to_owned).to_vec();
        let dialect = Dialect { columns, header: false, time_zone: "Europe/Paris".to_owned() };
        let clock = LineClock::new(&dialect).expect("a dialect");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut paths = Vec::new();
        for (index, times) in files.iter().enumerate() {
            let lines: Vec<String> = times.split(' ').map(|time| format!("2026-10-25,{time},1\n")).collect();
            let path = folder.path().join(index.to_string());
            std::fs::write(&path, lines.concat()).expect("written");
            paths.push(path);
        }
        let passes = Passes::scan(&paths, false, &clock).expect("readable");
        let mut told = String::new();
        for (file, times) in files.iter().enumerate() {
            for (index, time) in times.split(' ').enumerate() {
                let is_twice = time.starts_with("02");
                let pass = passes.of((file, index as u64 + 1));
                told.push(match pass {
                    Some(Pass::First) => '1',
                    Some(Pass::Second) => '2',
                    None if is_twice => '?',
                    None => '-',
                });
            }
        }
        assert_eq!(told, expected, "{files:?}");
    }

    #[test]
    fn passes_are_told_by_the_order_over_all_files() {
        check(&["01:45 02:00 02:15 02:30 02:45 02:00 02:15 02:30 02:45 03:00"], "-11112222-");
        check(&["03:00 02:45 02:00 02:45 02:00 01:45"], "-2211-");
        check(&["01:45 02:00 02:15", "02:30 02:45 02:00", "02:15 02:45", "03:00"], "-1111222-");
        check(&["01:00 02:00", "02:00 03:00"], "-12-");
        check(&["02:30 02:00 02:15", "03:00"], "122-");
    }

    #[test]
    fn what_the_order_does_not_tell_is_not_guessed() {
        for (times, expected) in [
            ("02:30", "?"),
            ("02:00 02:00", "??"),
            ("01:45 02:00 02:45 03:00", "-??-"),
            ("01:00 02:00 02:30 03:00 02:00 02:30", "-??-??"),
            ("01:00 02:00 02:00 02:00 03:00", "-???-"),
            ("01:45 02:00 02:45 02:15 02:30 02:00 03:00", "-?????-"),
        ] {
            check(&[times], expected);
        }
    }
}

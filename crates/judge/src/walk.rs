//! A walk over the readings of a sensor in a range of times: each with the flags of its tests, by the version that judged it.

use std::{collections::VecDeque, time::Duration};

use checks::TestFlags;
use ports::{PortError, TimeRange};

use crate::{Kind, Neighbours, Slice, Source, Span, Stored};

/// A reading with the flag of each test, of the properties that its version has.
#[derive(Debug)]
pub struct Walked {
    /// The reading as the store has it.
    pub stored: Stored,
    /// Flags per test, by property.
    pub tests: Vec<TestFlags>,
}

/// Where a walk stands. It holds the readings of one slice at a time.
pub struct Walk<'a> {
    source: Source<'a>,
    kind: &'a Kind,
    /// What is still to be read.
    rest: Option<Span>,
    ready: VecDeque<Walked>,
}

impl<'a> Walk<'a> {
    /// Starts before the first reading of `times`.
    pub fn new(source: Source<'a>, kind: &'a Kind, times: TimeRange) -> Self {
        let to = times.to.saturating_sub(Duration::from_micros(1));
        let rest = (times.from < times.to).then_some(Span { from: times.from, to });
        Self { source, kind, rest, ready: VecDeque::new() }
    }

    /// The next reading, in the order of their times; `None` behind the last.
    ///
    /// # Errors
    /// Those of the store's scans.
    pub async fn next(&mut self) -> Result<Option<Walked>, PortError> {
        while self.ready.is_empty() {
            let Some(span) = self.rest.take() else { return Ok(None) };
            let slice = self.source.slice(&[span], self.kind.reach).await?;
            let neighbours = Neighbours::read(self.source, self.kind, &slice).await?;
            self.rest = slice.rest.filter(|rest| rest.from <= span.to);
            self.take(span, slice, &neighbours);
        }
        Ok(self.ready.pop_front())
    }

    /// Keeps the readings of a slice that lie in the span; those around them were read for their sake.
    fn take(&mut self, span: Span, slice: Slice, neighbours: &Neighbours) {
        let (flags, _) = slice.judge(self.kind, self.source.sensor_id, neighbours);
        let judged = slice.rows.into_iter().skip(slice.first).zip(flags);
        let in_span = judged.filter(|(stored, _)| span.from <= stored.time() && stored.time() <= span.to);
        self.ready.extend(in_span.map(|(stored, tests)| Walked { stored, tests }));
    }
}

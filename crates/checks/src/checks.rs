//! The tests of one version of a sensor type, ready to run, and how far the flags of a reading reach.

use std::time::Duration;

use domain::{GrossRange, ObservedProperty, QualityControl, SensorId, SensorTypeDraft};

use crate::{Test, flat_line::Lengths};

/// The tests that the readings of one version of a sensor type go through.
#[derive(Debug, Clone)]
pub struct Checks {
    properties: Vec<PropertyChecks>,
    reach: Reach,
}

/// The tests of one property.
#[derive(Debug, Clone)]
pub(crate) struct PropertyChecks {
    pub(crate) required: bool,
    pub(crate) gross_range: Option<GrossRange>,
    pub(crate) qc: QualityControl,
    /// Of the flat line test, if there is one.
    pub(crate) lengths: Option<Lengths>,
    /// Index of the property that values are compared with.
    pub(crate) neighbour: Option<usize>,
    /// The tests that values go through, gross range first.
    pub(crate) tests: Vec<Test>,
}

/// Which readings of a sensor, in the order of their times, the flags of one depend on, besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// So many before it …
    pub readings: u32,
    /// … and those before it less than this far back.
    pub time: Duration,
    /// The one behind it.
    pub successor: bool,
    /// How far away readings of other sensors may be, before or behind, both inclusive; `None` where they do not matter.
    pub neighbours: Option<Duration>,
}

impl Reach {
    /// Says whether flags depend on the reading alone.
    pub fn is_local(self) -> bool {
        self == Self::default()
    }

    /// What both reach.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            readings: self.readings.max(other.readings),
            time: self.time.max(other.time),
            successor: self.successor || other.successor,
            neighbours: self.neighbours.max(other.neighbours),
        }
    }

    fn of(property: &PropertyChecks) -> Self {
        let qc = &property.qc;
        let follows = qc.spike.is_some() || qc.rate_of_change.is_some() || qc.gap.is_some();
        Self {
            readings: property.lengths.map_or(0, Lengths::longest).max(u32::from(follows)),
            time: qc.attenuated_signal.as_ref().map_or(Duration::ZERO, |settings| settings.over),
            successor: qc.spike.is_some(),
            neighbours: qc.neighbour.as_ref().and_then(|settings| settings.within),
        }
    }
}

impl Checks {
    /// Takes the tests of a definition, which is checked.
    pub fn new(definition: &SensorTypeDraft) -> Self {
        let interval = definition.sampling_interval;
        let properties = &definition.properties;
        let properties: Vec<_> =
            properties.iter().map(|property| PropertyChecks::new(property, interval, properties)).collect();
        let reach = properties.iter().map(Reach::of).fold(Reach::default(), Reach::union);
        Self { properties, reach }
    }

    /// How many properties have tests.
    pub fn width(&self) -> usize {
        self.properties.len()
    }

    /// Which readings the flags of one depend on.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// The tests that the values of a property go through, in the order of [`Test::ALL`].
    pub fn tests(&self, property: usize) -> &[Test] {
        &self.properties[property].tests
    }

    /// Says whether gross range is the only test: flags follow from each value alone, even without its time.
    pub fn is_plain(&self) -> bool {
        self.properties.iter().all(|property| property.qc.is_empty())
    }

    /// The properties that are compared between sensors, by index, with those sensors and how far apart in time they may be.
    pub fn neighbours(&self) -> impl Iterator<Item = (usize, &[SensorId], Duration)> {
        self.properties.iter().enumerate().filter_map(|(index, property)| {
            let settings = property.qc.neighbour.as_ref()?;
            Some((index, settings.sensors.as_slice(), settings.within?))
        })
    }

    pub(crate) fn properties(&self) -> &[PropertyChecks] {
        &self.properties
    }
}

impl PropertyChecks {
    fn new(property: &ObservedProperty, interval: Duration, all: &[ObservedProperty]) -> Self {
        let qc = property.qc.clone();
        let configured = |test: &Test| match test {
            Test::GrossRange => true,
            Test::Gap => qc.gap.is_some(),
            Test::Climatology => !qc.climatology.is_empty(),
            Test::Spike => qc.spike.is_some(),
            Test::RateOfChange => qc.rate_of_change.is_some(),
            Test::FlatLine => qc.flat_line.is_some(),
            Test::AttenuatedSignal => qc.attenuated_signal.is_some(),
            Test::Neighbour => qc.neighbour.is_some(),
        };
        let tests = Test::ALL.into_iter().filter(configured).collect();
        let lengths = qc.flat_line.as_ref().map(|settings| Lengths::new(settings, interval));
        let other = qc.neighbour.as_ref().and_then(|settings| settings.property.as_ref());
        let neighbour = other.and_then(|id| all.iter().position(|property| property.id == *id));
        Self { required: property.required, gross_range: property.gross_range, qc, lengths, neighbour, tests }
    }
}

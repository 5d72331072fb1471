//! The flags of a value: one per test, and the one they roll up to.
//!
//! **Invariant:** a value that is missing is flagged 9 by every test, so that no test needs to ask.

use std::fmt;

use domain::Flag;

/// The tests of the QARTOD manuals that a value can go through.
///
/// Numbers of sections are those of the Manual for Real-Time Quality Control of In-situ Temperature and Salinity Data (IOOS QARTOD,
/// version 2.1, 2020), chapter 4.2; the manuals of the other quantities have the same tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Test {
    /// Test 4; also flags what is missing, with or without a range.
    GrossRange,
    /// Test 1.
    Gap,
    /// Test 5.
    Climatology,
    /// Test 6.
    Spike,
    /// Test 7.
    RateOfChange,
    /// Test 8.
    FlatLine,
    /// Test 10.
    AttenuatedSignal,
    /// Test 9 between properties, test 11 between sensors.
    Neighbour,
}

impl Test {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::GrossRange,
        Self::Gap,
        Self::Climatology,
        Self::Spike,
        Self::RateOfChange,
        Self::FlatLine,
        Self::AttenuatedSignal,
        Self::Neighbour,
    ];

    /// Its id, the key of its settings: `gross_range`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GrossRange => "gross_range",
            Self::Gap => "gap",
            Self::Climatology => "climatology",
            Self::Spike => "spike",
            Self::RateOfChange => "rate_of_change",
            Self::FlatLine => "flat_line",
            Self::AttenuatedSignal => "attenuated_signal",
            Self::Neighbour => "neighbour",
        }
    }
}

/// The flag of each test that a value went through, four bits a test.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct TestFlags(u32);

/// The lowest bit of every test.
const LOWEST: u32 = 0x1111_1111;

impl TestFlags {
    /// The flag of a test; `None` where the value did not go through it.
    pub fn get(self, test: Test) -> Option<Flag> {
        Flag::from_code((self.0 >> (4 * test as u32) & 0xf) as u8)
    }

    /// The same with another flag for one test.
    #[must_use]
    pub fn with(self, test: Test, flag: Flag) -> Self {
        let place = 4 * test as u32;
        Self(self.0 & !(0xf << place) | u32::from(flag.code()) << place)
    }

    /// The tests that the value went through, with their flags.
    pub fn iter(self) -> impl Iterator<Item = (Test, Flag)> {
        Test::ALL.into_iter().filter_map(move |test| Some((test, self.get(test)?)))
    }

    /// The flag of the value: fail over suspect over good over not evaluated over missing (QARTOD, "Data Flags": the worst flag that a
    /// test gives; the order is that of ioos_qc's `qartod_compare`).
    pub fn roll_up(self) -> Flag {
        let bit = |place: u32| self.0 >> place & LOWEST;
        // Codes by their bits: 1 is 0001, 2 is 0010, 3 is 0011, 4 is 0100, 9 is 1001.
        if bit(2) != 0 {
            return Flag::Fail;
        }
        if bit(0) & bit(1) != 0 {
            return Flag::Suspect;
        }
        if bit(0) & !bit(3) != 0 {
            return Flag::Good;
        }
        if bit(3) != 0 && bit(1) == 0 { Flag::Missing } else { Flag::NotEvaluated }
    }

    /// The bits: the code of a test's flag at four times its place in [`Test::ALL`], 0 where the value did not go through it.
    pub fn to_bits(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for TestFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(test, flag)| (test.as_str(), flag.code()))).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn flag() -> impl Strategy<Value = Option<Flag>> {
        prop_oneof![
            Just(None),
            Just(Some(Flag::Good)),
            Just(Some(Flag::NotEvaluated)),
            Just(Some(Flag::Suspect)),
            Just(Some(Flag::Fail)),
            Just(Some(Flag::Missing))
        ]
    }

    proptest! {
        #[test]
        fn flags_roll_up_to_the_first_in_precedence(given in proptest::array::uniform8(flag())) {
            let mut flags = TestFlags::default();
            for (test, flag) in Test::ALL.into_iter().zip(given) {
                if let Some(flag) = flag {
                    flags = flags.with(test, Flag::Fail).with(test, flag);
                }
                prop_assert_eq!(flags.get(test), flag);
            }
            let precedence = [Flag::Fail, Flag::Suspect, Flag::Good, Flag::NotEvaluated, Flag::Missing];
            let expected = precedence.into_iter().find(|flag| given.contains(&Some(*flag)));
            prop_assert_eq!(flags.roll_up(), expected.unwrap_or(Flag::NotEvaluated));
            prop_assert_eq!(flags.iter().count(), given.iter().flatten().count());
        }
    }
}

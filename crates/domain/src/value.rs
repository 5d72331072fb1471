//! Values, their QARTOD flags and the label of a reading.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// A value of an observed property: a finite number, an explicit missing, or nothing said at all.
///
/// Eight bytes: the two kinds of missing are NaN bit patterns that no number has. Numbers are finite and never `-0`.
#[derive(Clone, Copy)]
pub struct Value(f64);

/// A number that a value can't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number must be finite and fit a 64-bit float")]
pub struct InvalidNumber;

const MISSING_BITS: u64 = 0x7ff8_0000_0000_0001;
const ABSENT_BITS: u64 = 0x7ff8_0000_0000_0002;

impl Value {
    /// Said to be missing: `null`, `NaN`, or a marker of the CSV dialect.
    pub const MISSING: Self = Self(f64::from_bits(MISSING_BITS));
    /// Not mentioned in the reading.
    pub const ABSENT: Self = Self(f64::from_bits(ABSENT_BITS));

    /// Takes a finite number; `-0` becomes `0`.
    ///
    /// # Errors
    /// [`InvalidNumber`] for an infinity or NaN.
    pub fn number(number: f64) -> Result<Self, InvalidNumber> {
        if number.is_finite() { Ok(Self(number + 0.0)) } else { Err(InvalidNumber) }
    }

    /// The number, if there is one.
    pub fn as_number(self) -> Option<f64> {
        (!self.0.is_nan()).then_some(self.0)
    }

    /// Says whether the property was not mentioned.
    pub fn is_absent(self) -> bool {
        self.0.to_bits() == ABSENT_BITS
    }

    /// The value's eight bytes, the form in which it is packed on disk.
    pub fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// Reads the packed form back; `None` for bits that no value has.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let number = f64::from_bits(bits);
        (number.is_finite() || bits == MISSING_BITS || bits == ABSENT_BITS).then_some(Self(number))
    }

    /// The value of one property after `later` came behind `self` in the log: a number beats a missing one, a missing one
    /// beats an absent one, and of two alike the later wins.
    pub fn merged_with(self, later: Self) -> Self {
        let rank = |value: Self| match value.as_number() {
            Some(_) => 2,
            None => u8::from(!value.is_absent()),
        };
        if rank(later) >= rank(self) { later } else { self }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_number() {
            Some(number) => write!(f, "{number:?}"),
            None => f.write_str(if self.is_absent() { "absent" } else { "missing" }),
        }
    }
}

/// Appends a finite number in its canonical form: the shortest text that reads back to it, without `.0`.
pub fn write_number(number: f64, out: &mut Vec<u8>) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(number);
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// Serializes a finite number in its canonical form: a whole one without a fraction.
pub(crate) fn serialize_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // Up to 2^53 every whole number is itself.
    let is_whole = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    if is_whole { serializer.serialize_i64(*number as i64) } else { serializer.serialize_f64(*number) }
}

/// The same for a number that may not be there.
pub(crate) fn serialize_optional_number<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => serialize_number(number, serializer),
        None => serializer.serialize_none(),
    }
}

/// QARTOD primary flag of a value (IOOS QARTOD, "Data Flags": 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Flag {
    /// Passed every test that ran.
    Good = 1,
    /// No test ran.
    NotEvaluated = 2,
    /// Unusual: to be looked at by a person.
    Suspect = 3,
    /// Failed a test.
    Fail = 4,
    /// There is no value.
    Missing = 9,
}

impl Flag {
    /// The flag's number: 1, 2, 3, 4 or 9.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The flag of a number; `None` for any other.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Good,
            2 => Self::NotEvaluated,
            3 => Self::Suspect,
            4 => Self::Fail,
            9 => Self::Missing,
            _ => return None,
        })
    }
}

/// Label of a reading: the field `qc` of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// No value has a flag that makes an anomaly.
    Normal,
    /// At least one value has a flag that the type's rule names: 4 or 9 where it says nothing else.
    Anomaly,
}

impl Label {
    /// The label of its name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Normal, Self::Anomaly].into_iter().find(|label| label.as_str() == text)
    }

    /// The label as it is written: `normal` or `anomaly`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Anomaly => "anomaly",
        }
    }
}

/// Which flags make a reading an anomaly: one of them, of any property, is enough. Some of 3, 4 and 9; 4 and 9 by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct LabelRule {
    /// A bit for each flag, by its number.
    flags: u16,
}

impl LabelRule {
    /// The rule of these flags' numbers.
    ///
    /// # Errors
    /// Where there is none, or another than 3, 4 and 9.
    pub fn new(codes: &[u8]) -> Result<Self, &'static str> {
        let allowed = codes.iter().all(|code| matches!(code, 3 | 4 | 9));
        if codes.is_empty() || !allowed {
            return Err("must be at least one of the flags 3, 4 and 9, and no other");
        }
        Ok(Self { flags: codes.iter().fold(0, |flags, code| flags | 1 << code) })
    }

    /// The label of a reading whose values have these flags.
    pub fn label(self, flags: &[Flag]) -> Label {
        let counts = |flag: &Flag| self.flags & (1 << flag.code()) != 0;
        if flags.iter().any(counts) { Label::Anomaly } else { Label::Normal }
    }
}

impl Default for LabelRule {
    fn default() -> Self {
        Self { flags: 1 << Flag::Fail.code() | 1 << Flag::Missing.code() }
    }
}

impl TryFrom<Vec<u8>> for LabelRule {
    type Error = &'static str;

    fn try_from(codes: Vec<u8>) -> Result<Self, Self::Error> {
        Self::new(&codes)
    }
}

impl From<LabelRule> for Vec<u8> {
    fn from(rule: LabelRule) -> Self {
        (0..=9).filter(|code| rule.flags & (1 << code) != 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn numbers_are_written_without_a_zero_fraction() {
        for (number, expected) in [
            (904.0, "904"),
            (7.34, "7.34"),
            (0.0, "0"),
            (-5.0, "-5"),
            (1e300, "1e300"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            let mut out = Vec::new();
            write_number(number, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn a_number_beats_missing_beats_absent_and_the_later_of_two_wins() {
        let (one, two) = (Value::number(1.0), Value::number(2.0));
        let (one, two) = (one.expect("finite"), two.expect("finite"));
        assert_eq!(one.merged_with(two), two);
        assert_eq!(one.merged_with(Value::MISSING), one);
        assert_eq!(Value::MISSING.merged_with(one), one);
        assert_eq!(Value::MISSING.merged_with(Value::ABSENT), Value::MISSING);
        assert_eq!(Value::ABSENT.merged_with(Value::MISSING), Value::MISSING);
    }

    #[test]
    fn negative_zero_and_what_is_not_finite_are_no_values() {
        assert_eq!(Value::number(-0.0), Value::number(0.0));
        assert!(Value::number(f64::INFINITY).is_err() && Value::number(f64::NAN).is_err());
        assert_eq!(Value::from_bits(f64::NAN.to_bits()), None);
    }

    proptest! {
        #[test]
        fn every_number_reads_back(number in any::<f64>()) {
            if let Ok(value) = Value::number(number) {
                let mut out = Vec::new();
                write_number(value.as_number().expect("a number"), &mut out);
                let back: f64 = String::from_utf8(out).expect("ASCII").parse().expect("a number");
                prop_assert_eq!(Some(back), value.as_number());
                prop_assert_eq!(Value::from_bits(value.to_bits()), Some(value));
            }
        }
    }

    #[test]
    fn label_is_anomaly_where_a_flag_is_one_of_the_rule() {
        let label = |codes: &[u8], flag| LabelRule::new(codes).expect("flags of anomalies").label(&[Flag::Good, flag]);
        assert_eq!(LabelRule::default(), LabelRule::new(&[9, 4]).expect("the same"));
        for (flag, by_default, by_suspect) in [
            (Flag::NotEvaluated, Label::Normal, Label::Normal),
            (Flag::Suspect, Label::Normal, Label::Anomaly),
            (Flag::Fail, Label::Anomaly, Label::Normal),
            (Flag::Missing, Label::Anomaly, Label::Normal),
        ] {
            assert_eq!((label(&[4, 9], flag), label(&[3], flag)), (by_default, by_suspect), "{flag:?}");
        }
        assert!(LabelRule::new(&[]).is_err() && LabelRule::new(&[1]).is_err());
        assert_eq!(Label::parse("anomaly"), Some(Label::Anomaly));
    }
}

//! Gross range: whether a value lies in the ranges of its property.
//!
//! Test 4, "Gross Range Test (Required)": a value outside the sensor's span fails; one outside the operator's span is suspect.

use domain::{Flag, GrossRange};

/// The flag of a number: outside `fail` is 4, else outside `suspect` is 3, else 1; both ends belong to a span.
pub fn flag(range: &GrossRange, number: f64) -> Flag {
    if !range.fail.contains(number) {
        return Flag::Fail;
    }
    if range.suspect.is_some_and(|suspect| !suspect.contains(number)) {
        return Flag::Suspect;
    }
    Flag::Good
}

#[cfg(test)]
mod tests {
    use domain::Span;

    use super::*;

    #[test]
    fn number_is_flagged_by_its_spans_with_their_ends() {
        let range = GrossRange { fail: Span(0.0, 10.0), suspect: Some(Span(2.0, 8.0)) };
        for (number, expected) in [
            (-0.1, Flag::Fail),
            (0.0, Flag::Suspect),
            (1.9, Flag::Suspect),
            (2.0, Flag::Good),
            (8.0, Flag::Good),
            (8.1, Flag::Suspect),
            (10.0, Flag::Suspect),
            (10.1, Flag::Fail),
        ] {
            assert_eq!(flag(&range, number), expected, "{number}");
        }
        assert_eq!(flag(&GrossRange { suspect: None, ..range }, 10.0), Flag::Good);
    }
}

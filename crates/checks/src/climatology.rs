//! Climatology: whether a value is usual for the time of the year.
//!
//! Test 5, "Climatology Test (Required)": a value outside what is known of its month or season is suspect. As in ioos_qc, a wider span
//! may be given outside of which it fails.

use domain::{Climate, Flag, Timestamp};

/// The flag of a number at a time; 2 where no climatology speaks of its month, and of several that do, the last one counts.
pub fn flag(climates: &[Climate], time: Timestamp, number: f64) -> Flag {
    let month = time.month();
    let Some(climate) = climates.iter().rev().find(|climate| climate.months.contains(&month)) else {
        return Flag::NotEvaluated;
    };
    if climate.fail.is_some_and(|span| !span.contains(number)) {
        return Flag::Fail;
    }
    if climate.suspect.is_some_and(|span| !span.contains(number)) {
        return Flag::Suspect;
    }
    Flag::Good
}

#[cfg(test)]
mod tests {
    use domain::Span;

    use super::*;

    #[test]
    fn number_is_flagged_by_what_is_usual_in_its_month() {
        let winter = Climate { months: vec![12, 1, 2], suspect: Some(Span(0.0, 5.0)), fail: Some(Span(-5.0, 10.0)) };
        let february = Climate { months: vec![2], suspect: Some(Span(0.0, 3.0)), fail: None };
        let climates = [winter, february];
        for (time, number, expected) in [
            ("2017-01-15T00:00:00Z", 5.0, Flag::Good),
            ("2017-01-15T00:00:00Z", 5.1, Flag::Suspect),
            ("2017-12-31T23:59:59Z", 10.1, Flag::Fail),
            ("2017-02-01T00:00:00Z", 5.0, Flag::Suspect),
            ("2017-02-28T00:00:00Z", 10.1, Flag::Suspect),
            ("2017-03-01T00:00:00Z", 99.0, Flag::NotEvaluated),
        ] {
            let at = Timestamp::parse(time).expect("a time");
            assert_eq!(flag(&climates, at, number), expected, "{number} at {time}");
        }
    }
}

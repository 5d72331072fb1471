//! Gross range: whether a value is there, and lies in the ranges of its property.
//!
//! Test 4, "Gross Range Test (Required)": a value outside the sensor's span fails; one outside the operator's span is suspect.

use domain::{Flag, GrossRange, ObservedProperty, Value};

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

/// The flag of a value of a property: [`flag`] with a range, without one no test ran: 2; that of a value that is no number is said by whether it
/// is missing.
pub fn flag_value(property: &ObservedProperty, value: Value) -> Flag {
    let Some(number) = value.as_number() else { return without_number(property.required, value) };
    property.gross_range.as_ref().map_or(Flag::NotEvaluated, |range| flag(range, number))
}

/// Flags many readings by gross range alone, property by property: `values` and `flags` are row-major with `width` entries a row, of which the
/// first belong to `properties`; the flags of the rest stay as they are.
pub fn flag_rows(properties: &[ObservedProperty], width: usize, values: &[Value], flags: &mut [Flag]) {
    for (index, property) in properties.iter().enumerate().take(width) {
        let column = values.iter().skip(index).step_by(width);
        for (value, its) in column.zip(flags.iter_mut().skip(index).step_by(width)) {
            *its = flag_value(property, *value);
        }
    }
}

/// The flag of a value that is no number, by every test (QARTOD, "Data Flags"): a value that is missing is 9. Missing is also a required property
/// that the reading does not mention; an optional one that it does not mention is 2, because nothing was measured.
pub(crate) fn without_number(required: bool, value: Value) -> Flag {
    if value.is_absent() && !required { Flag::NotEvaluated } else { Flag::Missing }
}

#[cfg(test)]
mod tests {
    use domain::{PropertyId, Span};
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn property(required: bool, gross_range: Option<GrossRange>) -> ObservedProperty {
        let id = PropertyId::parse("p").expect("an id");
        ObservedProperty {
            id,
            name: String::new(),
            unit: "1".to_owned(),
            gross_range,
            qc: Default::default(),
            detection: Default::default(),
            required,
            resolution: None,
        }
    }

    fn number(number: f64) -> Value {
        Value::number(number).expect("finite")
    }

    #[test]
    fn number_is_flagged_by_its_spans_with_their_ends() {
        let range = GrossRange { fail: Span(0.0, 10.0), suspect: Some(Span(2.0, 8.0)) };
        let tested = property(true, Some(range));
        for (value, expected) in [
            (-0.1, Flag::Fail),
            (0.0, Flag::Suspect),
            (1.9, Flag::Suspect),
            (2.0, Flag::Good),
            (8.0, Flag::Good),
            (8.1, Flag::Suspect),
            (10.0, Flag::Suspect),
            (10.1, Flag::Fail),
        ] {
            assert_eq!(flag_value(&tested, number(value)), expected, "{value}");
        }
        let fail_only = property(true, Some(GrossRange { fail: Span(0.0, 10.0), suspect: None }));
        assert_eq!(flag_value(&fail_only, number(10.0)), Flag::Good);
        assert_eq!(flag_value(&property(true, None), number(1e9)), Flag::NotEvaluated);
    }

    #[test]
    fn missing_is_nine_and_absent_is_nine_only_where_required() {
        assert_eq!(flag_value(&property(false, None), Value::MISSING), Flag::Missing);
        assert_eq!(flag_value(&property(true, None), Value::ABSENT), Flag::Missing);
        assert_eq!(flag_value(&property(false, None), Value::ABSENT), Flag::NotEvaluated);
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![Just(Value::MISSING), Just(Value::ABSENT), (-20i32..20).prop_map(|n| number(f64::from(n)))]
    }

    proptest! {
        #[test]
        fn many_are_flagged_as_one_by_one(rows in prop::collection::vec(prop::array::uniform3(value()), 0..20), required in any::<bool>()) {
            let range = GrossRange { fail: Span(-10.0, 10.0), suspect: Some(Span(-5.0, 5.0)) };
            let properties = [property(required, Some(range)), property(!required, None)];
            let values: Vec<Value> = rows.iter().flatten().copied().collect();
            let mut flags = vec![Flag::NotEvaluated; values.len()];
            flag_rows(&properties, 3, &values, &mut flags);
            for (row, flags) in rows.iter().zip(flags.chunks(3)) {
                prop_assert_eq!(flags, [flag_value(&properties[0], row[0]), flag_value(&properties[1], row[1]), Flag::NotEvaluated]);
            }
        }
    }
}

//! Tables of hostile JSON, and the laws of the parser.

use proptest::prelude::{any, prop_assert_eq, proptest};

use super::*;
use crate::input::{
    Rejection,
    samples::{Fixture, emb, power},
};

fn parsed(body: &[u8]) -> Result<Parsed, BodyFault> {
    parse(body, &Fixture::new(emb()).target())
}

/// Checks the one refused item of an object with these members besides valid ones.
#[track_caller]
fn check_rejected(members: &str, field: &str, value: &str, reason: &str) {
    let body = format!(r#"[{{"sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z"}},{members}]"#);
    let parsed = parsed(body.as_bytes()).expect("items are refused one by one");
    assert_eq!(parsed.readings.len(), 1, "the good item is kept");
    let [Rejection { index: 1, field: f, value: v, reason: r, .. }] = &parsed.rejected[..] else {
        panic!("one refused item: {:?}", parsed.rejected)
    };
    assert_eq!((f.as_str(), v.as_str(), r.as_str()), (field, value, reason), "{members}");
}

const GOOD: &str = r#""sensor_id":"emb3","phenomenon_time":"2017-02-08T15:00:00Z""#;

#[test]
fn a_reading_has_its_values_and_what_is_missing() {
    let body = format!(r#" {{{GOOD}, "ph":7.34 ,"sec":9.04e2,"tdg":null,"water_temp":NaN}}  "#);
    let parsed = parsed(body.as_bytes()).expect("a reading");
    let reading = parsed.readings.get(0);
    let number = |number| Value::number(number).expect("finite");
    let expected = [number(904.0), number(7.34), Value::ABSENT, Value::MISSING, Value::MISSING];
    assert_eq!(reading.values, expected);
    assert_eq!((parsed.indices, parsed.unknown), (vec![0], vec![]));
}

#[test]
fn escapes_in_keys_and_texts_are_read() {
    let body = br#"{"sensor\u005fid":"emb\u0033","phenomenon_time":"2017-02-08T15\u003a00:00Z","p\u0068":7}"#;
    let parsed = parsed(body).expect("a reading");
    assert_eq!(parsed.rejected, []);
    assert_eq!(parsed.readings.get(0).sensor_id.as_str(), "emb3");
}

#[test]
fn keys_in_any_order_are_read() {
    let body = format!(r#"[{{{GOOD},"sec":1,"ph":2}},{{"ph":2,{GOOD},"sec":1}},{{"sec":1,"ph":2,{GOOD}}}]"#);
    let parsed = parsed(body.as_bytes()).expect("readings");
    assert!(parsed.readings.iter().all(|reading| reading.values == parsed.readings.get(0).values));
    assert_eq!(parsed.readings.len(), 3);
}

#[test]
fn each_fault_names_field_value_and_rule() {
    check_rejected("5", "", "5", "an item must be an object");
    check_rejected("[{}]", "", "[{}]", "an item must be an object");
    check_rejected(
        &format!(r#"{{{GOOD},"depth":[1,{{"a":2}}]}}"#),
        "depth",
        r#"[1,{"a":2}]"#,
        "is not a property of the sensor type",
    );
    check_rejected(&format!(r#"{{{GOOD},"ph":1,"ph":2}}"#), "ph", "2", "is there twice");
    check_rejected(&format!(r#"{{{GOOD},"sensor_id":"x"}}"#), "sensor_id", "x", "is there twice");
    for (value, shown) in [(r#""7""#, "7"), (r#""NaN""#, "NaN"), ("true", "true"), ("[]", "[]"), ("{}", "{}")] {
        check_rejected(&format!(r#"{{{GOOD},"ph":{value}}}"#), "ph", shown, "must be a number or null");
    }
    check_rejected(&format!(r#"{{{GOOD},"ph":1e999}}"#), "ph", "1e999", "is beyond the range of a 64-bit float");
    for infinity in ["Infinity", "-Infinity"] {
        let reason = "must be finite: an infinity is no measured value";
        check_rejected(&format!(r#"{{{GOOD},"ph":{infinity}}}"#), "ph", infinity, reason);
    }
    check_rejected(r#"{"phenomenon_time":"2017-02-08T15:00:00Z"}"#, "sensor_id", "", "is missing");
    check_rejected(r#"{"sensor_id":"emb3"}"#, "phenomenon_time", "", "is missing");
    check_rejected(r#"{}"#, "sensor_id", "", "is missing; `phenomenon_time` = ``: is missing");
    check_rejected(
        r#"{"sensor_id":"other","phenomenon_time":"2017-02-08T15:00:00Z"}"#,
        "sensor_id",
        "other",
        "the sensor is bound to sensor type `another`",
    );
}

#[test]
fn ids_that_are_none_are_refused() {
    let rule = "must be a letter or digit, then up to 127 of letters, digits, `.`, `_`, `:` and `-`";
    let time = r#""phenomenon_time":"2017-02-08T15:00:00Z""#;
    for (id, shown) in [
        ("", String::new()),
        ("a/b", "a/b".to_owned()),
        (r"a\u0000b", r"a\0b".to_owned()),
        (r"\u001b[31m", r"\u{1b}[31m".to_owned()),
        (&"x".repeat(10_000), format!("{}…", "x".repeat(80))),
        (&"é".repeat(10_000), format!("{}…", "é".repeat(80))),
    ] {
        check_rejected(&format!(r#"{{"sensor_id":"{id}",{time}}}"#), "sensor_id", &shown, rule);
    }
    check_rejected(&format!(r#"{{"sensor_id":7,{time}}}"#), "sensor_id", "7", "must be a string of UTF-8 text");
}

#[test]
fn times_out_of_range_are_refused() {
    let not_a_time = "must be an RFC 3339 time with an offset, such as 2017-02-08T15:00:00Z";
    let ahead = "must be at most 24 h ahead of the hub's clock, which says 2020-01-01T00:00:00Z";
    for (time, reason) in [
        ("1899-12-31T23:59:59.999999Z", "must not be before 1900-01-01T00:00:00Z"),
        ("2020-01-02T00:00:00.000001Z", ahead),
        ("9999-12-31T23:59:59Z", ahead),
        ("2017-02-08", not_a_time),
        ("2017-02-08T15:00:00", not_a_time),
        ("2017-02-30T15:00:00Z", not_a_time),
        ("", not_a_time),
    ] {
        let item = format!(r#"{{"sensor_id":"emb3","phenomenon_time":"{time}"}}"#);
        check_rejected(&item, "phenomenon_time", time, reason);
    }
    let item = r#"{"sensor_id":"emb3","phenomenon_time":1486566000}"#;
    check_rejected(item, "phenomenon_time", "1486566000", not_a_time);
    for time in ["1900-01-01T00:00:00Z", "2020-01-02T00:00:00Z", "2017-02-08T15:00:00+01:00"] {
        let body = format!(r#"{{"sensor_id":"emb3","phenomenon_time":"{time}"}}"#);
        assert_eq!(parsed(body.as_bytes()).expect("a reading").readings.len(), 1, "{time}");
    }
}

#[test]
fn a_text_that_is_not_utf_8_refuses_its_item_alone() {
    let mut body = format!(r#"[{{{GOOD}}},{{"sensor_id":"a"#).into_bytes();
    body.extend_from_slice(b"\xff\xfe\",\"phenomenon_time\":\"2017-02-08T15:00:00Z\"}]");
    let parsed = parsed(&body).expect("items are refused one by one");
    assert_eq!((parsed.readings.len(), parsed.rejected_count), (1, 1));
}

#[test]
fn broken_json_is_told_with_its_place() {
    for (body, line, column, reason) in [
        ("[\n  {\"sensor_id\": }\n]", 2, 17, "expected value"),
        ("{\"a\":1", 1, 7, "EOF while parsing an object"),
        ("{} x", 1, 4, "trailing characters"),
        ("[{},]", 1, 5, "trailing comma"),
        ("[{}\n{}]", 2, 1, "expected `,` or `]`"),
        ("5", 1, 1, "expected an object or an array of objects"),
        ("\"\u{1}\"", 1, 2, "control character (\\u0000-\\u001F) found while parsing a string"),
        ("[{\"ph\":-NaN}]", 1, 9, "invalid number"),
        ("[\"\\ud800\"]", 1, 9, "unexpected end of hex escape"),
        ("[{\"ph\":01}]", 1, 9, "invalid number"),
    ] {
        assert_eq!(
            parsed(body.as_bytes()),
            Err(BodyFault::Syntax { line, column, reason: reason.to_owned() }),
            "{body}"
        );
    }
    for body in ["", "  \n", "\u{feff}"] {
        assert_eq!(parsed(body.as_bytes()), Err(BodyFault::Empty));
    }
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    for open in ["[", "{\"a\":"] {
        let body = format!(r#"[{{{GOOD},"ph":{}"#, open.repeat(1_000_000));
        let Err(BodyFault::Syntax { reason, .. }) = parsed(body.as_bytes()) else { panic!("too deep") };
        assert_eq!(reason, "recursion limit exceeded");
    }
}

#[test]
fn unknown_sensors_of_valid_items_are_named_once() {
    let item =
        |id: &str, ph: &str| format!(r#"{{"sensor_id":"{id}","phenomenon_time":"2017-02-08T15:00:00Z","ph":{ph}}}"#);
    let body = format!("[{},{},{},{}]", item("b", "1"), item("a", "2"), item("b", "3"), item("c", "\"\""));
    let parsed = parsed(body.as_bytes()).expect("readings");
    let unknown: Vec<_> = parsed.unknown.iter().map(|id| id.as_str()).collect();
    assert_eq!(unknown, ["b", "a"]);
    assert_eq!(parsed.indices, [0, 1, 2]);
}

#[test]
fn items_and_descriptions_of_refused_ones_are_bounded() {
    let many = |count: usize| format!("[{}]", vec!["7"; count].join(","));
    let hundred = parsed(many(100).as_bytes()).expect("as many as allowed");
    assert_eq!((hundred.rejected.len(), hundred.rejected_count), (10, 100));
    assert_eq!(parsed(many(101).as_bytes()), Err(BodyFault::TooManyItems(100)));
    let faults: Vec<String> = (0..1000).map(|index| format!(r#""x{index}":1"#)).collect();
    let item = parsed(format!("{{{}}}", faults.join(",")).as_bytes()).expect("one refused item");
    assert!(item.rejected[0].reason.len() < 1000, "{}", item.rejected[0].reason);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(body in any::<Vec<u8>>()) {
        let _ = parsed(&body);
    }

    #[test]
    fn broken_readings_are_read_without_panic(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut body = format!(r#"[{{{GOOD},"ph":7.34,"sec":null}},{{{GOOD},"tdg":-1.5e-3}}]"#).into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(parsed) = parsed(&body) {
            prop_assert_eq!(parsed.readings.len() + parsed.rejected_count, 2);
        }
    }

    #[test]
    fn printed_readings_read_back(micros in -2_208_988_800_000_000i64..1_577_836_800_000_000, number in any::<f64>()) {
        let (Ok(value), time) = (Value::number(number), domain::Timestamp::from_micros(micros)) else { return Ok(()) };
        let mut body = format!(r#"{{"sensor_id":"emb3","phenomenon_time":"{time}","power":"#).into_bytes();
        domain::write_number(value.as_number().expect("a number"), &mut body);
        body.push(b'}');
        let fixture = Fixture::new(power());
        let parsed = parse(&body, &fixture.target()).expect("a reading");
        prop_assert_eq!(parsed.readings.get(0).phenomenon_time, time);
        prop_assert_eq!(parsed.readings.get(0).values, &[value]);
    }
}

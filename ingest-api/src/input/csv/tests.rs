//! Tables of hostile CSV, and the laws of the parsers.

use domain::Value;
use proptest::prelude::{any, prop_assert_eq, proptest};

use super::*;
use crate::input::samples::{Fixture, emb, power};

fn headed(body: &[u8]) -> Result<Parsed, BodyFault> {
    parse(body, &Fixture::new(emb()).target())
}

fn of_emb3(body: &[u8]) -> Result<Parsed, BodyFault> {
    parse_dialect(body, "emb3", &Fixture::new(emb()).target())
}

fn numbers(parsed: &Parsed, index: usize) -> Vec<Option<f64>> {
    parsed.readings.get(index).values.iter().map(|value| value.as_number()).collect()
}

#[test]
fn columns_come_in_any_order_and_lines_end_in_any_way() {
    let body =
        b"\xef\xbb\xbfph, phenomenon_time,sensor_id\r\n7.34,2017-02-08T15:00:00Z,emb3\n\n\"7\",2017-02-08T16:00:00Z,\"emb3\"\r\n,2017-02-08T17:00:00Z,emb3";
    let parsed = headed(body).expect("readings");
    assert_eq!(parsed.rejected, []);
    assert_eq!(numbers(&parsed, 0), [None, Some(7.34), None, None, None]);
    assert_eq!(numbers(&parsed, 1), [None, Some(7.0), None, None, None]);
    assert_eq!(parsed.readings.get(2).values[1], Value::MISSING);
    assert_eq!(parsed.readings.get(2).values[0], Value::ABSENT);
    assert_eq!(parsed.indices, [0, 1, 2]);
}

#[test]
fn a_wrong_header_row_is_told_by_name() {
    for (header, name, rule) in [
        (
            "sensor_id,phenomenon_time,depth",
            "depth",
            "must be `sensor_id`, `phenomenon_time` or a property of the sensor type (sec, ph, water_level, water_temp, tdg)",
        ),
        ("sensor_id,phenomenon_time,ph,ph", "ph", "is there twice"),
        ("sensor_id,ph", "phenomenon_time", "is missing"),
        ("phenomenon_time,ph", "sensor_id", "is missing"),
    ] {
        let fault = BodyFault::Column { name: name.to_owned(), rule: rule.to_owned() };
        assert_eq!(headed(header.as_bytes()), Err(fault), "{header}");
    }
    assert_eq!(headed(b"\n"), Err(BodyFault::Empty));
    assert!(matches!(headed(b"\"a"), Err(BodyFault::Syntax { line: 1, .. })));
}

#[test]
fn each_bad_line_is_refused_alone() {
    let mut body = b"sensor_id,phenomenon_time,sec,ph\n".to_vec();
    for line in [
        &b"emb3,2017-02-08T15:00:00Z,904,7.34"[..],
        b"emb3,2017-02-08T15:00:00Z,904",
        b"emb3,2017-02-08T15:00:00Z,904,7.34,1",
        b"emb3,2017-02-08T15:00:00Z,\xff,7.34",
        b"emb3,2017-02-08T15:00:00Z,abc,inf",
        b"emb3,\"2017-02-08T15:00:00Z,904,7.34",
        b"a/b,2017-02-08T15:00:00,904,7.34",
        b"emb3,2017-02-08T15:00:00Z,NaN,",
    ] {
        body.extend_from_slice(line);
        body.extend_from_slice(b"\r\n");
    }
    let parsed = headed(&body).expect("lines are refused one by one");
    assert_eq!(parsed.indices, [0, 7]);
    let told: Vec<_> =
        parsed.rejected.iter().map(|r| (r.index, r.field.as_str(), r.value.as_str(), r.reason.as_str())).collect();
    assert_eq!(told[0], (1, "", "emb3,2017-02-08T15:00:00Z,904", "has 3 cells where 4 are wanted"));
    assert_eq!(told[1].3, "has 5 cells where 4 are wanted");
    assert_eq!(told[2], (3, "sec", "\u{fffd}", "is not UTF-8"));
    assert_eq!(
        told[3],
        (
            4,
            "sec",
            "abc",
            "must be a number, or empty for missing; `ph` = `inf`: must be finite: an infinity is no measured value"
        )
    );
    assert_eq!(told[4].3, "has a quote that is not closed on its line");
    assert_eq!((told[5].1, told[5].2), ("sensor_id", "a/b"));
    assert!(told[5].3.contains("`phenomenon_time` = `2017-02-08T15:00:00`"), "{}", told[5].3);
}

#[test]
fn lines_of_the_dialect_belong_to_the_sensor_named_beside_them() {
    let body = b"2017-02-08,15:00:00,904,7.34,27.24,11.3,885\r\n2017-02-08,16:00:00,(na),,nan,11.3,885\r\n2017-02-08,25:00:00,1,1,1,1,1";
    let parsed = of_emb3(body).expect("readings");
    assert_eq!(numbers(&parsed, 0), [Some(904.0), Some(7.34), Some(27.24), Some(11.3), Some(885.0)]);
    assert_eq!(parsed.readings.get(1).values[..3], [Value::MISSING; 3]);
    assert_eq!(parsed.rejected_count, 1);
    assert_eq!(parsed.rejected[0].value, "2017-02-08 25:00:00");
}

#[test]
fn a_header_row_of_the_dialect_and_a_local_time_zone_are_followed() {
    let mut sensor_type = emb();
    let dialect = sensor_type.definition.csv.as_mut().expect("emb has a dialect");
    dialect.header = true;
    dialect.time_zone = "Europe/London".to_owned();
    dialect.columns =
        ["phenomenon_time", "-", "sec"].map(|name| Column::try_from(name.to_owned()).expect("a column")).to_vec();
    let fixture = Fixture::new(sensor_type);
    let body = b"when,note,SEC\n2017-07-01 12:00,x,1\n2017-07-01T12:00:00Z,\xff,2\n2017-03-26 01:30:00,,3";
    let parsed = parse_dialect(body, "new", &fixture.target()).expect("readings");
    let times: Vec<_> = parsed.readings.times().iter().map(|time| time.to_string()).collect();
    assert_eq!(times, ["2017-07-01T11:00:00Z", "2017-07-01T12:00:00Z"]);
    assert_eq!(parsed.rejected[0].reason, "was left out when clocks went forward in Europe/London");
    assert_eq!(parsed.unknown.len(), 1);
}

/// Lines of the hour that comes twice in London.
fn at_the_end_of_summer(lines: &str, repeated_hour: Option<crate::input::Pass>) -> Parsed {
    let mut sensor_type = emb();
    let dialect = sensor_type.definition.csv.as_mut().expect("emb has a dialect");
    dialect.time_zone = "Europe/London".to_owned();
    dialect.columns =
        ["sec", "date", "time", "sensor_id"].map(|name| Column::try_from(name.to_owned()).expect("a column")).to_vec();
    let fixture = Fixture::new(sensor_type);
    crate::input::paper::parse(lines.as_bytes(), &Target { repeated_hour, ..fixture.target() }).expect("lines")
}

#[test]
fn the_hour_that_comes_twice_is_told_by_the_order_of_each_sensors_lines() {
    let lines = "1,2019-10-27,00:45,a\n1,2019-10-27,02:00,b\n2,2019-10-27,01:15,a\n2,2019-10-27,01:45,b\nx,2019-10-27,01:30,a\n\
        3,2019-10-27,01:15,b\n4,2019-10-27,01:15,a\n4,2019-10-27,01:45,b\n5,2019-10-27,00:45,b\n6,2019-10-27,01:45,c\n";
    let parsed = at_the_end_of_summer(lines, None);
    let of = |sensor: &str| -> Vec<String> {
        let readings = parsed.readings.iter().filter(|reading| reading.sensor_id.as_str() == sensor);
        readings.map(|reading| reading.phenomenon_time.to_string()[11..16].to_owned()).collect()
    };
    assert_eq!(of("a"), ["23:45", "00:15", "01:15"]);
    // From the newest to the oldest.
    assert_eq!(of("b"), ["02:00", "01:45", "01:15", "00:45", "23:45"]);
    assert_eq!(of("c"), [] as [&str; 0]);
    let told: Vec<_> = parsed.rejected.iter().map(|r| (r.index, r.field.as_str(), r.value.as_str())).collect();
    assert_eq!(told, [(4, "sec", "x"), (9, "phenomenon_time", "2019-10-27 01:45")]);
    assert!(parsed.rejected[1].reason.contains("came twice in Europe/London"), "{}", parsed.rejected[1].reason);
    assert!(parsed.rejected[1].reason.contains("repeated_hour=first"), "{}", parsed.rejected[1].reason);
    assert_eq!(parsed.rejected_count, 2);
    assert_eq!(parsed.unknown.len(), 2, "a sensor without an accepted reading is not registered");
}

#[test]
fn the_hour_that_comes_twice_is_what_the_request_says() {
    for (pass, expected) in [("first", "2019-10-27T00:30:00Z"), ("second", "2019-10-27T01:30:00Z")] {
        let parsed = at_the_end_of_summer("1,2019-10-27,01:30,a", crate::input::Pass::parse(pass));
        assert_eq!(parsed.readings.times()[0].to_string(), expected);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(body in any::<Vec<u8>>()) {
        let _ = (headed(&body), of_emb3(&body));
        let mut lines = b"sensor_id,phenomenon_time,sec\n".to_vec();
        lines.extend_from_slice(&body);
        let _ = headed(&lines);
    }

    #[test]
    fn printed_readings_read_back(micros in -2_208_988_800_000_000i64..1_577_836_800_000_000, number in any::<f64>()) {
        let (Ok(value), time) = (Value::number(number), domain::Timestamp::from_micros(micros)) else { return Ok(()) };
        let mut body = format!("sensor_id,phenomenon_time,power\nemb3,{time},").into_bytes();
        domain::write_number(value.as_number().expect("a number"), &mut body);
        let fixture = Fixture::new(power());
        let parsed = parse(&body, &fixture.target()).expect("a reading");
        prop_assert_eq!(parsed.readings.get(0).phenomenon_time, time);
        prop_assert_eq!(parsed.readings.get(0).values, &[value]);
    }
}

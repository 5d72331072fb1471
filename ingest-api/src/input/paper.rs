//! The lines that the feeder of the IoT-Hub paper posts: `sensor_id,` and the columns of the type's CSV dialect.

use domain::Column;

use super::{
    BodyFault, Parsed, Target,
    csv::{Slot, Table, dialect},
    lines, without_mark,
};

/// Reads lines `sensor_id,<columns of the dialect>`, ended by LF, CRLF or nothing; never a header row.
///
/// A dialect that has a column `sensor_id` of its own is followed as it is.
///
/// # Errors
/// [`BodyFault::NoDialect`], [`BodyFault::Empty`], [`BodyFault::TooManyItems`].
pub fn parse(body: &[u8], target: &Target<'_>) -> Result<Parsed, BodyFault> {
    let body = without_mark(body);
    let dialect = dialect(target)?;
    if body.is_empty() {
        return Err(BodyFault::Empty);
    }
    let first: &[Slot] = if dialect.columns.contains(&Column::SensorId) { &[] } else { &[Slot::SensorId] };
    let mut table = Table::of_dialect(target, dialect, first, body.len());
    for (_, line) in lines(body) {
        table.line(line)?;
    }
    Ok(table.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::samples::{Fixture, emb};

    #[test]
    fn the_papers_line_is_a_reading_whatever_ends_it() {
        let fixture = Fixture::new(emb());
        for end in ["", "\n", "\r\n"] {
            let body = format!("emb3,2017-02-08,15:00:00,904,7.34,27.24,11.3,885{end}");
            let parsed = parse(body.as_bytes(), &fixture.target()).expect("the paper's form");
            assert_eq!(parsed.rejected, []);
            let reading = parsed.readings.get(0);
            assert_eq!(reading.sensor_id.as_str(), "emb3");
            assert_eq!(reading.phenomenon_time.to_string(), "2017-02-08T15:00:00Z");
            let numbers: Vec<_> = reading.values.iter().filter_map(|value| value.as_number()).collect();
            assert_eq!(numbers, [904.0, 7.34, 27.24, 11.3, 885.0]);
        }
    }

    #[test]
    fn a_type_without_a_dialect_takes_no_lines() {
        let mut sensor_type = emb();
        sensor_type.definition.csv = None;
        let fixture = Fixture::new(sensor_type);
        assert_eq!(parse(b"emb3,1", &fixture.target()), Err(BodyFault::NoDialect("emb".to_owned())));
    }
}

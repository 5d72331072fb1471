//! Judged rows as bytes: columns of deltas, decimals and runs, since neighbouring rows are alike.
//!
//! Format 1: format, width, count, then per column: times and acceptance times as differences of differences, positions as
//! differences, first positions as distance back, versions as differences, labels as runs; then per property its values and flags.

use domain::{Flag, Label, Position, Row, Rows, Timestamp, Value};

use crate::codec::{Decoder, Malformed, put_signed, put_varint, unzigzag, zigzag};

const FORMAT: u8 = 1;
/// Values are whole numbers of 10^-scale up to this scale, or raw bits.
const SCALE_MAX: u8 = 4;
const RAW: u8 = 255;
const POWERS: [f64; SCALE_MAX as usize + 1] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0];
/// Whole numbers up to here are exact in a float and leave room for the differences' codes.
const WHOLE_MAX: f64 = 4_503_599_627_370_496.0;
/// Codes of values that are no number, below those of differences.
const MISSING_CODE: u64 = 0;
const ABSENT_CODE: u64 = 1;
const FIRST_DIFFERENCE_CODE: u64 = 2;

/// Appends rows.
pub fn encode(rows: &Rows, out: &mut Vec<u8>) {
    encode_range(rows, 0..rows.len(), out);
}

/// Appends the rows of a range.
pub fn encode_range(rows: &Rows, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
    out.push(FORMAT);
    put_varint(out, rows.width() as u64);
    put_varint(out, range.len() as u64);
    let each = || range.clone().map(|index| rows.get(index).row);
    put_steady(out, each().map(|row| row.phenomenon_time.as_micros()));
    put_steady(out, each().map(|row| row.accepted_at.as_micros()));
    let mut last = 0u64;
    for row in each() {
        put_signed(out, row.position.0.wrapping_sub(last) as i64);
        last = row.position.0;
    }
    for row in each() {
        put_varint(out, row.position.0.wrapping_sub(row.first_position.0));
    }
    let mut last = 0i64;
    for row in each() {
        put_signed(out, i64::from(row.type_version) - last);
        last = i64::from(row.type_version);
    }
    put_runs(out, each().map(|row| label_code(row.label)));
    for property in 0..rows.width() {
        let cells = || range.clone().map(|index| index * rows.width() + property);
        put_values(out, || cells().map(|cell| rows.values()[cell]));
        put_runs(out, cells().map(|cell| rows.flags()[cell].code()));
    }
}

/// Reads how many rows there are without reading them.
pub fn count(bytes: &[u8]) -> Result<usize, Malformed> {
    header(&mut Decoder::new(bytes)).map(|(_, count)| count)
}

/// Reads rows; they must end where the bytes end.
pub fn decode(bytes: &[u8]) -> Result<Rows, Malformed> {
    let mut decoder = Decoder::new(bytes);
    let rows = decode_from(&mut decoder)?;
    decoder.finish()?;
    Ok(rows)
}

/// Reads rows and leaves what is behind them.
pub fn decode_from(decoder: &mut Decoder<'_>) -> Result<Rows, Malformed> {
    let (width, count) = header(decoder)?;
    let times = take_steady(decoder, count)?;
    let accepted_at = take_steady(decoder, count)?;
    let mut rows = Vec::with_capacity(count);
    let mut position = 0u64;
    for index in 0..count {
        position = position.wrapping_add(decoder.signed()? as u64);
        rows.push(Row {
            phenomenon_time: Timestamp::from_micros(times[index]),
            accepted_at: Timestamp::from_micros(accepted_at[index]),
            position: Position(position),
            first_position: Position(0),
            type_version: 0,
            label: Label::Normal,
        });
    }
    for row in &mut rows {
        row.first_position = Position(row.position.0.wrapping_sub(decoder.varint()?));
    }
    let mut version = 0i64;
    for row in &mut rows {
        version = version.wrapping_add(decoder.signed()?);
        row.type_version = u32::try_from(version).map_err(|_| Malformed("a type version is out of range"))?;
    }
    take_runs(decoder, label_from_code, rows.iter_mut().map(|row| &mut row.label))?;
    let mut values = vec![Value::ABSENT; count * width];
    let mut flags = vec![Flag::NotEvaluated; count * width];
    for property in 0..width {
        take_values(decoder, values.iter_mut().skip(property).step_by(width))?;
        take_runs(decoder, Flag::from_code, flags.iter_mut().skip(property).step_by(width))?;
    }
    Ok(Rows::from_columns(width, rows.into_iter(), values, flags))
}

fn header(decoder: &mut Decoder<'_>) -> Result<(usize, usize), Malformed> {
    if decoder.byte()? != FORMAT {
        return Err(Malformed("the rows have another format version"));
    }
    let width = usize::try_from(decoder.varint()?).map_err(|_| Malformed("the width is too large"))?;
    if width > domain::PROPERTIES_MAX {
        return Err(Malformed("the width is too large"));
    }
    // A row takes at least a byte in each of five columns and per value.
    let count = decoder.count(5 + width)?;
    Ok((width, count))
}

/// Numbers that go up by nearly the same every time: the differences of their differences.
fn put_steady(out: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    let (mut last, mut step) = (0i64, 0i64);
    for number in numbers {
        let difference = number.wrapping_sub(last);
        put_signed(out, difference.wrapping_sub(step));
        (last, step) = (number, difference);
    }
}

fn take_steady(decoder: &mut Decoder<'_>, count: usize) -> Result<Vec<i64>, Malformed> {
    let (mut last, mut step) = (0i64, 0i64);
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        step = step.wrapping_add(decoder.signed()?);
        last = last.wrapping_add(step);
        numbers.push(last);
    }
    Ok(numbers)
}

/// The number as a whole multiple of 10^-scale, if that gives it back to the last bit.
fn as_whole(number: f64, scale: u8) -> Option<i64> {
    let power = POWERS[usize::from(scale)];
    let whole = (number * power).round();
    (whole.abs() <= WHOLE_MAX && (whole / power).to_bits() == number.to_bits()).then_some(whole as i64)
}

/// One property's values: as differences of decimals where all are, else raw.
fn put_values<I: Iterator<Item = Value>>(out: &mut Vec<u8>, values: impl Fn() -> I) {
    let fits = |scale: u8| values().filter_map(Value::as_number).all(|number| as_whole(number, scale).is_some());
    let Some(scale) = (0..=SCALE_MAX).find(|scale| fits(*scale)) else {
        out.push(RAW);
        values().for_each(|value| out.extend_from_slice(&value.to_bits().to_le_bytes()));
        return;
    };
    out.push(scale);
    let mut last = 0;
    for value in values() {
        match value.as_number().and_then(|number| as_whole(number, scale)) {
            Some(whole) => {
                put_varint(out, zigzag(whole - last) + FIRST_DIFFERENCE_CODE);
                last = whole;
            }
            None => put_varint(out, if value.is_absent() { ABSENT_CODE } else { MISSING_CODE }),
        }
    }
}

fn take_values<'a>(decoder: &mut Decoder<'_>, cells: impl Iterator<Item = &'a mut Value>) -> Result<(), Malformed> {
    let scale = decoder.byte()?;
    if scale == RAW {
        for cell in cells {
            *cell = Value::from_bits(decoder.u64()?).ok_or(Malformed("a value is no number"))?;
        }
        return Ok(());
    }
    let power = *POWERS.get(usize::from(scale)).ok_or(Malformed("the scale of values is unknown"))?;
    let mut last = 0i64;
    for cell in cells {
        *cell = match decoder.varint()? {
            MISSING_CODE => Value::MISSING,
            ABSENT_CODE => Value::ABSENT,
            code => {
                last = last.wrapping_add(unzigzag(code - FIRST_DIFFERENCE_CODE));
                Value::number(last as f64 / power).map_err(|_| Malformed("a value is no number"))?
            }
        };
    }
    Ok(())
}

/// One property's flags as runs of equal ones.
fn label_code(label: Label) -> u8 {
    match label {
        Label::Normal => 0,
        Label::Anomaly => 1,
    }
}

fn label_from_code(code: u8) -> Option<Label> {
    [Label::Normal, Label::Anomaly].into_iter().find(|label| label_code(*label) == code)
}

/// Each code with how often it comes in a row.
fn put_runs(out: &mut Vec<u8>, codes: impl Iterator<Item = u8>) {
    let mut codes = codes.peekable();
    while let Some(code) = codes.next() {
        let mut length = 1;
        while codes.next_if_eq(&code).is_some() {
            length += 1;
        }
        out.push(code);
        put_varint(out, length);
    }
}

fn take_runs<'a, T: Copy + 'a>(
    decoder: &mut Decoder<'_>,
    from_code: impl Fn(u8) -> Option<T>,
    cells: impl Iterator<Item = &'a mut T>,
) -> Result<(), Malformed> {
    let mut left = 0;
    let mut run = None;
    for cell in cells {
        if left == 0 {
            run = from_code(decoder.byte()?);
            left = decoder.varint()?;
        }
        left = left.checked_sub(1).ok_or(Malformed("a run of flags or labels is empty"))?;
        *cell = run.ok_or(Malformed("a flag or label is unknown"))?;
    }
    if left == 0 { Ok(()) } else { Err(Malformed("a run of flags or labels is too long")) }
}

#[cfg(test)]
mod tests {
    use domain::RowRef;
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::MISSING),
            Just(Value::ABSENT),
            (-99_999..99_999i64, 0..=4usize)
                .prop_map(|(n, scale)| Value::number(n as f64 / POWERS[scale]).expect("finite")),
            any::<f64>().prop_map(|n| Value::number(n).unwrap_or(Value::MISSING)),
        ]
    }

    fn rows(width: usize) -> impl Strategy<Value = Rows> {
        let flag = prop_oneof![Just(Flag::Good), Just(Flag::Fail), Just(Flag::Missing)];
        let cells = proptest::collection::vec((value(), flag), width);
        proptest::collection::vec((any::<(i64, i64, u64, u64, u32, bool)>(), cells), 0..40).prop_map(move |list| {
            let mut rows = Rows::new(width);
            for ((time, accepted, position, first, type_version, is_anomaly), cells) in list {
                let (values, flags): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
                let row = Row {
                    phenomenon_time: Timestamp::from_micros(time),
                    accepted_at: Timestamp::from_micros(accepted),
                    position: Position(position),
                    first_position: Position(first),
                    type_version,
                    label: if is_anomaly { Label::Anomaly } else { Label::Normal },
                };
                rows.push(RowRef { row, values: &values, flags: &flags });
            }
            rows
        })
    }

    proptest! {
        #[test]
        fn rows_read_back(rows in (1..6usize).prop_flat_map(rows)) {
            let mut out = Vec::new();
            encode(&rows, &mut out);
            prop_assert_eq!(count(&out), Ok(rows.len()));
            prop_assert_eq!(decode(&out), Ok(rows));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in any::<Vec<u8>>()) {
            let _ = decode(&[&[FORMAT][..], &bytes].concat());
        }
    }

    #[test]
    fn a_steady_quantised_row_takes_few_bytes() {
        let mut rows = Rows::new(1);
        for index in 0..512i64 {
            let row = Row {
                phenomenon_time: Timestamp::from_micros(index * 1_000_000),
                accepted_at: Timestamp::from_micros(index * 1_000_000 + 7),
                position: Position(index as u64 * 20_000),
                first_position: Position(index as u64 * 20_000),
                type_version: 1,
                label: Label::Normal,
            };
            let value = Value::number(230.0 + (index % 7) as f64 / 10.0).expect("finite");
            rows.push(RowRef { row, values: &[value], flags: &[Flag::Good] });
        }
        let mut out = Vec::new();
        encode(&rows, &mut out);
        assert!(out.len() < 512 * 10, "{} bytes for 512 rows", out.len());
    }
}

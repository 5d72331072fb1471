//! Newline-delimited JSON: each line that is not blank is an item.

use jiter::Jiter;

use super::{
    BodyFault, Parsed, Target,
    json::{Items, reason},
    lines, without_mark,
};

/// About how many bytes a reading takes, to make room beforehand.
const READING_SIZE_BYTES: usize = 64;

/// Reads a reading from each line; a line that is no JSON object is a refused item.
///
/// # Errors
/// [`BodyFault::Empty`] where there is not even a blank line; [`BodyFault::TooManyItems`].
pub fn parse(body: &[u8], target: &Target<'_>) -> Result<Parsed, BodyFault> {
    let body = without_mark(body);
    if body.is_empty() {
        return Err(BodyFault::Empty);
    }
    let mut items = Items::new(target, body.len() / READING_SIZE_BYTES + 1);
    for (number, line) in lines(body) {
        items.begin()?;
        let mut jiter = Jiter::new(line).with_allow_inf_nan();
        let outcome = jiter.peek().and_then(|peek| items.item(&mut jiter, line, peek));
        if let Err(error) = outcome.and_then(|()| jiter.finish()) {
            let column = error.index + 1;
            items.refuse(line, &format!("line {number} column {column}: {}", reason(&error)));
        }
        items.end();
    }
    Ok(items.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::samples::{Fixture, emb};

    #[test]
    fn a_broken_line_is_refused_alone_with_its_column() {
        let body = b"{\"sensor_id\":\"emb3\",\"phenomenon_time\":\"2017-02-08T15:00:00Z\",\"sec\":904}\r\n\n{\"sensor_id\":\n5\n{\"sensor_id\":\"emb3\",\"phenomenon_time\":\"2017-02-08T16:00:00Z\",\"ph\":null} x";
        let fixture = Fixture::new(emb());
        let parsed = parse(body, &fixture.target()).expect("lines are read one by one");
        assert_eq!(parsed.readings.len(), 1);
        let reasons: Vec<_> = parsed.rejected.iter().map(|r| (r.index, r.reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                (1, "line 3 column 14: EOF while parsing a value"),
                (2, "an item must be an object"),
                (3, "line 5 column 73: trailing characters"),
            ]
        );
    }

    #[test]
    fn blank_lines_are_no_items() {
        let fixture = Fixture::new(emb());
        let parsed = parse(b"\n\r\n  \n", &fixture.target()).expect("no items");
        assert_eq!((parsed.readings.len(), parsed.rejected_count), (0, 0));
        assert_eq!(parse(b"", &fixture.target()), Err(BodyFault::Empty));
    }
}

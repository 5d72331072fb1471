//! JSON bodies: one reading, or an array of readings.

use std::borrow::Cow;

use domain::{InvalidTime, Value};
use jiter::{Jiter, JiterErrorType, JiterResult, Peek};

use super::{
    BodyFault, Parsed, Target,
    collector::{Collector, Text},
    without_mark,
};

/// About how many bytes a reading takes, to make room beforehand.
const READING_SIZE_BYTES: usize = 64;

/// Reads an object or an array of objects.
///
/// Beyond RFC 8259 a bare `NaN` is taken, for missing.
///
/// # Errors
/// [`BodyFault::Syntax`] where it is no JSON, nested deeper than 200, or neither an object nor an array;
/// [`BodyFault::TooManyItems`].
pub fn parse(body: &[u8], target: &Target<'_>) -> Result<Parsed, BodyFault> {
    let body = without_mark(body);
    if body.trim_ascii().is_empty() {
        return Err(BodyFault::Empty);
    }
    let mut jiter = Jiter::new(body).with_allow_inf_nan();
    let mut items = Items::new(target, body.len() / READING_SIZE_BYTES + 1);
    let located = |error: jiter::JiterError| located(body, &error);
    match jiter.peek().map_err(located)? {
        Peek::Object => items.take(&mut jiter, body, Peek::Object, located)?,
        Peek::Array => {
            let mut next = jiter.known_array().map_err(located)?;
            while let Some(peek) = next {
                items.take(&mut jiter, body, peek, located)?;
                next = jiter.array_step().map_err(located)?;
            }
        }
        _ => {
            // Broken JSON is told as such, with its place.
            jiter.next_skip().map_err(located)?;
            let reason = "expected an object or an array of objects".to_owned();
            return Err(BodyFault::Syntax { line: 1, column: 1, reason });
        }
    }
    jiter.finish().map_err(located)?;
    Ok(items.finish())
}

/// A parser's error with line and column.
fn located(body: &[u8], error: &jiter::JiterError) -> BodyFault {
    let index = error.index.min(body.len());
    let line_start = memchr::memrchr(b'\n', &body[..index]).map_or(0, |at| at + 1);
    let line = memchr::memchr_iter(b'\n', &body[..index]).count() + 1;
    BodyFault::Syntax { line, column: index - line_start + 1, reason: reason(error) }
}

/// A parser's error in words.
pub(super) fn reason(error: &jiter::JiterError) -> String {
    match &error.error_type {
        JiterErrorType::JsonError(error) => error.to_string(),
        JiterErrorType::WrongType { expected, actual } => format!("expected {expected}, found {actual}"),
    }
}

/// Reads items, learning in which order their keys come.
pub(super) struct Items<'a> {
    collector: Collector<'a>,
    keys: Keys<'a>,
}

/// What stands at a key: the fields by index, the properties behind the two that every reading has.
const SENSOR_ID: usize = 0;
const PHENOMENON_TIME: usize = 1;
const PROPERTIES: usize = 2;

/// The names of the fields, and the order in which the last item had them.
struct Keys<'a> {
    names: Vec<&'a [u8]>,
    order: Vec<usize>,
}

impl Keys<'_> {
    /// Index of the field named `key`, which comes as the `place`th of its item.
    fn find(&mut self, key: &[u8], place: usize) -> Option<usize> {
        if let Some(&expected) = self.order.get(place)
            && self.names[expected] == key
        {
            return Some(expected);
        }
        let found = self.names.iter().position(|name| *name == key)?;
        if place < self.order.len() {
            self.order[place] = found;
        } else if place == self.order.len() {
            self.order.push(found);
        }
        Some(found)
    }
}

/// Which fields an item has had.
#[derive(Default)]
struct Seen([u64; (PROPERTIES + domain::PROPERTIES_MAX).div_ceil(64)]);

impl Seen {
    /// Notes a field; says whether it was there before.
    fn again(&mut self, index: usize) -> bool {
        let (word, bit) = (index / 64, 1 << (index % 64));
        let again = self.0[word] & bit != 0;
        self.0[word] |= bit;
        again
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }
}

impl<'a> Items<'a> {
    pub(super) fn new(target: &'a Target<'a>, items: usize) -> Self {
        let properties = target.sensor_type.property_ids.iter().map(|id| id.as_str().as_bytes());
        let names = [&b"sensor_id"[..], b"phenomenon_time"].into_iter().chain(properties).collect();
        Self { collector: Collector::new(target, items), keys: Keys { names, order: Vec::new() } }
    }

    /// Reads the next item whole.
    pub(super) fn take<'j>(
        &mut self,
        jiter: &mut Jiter<'j>,
        data: &'j [u8],
        peek: Peek,
        located: impl Fn(jiter::JiterError) -> BodyFault,
    ) -> Result<(), BodyFault> {
        self.collector.begin()?;
        self.item(jiter, data, peek).map_err(located)?;
        self.collector.end();
        Ok(())
    }

    /// Starts an item that [`item`](Self::item) or a fault and [`end`](Self::end) follow.
    pub(super) fn begin(&mut self) -> Result<(), BodyFault> {
        self.collector.begin()
    }

    /// Refuses the item in hand as a whole.
    pub(super) fn refuse(&mut self, value: &[u8], reason: &str) {
        self.collector.whole_fault(value, reason);
    }

    /// Ends the item in hand.
    pub(super) fn end(&mut self) {
        self.collector.end();
    }

    pub(super) fn finish(self) -> Parsed {
        self.collector.finish()
    }

    /// Reads the fields of an item; an error is one of syntax.
    pub(super) fn item<'j>(&mut self, jiter: &mut Jiter<'j>, data: &'j [u8], peek: Peek) -> JiterResult<()> {
        if peek != Peek::Object {
            let raw = skipped(jiter, peek)?;
            self.collector.fault("", raw, "an item must be an object");
            return Ok(());
        }
        let mut seen = Seen::default();
        let mut place = 0;
        let mut next = jiter.next_object_bytes()?.map(|key| within(data, key));
        while let Some(key) = next {
            let field = self.keys.find(key, place).or_else(|| self.escaped_key(data, key, place));
            place += 1;
            match field {
                Some(index) if seen.again(index) => self.repeated(jiter, index)?,
                Some(SENSOR_ID) => self.sensor_id(jiter, data)?,
                Some(PHENOMENON_TIME) => self.phenomenon_time(jiter, data)?,
                Some(index) => self.property(jiter, index - PROPERTIES)?,
                None => self.unknown(jiter, key)?,
            }
            next = jiter.next_key_bytes()?.map(|key| within(data, key));
        }
        for (index, name) in [(SENSOR_ID, "sensor_id"), (PHENOMENON_TIME, "phenomenon_time")] {
            if !seen.has(index) {
                self.collector.fault(name, b"", "is missing");
            }
        }
        Ok(())
    }

    /// Index of a field whose name is written with escapes.
    #[cold]
    fn escaped_key(&mut self, data: &[u8], key: &[u8], place: usize) -> Option<usize> {
        let text = unescaped(quoted(data, key))?;
        self.keys.find(text.as_bytes(), place)
    }

    #[cold]
    fn repeated(&mut self, jiter: &mut Jiter<'_>, index: usize) -> JiterResult<()> {
        let peek = jiter.peek()?;
        let raw = skipped(jiter, peek)?;
        let name = String::from_utf8_lossy(self.keys.names[index]).into_owned();
        self.collector.fault(&name, raw, "is there twice");
        Ok(())
    }

    #[cold]
    fn unknown(&mut self, jiter: &mut Jiter<'_>, key: &[u8]) -> JiterResult<()> {
        let peek = jiter.peek()?;
        let raw = skipped(jiter, peek)?;
        let reason = "is not a property of the sensor type";
        self.collector.fault(&String::from_utf8_lossy(key), raw, reason);
        Ok(())
    }

    fn sensor_id<'j>(&mut self, jiter: &mut Jiter<'j>, data: &'j [u8]) -> JiterResult<()> {
        match text(jiter, data)? {
            Ok(text) => self.collector.sensor(&text),
            Err(raw) => self.collector.fault("sensor_id", raw, "must be a string of UTF-8 text"),
        }
        Ok(())
    }

    fn phenomenon_time<'j>(&mut self, jiter: &mut Jiter<'j>, data: &'j [u8]) -> JiterResult<()> {
        match text(jiter, data)? {
            Ok(text) => self.collector.time_text(&text),
            Err(raw) => self.collector.fault("phenomenon_time", raw, InvalidTime::FORM),
        }
        Ok(())
    }

    fn property(&mut self, jiter: &mut Jiter<'_>, index: usize) -> JiterResult<()> {
        let peek = jiter.peek()?;
        let start = jiter.current_index();
        if peek.is_num() {
            let number = jiter.known_float(peek)?;
            if let Ok(value) = Value::number(number) {
                self.collector.value(index, value);
                return Ok(());
            }
            if number.is_nan() {
                self.collector.value(index, Value::MISSING);
                return Ok(());
            }
            let raw = jiter.slice_to_current(start);
            let reason = match raw.contains(&b'I') {
                true => "must be finite: an infinity is no measured value",
                false => "is beyond the range of a 64-bit float",
            };
            self.collector.fault(self.collector.property(index), raw, reason);
            return Ok(());
        }
        if peek == Peek::Null {
            jiter.known_null()?;
            self.collector.value(index, Value::MISSING);
            return Ok(());
        }
        let raw = skipped(jiter, peek)?;
        self.collector.fault(self.collector.property(index), raw, "must be a number or null");
        Ok(())
    }
}

/// Passes over a value and answers its text, without the quotes of a string.
#[cold]
fn skipped<'j>(jiter: &mut Jiter<'j>, peek: Peek) -> JiterResult<&'j [u8]> {
    let start = jiter.current_index();
    jiter.known_skip(peek)?;
    let raw = jiter.slice_to_current(start);
    Ok(raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(raw))
}

/// Reads a string; what is no string, or none that is UTF-8, comes back raw as an error.
fn text<'j>(jiter: &mut Jiter<'j>, data: &'j [u8]) -> JiterResult<Result<Text<'j>, &'j [u8]>> {
    let peek = jiter.peek()?;
    if peek != Peek::String {
        return skipped(jiter, peek).map(Err);
    }
    let raw = within(data, jiter.known_bytes()?);
    if memchr::memchr(b'\\', raw).is_some() {
        return Ok(unescaped(quoted(data, raw)).map(Cow::Owned).ok_or(raw));
    }
    Ok(std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| raw))
}

/// The text of a JSON string with its quotes; `None` where it has escapes of no character or is not UTF-8.
#[cold]
fn unescaped(quoted: &[u8]) -> Option<String> {
    Jiter::new(quoted).next_str().ok().map(str::to_owned)
}

/// The same bytes, borrowed from the whole: the parser's borrow ends too early.
fn within<'j>(data: &'j [u8], part: &[u8]) -> &'j [u8] {
    let start = part.as_ptr() as usize - data.as_ptr() as usize;
    &data[start..start + part.len()]
}

/// The string `raw`, a part of `data`, with its quotes.
fn quoted<'j>(data: &'j [u8], raw: &[u8]) -> &'j [u8] {
    let start = raw.as_ptr() as usize - data.as_ptr() as usize;
    &data[start - 1..=start + raw.len()]
}

#[cfg(test)]
mod tests;

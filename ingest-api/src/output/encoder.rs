//! What turns judged rows into the bytes of one format, and which properties it shows.

use std::sync::Arc;

use domain::{Flag, ObservedProperty, RowRef, SensorId, SensorType, Value};

use super::{
    cursor::{self, Fingerprint},
    format::Format,
    table::{ArrowEncoder, ParquetEncoder},
    text::{CsvEncoder, JsonEncoder, NdjsonEncoder},
};

/// The properties of a sensor type that an answer shows, in the type's order.
#[derive(Debug, Clone)]
pub struct Selection {
    sensor_type: Arc<SensorType>,
    indices: Vec<usize>,
}

impl Selection {
    /// The properties at these indices (any order, duplicates ignored); all if `None`.
    pub fn new(sensor_type: Arc<SensorType>, indices: Option<Vec<usize>>) -> Self {
        let mut indices = indices.unwrap_or_else(|| (0..sensor_type.width()).collect());
        indices.sort_unstable();
        indices.dedup();
        indices.retain(|index| *index < sensor_type.width());
        Self { sensor_type, indices }
    }

    /// The sensor type.
    pub fn sensor_type(&self) -> &SensorType {
        &self.sensor_type
    }

    /// Each property shown, with its index in a row.
    pub fn properties(&self) -> impl ExactSizeIterator<Item = (usize, &ObservedProperty)> {
        self.indices.iter().map(|index| (*index, &self.sensor_type.definition.properties[*index]))
    }

    /// How many properties are shown.
    pub fn width(&self) -> usize {
        self.indices.len()
    }
}

/// The number and flag at `index`. A row judged before the property was there has no value, which nobody evaluated.
#[inline]
pub fn cell(row: RowRef<'_>, index: usize) -> (Option<f64>, Flag) {
    let value = row.values.get(index).copied().unwrap_or(Value::ABSENT);
    (value.as_number(), row.flags.get(index).copied().unwrap_or(Flag::NotEvaluated))
}

/// A failure of an encoder.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Of the Parquet writer.
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Of the Arrow writer.
    #[error("cannot write Arrow: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// Of a content coding.
    #[error("cannot compress: {0}")]
    Coding(#[from] std::io::Error),
}

/// Writes rows in one format into its own buffer, from which the bytes are taken as they come.
pub trait Encoder: Send {
    /// Appends a row. Rows of one sensor come one behind the other.
    ///
    /// # Errors
    /// [`EncodeError`]: the answer can't be finished.
    fn row(&mut self, sensor_id: &SensorId, row: RowRef<'_>) -> Result<(), EncodeError>;

    /// Ends the answer; `next` is the row behind which the next page starts.
    ///
    /// # Errors
    /// As [`row`](Self::row).
    fn finish(&mut self, next: Option<(&SensorId, domain::Timestamp)>) -> Result<(), EncodeError>;

    /// How many bytes can be taken.
    fn ready(&self) -> usize;

    /// Takes the bytes written so far.
    fn take(&mut self) -> Vec<u8>;

    /// Says whether a block of rows takes milliseconds, so that it belongs on a thread where nobody waits.
    fn is_heavy(&self) -> bool {
        false
    }
}

/// Makes the encoder of a format; a JSON page names the query that its cursor belongs to.
///
/// # Errors
/// As [`Encoder::row`].
pub fn encoder(
    format: Format,
    selection: &Selection,
    fingerprint: Option<Fingerprint>,
) -> Result<Box<dyn Encoder>, EncodeError> {
    Ok(match format {
        Format::Json => {
            let cursor = fingerprint.map(|print| -> CursorWriter { Box::new(move |row| cursor::encode(print, row)) });
            Box::new(JsonEncoder::new(selection, cursor))
        }
        Format::Ndjson => Box::new(NdjsonEncoder::new(selection)),
        Format::Csv => Box::new(CsvEncoder::new(selection)),
        Format::Parquet => Box::new(ParquetEncoder::new(selection)?),
        Format::Arrow => Box::new(ArrowEncoder::new(selection)?),
    })
}

/// Writes the cursor of the page behind a row.
pub type CursorWriter = Box<dyn Fn((&SensorId, domain::Timestamp)) -> String + Send>;

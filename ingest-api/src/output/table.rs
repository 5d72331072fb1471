//! Rows as columns: Apache Parquet and Arrow, written batch by batch into a buffer that the answer drains.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{Float64Builder, StringBuilder, TimestampMicrosecondBuilder, UInt8Builder},
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use domain::{RowRef, SensorId, Timestamp};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::WriterProperties,
    schema::types::ColumnPath,
};

use super::encoder::{EncodeError, Encoder, Selection, cell};

/// The most rows of a batch.
const BATCH_ROWS_MAX: usize = 8_192;
/// The most rows of a Parquet row group.
const GROUP_ROWS_MAX: usize = 65_536;
/// The most values (rows times properties) of a batch: 4 MiB of numbers and flags at most.
const BATCH_CELLS_MAX: usize = 1 << 18;
/// The most values of a row group, which is held until it is full.
const GROUP_CELLS_MAX: usize = 1 << 20;
/// CF conventions 1.11, section 3.5 "Flags": the codes, and what they mean in the same order.
const FLAG_VALUES: &str = "1, 2, 3, 4, 9";
const FLAG_MEANINGS: &str = "good not_evaluated suspect fail missing";

/// The columns of an answer: `sensor_id`, `phenomenon_time`, the properties, `qc`, a flag per property.
pub fn schema(selection: &Selection) -> Schema {
    let named = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut fields = vec![
        Field::new("sensor_id", DataType::Utf8, false),
        Field::new("phenomenon_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
    ];
    for (_, property) in selection.properties() {
        let mut about = HashMap::from([named("unit", &property.unit)]);
        if !property.name.is_empty() {
            about.insert("long_name".to_owned(), property.name.clone());
        }
        fields.push(Field::new(property.id.as_str(), DataType::Float64, true).with_metadata(about));
    }
    fields.push(Field::new("qc", DataType::Utf8, false));
    for (_, property) in selection.properties() {
        let about = HashMap::from([named("flag_values", FLAG_VALUES), named("flag_meanings", FLAG_MEANINGS)]);
        fields.push(Field::new(format!("{}_flag", property.id), DataType::UInt8, false).with_metadata(about));
    }
    Schema::new_with_metadata(fields, HashMap::from([named("sensor_type", selection.sensor_type().id.as_str())]))
}

/// Gathers rows into record batches.
struct Batches {
    schema: SchemaRef,
    indices: Vec<usize>,
    rows_max: usize,
    rows: usize,
    sensor_ids: StringBuilder,
    times: TimestampMicrosecondBuilder,
    values: Vec<Float64Builder>,
    labels: StringBuilder,
    flags: Vec<UInt8Builder>,
}

impl Batches {
    fn new(selection: &Selection) -> Self {
        let width = selection.width();
        Self {
            schema: Arc::new(schema(selection)),
            indices: selection.properties().map(|(index, _)| index).collect(),
            rows_max: (BATCH_CELLS_MAX / width.max(1)).min(BATCH_ROWS_MAX),
            rows: 0,
            sensor_ids: StringBuilder::new(),
            times: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            values: (0..width).map(|_| Float64Builder::new()).collect(),
            labels: StringBuilder::new(),
            flags: (0..width).map(|_| UInt8Builder::new()).collect(),
        }
    }

    /// Appends a row; answers with the batch that it fills.
    fn push(&mut self, sensor_id: &SensorId, row: RowRef<'_>) -> Result<Option<RecordBatch>, EncodeError> {
        self.sensor_ids.append_value(sensor_id.as_str());
        self.times.append_value(row.row.phenomenon_time.as_micros());
        self.labels.append_value(row.row.label.as_str());
        for ((index, values), flags) in self.indices.iter().zip(&mut self.values).zip(&mut self.flags) {
            let (number, flag) = cell(row, *index);
            values.append_option(number);
            flags.append_value(flag.code());
        }
        self.rows += 1;
        if self.rows < self.rows_max { Ok(None) } else { self.rest() }
    }

    /// The rows that fill no batch; `None` if there are none.
    fn rest(&mut self) -> Result<Option<RecordBatch>, EncodeError> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.rows = 0;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.sensor_ids.finish()), Arc::new(self.times.finish())];
        columns.extend(self.values.iter_mut().map(|values| -> ArrayRef { Arc::new(values.finish()) }));
        columns.push(Arc::new(self.labels.finish()));
        columns.extend(self.flags.iter_mut().map(|flags| -> ArrayRef { Arc::new(flags.finish()) }));
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }
}

/// Apache Parquet, compressed with Zstandard.
pub struct ParquetEncoder {
    batches: Batches,
    writer: ArrowWriter<Vec<u8>>,
    ready: usize,
}

impl ParquetEncoder {
    /// A file without rows as yet.
    ///
    /// # Errors
    /// [`EncodeError::Parquet`].
    pub fn new(selection: &Selection) -> Result<Self, EncodeError> {
        let batches = Batches::new(selection);
        let group_rows = (GROUP_CELLS_MAX / selection.width().max(1)).min(GROUP_ROWS_MAX);
        let time = ColumnPath::from("phenomenon_time");
        let properties = WriterProperties::builder()
            .set_created_by(concat!("IoT-Hub ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(group_rows))
            .set_column_dictionary_enabled(time.clone(), false)
            .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED)
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&batches.schema), Some(properties))?;
        Ok(Self { batches, writer, ready: 0 })
    }

    fn write(&mut self, batch: Option<RecordBatch>) -> Result<(), EncodeError> {
        if let Some(batch) = batch {
            self.writer.write(&batch)?;
            self.ready = self.writer.inner_mut().len();
        }
        Ok(())
    }
}

impl Encoder for ParquetEncoder {
    fn row(&mut self, sensor_id: &SensorId, row: RowRef<'_>) -> Result<(), EncodeError> {
        let batch = self.batches.push(sensor_id, row)?;
        self.write(batch)
    }

    fn finish(&mut self, _next: Option<(&SensorId, Timestamp)>) -> Result<(), EncodeError> {
        let rest = self.batches.rest()?;
        self.write(rest)?;
        self.writer.finish()?;
        self.ready = self.writer.inner_mut().len();
        Ok(())
    }

    fn ready(&self) -> usize {
        self.ready
    }

    fn take(&mut self) -> Vec<u8> {
        self.ready = 0;
        std::mem::take(self.writer.inner_mut())
    }

    fn is_heavy(&self) -> bool {
        true
    }
}

/// Apache Arrow's IPC stream.
pub struct ArrowEncoder {
    batches: Batches,
    writer: StreamWriter<Vec<u8>>,
}

impl ArrowEncoder {
    /// A stream without batches as yet.
    ///
    /// # Errors
    /// [`EncodeError::Arrow`].
    pub fn new(selection: &Selection) -> Result<Self, EncodeError> {
        let batches = Batches::new(selection);
        let writer = StreamWriter::try_new(Vec::new(), &batches.schema)?;
        Ok(Self { batches, writer })
    }

    fn write(&mut self, batch: Option<RecordBatch>) -> Result<(), EncodeError> {
        match batch {
            Some(batch) => Ok(self.writer.write(&batch)?),
            None => Ok(()),
        }
    }
}

impl Encoder for ArrowEncoder {
    fn row(&mut self, sensor_id: &SensorId, row: RowRef<'_>) -> Result<(), EncodeError> {
        let batch = self.batches.push(sensor_id, row)?;
        self.write(batch)
    }

    fn finish(&mut self, _next: Option<(&SensorId, Timestamp)>) -> Result<(), EncodeError> {
        let rest = self.batches.rest()?;
        self.write(rest)?;
        Ok(self.writer.finish()?)
    }

    fn ready(&self) -> usize {
        self.writer.get_ref().len()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }
}

//! Parquet and Arrow hold what NDJSON says, and every format can be empty.

use std::io::Cursor;

use arrow_array::{
    Array, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt8Array,
    cast::AsArray,
    types::{Float64Type, TimestampMicrosecondType, UInt8Type},
};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use bytes::Bytes;
use domain::{Flag, Rows, Timestamp, Value};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value as Json, json};

use crate::hub::{Hub, START, number, push};

/// Reads a Parquet file: its schema, its batches, the rows of its row groups.
fn read_parquet(body: Vec<u8>) -> (SchemaRef, Vec<RecordBatch>, Vec<i64>) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(body)).expect("a Parquet file");
    let schema = builder.schema().clone();
    let groups = builder.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    let batches = builder.build().expect("a reader").map(|batch| batch.expect("a batch")).collect();
    (schema, batches, groups)
}

fn read_arrow(body: Vec<u8>) -> (SchemaRef, Vec<RecordBatch>) {
    let reader = StreamReader::try_new(Cursor::new(body), None).expect("an Arrow stream");
    (reader.schema(), reader.map(|batch| batch.expect("a batch")).collect())
}

/// The rows of batches as the items that JSON would say.
fn items(batches: &[RecordBatch], properties: &[&str]) -> Vec<Json> {
    let mut all = Vec::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("a column {name}"));
        let sensor_ids: &StringArray = column("sensor_id").as_string();
        let times: &TimestampMicrosecondArray = column("phenomenon_time").as_primitive::<TimestampMicrosecondType>();
        let labels: &StringArray = column("qc").as_string();
        for row in 0..batch.num_rows() {
            let time = Timestamp::from_micros(times.value(row)).to_string();
            let mut item = json!({"sensor_id": sensor_ids.value(row), "phenomenon_time": time});
            let mut flags = Map::new();
            for property in properties {
                let values: &Float64Array = column(property).as_primitive::<Float64Type>();
                let codes: &UInt8Array = column(&format!("{property}_flag")).as_primitive::<UInt8Type>();
                item[property] = if values.is_null(row) { Json::Null } else { json!(values.value(row)) };
                flags.insert((*property).to_owned(), json!(codes.value(row)));
            }
            item["qc"] = json!(labels.value(row));
            item["flags"] = Json::Object(flags);
            all.push(item);
        }
    }
    all
}

/// The items of NDJSON with every number as a float.
fn with_floats(mut items: Vec<Json>, properties: &[&str]) -> Vec<Json> {
    for item in &mut items {
        for property in properties {
            if let Some(number) = item[property].as_f64() {
                item[property] = json!(number);
            }
        }
    }
    items
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_and_arrow_hold_what_ndjson_says() {
    let hub = Hub::with_rows().await;
    for (query, properties) in [("", &["sec", "ph"][..]), ("&properties=ph&qc=anomaly&order=desc&limit=20", &["ph"])] {
        let path = |format: &str| format!("/v1/readings/emb?format={format}{query}");
        let expected = with_floats(hub.get(&path("ndjson")).await.lines(), properties);
        let (_, batches, _) = read_parquet(hub.get(&path("parquet")).await.body);
        assert_eq!(items(&batches, properties), expected, "parquet {query}");
        let (_, batches) = read_arrow(hub.get(&path("arrow")).await.body);
        assert_eq!(items(&batches, properties), expected, "arrow {query}");
        let csv = hub.get(&path("csv")).await;
        let mut reader = csv::Reader::from_reader(csv.body.as_slice());
        let header = reader.headers().expect("a header").clone();
        for (record, item) in reader.records().map(|record| record.expect("a record")).zip(&expected) {
            for (name, cell) in header.iter().zip(&record) {
                let said = match name.strip_suffix("_flag") {
                    Some(property) => item["flags"][property].to_string(),
                    None => item[name].as_str().map_or_else(|| item[name].to_string(), str::to_owned),
                };
                let same = cell == said || (cell.is_empty() && said == "null") || cell.parse::<f64>() == said.parse();
                assert!(same, "{name}: {cell} is not {said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_result_comes_whole_in_row_groups_of_at_most_65536_rows() {
    let hub = Hub::empty().await;
    for id in ["m1", "m2"] {
        hub.put_sensor("power", id).await;
        let mut rows = Rows::new(1);
        for n in 0..40_000 {
            let (value, flag) =
                if n % 100 == 99 { (Value::MISSING, Flag::Missing) } else { (number(n as f64 / 8.0), Flag::Good) };
            push(&mut rows, START + n * 1_000_000, &[value], &[flag]);
        }
        hub.write("power", id, &rows).await;
    }
    let expected = with_floats(hub.get("/v1/readings/power?format=ndjson").await.lines(), &["power"]);
    assert_eq!(expected.len(), 80_000);
    let (_, batches, groups) = read_parquet(hub.get("/v1/readings/power?format=parquet").await.body);
    assert_eq!(groups, [65_536, 14_464]);
    assert!(items(&batches, &["power"]) == expected);
    let (_, batches) = read_arrow(hub.get("/v1/readings/power?format=arrow").await.body);
    assert!(items(&batches, &["power"]) == expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_rows_is_valid_in_every_format() {
    let hub = Hub::empty().await;
    let path = |format: &str| format!("/v1/readings/emb?format={format}");
    let page = hub.get(&path("json")).await;
    assert_eq!(page.text(), "{\"items\":[],\"next_cursor\":null}\n");
    assert_eq!(hub.get(&path("ndjson")).await.text(), "");
    assert_eq!(hub.get(&path("csv")).await.text(), "sensor_id,phenomenon_time,sec,ph,qc,sec_flag,ph_flag\n");
    let (parquet_schema, batches, groups) = read_parquet(hub.get(&path("parquet")).await.body);
    assert!(batches.is_empty() && groups.is_empty());
    let (arrow_schema, batches) = read_arrow(hub.get(&path("arrow")).await.body);
    assert!(batches.is_empty());
    assert_eq!(parquet_schema, arrow_schema);
    assert_schema(&arrow_schema);
}

/// The columns say their units and what the flags mean.
fn assert_schema(schema: &SchemaRef) {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["sensor_id", "phenomenon_time", "sec", "ph", "qc", "sec_flag", "ph_flag"]);
    assert_eq!(schema.metadata()["sensor_type"], "emb");
    let field = |name: &str| schema.field_with_name(name).expect("a field");
    assert_eq!(field("phenomenon_time").data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    assert_eq!(field("ph").metadata()["unit"], "[pH]");
    assert!(field("ph").is_nullable() && !field("sec_flag").is_nullable());
    assert_eq!(field("sec_flag").metadata()["flag_values"], "1, 2, 3, 4, 9");
    assert_eq!(field("sec_flag").metadata()["flag_meanings"], "good not_evaluated suspect fail missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_the_store_does_not_know_yet_has_no_readings() {
    let hub = Hub::empty().await;
    let id = hub.registry.sensor_type("emb").expect("a type").id.clone();
    hub.put_sensor("emb", "emb3").await;
    hub.store.remove(&id).await.expect("a store in memory");
    assert_eq!(hub.get("/v1/readings/emb").await.json(), json!({"items": [], "next_cursor": null}));
    assert_eq!(hub.get("/v1/readings/emb/latest").await.json(), json!({"items": [], "next_cursor": null}));
    let buckets = hub.get("/v1/datastreams/emb3/ph/buckets?interval=1h").await.json();
    assert_eq!(buckets["items"], json!([]));
}

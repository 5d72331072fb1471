//! The saved objects of Kibana: their form, their fields against the mapping that the store makes, and what their queries answer against
//! counts that are known.

use std::{collections::BTreeSet, process::id, sync::Arc};

use compose::{Bars, Elasticsearch, Objects, Panel};
use distributed::store::{ElasticStore, Period, Settings};
use domain::{Sensor, SensorId, SensorType};
use ports::Store;
use serde_json::{Value, json};

/// The newest form of each kind that Kibana 8.12 and later read.
const FORMS: &[(&str, &str)] =
    &[("index-pattern", "8.0.0"), ("search", "8.0.0"), ("lens", "8.9.0"), ("map", "8.4.0"), ("dashboard", "8.9.0")];
/// 2017-01-01T00:00:00Z, in milliseconds.
const START_MS: i64 = 1_483_228_800_000;
const HOUR_MS: i64 = 3_600_000;
/// Hourly readings of each sensor.
const HOURS: i64 = 24 * 10;

#[test]
fn objects_have_the_form_that_kibana_takes() {
    let objects = Objects::read();
    let mut ids = BTreeSet::new();
    for object in &objects.0 {
        let form = FORMS.iter().find(|(kind, _)| *kind == object.kind()).map(|(_, version)| *version);
        assert_eq!(object.0["typeMigrationVersion"].as_str(), form, "`{}`", object.id());
        assert_eq!(object.0["coreMigrationVersion"], "8.8.0", "`{}`", object.id());
        assert!(ids.insert(object.id()), "two objects `{}`", object.id());
        assert!(object.attributes()["title"].is_string(), "`{}` has a title", object.id());
        for (_, kind, id) in object.references() {
            objects.get(kind, id);
        }
        match object.kind() {
            "search" => drop(object.parsed("/kibanaSavedObjectMeta/searchSourceJSON")),
            "map" => drop((object.parsed("/mapStateJSON"), object.parsed("/layerListJSON"))),
            _ => {}
        }
    }
}

#[test]
fn dashboard_shows_each_panel_by_its_reference() {
    let objects = Objects::read();
    let dashboard = objects.get("dashboard", "iot-hub");
    dashboard.parsed("/optionsJSON");
    let panels = dashboard.parsed("/panelsJSON");
    let named = |panel: &Value| {
        let index = panel["panelIndex"].as_str().expect("a panel has an index");
        assert_eq!(panel["panelRefName"], format!("panel_{index}"));
        assert_eq!(panel["gridData"]["i"], index);
        (format!("{index}:panel_{index}"), panel["type"].as_str().expect("a panel has a type").to_owned())
    };
    let panels: BTreeSet<(String, String)> = panels.as_array().expect("panels").iter().map(named).collect();
    let references = dashboard.references().into_iter().map(|(name, kind, _)| (name.to_owned(), kind.to_owned()));
    assert_eq!(panels, references.collect());
}

/// A place of its own in the Elasticsearch of all tests, with the mapping that the store makes; its names begin with the prefix.
struct Place {
    elasticsearch: Elasticsearch,
    prefix: String,
}

impl Place {
    /// Boreholes as the store prepares them, an index of theirs, and the index of sensors.
    async fn with_indices(name: &str) -> Self {
        let url = servers::elasticsearch().url();
        let (elasticsearch, prefix) = (Elasticsearch::open(&url), format!("compose-{name}-{}-", id()));
        let settings = Settings {
            urls: vec![url],
            index_prefix: prefix.clone(),
            period: Period::Year,
            replicas: 0,
            ..Settings::default()
        };
        let store = ElasticStore::new(settings).expect("settings that make sense");
        store.prepare(&boreholes()).await.expect("Elasticsearch prepares the type");
        elasticsearch.expect("PUT", &format!("/{prefix}readings-emb.2017"), "").await;
        store.show_sensors(&sensors()).await.expect("Elasticsearch takes the sensors");
        elasticsearch.expect("POST", &format!("/{prefix}sensors/_refresh"), "").await;
        Self { elasticsearch, prefix }
    }

    async fn load(&self, index: &str, documents: &[Value]) {
        let lines = documents.iter().map(|document| format!("{{\"create\":{{}}}}\n{document}\n"));
        let path = format!("/{}{index}/_bulk?refresh=true", self.prefix);
        let answer = self.elasticsearch.expect("POST", &path, lines.collect::<String>()).await;
        assert_eq!(answer["errors"], false, "{answer:#}");
    }

    async fn end(self) {
        let Self { elasticsearch, prefix } = self;
        for index in ["readings-emb.2017", "sensors"] {
            elasticsearch.expect("DELETE", &format!("/{prefix}{index}"), "").await;
        }
        for template in ["readings-emb", "readings"] {
            elasticsearch.expect("DELETE", &format!("/_index_template/{prefix}{template}"), "").await;
        }
    }
}

/// Two sensors, one of which has a place.
fn sensors() -> [Arc<Sensor>; 2] {
    let sensor = |number: u64, place| {
        let id = SensorId::parse(&format!("emb{}", number + 1)).expect("a sensor id");
        Arc::new(Sensor { id, number, sensor_type: boreholes().id, name: None, place, group: None })
    };
    [sensor(1, Some(domain::Place { latitude: 53.8, longitude: -2.9 })), sensor(2, None)]
}

fn boreholes() -> SensorType {
    let types = registry::built_in_types();
    let (id, draft) = types.into_iter().find(|(id, _)| id.as_str() == "emb").expect("boreholes are built in");
    SensorType::first(id, 1, draft).expect("a test reads the built-in types")
}

/// What Elasticsearch can do with a field of a kind.
fn suits(kind: &str, aggregatable: bool, used_for: &str) -> bool {
    match used_for {
        "time" | "date_histogram" => kind == "date" && aggregatable,
        "terms" => kind == "keyword" && aggregatable,
        "range" | "average" => kind == "double" && aggregatable,
        "filter" => kind == "keyword",
        "place" => kind == "geo_point",
        "column" => true,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_an_object_is_in_the_mapping() {
    let place = Place::with_indices("fields").await;
    let objects = Objects::read();
    let panels = objects.0.iter().filter(|object| !["index-pattern", "dashboard"].contains(&object.kind()));
    for object in panels {
        let panel = Panel::of(object, &objects);
        let path = format!("/{}{}/_field_caps?fields=*", place.prefix, panel.indices());
        let fields = place.elasticsearch.expect("GET", &path, "").await["fields"].clone();
        for (field, used_for) in panel.fields() {
            let kinds = fields[&field].as_object().unwrap_or_else(|| panic!("`{}`: no field `{field}`", object.id()));
            let suited = |(kind, it): (&String, &Value)| suits(kind, it["aggregatable"] == true, &used_for);
            assert!(kinds.iter().all(suited), "`{}`: `{field}` for {used_for}: {kinds:?}", object.id());
        }
    }
    place.end().await;
}

/// A reading of the test: its sensor, hour, label and water level.
struct Reading {
    sensor: &'static str,
    hour: i64,
    label: &'static str,
    level: Option<f64>,
}

impl Reading {
    fn document(&self) -> Value {
        let ms = START_MS + self.hour * HOUR_MS;
        json!({
            "sensor_id": self.sensor, "phenomenon_time": ms * 1_000, "@timestamp": ms, "qc": self.label,
            "sec": 870, "ph": 7.3, "water_level": self.level, "water_temp": 11.3, "tdg": 885,
            "flags": {"sec": 1, "ph": 1, "water_level": if self.level.is_some() { 1 } else { 9 }, "water_temp": 1, "tdg": 1},
            "type_version": 1, "accepted_at": ms * 1_000, "@position": self.hour, "@first_position": self.hour,
        })
    }

    fn day(&self) -> String {
        (START_MS + self.hour / 24 * 24 * HOUR_MS).to_string()
    }
}

/// Two boreholes over ten days: one misses every seventh level, the other has a bad reading every eleventh hour.
fn readings() -> Vec<Reading> {
    let of = |sensor, hour: i64| {
        let (is_missing, is_bad) = (sensor == "emb2" && hour % 7 == 0, sensor == "emb3" && hour % 11 == 0);
        let level = if sensor == "emb2" { 11.0 } else { 27.0 } + (hour % 30) as f64 / 10.0;
        let label = if is_missing || is_bad { "anomaly" } else { "normal" };
        Reading { sensor, hour, label, level: (!is_missing).then_some(level) }
    };
    let hours = |sensor| (0..HOURS).map(move |hour| of(sensor, hour));
    hours("emb2").chain(hours("emb3")).collect()
}

fn count<'a>(readings: impl Iterator<Item = &'a Reading>, labels: impl Fn(&Reading) -> Vec<String>) -> Bars {
    let mut bars = Bars::new();
    readings.for_each(|reading| *bars.entry(labels(reading)).or_default() += 1.0);
    bars
}

/// What a panel has to show of readings.
fn expected(panel: &str, readings: &[Reading]) -> Bars {
    let normal = || readings.iter().filter(|reading| reading.label == "normal");
    let anomalies = || readings.iter().filter(|reading| reading.label == "anomaly");
    let whole_metres = |reading: &Reading| format!("{:?}", reading.level.expect("a normal reading has all").floor());
    let by_sensor = |reading: &Reading| vec![reading.sensor.to_owned(), reading.day()];
    match panel {
        "iot-hub-water-level" => count(normal(), |reading| vec![whole_metres(reading)]),
        "iot-hub-anomalies-over-time" => count(anomalies(), by_sensor),
        "iot-hub-labels" => count(readings.iter(), |reading| vec![reading.label.to_owned()]),
        "iot-hub-water-level-over-time" => {
            let mut sums = Bars::new();
            normal().for_each(|reading| *sums.entry(by_sensor(reading)).or_default() += reading.level.unwrap_or(0.0));
            let counts = count(normal(), by_sensor);
            sums.into_iter().map(|(labels, sum)| (labels.clone(), sum / counts[&labels])).collect()
        }
        "iot-hub-anomalies" => count(anomalies(), |_| Vec::new()),
        "iot-hub-map" => [(Vec::new(), 1.0)].into(),
        other => panic!("a test must say what panel `{other}` shows"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_what_is_known() {
    let place = Place::with_indices("panels").await;
    let readings = Arc::new(readings());
    place.load("readings-emb.2017", &readings.iter().map(Reading::document).collect::<Vec<_>>()).await;
    let objects = Objects::read();
    for object in objects.shown() {
        let shown = Panel::of(object, &objects).shown(&place.elasticsearch, &place.prefix).await;
        let expected = expected(object.id(), &readings);
        assert_eq!(shown.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "`{}`", object.id());
        let is_near = |(labels, value): (&Vec<String>, &f64)| (value - expected[labels]).abs() < 1e-9;
        assert!(shown.iter().all(is_near), "`{}`: {shown:?}, not {expected:?}", object.id());
    }
    place.end().await;
}

//! The registry on the log in memory: restart, races, changes of types, removal, bounds.

use std::{future::Future, sync::Arc, time::Duration};

use domain::{SensorId, SensorTypeDraft, SensorTypeId, Topic};
use ports::{
    Batch, Document, ErrorKind, Log, SystemClock, TopicKind,
    memory::{LogSettings, MemoryLog},
};
use registry::{
    Change, FirstReadingRefusal, FirstReadings, Registry, RegistryError, Removal, SensorDraft, Settings,
    built_in_types, parse_toml,
};

fn log() -> Arc<dyn Log> {
    Arc::new(MemoryLog::new(Arc::new(SystemClock), LogSettings::default()))
}

async fn open(log: &Arc<dyn Log>) -> Registry {
    Registry::open(Arc::clone(log), Settings::default()).await.expect("opens")
}

async fn seeded(log: &Arc<dyn Log>) -> Registry {
    let registry = open(log).await;
    registry.seed(built_in_types()).await.expect("seeded");
    registry
}

fn type_id(text: &str) -> SensorTypeId {
    SensorTypeId::parse(text).expect("an id")
}

fn sensor_id(text: &str) -> SensorId {
    SensorId::parse(text).expect("an id")
}

fn draft(properties: &[(&str, &str)]) -> SensorTypeDraft {
    let mut text = "id = \"t\"\nsampling_interval = \"1s\"\n".to_owned();
    for (id, unit) in properties {
        text += &format!("[[properties]]\nid = \"{id}\"\nunit = \"{unit}\"\n");
    }
    parse_toml(&text, "t.toml").expect("a type").1
}

fn sensor(sensor_type: &str, name: Option<&str>) -> SensorDraft {
    SensorDraft { name: name.map(str::to_owned), place: None, group: None, sensor_type: type_id(sensor_type) }
}

/// What a registry says, as text that two registries can be compared by.
fn picture(registry: &Registry) -> String {
    let types = registry.sensor_types();
    let versions = types.iter().flat_map(|newest| {
        (1..=newest.version).map(|version| registry.sensor_type_version(newest.id.as_str(), version))
    });
    format!("{:#?}\n{:#?}", versions.collect::<Vec<_>>(), registry.sensors(None))
}

async fn wait_for<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..1_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain for {what}");
}

/// Waits until all registries of a log, and one opened anew, say the same.
async fn wait_until_all_agree(log: &Arc<dyn Log>, registries: &[Registry]) {
    let agree = async || {
        let fresh = picture(&open(log).await);
        registries.iter().all(|registry| picture(registry) == fresh)
    };
    wait_for("the registries to agree", agree).await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let log = log();
    let registry = seeded(&log).await;
    let (emb3, change) =
        registry.put_sensor(sensor_id("emb3"), sensor("emb", Some("Third"))).await.expect("registered");
    assert_eq!(change, Change::Created);
    registry
        .register_first_readings(&type_id("power"), &[sensor_id("p1")], FirstReadings::Posted)
        .await
        .expect("registered");
    let (again, change) = registry.put_sensor(sensor_id("p1"), sensor("power", Some("Mill"))).await.expect("changed");
    assert_eq!((change, again.name.as_deref()), (Change::Changed, Some("Mill")));
    let before = picture(&registry);
    drop(registry);
    let registry = open(&log).await;
    assert_eq!(picture(&registry), before);
    assert_eq!(registry.sensor("emb3"), Some(emb3));
    assert_eq!(registry.lookup().get("p1").map(|sensor| sensor.sensor_type.to_string()).as_deref(), Some("power"));
    assert!(registry.ready().await.is_ok());
}

#[tokio::test]
async fn seeding_twice_changes_nothing() {
    let log = log();
    let registry = seeded(&log).await;
    let before = (picture(&registry), log.extents(&Topic::registry()).await.expect("extents"));
    registry.seed(built_in_types()).await.expect("seeded");
    assert_eq!(before, (picture(&registry), log.extents(&Topic::registry()).await.expect("extents")));
}

#[tokio::test]
async fn type_gains_properties_but_keeps_units_and_old_versions() {
    let log = log();
    let registry = open(&log).await;
    let id = type_id("t");
    let mut changes = registry.changes();
    changes.mark_unchanged();
    let (first, change) = registry.put_sensor_type(id.clone(), draft(&[("a", "W")])).await.expect("made");
    assert_eq!((first.version, change), (1, Change::Created));
    assert!(changes.has_changed().expect("open"));
    assert!(log.extents(&Topic::readings(&id)).await.is_ok(), "the topic is there");
    let (second, change) =
        registry.put_sensor_type(id.clone(), draft(&[("b", "m"), ("a", "W")])).await.expect("changed");
    assert_eq!((second.version, second.number, change), (2, first.number, Change::Changed));
    assert_eq!(second.property_index("a"), Some(0));
    let (_, change) = registry.put_sensor_type(id.clone(), draft(&[("a", "W"), ("b", "m")])).await.expect("same");
    assert_eq!(change, Change::Unchanged);
    for impossible in [draft(&[("b", "m")]), draft(&[("a", "kW"), ("b", "m")])] {
        let error = registry.put_sensor_type(id.clone(), impossible).await.expect_err("refused");
        assert!(error.is_conflict() && !error.is_transient(), "{error}");
    }
    assert_eq!(registry.sensor_type_version("t", 1), Some(first));
    assert_eq!(registry.sensor_type_version("t", 2), Some(second));
    assert_eq!(registry.sensor_type_version("t", 3), None);
}

#[tokio::test]
async fn sensor_stays_bound_to_its_type() {
    let registry = seeded(&log()).await;
    let id = sensor_id("s");
    registry.put_sensor(id.clone(), sensor("emb", None)).await.expect("registered");
    let error = registry.put_sensor(id.clone(), sensor("air", None)).await.expect_err("bound");
    assert!(matches!(&error, RegistryError::BoundToOtherType { bound_to, .. } if bound_to.as_str() == "emb"));
    let answers = registry
        .register_first_readings(&type_id("air"), &[id, sensor_id("new")], FirstReadings::Posted)
        .await
        .expect("answers");
    assert_eq!(answers[0], Err(FirstReadingRefusal::BoundToOtherType { bound_to: type_id("emb") }));
    assert!(answers[1].is_ok());
    let unknown = registry.put_sensor(sensor_id("x"), sensor("nope", None)).await;
    assert!(matches!(unknown, Err(RegistryError::UnknownSensorType(_))));
    let unknown = registry.register_first_readings(&type_id("nope"), &[sensor_id("x")], FirstReadings::Posted).await;
    assert!(matches!(unknown, Err(RegistryError::UnknownSensorType(_))));
}

#[tokio::test]
async fn bound_of_sensors_holds() {
    let registry = Registry::open(log(), Settings { sensors_max: 2, sensors_reserved: 1, ..Settings::default() })
        .await
        .expect("opens");
    registry.seed(built_in_types()).await.expect("seeded");
    let ids = ["a", "a", "b", "c"].map(sensor_id);
    let answers =
        registry.register_first_readings(&type_id("air"), &ids, FirstReadings::Posted).await.expect("answers");
    assert!(answers[0] == answers[1] && answers[2].is_ok());
    assert_eq!(answers[3], Err(FirstReadingRefusal::TooManySensors { sensors_max: 2 }));
    registry.put_sensor(sensor_id("c"), sensor("air", None)).await.expect("a place is reserved for names");
    let refused = registry.put_sensor(sensor_id("d"), sensor("air", None)).await;
    assert!(matches!(refused, Err(RegistryError::TooManySensors { sensors_max: 3 })));
    assert!(registry.put_sensor(sensor_id("a"), sensor("air", Some("A"))).await.is_ok(), "a known one may change");
}

#[tokio::test]
async fn first_readings_have_a_pace_that_names_do_not_have() {
    let settings = Settings { first_readings_per_minute: 2, ..Settings::default() };
    let registry = Registry::open(log(), settings).await.expect("opens");
    registry.seed(built_in_types()).await.expect("seeded");
    let (air, ids) = (type_id("air"), ["a", "b", "c", "d"].map(sensor_id));
    let answers = registry.register_first_readings(&air, &ids[..3], FirstReadings::Posted).await.expect("answers");
    assert!(answers[0].is_ok() && answers[1].is_ok());
    let Err(FirstReadingRefusal::TooFast { per_minute: 2, retry_after_s: 1..=61 }) = answers[2] else {
        panic!("{:?}", answers[2]);
    };
    let again = registry.register_first_readings(&air, &ids[..2], FirstReadings::Posted).await.expect("answers");
    assert_eq!(again, answers[..2], "the known ones take nothing");
    let in_log = registry.register_first_readings(&air, &ids[2..3], FirstReadings::InLog).await.expect("answers");
    assert!(in_log[0].is_ok(), "what the log holds is kept");
    registry.put_sensor(ids[3].clone(), sensor("air", None)).await.expect("named");
}

#[tokio::test]
async fn removed_sensor_is_gone_everywhere_and_comes_back_as_another() {
    let log = log();
    let (one, other) = (seeded(&log).await, open(&log).await);
    let (old, _) = one.put_sensor(sensor_id("s"), sensor("emb", Some("old"))).await.expect("registered");
    other.catch_up().await.expect("caught up");
    assert_eq!(other.remove_sensor(&old).await.expect("removed"), Removal::Removed);
    one.catch_up().await.expect("caught up");
    assert!(one.sensor("s").is_none() && open(&log).await.sensor("s").is_none());
    let (new, change) = one.put_sensor(sensor_id("s"), sensor("air", None)).await.expect("registered again");
    assert!(change == Change::Created && new.number > old.number);
    assert_eq!(one.remove_sensor(&old).await.expect("answers"), Removal::Kept, "it names the one before");
    // A process that had not heard of it changes the old one: by then that is gone.
    let emb = one.sensor_type("emb").expect("built in").number;
    let number = old.number;
    let late = format!(r#"{{"format":1,"number":{number},"revision":9,"sensor_type":"emb","type_number":{emb}}}"#);
    let document = Document { key: "sensor/s".to_owned(), body: Some(late.as_bytes().into()) };
    log.append(&Topic::registry(), Batch::Documents(vec![document])).await.expect("appended");
    wait_until_all_agree(&log, &[one.clone(), other]).await;
    assert_eq!(one.sensor("s"), Some(new));
}

#[tokio::test]
async fn leaving_sensor_goes_unless_it_is_put_again() {
    let log = log();
    let (one, other) = (seeded(&log).await, open(&log).await);
    let (emb, id) = (type_id("emb"), sensor_id("s"));
    let (held, _) = one.put_sensor(id.clone(), sensor("emb", None)).await.expect("registered");
    assert_eq!(other.end_removal(&emb, &id).await.expect("answers"), Removal::Kept, "nobody wants it to go");
    one.begin_removal(&held).await.expect("noted");
    let (_, change) = one.put_sensor(id.clone(), sensor("emb", None)).await.expect("put");
    assert_eq!(change, Change::Changed);
    assert_eq!(other.end_removal(&emb, &id).await.expect("answers"), Removal::Kept, "it was put again");
    one.begin_removal(&held).await.expect("noted");
    one.begin_removal(&held).await.expect("noted already");
    let fresh = open(&log).await;
    assert_eq!(fresh.end_removal(&type_id("air"), &id).await.expect("answers"), Removal::Kept, "of another type");
    assert_eq!(fresh.end_removal(&emb, &id).await.expect("answers"), Removal::Removed);
    assert_eq!(fresh.end_removal(&emb, &id).await.expect("answers"), Removal::Kept, "done before");
}

#[tokio::test]
async fn sensor_is_bound_to_another_type_where_the_caller_says_from_which() {
    let log = log();
    let registry = seeded(&log).await;
    let id = sensor_id("s");
    let (old, _) = registry.put_sensor(id.clone(), sensor("emb", None)).await.expect("registered");
    let wrong = registry.rebind_sensor(id.clone(), sensor("air", None), &type_id("power")).await;
    assert!(matches!(wrong, Err(RegistryError::BoundToOtherType { .. })));
    let (new, change) =
        registry.rebind_sensor(id.clone(), sensor("air", None), &type_id("emb")).await.expect("bound anew");
    assert_eq!((change, new.number, new.sensor_type.as_str()), (Change::Changed, old.number, "air"));
    assert_eq!(registry.sensors(Some(&type_id("air"))), [new]);
    assert!(registry.sensors(Some(&type_id("emb"))).is_empty());
    wait_until_all_agree(&log, &[registry]).await;
}

#[tokio::test]
async fn removed_type_is_gone_and_comes_back_as_another() {
    let log = log();
    let registry = open(&log).await;
    let id = type_id("t");
    registry.put_sensor_type(id.clone(), draft(&[("a", "W")])).await.expect("made");
    let (old, _) = registry.put_sensor_type(id.clone(), draft(&[("a", "W"), ("b", "m")])).await.expect("changed");
    registry.put_sensor(sensor_id("s"), sensor("t", None)).await.expect("registered");
    registry.remove_sensor_type(&id).await.expect("removed");
    assert!(registry.sensor_type("t").is_none() && registry.sensor("s").is_none());
    assert_eq!(log.extents(&Topic::readings(&id)).await.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
    assert!(matches!(registry.remove_sensor_type(&id).await, Err(RegistryError::UnknownSensorType(_))));
    let (new, change) = registry.put_sensor_type(id.clone(), draft(&[("c", "K")])).await.expect("made again");
    assert_eq!((new.version, change), (1, Change::Created));
    assert!(new.number > old.number);
    assert!(registry.sensor("s").is_none(), "it has none of the old one's sensors");
    assert!(registry.sensor_type_version("t", 2).is_none(), "nor its versions");
    wait_until_all_agree(&log, &[registry]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_registrations_end_the_same_everywhere() {
    let log = log();
    let one = seeded(&log).await;
    let other = open(&log).await;
    for round in 0..50 {
        let id = sensor_id(&format!("s{round}"));
        let (first, second) = tokio::join!(
            one.put_sensor(id.clone(), sensor("emb", Some("one"))),
            other.put_sensor(id.clone(), sensor("air", Some("other"))),
        );
        let winners = [&first, &second].into_iter().filter(|answer| answer.is_ok()).count();
        assert!(winners <= 1, "{first:?} {second:?}");
        let (emb, shared) = (type_id("emb"), sensor_id(&format!("shared{round}")));
        let (first, second) = tokio::join!(
            one.register_first_readings(&emb, std::slice::from_ref(&shared), FirstReadings::Posted),
            other.register_first_readings(&emb, std::slice::from_ref(&shared), FirstReadings::Posted),
        );
        assert!(first.expect("answers")[0].is_ok() && second.expect("answers")[0].is_ok());
    }
    wait_until_all_agree(&log, &[one.clone(), other.clone()]).await;
    assert_eq!(one.sensors(None).len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_changes_of_a_type_make_one_history() {
    let log = log();
    let (one, other) = (open(&log).await, open(&log).await);
    let id = type_id("t");
    let mut properties = vec![("a".to_owned(), "W")];
    for round in 0..20 {
        let mut drafts = Vec::new();
        for who in ["x", "y"] {
            let mut mine = properties.clone();
            mine.push((format!("{who}{round}"), "m"));
            drafts.push(draft(&mine.iter().map(|(id, unit)| (id.as_str(), *unit)).collect::<Vec<_>>()));
        }
        let second = drafts.pop().expect("two");
        let first = drafts.pop().expect("two");
        let answers = tokio::join!(one.put_sensor_type(id.clone(), first), other.put_sensor_type(id.clone(), second));
        // The later of the two is refused, because it would lose the property that the other has just gained.
        let refused = [answers.0.err(), answers.1.err()].into_iter().flatten();
        for error in refused {
            assert!(error.is_conflict() || error.is_transient(), "{error}");
        }
        wait_until_all_agree(&log, &[one.clone(), other.clone()]).await;
        let newest = one.sensor_type("t").expect("made");
        properties = newest
            .definition
            .properties
            .iter()
            .map(|it| (it.id.to_string(), if it.unit == "W" { "W" } else { "m" }))
            .collect();
    }
}

#[tokio::test]
async fn losing_registration_is_repaired_before_compaction_can_keep_it() {
    let log = log();
    let registry = seeded(&log).await;
    let (first, _) = registry.put_sensor(sensor_id("s"), sensor("emb", Some("first"))).await.expect("registered");
    let air = registry.sensor_type("air").expect("built in").number;
    let late = format!(r#"{{"format":1,"revision":1,"sensor_type":"air","type_number":{air},"name":"late"}}"#);
    let document = Document { key: "sensor/s".to_owned(), body: Some(late.as_bytes().into()) };
    log.append(&Topic::registry(), Batch::Documents(vec![document])).await.expect("appended");
    wait_until_all_agree(&log, std::slice::from_ref(&registry)).await;
    assert_eq!(registry.sensor("s"), Some(first));
}

#[tokio::test]
async fn unreadable_document_is_left_out_and_reported_until_replaced() {
    let log = log();
    let registry = seeded(&log).await;
    for key in ["sensor/bad", "nonsense"] {
        let document = Document { key: key.to_owned(), body: Some(b"{".as_slice().into()) };
        log.append(&Topic::registry(), Batch::Documents(vec![document])).await.expect("appended");
    }
    wait_for("the fault to be reported", async || registry.ready().await.is_err()).await;
    let fault = registry.ready().await.expect_err("reported");
    assert!(fault.contains("nonsense"), "{fault}");
    registry
        .put_sensor(sensor_id("bad"), sensor("emb", None))
        .await
        .expect("the others go on, and this one is replaced");
    let tombstone = Document { key: "nonsense".to_owned(), body: None };
    log.append(&Topic::registry(), Batch::Documents(vec![tombstone])).await.expect("appended");
    registry.put_sensor(sensor_id("good"), sensor("emb", None)).await.expect("registered");
    let fault = open(&log).await.ready().await.err();
    assert_eq!(fault, None);
}

#[tokio::test]
async fn topic_of_another_kind_is_refused() {
    let log = log();
    log.create_topic(&Topic::registry(), TopicKind::Notices).await.expect("created");
    let refused = Registry::open(Arc::clone(&log), Settings::default()).await.err();
    assert!(matches!(refused, Some(RegistryError::Port(error)) if error.kind() == ErrorKind::Conflict));
}

#[tokio::test]
async fn many_sensors_are_registered_and_read_back() {
    let log = log();
    let registry =
        Registry::open(Arc::clone(&log), Settings { first_readings_per_minute: 100_000, ..Settings::default() })
            .await
            .expect("opens");
    registry.seed(built_in_types()).await.expect("seeded");
    let ids: Vec<_> = (0..20_000).map(|number| sensor_id(&format!("power-{number:06}"))).collect();
    let answers =
        registry.register_first_readings(&type_id("power"), &ids, FirstReadings::Posted).await.expect("registered");
    assert!(answers.iter().all(Result::is_ok));
    let fresh = Registry::open(log, Settings { first_readings_per_minute: 100_000, ..Settings::default() })
        .await
        .expect("opens");
    assert_eq!(fresh.sensors(Some(&type_id("power"))), registry.sensors(None));
    assert_eq!(fresh.sensors(Some(&type_id("emb"))).len(), 0);
}

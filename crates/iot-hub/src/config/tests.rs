//! The layers, their order and their faults.

use super::*;

fn layers() -> Layers {
    let mut layers = Layers::defaults();
    layers.add_flag("data.folder", Value::String("/srv/iot-hub".to_owned()), "--data");
    layers
}

fn environment(mut layers: Layers, variables: &[(&str, &str)]) -> Layers {
    layers.add_variables(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    layers
}

fn bounds_of(config: &Config) -> embedded::Settings {
    match &config.backends {
        backends::Settings::Embedded { settings, .. } => settings.clone(),
        #[cfg(feature = "distributed")]
        other => panic!("{other:?}"),
    }
}

fn faults(layers: Layers) -> Vec<String> {
    match Config::validate(layers) {
        Ok(config) => panic!("valid: {config:?}"),
        Err(Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn defaults_of_the_file_are_valid_and_those_of_the_services() {
    let config = Config::validate(layers()).expect("the defaults are valid");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.sensor_types, None);
    let http = ingest_api::Config::default();
    assert_eq!(bounds_of(&config), embedded::Settings::default());
    assert_eq!(config.address_file.as_deref(), Some("/srv/iot-hub/address".as_ref()));
    assert_eq!(config.registry.sensors_max, registry::Settings::default().sensors_max);
    assert_eq!(config.qc.records_max, qc_consumer::Config::default().records_max);
    let detection = ad_jobs::schedule::Config::new("", qc_consumer::GROUP);
    assert!(config.detects);
    assert_eq!(config.detection.every, detection.every);
    assert_eq!((config.detection.grace, config.detection.lease), (detection.grace, detection.lease));
    assert_eq!((config.http.listen, config.http.body_size_max), (http.listen, http.body_size_max));
}

#[test]
fn data_folder_must_be_named() {
    let faults = faults(Layers::defaults());
    assert_eq!(faults, ["`data.folder` of `\"\"`: must name the data folder: `iot-hub serve --data DIR` (default)"]);
}

#[test]
fn later_layer_wins() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("hub.toml");
    std::fs::write(&file, "[log]\nretention = \"1d\"\nsize_max = \"1GiB\"\n[qc]\nrecords_max = 5\n").expect("a file");
    let mut layers = layers();
    layers.add_file(&file);
    let mut layers =
        environment(layers, &[("IOT_HUB_LOG__RETENTION", "2d"), ("IOT_HUB_HTTP__LISTEN", "[::1]:9"), ("PATH", "")]);
    layers.add_flag("http.listen", Value::String("127.0.0.1:7".to_owned()), "--listen");
    let config = Config::validate(layers).expect("all valid");
    assert_eq!(bounds_of(&config).log_retention, Duration::from_hours(48));
    assert_eq!(bounds_of(&config).log_size_max, 1 << 30);
    assert_eq!(config.qc.records_max, 5);
    assert_eq!(config.http.listen.port(), 7);
}

#[test]
fn every_fault_is_told_at_once_with_key_value_rule_and_source() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("hub.toml");
    std::fs::write(&file, "[log]\nretention = 7\n[htpp]\nlisten = \"\"\n[nonsense]\nwhatever = 1\n").expect("a file");
    let mut layers = layers();
    layers.add_file(&file);
    let variables =
        [("IOT_HUB_QC__RECORDS_MAX", "many"), ("IOT_HUB_TRACING__FORMAT", "xml"), ("IOT_HUB_LOG_RETENTION", "1d")];
    let faults = faults(environment(layers, &variables));
    let file = file.display();
    let expected = [
        format!("`htpp.listen`: unknown key; did you mean `http.listen`? (file `{file}`)"),
        format!("`nonsense.whatever`: unknown key; `iot-hub config` lists all keys (file `{file}`)"),
        "`log_retention`: unknown key; did you mean `log.retention`? (environment variable `IOT_HUB_LOG_RETENTION`)".to_owned(),
        format!("`log.retention` of `7`: must be a duration from \"1m\" to \"3650d\" (file `{file}`)"),
        "`qc.records_max` of `\"many\"`: must be a whole number from 1 to 1000000 (environment variable `IOT_HUB_QC__RECORDS_MAX`)".to_owned(),
        "`tracing.format` of `\"xml\"`: must be \"human\" or \"json\" (environment variable `IOT_HUB_TRACING__FORMAT`)".to_owned(),
    ];
    assert_eq!(faults, expected);
}

#[test]
fn unreadable_file_is_a_fault_with_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("hub.toml");
    let mut missing = layers();
    missing.add_file(&file);
    assert!(faults(missing)[0].contains("hub.toml"));
    std::fs::write(&file, "[log]\nretention =").expect("a file");
    let mut broken = layers();
    broken.add_file(&file);
    assert!(faults(broken)[0].contains("line 2"), "no line");
}

#[test]
fn strangers_are_kept_out_unless_asked_for() {
    for address in ["0.0.0.0:8080", "192.168.1.5:80", "[::]:8080"] {
        let strangers = || {
            let mut layers = layers();
            layers.add_flag("http.listen", Value::String(address.to_owned()), "--listen");
            layers
        };
        assert!(faults(strangers())[0].contains("--allow-anonymous"));
        let mut asked = strangers();
        asked.add_flag("http.allow_anonymous", Value::Boolean(true), "--allow-anonymous");
        Config::validate(asked).expect("asked for");
    }
}

#[cfg(feature = "distributed")]
#[test]
fn distributed_stack_takes_its_servers_and_secrets_by_key_and_shows_no_secret() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "sesame\n").expect("a file");
    let secret = secret.to_str().expect("UTF-8");
    let variables = [
        ("IOT_HUB_BACKENDS__STACK", "distributed"),
        ("IOT_HUB_KAFKA__BOOTSTRAP_SERVERS", "kafka:9092"),
        ("IOT_HUB_KAFKA__SECURITY_PROTOCOL", "sasl_ssl"),
        ("IOT_HUB_KAFKA__USER", "hub"),
        ("IOT_HUB_KAFKA__PASSWORD_FILE", secret),
        ("IOT_HUB_ELASTICSEARCH__URLS", "https://one:9200, https://two:9200"),
        ("IOT_HUB_ELASTICSEARCH__USER", "hub"),
        ("IOT_HUB_ELASTICSEARCH__PASSWORD_FILE", secret),
    ];
    let config = Config::validate(environment(Layers::defaults(), &variables)).expect("all valid");
    let backends::Settings::Distributed { log, store } = &config.backends else { panic!("{config:?}") };
    assert_eq!((log.bootstrap_servers.as_str(), log.tls.is_some(), log.sasl.is_some()), ("kafka:9092", true, true));
    assert_eq!(store.urls, ["https://one:9200", "https://two:9200"]);
    assert_eq!(config.address_file, None);
    assert!(!format!("{config:?}").contains("sesame"));
}

#[cfg(feature = "distributed")]
#[test]
fn faults_of_the_distributed_stack_are_told_by_key() {
    let variables = [
        ("IOT_HUB_BACKENDS__STACK", "distributed"),
        ("IOT_HUB_KAFKA__SECURITY_PROTOCOL", "sasl_plaintext"),
        ("IOT_HUB_KAFKA__PASSWORD_FILE", "/nowhere/secret"),
        ("IOT_HUB_ELASTICSEARCH__URLS", "localhost:9200"),
        ("IOT_HUB_ELASTICSEARCH__USER", "hub"),
    ];
    let faults = faults(environment(Layers::defaults(), &variables)).join("\n");
    for key in ["kafka.user", "kafka.password_file", "elasticsearch.urls", "elasticsearch.user"] {
        assert!(faults.contains(&format!("`{key}`")), "{key}: {faults}");
    }
}

#[test]
fn hosts_are_names_and_addresses_without_ports() {
    let given = |hosts: &str| environment(layers(), &[("IOT_HUB_HTTP__HOSTS", hosts)]);
    assert_eq!(Config::validate(layers()).expect("valid").http.hosts, []);
    let hosts = Config::validate(given("hub.example.org, [::1],192.168.1.5,")).expect("valid").http.hosts;
    assert_eq!(hosts.len(), 3, "{hosts:?}");
    for hosts in ["hub:8080", "http://hub", "*", "a b"] {
        assert!(faults(given(hosts))[0].contains("without ports"), "{hosts}");
    }
}

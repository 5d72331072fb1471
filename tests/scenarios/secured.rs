//! Kafka and Elasticsearch that ask who it is: TLS with an authority, a certificate and passwords of their own.

use std::{path::Path, sync::Arc, time::Duration};

use distributed::{
    log::{KafkaLog, Mechanism, Sasl, Secret, Settings, Tls},
    store::{self, Access, ElasticStore},
};
use harness::{Launch, wait_for};
use ports::{ErrorKind, PortError, Store, SystemClock};
use servers::{Elasticsearch, Kafka, Security};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::{
    folder,
    samples::Sample,
    stack::{self, PROGRAMS},
};

/// How long detection may take.
const DETECT_TIMEOUT: Duration = Duration::from_secs(60);

fn keys(security: &Security) -> TempDir {
    let keys = folder();
    security.write_for_client(keys.path());
    keys
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_go_through_and_strangers_are_kept_out() {
    let (kafka, of_kafka) = spawn_blocking(Kafka::start_secured).await.expect("a Kafka");
    let (elasticsearch, of_elasticsearch) = spawn_blocking(Elasticsearch::start_secured).await.expect("a store");
    let (for_kafka, for_elasticsearch) = (keys(&of_kafka), keys(&of_elasticsearch));
    let (for_kafka, for_elasticsearch) = (for_kafka.path(), for_elasticsearch.path());

    let data = folder();
    let on_them = |launch: Launch| stack::with_servers(launch, data.path(), &kafka.bootstrap(), &elasticsearch.url());
    let keyed = |launch: Launch, user: &str| {
        on_them(launch)
            .key("KAFKA__SECURITY_PROTOCOL", "sasl_ssl")
            .key("KAFKA__CA_FILE", &path(for_kafka, "ca.pem"))
            .key("KAFKA__CERTIFICATE_FILE", &path(for_kafka, "client.pem"))
            .key("KAFKA__KEY_FILE", &path(for_kafka, "client.key"))
            .key("KAFKA__SASL_MECHANISM", "scram-sha-512")
            .key("KAFKA__USER", Security::USER)
            .key("KAFKA__PASSWORD_FILE", &path(for_kafka, "password"))
            .key("ELASTICSEARCH__CA_FILE", &path(for_elasticsearch, "ca.pem"))
            .key("ELASTICSEARCH__USER", user)
            .key("ELASTICSEARCH__PASSWORD_FILE", &path(for_elasticsearch, "password"))
            // The rights are for these names.
            .key("ELASTICSEARCH__INDEX_PREFIX", "")
    };
    let mut hub = keyed(Launch::distributed(&PROGRAMS, data.path()), Security::USER).start().await;
    let of_detection = folder();
    let detection = Launch::distributed(&[stack::AD_JOBS], of_detection.path());
    let detection =
        keyed(detection, Security::DETECTION_USER).key("DETECTION__EVERY", "1s").key("DETECTION__GRACE", "1s");
    let mut detection = detection.start().await;
    // Without a value, it is an outage.
    let mut sample = Sample::plain("emb3", 1, 1);
    sample.row[0] = None;
    hub.post("/v1/readings/emb", "application/json", sample.json()).await.expect(202);
    hub.processed("emb", 1).await;
    let items = hub.get("/v1/readings/emb?sensor_id=emb3").await.expect(200).json();
    assert_eq!(items["items"].as_array().map(Vec::len), Some(1), "{items}");
    hub.get("/v1/anomalies").await.expect(200);
    let run = r#"{"sensor_type": "emb", "from": "2017-01-01T00:00:00Z", "to": "2017-02-01T00:00:00Z"}"#;
    hub.post("/v1/runs", "application/json", run).await.expect(202);
    hub.get("/v1/runs?state=waiting").await.expect(200);
    wait_for("an anomaly of who may write no more than that", DETECT_TIMEOUT, async || {
        let metrics = detection.metrics().await;
        let found = metrics.sum("iot_hub_detection_anomalies_total", "outage");
        if found == 1 {
            Ok(())
        } else {
            Err(format!("{found} anomalies; {}", detection.get("/health/ready").await.text()))
        }
    })
    .await;
    detection.stop().await;
    hub.stop().await;

    strangers_to_kafka(&kafka.bootstrap(), for_kafka, for_elasticsearch).await;
    strangers_to_elasticsearch(&elasticsearch.url(), &of_elasticsearch, &of_kafka).await;
}

/// Every way to be a stranger to Kafka, each one fault away from `known`.
async fn strangers_to_kafka(servers: &str, known: &Path, of_another: &Path) {
    let tls = Tls {
        ca_file: Some(known.join("ca.pem")),
        certificate_file: Some(known.join("client.pem")),
        key_file: Some(known.join("client.key")),
    };
    let of_another = Tls {
        ca_file: tls.ca_file.clone(),
        certificate_file: Some(of_another.join("client.pem")),
        key_file: Some(of_another.join("client.key")),
    };
    let sasl = |password: &str| Sasl {
        mechanism: Mechanism::ScramSha512,
        username: Security::USER.to_owned(),
        password: Secret::new(password),
    };
    let right = sasl(Security::PASSWORD);
    for (what, tls, sasl) in [
        ("a wrong password", tls.clone(), sasl("a guess")),
        ("a server whose authority is unknown", Tls { ca_file: None, ..tls.clone() }, right.clone()),
        ("no certificate", Tls { certificate_file: None, key_file: None, ..tls }, right.clone()),
        ("a certificate of another authority", of_another, right),
    ] {
        let settings = Settings {
            bootstrap_servers: servers.to_owned(),
            prefix: "strange-".to_owned(),
            request_timeout: Duration::from_secs(2),
            tls: Some(tls),
            sasl: Some(sasl),
            ..Settings::default()
        };
        let opened = KafkaLog::open(settings, Arc::new(SystemClock)).await;
        refused(what, opened.err());
    }
}

/// Every way to be a stranger to Elasticsearch, each one fault away from known.
async fn strangers_to_elasticsearch(url: &str, known: &Security, another: &Security) {
    let password =
        |password: &str| Access::Password { user: Security::USER.to_owned(), password: store::Secret::new(password) };
    let key = Access::ApiKey(store::Secret::new("bm9ib2R5OmtleQ=="));
    let right = password(Security::PASSWORD);
    for (what, authority, access) in [
        ("a wrong password", &known.authority, password("a guess")),
        ("an unknown API key", &known.authority, key),
        ("no password", &known.authority, Access::Anonymous),
        ("a server whose authority is unknown", &another.authority, right),
    ] {
        let settings = store::Settings {
            urls: vec![url.to_owned()],
            access,
            authorities: Some(authority.clone().into_bytes()),
            retry_for: Duration::from_secs(1),
            ..store::Settings::default()
        };
        let asked = ElasticStore::new(settings).expect("settings that make sense").ready().await;
        refused(what, asked.err());
    }
}

fn refused(what: &str, error: Option<PortError>) {
    let error = error.unwrap_or_else(|| panic!("{what} is let in"));
    println!("{what}: {error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
    assert!(!error.to_string().contains("a guess"), "{error}");
}

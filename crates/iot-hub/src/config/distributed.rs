//! The sections `kafka` and `elasticsearch`.

use distributed::{
    log::{self, Compression, Mechanism, Sasl, Tls},
    store::{self, Access, Period},
};

use super::fields::Fields;

/// Log and store on Kafka and Elasticsearch.
pub(super) fn backends(fields: &mut Fields<'_>) -> backends::Settings {
    backends::Settings::Distributed { log: Box::new(log(fields)), store: Box::new(store(fields)) }
}

fn log(fields: &mut Fields<'_>) -> log::Settings {
    let compression = fields.text("kafka.compression", "must be \"lz4\", \"zstd\" or \"none\"", |text| match text {
        "lz4" => Some(Compression::Lz4),
        "zstd" => Some(Compression::Zstd),
        "none" => Some(Compression::None),
        _ => None,
    });
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let prefix = fields.text("kafka.prefix", "must have letters, digits, `.`, `_` and `-` alone", |text| {
        is_name(text).then(|| text.to_owned())
    });
    let (tls, sasl) = security(fields);
    log::Settings {
        bootstrap_servers: filled(fields, "kafka.bootstrap_servers"),
        prefix: prefix.unwrap_or_default(),
        partitions: fields.count("kafka.partitions", 1..=1_000) as u32,
        replication: fields.count("kafka.replication", 1..=15) as u32,
        compression: compression.unwrap_or(Compression::None),
        retention: fields.duration("log.retention", ["1m", "3650d"]),
        records_max: fields.count("kafka.records_max", 1_000..=usize::MAX) as u64,
        tls,
        sasl,
        ..log::Settings::default()
    }
}

fn security(fields: &mut Fields<'_>) -> (Option<Tls>, Option<Sasl>) {
    let rule = "must be \"plaintext\", \"ssl\", \"sasl_plaintext\" or \"sasl_ssl\"";
    let protocol = fields.text("kafka.security_protocol", rule, |text| match text {
        "plaintext" => Some((false, false)),
        "ssl" => Some((true, false)),
        "sasl_plaintext" => Some((false, true)),
        "sasl_ssl" => Some((true, true)),
        _ => None,
    });
    let (encrypted, named) = protocol.unwrap_or_default();
    let tls = Tls {
        ca_file: fields.path("kafka.ca_file"),
        certificate_file: fields.path("kafka.certificate_file"),
        key_file: fields.path("kafka.key_file"),
    };
    (encrypted.then_some(tls), named.then(|| sasl(fields)))
}

fn sasl(fields: &mut Fields<'_>) -> Sasl {
    let rule = "must be \"plain\", \"scram-sha-256\" or \"scram-sha-512\"";
    let mechanism = fields.text("kafka.sasl_mechanism", rule, |text| match text {
        "plain" => Some(Mechanism::Plain),
        "scram-sha-256" => Some(Mechanism::ScramSha256),
        "scram-sha-512" => Some(Mechanism::ScramSha512),
        _ => None,
    });
    let username = filled(fields, "kafka.user");
    let password = fields.secret("kafka.password_file");
    if password.is_none() {
        fields.refuse("kafka.password_file", "must name the file with the password of `kafka.user`");
    }
    Sasl {
        mechanism: mechanism.unwrap_or(Mechanism::Plain),
        username,
        password: log::Secret::new(password.unwrap_or_default()),
    }
}

fn store(fields: &mut Fields<'_>) -> store::Settings {
    let is_address = |url: &str| url.starts_with("http://") || url.starts_with("https://");
    let rule = "must be addresses such as \"http://127.0.0.1:9200\", separated by commas";
    let urls = fields.text("elasticsearch.urls", rule, |text| {
        let urls: Vec<String> = text.split(',').map(|url| url.trim().to_owned()).collect();
        urls.iter().all(|url| is_address(url)).then_some(urls)
    });
    let rule = "must have lower-case letters, digits, `.`, `_` and `-` alone and begin with a letter or digit";
    let prefix = fields.text("elasticsearch.index_prefix", rule, |text| is_index_prefix(text).then(|| text.to_owned()));
    let period =
        fields.text("elasticsearch.index_period", "must be \"month\", \"year\" or \"decade\"", |text| match text {
            "month" => Some(Period::Month),
            "year" => Some(Period::Year),
            "decade" => Some(Period::Decade),
            _ => None,
        });
    store::Settings {
        urls: urls.unwrap_or_default(),
        access: access(fields),
        authorities: fields.secret("elasticsearch.ca_file").map(String::into_bytes),
        index_prefix: prefix.unwrap_or_default(),
        period: period.unwrap_or(Period::Year),
        shards: fields.count("elasticsearch.shards", 1..=100) as u16,
        replicas: fields.count("elasticsearch.replicas", 0..=10) as u16,
        ..store::Settings::default()
    }
}

fn is_index_prefix(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    text.bytes().all(is_allowed) && text.bytes().next().is_none_or(|first| first.is_ascii_alphanumeric())
}

fn access(fields: &mut Fields<'_>) -> Access {
    let key = fields.secret("elasticsearch.api_key_file");
    let (has_user, password) = (!fields.is_empty("elasticsearch.user"), fields.secret("elasticsearch.password_file"));
    match (key, has_user, password) {
        (Some(key), false, None) => Access::ApiKey(store::Secret::new(key)),
        (None, true, Some(password)) => {
            Access::Password { user: filled(fields, "elasticsearch.user"), password: store::Secret::new(password) }
        }
        (None, false, None) => Access::Anonymous,
        _ => {
            fields.refuse("elasticsearch.user", "goes with `password_file`, and neither goes with `api_key_file`");
            Access::Anonymous
        }
    }
}

fn filled(fields: &mut Fields<'_>, key: &str) -> String {
    let text = fields.text(key, "must not be empty", |text| (!text.is_empty()).then(|| text.to_owned()));
    text.unwrap_or_default()
}

//! Judgements of readings, and the documents that tell them to whoever subscribes.

use checks::TestFlags;
use domain::{Flag, LabelRule, PropertyId, SensorId, Timestamp, TypeVersion, Value, write_number};
use ports::{Document, Revisions};

/// What the tests say of a reading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) sensor_id: SensorId,
    pub(crate) time: Timestamp,
    pub(crate) type_version: TypeVersion,
    pub(crate) values: Vec<Value>,
    /// A flag per test, of the properties that the version has.
    pub(crate) tests: Vec<TestFlags>,
    /// Whether it takes the place of an earlier judgement.
    pub(crate) is_revision: bool,
    /// Whether the store has it already.
    pub(crate) is_stored: bool,
}

impl Judgement {
    /// The flag of each of `width` properties; 2 of those that the version does not have.
    pub(crate) fn flags(&self, width: usize) -> Vec<Flag> {
        let mut flags: Vec<Flag> = self.tests.iter().map(|tests| tests.roll_up()).collect();
        flags.resize(width, Flag::NotEvaluated);
        flags
    }

    /// The judgement as a document under the sensor's id: its values, its flags, and of each property the tests flagged 3 or 4.
    ///
    /// A test that waits for the next reading is not told apart from one that passed, so that no revision tells that it passed.
    pub(crate) fn document(&self, properties: &[PropertyId], rule: LabelRule) -> Document {
        let flags = self.flags(properties.len());
        let mut out = Vec::with_capacity(256);
        // Ids have no character that JSON would escape.
        out.extend_from_slice(
            format!("{{\"format\":1,\"sensor_id\":\"{}\",\"phenomenon_time\":\"", self.sensor_id).as_bytes(),
        );
        self.time.write_to(&mut out);
        let (version, revision, label) = (self.type_version, self.is_revision, rule.label(&flags).as_str());
        let head = format!("\",\"type_version\":{version},\"revision\":{revision},\"qc\":\"{label}\",\"values\":{{");
        out.extend_from_slice(head.as_bytes());
        let named = || properties.iter().zip(&self.values).filter(|(_, value)| !value.is_absent());
        separated(named(), &mut out, |(property, value), out| {
            out.extend_from_slice(format!("\"{property}\":").as_bytes());
            match value.as_number() {
                Some(number) => write_number(number, out),
                None => out.extend_from_slice(b"null"),
            }
        });
        out.extend_from_slice(b"},\"flags\":{");
        separated(properties.iter().zip(&flags), &mut out, |(property, flag), out| {
            out.extend_from_slice(format!("\"{property}\":{}", flag.code()).as_bytes());
        });
        out.extend_from_slice(b"},\"tests\":{");
        let stands_out = |flag: &Flag| matches!(flag, Flag::Suspect | Flag::Fail);
        let tested = properties.iter().zip(&self.tests);
        let tested = tested.filter(|(_, tests)| tests.iter().any(|(_, flag)| stands_out(&flag)));
        separated(tested, &mut out, |(property, tests), out| {
            out.extend_from_slice(format!("\"{property}\":{{").as_bytes());
            separated(tests.iter().filter(|(_, flag)| stands_out(flag)), out, |(test, flag), out| {
                out.extend_from_slice(format!("\"{}\":{}", test.as_str(), flag.code()).as_bytes());
            });
            out.push(b'}');
        });
        out.extend_from_slice(b"}}");
        Document { key: self.sensor_id.to_string(), body: Some(out.into()) }
    }
}

fn separated<T>(items: impl Iterator<Item = T>, out: &mut Vec<u8>, write: impl Fn(T, &mut Vec<u8>)) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
}

/// What the store is to change for judgements that it does not have; `rule` says how a version labels.
pub(crate) fn revisions(judgements: &[Judgement], width: usize, rule: impl Fn(TypeVersion) -> LabelRule) -> Revisions {
    let mut revisions = Revisions { width, ..Revisions::default() };
    for judgement in judgements.iter().filter(|judgement| !judgement.is_stored) {
        let (flags, version) = (judgement.flags(width), judgement.type_version);
        let label = rule(version).label(&flags);
        revisions.push((judgement.sensor_id.clone(), judgement.time), (version, label), &flags);
    }
    revisions
}

#[cfg(test)]
mod tests {
    use checks::Test;

    use super::*;

    #[test]
    fn document_tells_values_flags_and_the_tests_that_did_not_pass() {
        let properties = ["sec", "ph", "tdg"].map(|id| PropertyId::parse(id).expect("an id"));
        let good = TestFlags::default().with(Test::GrossRange, Flag::Good).with(Test::Spike, Flag::NotEvaluated);
        let judgement = Judgement {
            sensor_id: SensorId::parse("emb3").expect("an id"),
            time: Timestamp::from_micros(0),
            type_version: 2,
            values: vec![Value::number(904.5).expect("finite"), Value::MISSING, Value::ABSENT],
            tests: vec![good.with(Test::Spike, Flag::Fail), good],
            is_revision: true,
            is_stored: false,
        };
        let document = judgement.document(&properties, LabelRule::default());
        let body = String::from_utf8(document.body.expect("a body").to_vec()).expect("text");
        let expected = concat!(
            r#"{"format":1,"sensor_id":"emb3","phenomenon_time":"1970-01-01T00:00:00Z","type_version":2,"revision":true,"qc":"anomaly","#,
            r#""values":{"sec":904.5,"ph":null},"flags":{"sec":4,"ph":1,"tdg":2},"tests":{"sec":{"spike":4}}}"#
        );
        assert_eq!((document.key.as_str(), body.as_str()), ("emb3", expected));
        assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
        let revisions =
            revisions(&[judgement.clone(), Judgement { is_stored: true, ..judgement }], 3, |_| LabelRule::default());
        assert_eq!((revisions.len(), revisions.flags), (1, vec![Flag::Fail, Flag::Good, Flag::NotEvaluated]));
    }
}

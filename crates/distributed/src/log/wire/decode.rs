//! Records of Kafka as deliveries: as many records in each as belong together.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use domain::{
    Deletion, Partition, Position, PropertyId, Readings, Rejudgement, Timestamp, Topic, TypeVersion, Value, from_json,
};
use ports::{Content, Delivery, Document, TopicKind, Undecodable, next_acceptance};
use rdkafka::{
    Message,
    message::{Header, Headers},
};
use serde::Deserialize;

use super::{
    ACCEPTED_AT, DELETION, DOCUMENT, FORMAT, PROPERTIES, READING, REJUDGEMENT, TYPE_VERSION,
    reading::{Ids, Parsed},
};

/// The most bytes that are kept of what can't be decoded.
const UNDECODABLE_SIZE_MAX: usize = 64 * 1024;

/// Decodes the records of one partition, in order.
pub(in crate::log) struct Decoder {
    topic: Topic,
    partition: Partition,
    kind: TopicKind,
    /// The newest acceptance time so far: with several writers a record may bear an earlier one. One that is more than a day before it shows
    /// that it was a wrong clock's.
    accepted_last: Timestamp,
    ids: Ids,
    parsed: Parsed,
    /// The header `properties` that came last, and what it means.
    known: (Vec<u8>, Arc<[PropertyId]>),
    values: Vec<Value>,
}

/// What the headers of a record say.
#[derive(Default)]
struct Stamp {
    format: Option<Format>,
    accepted_at: Option<Timestamp>,
    type_version: Option<TypeVersion>,
    has_properties: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Reading,
    Deletion,
    Rejudgement,
    Document,
    Unknown,
}

/// A deletion as it is written.
#[derive(Deserialize)]
struct DeletionBody {
    sensor_id: domain::SensorId,
    from: Bound,
    to: Bound,
}

/// A rejudgement as it is written.
#[derive(Deserialize)]
struct RejudgementBody {
    sensor_id: domain::SensorId,
    from: Bound,
    to: Bound,
    type_version: TypeVersion,
    replay: String,
    part: u64,
    dry: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bound {
    Micros(i64),
    Time(Timestamp),
}

impl From<Bound> for Timestamp {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::Micros(micros) => Self::from_micros(micros),
            Bound::Time(time) => time,
        }
    }
}

impl Decoder {
    pub fn new(topic: Topic, partition: Partition, kind: TopicKind) -> Self {
        Self {
            topic,
            partition,
            kind,
            accepted_last: Timestamp::MIN,
            ids: Ids::default(),
            parsed: Parsed::default(),
            known: (Vec::new(), Arc::new([])),
            values: Vec::new(),
        }
    }

    /// Decodes a record, into the last delivery where it belongs to it.
    pub fn take<M: Message>(&mut self, message: &M, deliveries: &mut Vec<Delivery>) {
        let decoded = self.stamp(message).and_then(|stamp| {
            let written_at = message.timestamp().to_millis().unwrap_or(0).saturating_mul(1_000);
            let accepted_at = stamp.accepted_at.unwrap_or(Timestamp::from_micros(written_at));
            self.accepted_last = next_acceptance(accepted_at, self.accepted_last);
            self.decode(&stamp, message, deliveries)
        });
        if let Err(reason) = decoded {
            let bytes = message.payload().unwrap_or_default();
            let bytes = bytes[..bytes.len().min(UNDECODABLE_SIZE_MAX)].to_vec();
            let content = Content::Undecodable(Undecodable { count: 1, bytes, reason });
            self.deliver(message, content, deliveries);
        }
    }

    fn decode<M: Message>(&mut self, stamp: &Stamp, message: &M, out: &mut Vec<Delivery>) -> Result<(), String> {
        if self.kind != TopicKind::Records {
            return self.document(stamp, message, out);
        }
        match stamp.format {
            None | Some(Format::Reading) => self.reading(stamp, message, out),
            Some(Format::Deletion) => self.deletion(message, out),
            Some(Format::Rejudgement) => self.rejudgement(message, out),
            Some(Format::Document) => Err("a document is no reading".to_owned()),
            Some(Format::Unknown) => Err("its `format` is of a newer version or another program".to_owned()),
        }
    }

    fn document<M: Message>(&self, stamp: &Stamp, message: &M, out: &mut Vec<Delivery>) -> Result<(), String> {
        if !matches!(stamp.format, None | Some(Format::Document)) {
            return Err("its `format` is not that of a document".to_owned());
        }
        let key = message.key().unwrap_or_default();
        let key = std::str::from_utf8(key).map_err(|_| "its key is not UTF-8".to_owned())?.to_owned();
        let document = Document { key, body: message.payload().map(Into::into) };
        let behind = if self.kind == TopicKind::Documents { None } else { self.continued(message, out) };
        if let Some(Delivery { content: Content::Documents(documents), .. }) = behind {
            documents.push(document);
            return Ok(());
        }
        self.deliver(message, Content::Documents(vec![document]), out);
        Ok(())
    }

    fn deletion<M: Message>(&self, message: &M, out: &mut Vec<Delivery>) -> Result<(), String> {
        let body = from_json(message.payload().unwrap_or_default());
        let DeletionBody { sensor_id, from, to } = body.map_err(|error| format!("is no deletion: {error}"))?;
        let deletion = Deletion { sensor_id, from: from.into(), to: to.into() };
        if let Some(Delivery { content: Content::Deletions(deletions), .. }) = self.continued(message, out) {
            deletions.push(deletion);
            return Ok(());
        }
        self.deliver(message, Content::Deletions(vec![deletion]), out);
        Ok(())
    }

    fn rejudgement<M: Message>(&self, message: &M, out: &mut Vec<Delivery>) -> Result<(), String> {
        let body = from_json(message.payload().unwrap_or_default());
        let body: RejudgementBody = body.map_err(|error| format!("is no rejudgement: {error}"))?;
        let rejudgement = Rejudgement {
            sensor_id: body.sensor_id,
            from: body.from.into(),
            to: body.to.into(),
            type_version: body.type_version,
            replay: body.replay,
            part: body.part,
            is_dry: body.dry,
        };
        if let Some(Delivery { content: Content::Rejudgements(all), .. }) = self.continued(message, out) {
            all.push(rejudgement);
            return Ok(());
        }
        self.deliver(message, Content::Rejudgements(vec![rejudgement]), out);
        Ok(())
    }

    fn reading<M: Message>(&mut self, stamp: &Stamp, message: &M, out: &mut Vec<Delivery>) -> Result<(), String> {
        self.parsed.read(message.payload().unwrap_or_default(), &mut self.ids)?;
        let (Some(sensor_id), Some(time)) = (self.parsed.sensor_id.take(), self.parsed.phenomenon_time) else {
            return Err("is no reading".to_owned());
        };
        let mut values = std::mem::take(&mut self.values);
        let pushed = self.push_reading(stamp, message, (sensor_id, time), &mut values, out);
        self.values = values;
        pushed
    }

    fn push_reading<M: Message>(
        &self,
        stamp: &Stamp,
        message: &M,
        (sensor_id, time): (domain::SensorId, Timestamp),
        values: &mut Vec<Value>,
        out: &mut Vec<Delivery>,
    ) -> Result<(), String> {
        let type_version = stamp.type_version;
        if let Some(Delivery { content: Content::Readings { type_version: version, readings }, .. }) =
            self.continued(message, out)
            && *version == type_version
            && self.belongs_to(readings.properties(), stamp)
        {
            spread(&self.parsed, readings.properties(), values)?;
            readings.push(sensor_id, time, values);
            return Ok(());
        }
        let properties = match stamp.has_properties {
            true => self.known.1.clone(),
            false => self.parsed.properties.as_slice().into(),
        };
        spread(&self.parsed, &properties, values)?;
        let mut readings = Readings::new(properties);
        readings.push(sensor_id, time, values);
        self.deliver(message, Content::Readings { type_version, readings }, out);
        Ok(())
    }

    /// Says whether the reading in hand has just these properties; one of another program may have fewer.
    fn belongs_to(&self, properties: &[PropertyId], stamp: &Stamp) -> bool {
        if stamp.has_properties {
            return *self.known.1 == *properties;
        }
        let same = self.parsed.properties == properties;
        same || stamp.format.is_none() && self.parsed.properties.iter().all(|id| properties.contains(id))
    }

    /// The last delivery, if this record comes right behind it and was accepted at the same time.
    fn continued<'a, M: Message>(&self, message: &M, out: &'a mut [Delivery]) -> Option<&'a mut Delivery> {
        let last = out.last_mut()?;
        let continues = last.accepted_at == self.accepted_last && last.next_position() == position(message);
        continues.then_some(last)
    }

    fn deliver<M: Message>(&self, message: &M, content: Content, out: &mut Vec<Delivery>) {
        out.push(Delivery {
            topic: self.topic.clone(),
            partition: self.partition,
            first_position: position(message),
            accepted_at: self.accepted_last,
            content,
        });
    }

    /// Reads the headers. Those of other programs are passed over.
    fn stamp<M: Message>(&mut self, message: &M) -> Result<Stamp, String> {
        let Some(headers) = message.headers() else { return Ok(Stamp::default()) };
        // The library takes the name of a header for UTF-8 and panics where another program wrote something else.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let mut stamp = Stamp::default();
            headers.iter().try_for_each(|header| self.header(&mut stamp, header)).map(|()| stamp)
        }));
        read.unwrap_or_else(|_| Err("the name of a header is not UTF-8".to_owned()))
    }

    fn header(&mut self, stamp: &mut Stamp, header: Header<'_, &[u8]>) -> Result<(), String> {
        let value = header.value.unwrap_or_default();
        match header.key {
            FORMAT => {
                stamp.format = Some(match value {
                    READING => Format::Reading,
                    DELETION => Format::Deletion,
                    REJUDGEMENT => Format::Rejudgement,
                    DOCUMENT => Format::Document,
                    _ => Format::Unknown,
                });
            }
            ACCEPTED_AT => stamp.accepted_at = Some(Timestamp::from_micros(whole_number(header)?)),
            TYPE_VERSION => stamp.type_version = Some(whole_number(header)?),
            PROPERTIES => {
                stamp.has_properties = true;
                self.learn_properties(value)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn learn_properties(&mut self, value: &[u8]) -> Result<(), String> {
        if self.known.0 == value {
            return Ok(());
        }
        let text = std::str::from_utf8(value).map_err(|_| "header `properties` is not UTF-8".to_owned())?;
        let names = text.split(',').filter(|name| !name.is_empty());
        let ids: Result<Arc<[PropertyId]>, String> = names.map(|name| self.ids.property(name)).collect();
        self.known = (value.to_vec(), ids?);
        Ok(())
    }
}

/// The values of a reading in the order of `properties`; absent where it has none.
fn spread(parsed: &Parsed, properties: &[PropertyId], values: &mut Vec<Value>) -> Result<(), String> {
    values.clear();
    if parsed.properties == properties {
        values.extend_from_slice(&parsed.values);
        return Ok(());
    }
    values.resize(properties.len(), Value::ABSENT);
    for (id, value) in parsed.properties.iter().zip(&parsed.values) {
        let Some(index) = properties.iter().position(|known| known == id) else {
            return Err(format!("`{id}` is not in its header `properties`"));
        };
        values[index] = *value;
    }
    Ok(())
}

fn position<M: Message>(message: &M) -> Position {
    Position(u64::try_from(message.offset()).unwrap_or(0))
}

fn whole_number<T: std::str::FromStr>(header: Header<'_, &[u8]>) -> Result<T, String> {
    let text = std::str::from_utf8(header.value.unwrap_or_default()).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("header `{}` is no whole number in range", header.key))
}

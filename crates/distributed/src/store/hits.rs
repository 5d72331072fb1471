//! Documents in answers of Elasticsearch, read as they stream by: hits of a search, and documents got by id.

use domain::SensorId;
use jiter::{Jiter, Peek};
use ports::{ErrorKind, PortError};

use super::{
    bulk::Seen,
    document::{Document, Documents, Malformed, integer},
};

/// One hit, or one document got by id.
#[derive(Debug, Default)]
pub(crate) struct Hit {
    pub(crate) index: String,
    pub(crate) id: String,
    pub(crate) seen: Seen,
    /// `None` where the document was not found, not asked for, or is no row.
    pub(crate) document: Option<Document>,
    /// Why the document is no row, where it is none.
    pub(crate) malformed: Option<Malformed>,
    /// The type of the error that the document could not be got for.
    pub(crate) trouble: Option<String>,
    /// What it was sorted by: the sensor, where it was, and the time.
    pub(crate) sorted_by: (Option<SensorId>, i64),
}

/// What of a hit is wanted besides its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing.
    Documents,
    /// Index, id and state.
    Names,
    /// What they were sorted by.
    Keys,
}

/// What an answer says.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    pub(crate) hits: Vec<Hit>,
    /// The point in time to go on with.
    pub(crate) point_in_time: Option<String>,
}

/// Reads the answer of a search.
///
/// # Errors
/// `Corrupt` where a document is no row, which is named.
pub(crate) fn read_search(body: &[u8], documents: &Documents, wanted: Wanted) -> Result<Hits, PortError> {
    const DOING: &str = "searching";
    Reader::new(body, documents, wanted).search().map_err(|error| {
        let hits =
            Reader::new(body, documents, Wanted::Names).patient().search().map_or_else(|_| Vec::new(), |all| all.hits);
        hits.iter()
            .find_map(|hit| hit.malformed.as_ref().map(|why| why.named(&hit.id, DOING)))
            .unwrap_or_else(|| error.while_doing(DOING))
    })
}

/// Reads the answer of a request for many ids; in the order asked for.
///
/// # Errors
/// `Corrupt` where the answer can't be read; a document that is no row is told with its hit.
pub(crate) fn read_many(body: &[u8], documents: &Documents) -> Result<Vec<Hit>, PortError> {
    let read = Reader::new(body, documents, Wanted::Names).many();
    // Rare, and so read again rather than read with care each time.
    let read = read.or_else(|_| Reader::new(body, documents, Wanted::Names).patient().many());
    read.map_err(|error| error.while_doing("getting documents"))
}

enum Key {
    Hits,
    PointInTime,
    Other,
}

impl Key {
    fn of(key: &str) -> Self {
        match key {
            "hits" => Self::Hits,
            "pit_id" => Self::PointInTime,
            _ => Self::Other,
        }
    }
}

enum HitKey {
    Index,
    Id,
    SeqNo,
    PrimaryTerm,
    Source,
    Error,
    Sort,
    Other,
}

impl HitKey {
    fn of(key: &str, wanted: Wanted) -> Self {
        match (key, wanted) {
            ("_source", _) => Self::Source,
            ("sort", Wanted::Keys) => Self::Sort,
            (_, Wanted::Documents | Wanted::Keys) => Self::Other,
            ("error", _) => Self::Error,
            ("_index", _) => Self::Index,
            ("_id", _) => Self::Id,
            ("_seq_no", _) => Self::SeqNo,
            ("_primary_term", _) => Self::PrimaryTerm,
            _ => Self::Other,
        }
    }
}

struct Reader<'a> {
    jiter: Jiter<'a>,
    documents: &'a Documents,
    wanted: Wanted,
    previous: Option<SensorId>,
    body: &'a [u8],
    /// Whether to go on behind a document that is no row.
    is_patient: bool,
}

impl<'a> Reader<'a> {
    fn new(body: &'a [u8], documents: &'a Documents, wanted: Wanted) -> Self {
        Self { jiter: Jiter::new(body), documents, wanted, previous: None, body, is_patient: false }
    }

    /// The same, but goes on behind a document that is no row.
    fn patient(self) -> Self {
        Self { is_patient: true, ..self }
    }

    /// The documents of an answer to a request for many.
    fn many(&mut self) -> Result<Vec<Hit>, Malformed> {
        let mut hits = Vec::new();
        let mut key = self.jiter.next_object()?.map(|key| key == "docs");
        while let Some(is_docs) = key {
            if is_docs {
                hits = self.hits()?
            } else {
                self.jiter.next_skip()?
            }
            key = self.jiter.next_key()?.map(|key| key == "docs");
        }
        Ok(hits)
    }

    fn search(&mut self) -> Result<Hits, Malformed> {
        let mut answer = Hits::default();
        let mut key = self.jiter.next_object()?.map(Key::of);
        while let Some(its) = key {
            match its {
                Key::PointInTime => answer.point_in_time = Some(self.jiter.next_str()?.to_owned()),
                Key::Hits => answer.hits = self.hits_within()?,
                Key::Other => self.jiter.next_skip()?,
            }
            key = self.jiter.next_key()?.map(Key::of);
        }
        Ok(answer)
    }

    /// The `hits` of `hits`.
    fn hits_within(&mut self) -> Result<Vec<Hit>, Malformed> {
        let mut hits = Vec::new();
        let mut key = self.jiter.next_object()?.map(Key::of);
        while let Some(its) = key {
            match its {
                Key::Hits => hits = self.hits()?,
                _ => self.jiter.next_skip()?,
            }
            key = self.jiter.next_key()?.map(Key::of);
        }
        Ok(hits)
    }

    fn hits(&mut self) -> Result<Vec<Hit>, Malformed> {
        let mut hits = Vec::new();
        let mut next = self.jiter.next_array()?;
        while next.is_some() {
            hits.push(self.hit()?);
            next = self.jiter.array_step()?;
        }
        Ok(hits)
    }

    fn hit(&mut self) -> Result<Hit, Malformed> {
        let mut hit = Hit::default();
        let mut key = self.jiter.next_object()?.map(|key| HitKey::of(key, self.wanted));
        while let Some(its) = key {
            match its {
                HitKey::Index => self.jiter.next_str()?.clone_into(&mut hit.index),
                HitKey::Id => self.jiter.next_str()?.clone_into(&mut hit.id),
                HitKey::SeqNo => hit.seen.seq_no = integer(&mut self.jiter)?,
                HitKey::PrimaryTerm => hit.seen.primary_term = integer(&mut self.jiter)?,
                HitKey::Source => self.source(&mut hit)?,
                HitKey::Error => hit.trouble = Some(self.error_type()?),
                HitKey::Sort => hit.sorted_by = self.sort()?,
                HitKey::Other => self.jiter.next_skip()?,
            }
            key = self.jiter.next_key()?.map(|key| HitKey::of(key, self.wanted));
        }
        Ok(hit)
    }

    fn source(&mut self, hit: &mut Hit) -> Result<(), Malformed> {
        if !self.is_patient {
            let document = self.documents.read(&mut self.jiter, self.previous.as_ref())?;
            self.previous = Some(document.sensor_id.clone());
            hit.document = Some(document);
            return Ok(());
        }
        let start = self.jiter.current_index();
        self.jiter.next_skip()?;
        match self.documents.read(&mut Jiter::new(&self.body[start..self.jiter.current_index()]), None) {
            Ok(document) => hit.document = Some(document),
            Err(malformed) => hit.malformed = Some(malformed),
        }
        Ok(())
    }

    /// Sensor and time, or the time alone.
    fn sort(&mut self) -> Result<(Option<SensorId>, i64), Malformed> {
        let mut sensor_id = None;
        let mut next = self.jiter.next_array()?;
        if next == Some(Peek::String) {
            let text = self.jiter.next_str()?;
            let known = self.previous.as_ref().filter(|previous| previous.as_str() == text).cloned();
            let parse = || SensorId::parse(text).map_err(|_| Malformed::from("a sensor id that is not allowed"));
            sensor_id = Some(known.map_or_else(parse, Ok)?);
            self.previous.clone_from(&sensor_id);
            next = self.jiter.array_step()?;
        }
        if next.is_none() {
            return Err(Malformed::from("a hit that is sorted by nothing"));
        }
        let time = integer(&mut self.jiter)?;
        while self.jiter.array_step()?.is_some() {
            self.jiter.next_skip()?;
        }
        Ok((sensor_id, time))
    }

    /// The `type` of an error.
    fn error_type(&mut self) -> Result<String, Malformed> {
        let mut name = String::new();
        let mut key = self.jiter.next_object()?.map(|key| key == "type");
        while let Some(is_type) = key {
            if is_type {
                self.jiter.next_str()?.clone_into(&mut name);
            } else {
                self.jiter.next_skip()?;
            }
            key = self.jiter.next_key()?.map(|key| key == "type");
        }
        Ok(name)
    }
}

/// A row that the answer should have but has not.
pub(crate) fn without_source(id: &str) -> PortError {
    PortError::new(ErrorKind::Corrupt, format!("document `{id}` of Elasticsearch has no source"))
}

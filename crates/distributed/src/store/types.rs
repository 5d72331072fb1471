//! Sensor types as Elasticsearch knows them: a composable index template each, whose `_meta` says what the type is, and indices made by it.
//!
//! **Invariant:** an index of ours is made by the template of its type, never by a write: a template for all of them forbids that.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{PropertyId, SensorType, SensorTypeId, Timestamp};
use elasticsearch::http::Method;
use ports::{ErrorKind, PortError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    client::{Client, Fault, FaultKind, Request},
    document::Documents,
    period::{Period, Periods},
    settings::Settings,
};

/// Layout of the documents and of `_meta`.
const FORMAT: u32 = 1;
/// Above the priority of a cluster's own templates, and of the one that forbids to make indices by writing.
const PRIORITY: u32 = 300;
const PRIORITY_OF_ALL: u32 = 250;
/// The most characters of index names in one path; Elasticsearch takes 4,096 bytes in all.
const NAMES_SIZE_MAX: usize = 3_000;

/// One sensor type as its template says.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) id: SensorTypeId,
    /// `readings-emb`: the alias, and the start of each index's name.
    alias: String,
    pub(crate) periods: Periods,
    pub(crate) documents: Documents,
}

impl Known {
    /// How many properties it has.
    pub(crate) fn width(&self) -> usize {
        self.documents.properties().len()
    }

    /// All its indices. The dot is in no id, so that no type's pattern takes another's indices.
    pub(crate) fn pattern(&self) -> String {
        format!("{}.*", self.alias)
    }

    /// The index of a period.
    pub(crate) fn index(&self, period: &str) -> String {
        format!("{}.{period}", self.alias)
    }

    /// The index that a row of this time is in.
    pub(crate) fn index_of(&self, time: Timestamp) -> String {
        self.index(&self.periods.span(time).name)
    }

    /// The period of an index.
    pub(crate) fn period_of<'a>(&self, index: &'a str) -> Option<&'a str> {
        index.strip_prefix(&self.alias)?.strip_prefix('.')
    }
}

/// What a template's `_meta` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meta {
    format: u32,
    /// By index in a row.
    properties: Vec<PropertyId>,
    period: String,
    /// As [`Periods::are_bounded`]; types that were made before say nothing.
    #[serde(default)]
    bounded: bool,
    shards: u16,
    replicas: u16,
}

/// The sensor types, as far as this process has met them.
#[derive(Debug)]
pub(crate) struct Types {
    client: Client,
    settings: Settings,
    known: Mutex<HashMap<SensorTypeId, Arc<Known>>>,
    /// Indices that are there, as far as this process knows.
    present: Mutex<HashSet<String>>,
}

impl Types {
    pub(crate) fn new(client: Client, settings: Settings) -> Self {
        Self { client, settings, known: Mutex::default(), present: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SensorTypeId, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self) -> MutexGuard<'_, HashSet<String>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `readings-emb`, the name of a type's template and of its alias.
    fn alias(&self, id: &SensorTypeId) -> String {
        format!("{}readings-{id}", self.settings.index_prefix)
    }

    /// What every index of every type is called.
    pub(crate) fn pattern_of_all(&self) -> String {
        format!("{}readings-*", self.settings.index_prefix)
    }

    /// A type for a write: as it was last seen, if it was.
    pub(crate) async fn seen(&self, id: &SensorTypeId) -> Result<Arc<Known>, PortError> {
        let seen = self.known().get(id).cloned();
        match seen {
            Some(known) => Ok(known),
            None => self.fresh(id).await,
        }
    }

    /// A type as its template says now: another process may have widened or removed it.
    pub(crate) async fn fresh(&self, id: &SensorTypeId) -> Result<Arc<Known>, PortError> {
        match self.meta(id).await? {
            Some(meta) => self.remember(id, meta),
            None => {
                self.forget(id);
                let message = format!("the store knows no sensor type `{id}`");
                Err(PortError::new(ErrorKind::NotFound, message))
            }
        }
    }

    fn remember(&self, id: &SensorTypeId, meta: Meta) -> Result<Arc<Known>, PortError> {
        let corrupt = |what: String| PortError::new(ErrorKind::Corrupt, format!("sensor type `{id}`: {what}"));
        if meta.format != FORMAT {
            return Err(corrupt(format!("its template has format `{}`, this program knows `{FORMAT}`", meta.format)));
        }
        let period = Period::parse(&meta.period);
        let each = period.ok_or_else(|| corrupt(format!("`{}` is no period", meta.period)))?;
        let periods = Periods { each, are_bounded: meta.bounded };
        let mut all = self.known();
        if let Some(seen) =
            all.get(id).filter(|seen| seen.periods == periods && **seen.documents.properties() == *meta.properties)
        {
            return Ok(Arc::clone(seen));
        }
        let documents = Documents::new(meta.properties.into());
        let known = Arc::new(Known { id: id.clone(), alias: self.alias(id), periods, documents });
        all.insert(id.clone(), Arc::clone(&known));
        Ok(known)
    }

    fn forget(&self, id: &SensorTypeId) {
        if let Some(known) = self.known().remove(id) {
            self.present().retain(|index| known.period_of(index).is_none());
        }
    }

    /// What the type's template says; `None` where there is none.
    async fn meta(&self, id: &SensorTypeId) -> Result<Option<Meta>, PortError> {
        #[derive(Deserialize)]
        struct Templates {
            index_templates: Vec<Template>,
        }
        #[derive(Deserialize)]
        struct Template {
            index_template: Body,
        }
        #[derive(Deserialize)]
        struct Body {
            #[serde(rename = "_meta")]
            meta: Option<OfHub>,
        }
        #[derive(Deserialize)]
        struct OfHub {
            iot_hub: Meta,
        }
        let doing = "looking for a sensor type";
        let path = format!("/_index_template/{}?filter_path=index_templates.index_template._meta", self.alias(id));
        let answer = match self.client.send(&Request::new(Method::Get, path)).await {
            Err(fault) if fault.kind == FaultKind::Missing => return Ok(None),
            answer => answer.map_err(|fault| fault.while_doing(doing))?,
        };
        let templates: Templates = answer.json(doing)?;
        let meta = templates.index_templates.into_iter().find_map(|template| template.index_template.meta);
        let foreign = || PortError::new(ErrorKind::Corrupt, format!("index template `{}` is not ours", self.alias(id)));
        meta.map(|meta| meta.iot_hub).ok_or_else(foreign).map(Some)
    }

    /// Makes or widens the template of a type, and widens the indices that are there.
    pub(crate) async fn prepare(&self, sensor_type: &SensorType) -> Result<(), PortError> {
        let id = &sensor_type.id;
        let saved = self.meta(id).await?;
        let mut wanted = Meta {
            format: FORMAT,
            properties: sensor_type.property_ids.to_vec(),
            period: self.settings.period.as_str().to_owned(),
            bounded: true,
            shards: self.settings.shards,
            replicas: self.settings.replicas,
        };
        if let Some(saved) = &saved {
            // Where a row is follows from the periods, so that they can't change behind the rows.
            wanted.period.clone_from(&saved.period);
            wanted.bounded = saved.bounded;
            if saved.properties.len() >= wanted.properties.len() {
                wanted.properties.clone_from(&saved.properties);
            }
        }
        if saved.as_ref() != Some(&wanted) {
            if saved.is_none() {
                self.forbid_indices_without_a_type().await?;
            }
            self.put_template(id, &wanted).await?;
        }
        let widened = saved.as_ref().is_some_and(|saved| saved.properties.len() < wanted.properties.len());
        let known = self.remember(id, wanted)?;
        if widened {
            self.widen_indices(&known).await?;
        }
        Ok(())
    }

    async fn forbid_indices_without_a_type(&self) -> Result<(), PortError> {
        let body = json!({
            "index_patterns": [self.pattern_of_all()],
            "priority": PRIORITY_OF_ALL,
            "allow_auto_create": false,
            "template": {"mappings": {"dynamic": "strict"}},
        });
        let path = format!("/_index_template/{}readings", self.settings.index_prefix);
        self.change(Request::new(Method::Put, path).json(&body), "preparing a sensor type").await
    }

    async fn put_template(&self, id: &SensorTypeId, meta: &Meta) -> Result<(), PortError> {
        let alias = self.alias(id);
        let body = json!({
            "index_patterns": [format!("{alias}.*")],
            "priority": PRIORITY,
            "allow_auto_create": false,
            "template": {
                "settings": {"number_of_shards": meta.shards, "number_of_replicas": meta.replicas},
                "mappings": mappings(&meta.properties),
                "aliases": {&alias: {}},
            },
            "_meta": {"iot_hub": meta},
        });
        let request = Request::new(Method::Put, format!("/_index_template/{alias}")).json(&body);
        self.change(request, "preparing a sensor type").await
    }

    async fn widen_indices(&self, known: &Known) -> Result<(), PortError> {
        let path = format!("/{}/_mapping?allow_no_indices=true&ignore_unavailable=true", known.pattern());
        let request = Request::new(Method::Put, path).json(&mappings(known.documents.properties()));
        self.change(request, "widening a sensor type").await
    }

    /// Makes the index of a period, unless it is there.
    pub(crate) async fn make_index(&self, known: &Known, index: &str) -> Result<(), PortError> {
        if self.present().contains(index) {
            return Ok(());
        }
        // The template may be gone with its type, or narrower than what is known here where two processes prepared at once.
        let now = self.fresh(&known.id).await?;
        if now.width() < known.width() {
            let message = format!("sensor type `{}` was narrowed meanwhile; it is to be prepared again", known.id);
            return Err(PortError::new(ErrorKind::NotFound, message));
        }
        match self.client.send(&Request::new(Method::Put, format!("/{index}"))).await {
            Err(fault) if fault.name == "resource_already_exists_exception" => {}
            answer => drop(answer.map_err(|fault| fault.while_doing("making an index"))?),
        }
        self.present().insert(index.to_owned());
        Ok(())
    }

    /// Forgets that an index is there: a write did not find it.
    pub(crate) fn lose_index(&self, index: &str) {
        self.present().remove(index);
    }

    /// Names of the type's indices.
    pub(crate) async fn indices(&self, known: &Known) -> Result<Vec<String>, PortError> {
        let doing = "listing indices";
        let request = Request::new(Method::Get, format!("/{}/_alias", known.pattern()));
        let answer = self.client.send(&request).await.map_err(|fault| fault.while_doing(doing))?;
        let indices: Map<String, Value> = answer.json(doing)?;
        Ok(indices.into_iter().map(|(index, _)| index).collect())
    }

    /// Deletes indices with all that is in them.
    pub(crate) async fn delete_indices(&self, indices: &[String]) -> Result<(), PortError> {
        let mut names = String::new();
        for (index, rest) in indices.iter().zip((0..indices.len()).rev()) {
            self.lose_index(index);
            names.push_str(if names.is_empty() { "" } else { "," });
            names.push_str(index);
            if rest == 0 || names.len() > NAMES_SIZE_MAX {
                let path = format!("/{names}?ignore_unavailable=true");
                self.change(Request::new(Method::Delete, path), "deleting indices").await?;
                names.clear();
            }
        }
        Ok(())
    }

    /// Takes out a type: its template first, so that no index comes back. Answers the pattern that its indices had.
    pub(crate) async fn remove(&self, id: &SensorTypeId) -> Result<String, PortError> {
        let periods = Periods { each: self.settings.period, are_bounded: true };
        let known = Known { id: id.clone(), alias: self.alias(id), periods, documents: Documents::new([].into()) };
        self.forget(id);
        let path = format!("/_index_template/{}", known.alias);
        match self.client.send(&Request::new(Method::Delete, path)).await {
            Err(fault) if fault.kind == FaultKind::Missing => {}
            answer => drop(answer.map_err(|fault| fault.while_doing("removing a sensor type"))?),
        }
        self.delete_indices(&self.indices(&known).await?).await?;
        Ok(known.pattern())
    }

    async fn change(&self, request: Request, doing: &str) -> Result<(), PortError> {
        self.client.send(&request).await.map(drop).map_err(|fault: Fault| fault.while_doing(doing))
    }
}

/// The fields of a document. What is neither sorted nor searched by has no index of its own: a filter on a value reads the values of the
/// rows that the other filters leave.
fn mappings(properties: &[PropertyId]) -> Value {
    let column = |kind: &str| json!({"type": kind, "index": false});
    let mut fields = Map::new();
    fields.insert("sensor_id".to_owned(), json!({"type": "keyword"}));
    fields.insert("phenomenon_time".to_owned(), json!({"type": "long"}));
    fields
        .insert("@timestamp".to_owned(), json!({"type": "date", "format": "epoch_millis||strict_date_optional_time"}));
    fields.insert("qc".to_owned(), json!({"type": "keyword"}));
    for property in properties {
        fields.insert(property.to_string(), column("double"));
    }
    let flags: Map<String, Value> = properties.iter().map(|id| (id.to_string(), column("byte"))).collect();
    fields.insert("flags".to_owned(), json!({"properties": flags}));
    fields.insert("type_version".to_owned(), column("integer"));
    fields.insert("accepted_at".to_owned(), json!({"type": "long"}));
    fields.insert("@position".to_owned(), column("long"));
    fields.insert("@first_position".to_owned(), json!({"type": "long", "index": false, "doc_values": false}));
    json!({"dynamic": "strict", "properties": fields})
}

//! A panel as a query of Elasticsearch: the request that Kibana makes of it, and its answer as bars.
//!
//! Where a panel leaves the width of its bars to Kibana, which chooses by the range of what it shows, a day and a whole number are taken.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{Elasticsearch, Object, Objects};

/// Values by the labels of what they are for: time or value, and sensor or label, in the order of the panel's columns.
pub type Bars = BTreeMap<Vec<String>, f64>;

/// What shows something of one data view: a lens, a saved search or a map.
#[derive(Debug)]
pub struct Panel<'a> {
    object: &'a Object,
    view: &'a Object,
}

impl<'a> Panel<'a> {
    /// The panel that an object is.
    pub fn of(object: &'a Object, objects: &'a Objects) -> Self {
        Self { object, view: objects.view_of(object) }
    }

    /// The indices that it reads.
    ///
    /// # Panics
    /// Where its data view names none.
    pub fn indices(&self) -> &str {
        self.view.attributes()["title"].as_str().expect("a data view names indices")
    }

    /// The fields that it needs, each with what it is used for: the operation of a column, `column`, `filter`, `time` or `place`.
    ///
    /// # Panics
    /// Where the object is no panel.
    pub fn fields(&self) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> =
            self.conditions().into_iter().map(|(field, _)| (field, "filter".to_owned())).collect();
        match self.object.kind() {
            "lens" => fields.extend(self.columns().into_iter().filter_map(|(_, column)| {
                let field = column["sourceField"].as_str().filter(|field| *field != "___records___")?;
                Some((field.to_owned(), column["operationType"].as_str()?.to_owned()))
            })),
            "search" => {
                fields.extend(texts(&self.object.attributes()["columns"]).map(|name| (name, "column".to_owned())))
            }
            "map" => {
                for layer in self.layers_of_elasticsearch() {
                    let source = &layer["sourceDescriptor"];
                    fields.extend(source["geoField"].as_str().map(|name| (name.to_owned(), "place".to_owned())));
                    fields.extend(texts(&source["tooltipProperties"]).map(|name| (name, "column".to_owned())));
                }
            }
            kind => panic!("a {kind} is no panel"),
        }
        fields
            .extend(self.view.attributes()["timeFieldName"].as_str().map(|name| (name.to_owned(), "time".to_owned())));
        fields
    }

    fn layers_of_elasticsearch(&self) -> Vec<Value> {
        let layers = self.object.parsed("/layerListJSON");
        let layers = layers.as_array().expect("layers").clone();
        layers.into_iter().filter(|layer| layer["sourceDescriptor"]["type"] == "ES_SEARCH").collect()
    }

    /// The columns of a lens, in their order.
    fn columns(&self) -> Vec<(String, Value)> {
        let layers = &self.object.attributes()["state"]["datasourceStates"]["formBased"]["layers"];
        let layers = layers.as_object().expect("a lens has layers");
        assert_eq!(layers.len(), 1, "`{}` has one layer", self.object.id());
        let layer = layers.values().next().expect("one layer");
        texts(&layer["columnOrder"]).map(|id| (id.clone(), layer["columns"][&id].clone())).collect()
    }

    /// What its query asks of fields: `field : "value"`, joined by `and`.
    fn conditions(&self) -> Vec<(String, String)> {
        let query = match self.object.kind() {
            "lens" => self.object.attributes()["state"]["query"]["query"].clone(),
            "search" => self.object.parsed("/kibanaSavedObjectMeta/searchSourceJSON")["query"]["query"].clone(),
            _ => json!(""),
        };
        let text = query.as_str().expect("a query is a text");
        let condition = |part: &str| {
            let (field, value) = part.split_once(':').unwrap_or_else(|| panic!("can't read the query `{text}`"));
            let value = value.trim().trim_matches('"');
            assert!(!value.contains(['*', '"', '(']), "can't read the query `{text}`");
            (field.trim().to_owned(), value.to_owned())
        };
        text.split(" and ").filter(|part| !part.trim().is_empty()).map(condition).collect()
    }

    fn filter(&self) -> Value {
        let term = |(field, value): (String, String)| {
            let mut term = Map::new();
            term.insert(field, json!(value));
            json!({ "term": term })
        };
        json!({"bool": {"filter": self.conditions().into_iter().map(term).collect::<Vec<_>>()}})
    }

    /// The request that it makes.
    ///
    /// # Panics
    /// Where it has an operation that the tests don't know.
    pub fn request(&self) -> Value {
        let mut request = json!({"size": 0, "track_total_hits": true, "query": self.filter()});
        match self.object.kind() {
            "lens" => request["aggs"] = aggregations(&self.columns()),
            "map" => {
                let place = self.layers_of_elasticsearch()[0]["sourceDescriptor"]["geoField"].clone();
                request["query"] = json!({"bool": {"filter": [{"exists": {"field": place}}]}});
            }
            _ => {}
        }
        request
    }

    /// Sends its request to indices whose names begin with a prefix, and gives what it shows: bars, or how many rows.
    ///
    /// # Panics
    /// Where Elasticsearch refuses the request.
    pub async fn shown(&self, elasticsearch: &Elasticsearch, prefix: &str) -> Bars {
        let path = format!("/{prefix}{}/_search", self.indices());
        let answer = elasticsearch.expect("POST", &path, self.request().to_string()).await;
        let mut bars = Bars::new();
        if self.object.kind() == "lens" {
            collect(&answer["aggregations"], &self.columns(), &mut Vec::new(), &mut bars);
        } else {
            bars.insert(Vec::new(), answer["hits"]["total"]["value"].as_f64().expect("a total"));
        }
        bars
    }
}

fn texts(list: &Value) -> impl Iterator<Item = String> {
    let list = list.as_array().expect("a list").clone();
    list.into_iter().map(|value| value.as_str().expect("a text").to_owned())
}

/// The aggregations of columns: buckets within buckets, and the metric in the innermost.
fn aggregations(columns: &[(String, Value)]) -> Value {
    let Some(((id, column), rest)) = columns.split_first() else { return json!({}) };
    let field = &column["sourceField"];
    let mut aggregation = match column["operationType"].as_str().expect("a column has an operation") {
        "count" => return json!({}),
        "average" => json!({"avg": {"field": field}}),
        "date_histogram" => json!({"date_histogram": {"field": field, "fixed_interval": "1d", "min_doc_count": 1}}),
        "range" => json!({"histogram": {"field": field, "interval": 1, "min_doc_count": 1}}),
        "terms" => json!({"terms": {"field": field, "size": column["params"]["size"]}}),
        operation => panic!("the tests don't know the operation `{operation}`"),
    };
    if column["isBucketed"] == true {
        aggregation["aggs"] = aggregations(rest);
    }
    let mut all = Map::new();
    all.insert(id.clone(), aggregation);
    Value::Object(all)
}

fn collect(answer: &Value, columns: &[(String, Value)], labels: &mut Vec<String>, bars: &mut Bars) {
    let Some(((id, column), rest)) = columns.split_first() else { return };
    if column["operationType"] == "count" {
        bars.insert(labels.clone(), answer["doc_count"].as_f64().expect("a count"));
    } else if column["isBucketed"] == true {
        for bucket in answer[id]["buckets"].as_array().expect("buckets") {
            let key = [&bucket["key_as_string"], &bucket["key"]].into_iter().find_map(Value::as_str);
            labels.push(key.map_or_else(|| bucket["key"].to_string(), ToOwned::to_owned));
            collect(bucket, rest, labels, bars);
            labels.pop();
        }
    } else if let Some(value) = answer[id]["value"].as_f64() {
        bars.insert(labels.clone(), value);
    }
}

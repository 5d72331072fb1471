//! The saved objects of Kibana, as `compose/kibana/objects.ndjson` has them.

use std::fs;

use serde_json::Value;

use crate::folder;

/// One saved object.
#[derive(Debug, Clone)]
pub struct Object(pub Value);

/// All of them.
#[derive(Debug)]
pub struct Objects(pub Vec<Object>);

impl Object {
    /// Its kind: `index-pattern` (a data view), `search`, `lens`, `map` or `dashboard`.
    pub fn kind(&self) -> &str {
        self.0["type"].as_str().expect("an object has a type")
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.0["id"].as_str().expect("an object has an id")
    }

    /// What it is.
    pub fn attributes(&self) -> &Value {
        &self.0["attributes"]
    }

    /// JSON that it holds as text.
    ///
    /// # Panics
    /// Where it is none.
    pub fn parsed(&self, pointer: &str) -> Value {
        let text = self.attributes().pointer(pointer).and_then(Value::as_str);
        let text = text.unwrap_or_else(|| panic!("`{}` has no text at {pointer}", self.id()));
        serde_json::from_str(text).unwrap_or_else(|error| panic!("`{}` at {pointer}: {error}", self.id()))
    }

    /// Names, kinds and ids of what it refers to.
    ///
    /// # Panics
    /// Where one of them is not there.
    pub fn references<'a>(&'a self) -> Vec<(&'a str, &'a str, &'a str)> {
        let references = self.0["references"].as_array().expect("an object has references");
        let text =
            |reference: &'a Value, key: &str| reference[key].as_str().expect("a reference has name, type and id");
        let parts = |reference| (text(reference, "name"), text(reference, "type"), text(reference, "id"));
        references.iter().map(parts).collect()
    }
}

impl Objects {
    /// Those of the project.
    ///
    /// # Panics
    /// Where they can't be read.
    pub fn read() -> Self {
        let text = fs::read_to_string(folder().join("kibana/objects.ndjson")).expect("the objects are there");
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self(text.lines().map(parse).map(Object).collect())
    }

    /// The object of a kind and an id.
    ///
    /// # Panics
    /// Where there is none.
    pub fn get(&self, kind: &str, id: &str) -> &Object {
        let found = self.0.iter().find(|object| object.kind() == kind && object.id() == id);
        found.unwrap_or_else(|| panic!("no {kind} `{id}`"))
    }

    /// The data view that an object reads.
    ///
    /// # Panics
    /// Where it reads none.
    pub fn view_of(&self, object: &Object) -> &Object {
        let references = object.references();
        let view = references.iter().find(|(_, kind, _)| *kind == "index-pattern");
        let (_, kind, id) = view.unwrap_or_else(|| panic!("`{}` reads no data view", object.id()));
        self.get(kind, id)
    }

    /// What the dashboard shows, in order.
    pub fn shown(&self) -> Vec<&Object> {
        let dashboards = self.0.iter().filter(|object| object.kind() == "dashboard");
        dashboards.flat_map(|board| board.references()).map(|(_, kind, id)| self.get(kind, id)).collect()
    }
}

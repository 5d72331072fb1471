//! Reads what a request defines: one JSON object or TOML table.

use std::fmt;

use actix_web::HttpRequest;
use domain::Objects;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, error::Category};

use crate::{
    Code, Problem,
    api::sensor_types::other_id,
    input::body::media_type,
    problem::{message, printable},
};

/// The languages definitions are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// RFC 8259.
    Json,
    /// TOML 1.
    Toml,
}

impl Language {
    /// The language of a request's media type, JSON where it names none.
    ///
    /// # Errors
    /// 415 for any that is not `allowed`.
    pub fn of(request: &HttpRequest, allowed: &[Self]) -> Result<Self, Problem> {
        let media_type = media_type(request);
        let language = match media_type.as_deref() {
            None | Some("" | "application/json") => Some(Self::Json),
            Some("application/toml" | "text/x-toml" | "text/toml") => Some(Self::Toml),
            Some(_) => None,
        };
        language.filter(|language| allowed.contains(language)).ok_or_else(|| {
            let known = if allowed.contains(&Self::Toml) {
                "application/json and application/toml"
            } else {
                "application/json"
            };
            let given = printable(media_type.as_deref().unwrap_or_default());
            Problem::new(Code::UnsupportedMediaType, format!("media type `{given}` is not one of {known}"))
        })
    }
}

/// Reads a definition. A member `id` must be `id`; `read_only` members are left out, so that an answer can be put back.
///
/// # Errors
/// 400 where it is not of the language, 422 where a member, which is named by its path, is unknown, missing or of the wrong type.
pub fn read<T: DeserializeOwned>(bytes: &[u8], language: Language, id: &str, read_only: &[&str]) -> Result<T, Problem> {
    let mut members = match language {
        Language::Json => json(bytes)?,
        Language::Toml => toml(bytes)?,
    };
    if let Some(given) = members.shift_remove("id")
        && given.as_str() != Some(id)
    {
        return Err(other_id(id, given.as_str().unwrap_or(&given.to_string())));
    }
    members.retain(|name, _| !read_only.contains(&name.as_str()));
    serde_path_to_error::deserialize(Objects(Value::Object(members))).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.into_inner());
        // `.` stands for the definition as a whole.
        let fault = if path == "." { message(&error) } else { message(&format!("`{path}`: {error}")) };
        Problem::new(Code::Invalid, fault)
    })
}

/// A JSON value in which no object has a name twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Unique(value)) = sequence.next_element()? {
            all.push(value);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Unique(value))) = map.next_entry::<String, Unique>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format!("`{}` is there twice", printable(&name))));
            }
            members.insert(name, value);
        }
        Ok(members.into())
    }
}

fn json(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    match serde_json::from_slice::<Unique>(bytes) {
        Ok(Unique(Value::Object(members))) => Ok(members),
        Ok(_) => Err(Problem::new(Code::Invalid, "expected an object")),
        Err(error) => {
            let code = if error.classify() == Category::Data { Code::Invalid } else { Code::Syntax };
            let problem = Problem::new(code, message(&error));
            Err(problem.with("line", error.line()).with("column", error.column()))
        }
    }
}

fn toml(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    let syntax = |detail: String| Problem::new(Code::Syntax, detail);
    let text = std::str::from_utf8(bytes).map_err(|_| syntax("the body is not UTF-8".to_owned()))?;
    let table: Map<String, Value> = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = &text.as_bytes()[..start];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let column = start - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1) + 1;
        let reason = message(&error.message());
        syntax(format!("line {line} column {column}: {reason}")).with("line", line).with("column", column)
    })?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use registry::SensorDraft;

    use super::*;

    #[track_caller]
    fn check(body: &str, language: Language, expected: Result<&str, (Code, &str)>) {
        let read = read::<SensorDraft>(body.as_bytes(), language, "emb3", &["number"]);
        let outcome = read.as_ref().map(|draft| draft.sensor_type.as_str()).map_err(|p| (p.code(), p.detail()));
        assert_eq!(outcome, expected, "{body}");
    }

    #[test]
    fn a_definition_may_repeat_its_id_and_what_is_read_only() {
        check(r#"{"sensor_type":"emb"}"#, Language::Json, Ok("emb"));
        check(r#"{"id":"emb3","number":7,"sensor_type":"emb"}"#, Language::Json, Ok("emb"));
        check("id = \"emb3\"\nnumber = 7\nsensor_type = \"emb\"", Language::Toml, Ok("emb"));
    }

    #[test]
    fn faults_are_told() {
        for (body, code, detail) in [
            ("{", Code::Syntax, "EOF while parsing an object at line 1 column 1"),
            ("7", Code::Invalid, "expected an object"),
            (r#"{"id":"x","sensor_type":"emb"}"#, Code::BadRequest, "`id` = `x` in the body, but `emb3` in the path"),
            (r#"{"id":7,"sensor_type":"emb"}"#, Code::BadRequest, "`id` = `7` in the body, but `emb3` in the path"),
            (
                r#"{"sensor_type":"emb","place":{"latitude":1,"latitude":2}}"#,
                Code::Invalid,
                "`latitude` is there twice at line 1 column 56",
            ),
            ("{}", Code::Invalid, "missing field `sensor_type`"),
        ] {
            check(body, Language::Json, Err((code, detail)));
        }
        check(
            "a = \n",
            Language::Toml,
            Err((Code::Syntax, "line 1 column 5: string values must be quoted, expected literal string")),
        );
    }

    #[test]
    fn an_array_is_no_object() {
        let place = r#"{"sensor_type":"emb","place":[-2.9,53.8]}"#;
        check(place, Language::Json, Err((Code::Invalid, "`place`: invalid type: sequence, expected an object")));
        let place = "sensor_type = \"emb\"\nplace = [-2.9, 53.8]";
        check(place, Language::Toml, Err((Code::Invalid, "`place`: invalid type: sequence, expected an object")));
        let read = |body: &str| {
            let draft = read::<domain::SensorTypeDraft>(body.as_bytes(), Language::Json, "t", &[]);
            draft.map(drop).map_err(|problem| problem.detail().to_owned())
        };
        let property = r#"{"id":"a","unit":"m"}"#;
        let with =
            |properties: &str, rest: &str| format!(r#"{{"sampling_interval":"1h","properties":{properties}{rest}}}"#);
        assert_eq!(read(&with(&format!("[{property}]"), "")), Ok(()));
        for (properties, rest, path) in [
            (r#"[["a","n","m"]]"#, "", "`properties[0]`"),
            (r#"[{"id":"a","unit":"m","gross_range":[[1,2],null]}]"#, "", "`properties[0].gross_range`"),
            (r#"[{"id":"a","unit":"m","qc":{"spike":[1,2]}}]"#, "", "`properties[0].qc.spike`"),
            (r#"[{"id":"a","unit":"m","qc":{"climatology":[[[1],[1,2]]]}}]"#, "", "`properties[0].qc.climatology[0]`"),
            ("[]", r#","detection":["15m"]"#, "`detection`"),
            ("[]", r#","csv":[["date"]]"#, "`csv`"),
        ] {
            let refusal = read(&with(properties, rest)).expect_err(path);
            assert_eq!(refusal, format!("{path}: invalid type: sequence, expected an object"));
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        for body in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
            let problem = read::<SensorDraft>(body.as_bytes(), Language::Json, "emb3", &[]).expect_err("too deep");
            assert_eq!(problem.code(), Code::Syntax);
        }
        let body = format!("a = {}", "[".repeat(100_000));
        let problem = read::<SensorDraft>(body.as_bytes(), Language::Toml, "emb3", &[]).expect_err("too deep");
        assert_eq!(problem.code(), Code::Syntax);
    }
}

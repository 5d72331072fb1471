//! Sensor types as TOML files: those built in and those of a folder.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use domain::{Objects, SensorTypeDraft, SensorTypeId};
use serde::Deserialize;
use toml::{Table, Value};

/// The largest file that is read, in bytes: far more than 256 properties take.
const FILE_SIZE_MAX: u64 = 1024 * 1024;

/// The types that come with the hub, by file name.
const BUILT_IN: [(&str, &str); 5] = [
    ("emb.toml", include_str!("built_in/emb.toml")),
    ("seismic.toml", include_str!("built_in/seismic.toml")),
    ("air.toml", include_str!("built_in/air.toml")),
    ("power.toml", include_str!("built_in/power.toml")),
    ("emb-qartod.toml", include_str!("built_in/emb-qartod.toml")),
];

/// What is wrong with the file of a sensor type.
#[derive(Debug, thiserror::Error)]
pub enum TypeFileError {
    /// The file or folder can't be read.
    #[error("`{}` can't be read: {source}", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Keys of the file break rules.
    #[error("{file}: {}", .faults.join("; "))]
    Faults {
        /// The file.
        file: String,
        /// Everything that is wrong: key, value and rule of each.
        faults: Vec<String>,
    },
}

/// The sensor types that come with the hub: `emb`, `seismic`, `air`, `power` and `emb-qartod`.
pub fn built_in_types() -> Vec<(SensorTypeId, SensorTypeDraft)> {
    let parse = |(file, text)| parse_toml(text, file).expect("a test reads the files that are built in");
    BUILT_IN.into_iter().map(parse).collect()
}

/// Reads one sensor type of TOML: `id = "emb"` and the keys of [`SensorTypeDraft`]; `file` is its name for messages.
///
/// # Errors
/// [`TypeFileError::Faults`] with key, value and rule of everything that is wrong.
pub fn parse_toml(text: &str, file: &str) -> Result<(SensorTypeId, SensorTypeDraft), TypeFileError> {
    let refused = |faults| TypeFileError::Faults { file: file.to_owned(), faults };
    let mut table: Table = toml::from_str(text).map_err(|error| refused(vec![one_line(&error)]))?;
    let id = match table.remove("id") {
        Some(Value::String(id)) => SensorTypeId::parse(&id).map_err(|error| format!("`id`: {error}")),
        Some(other) => Err(format!("`id` = `{other}`: must be a text")),
        None => Err("`id` is missing: the id of the sensor type, such as `id = \"emb\"`".to_owned()),
    };
    let draft = SensorTypeDraft::deserialize(Objects(table)).map_err(|error| one_line(&error));
    let draft = draft.map_err(|fault| vec![fault]).and_then(|draft: SensorTypeDraft| match draft.check() {
        Ok(()) => Ok(draft),
        Err(faults) => Err(faults.iter().map(ToString::to_string).collect()),
    });
    match (id, draft) {
        (Ok(id), Ok(draft)) => Ok((id, draft)),
        (id, draft) => Err(refused(id.err().into_iter().chain(draft.err().unwrap_or_default()).collect())),
    }
}

/// An error of the TOML reader on one line: what is wrong, and at which line of the file or under which key.
fn one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "|").collect();
    lines.join(" ")
}

/// Reads every `*.toml` file of a folder, by file name.
///
/// # Errors
/// The [`TypeFileError`] of the first file at fault, or of the second of two that define the same id.
pub fn load_folder(dir: &Path) -> Result<Vec<(SensorTypeId, SensorTypeDraft)>, TypeFileError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| TypeFileError::Unreadable { path, source }
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable(dir))? {
        let path = entry.map_err(unreadable(dir))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    let mut types = Vec::new();
    let mut files: HashMap<SensorTypeId, PathBuf> = HashMap::new();
    for path in paths {
        let text = read_file(&path).map_err(unreadable(&path))?;
        let file = path.display().to_string();
        let (id, draft) = parse_toml(&text, &file)?;
        if let Some(first) = files.insert(id.clone(), path) {
            let fault = format!("`id` = `{id}`: is defined in {} already", first.display());
            return Err(TypeFileError::Faults { file, faults: vec![fault] });
        }
        types.push((id, draft));
    }
    Ok(types)
}

fn read_file(path: &Path) -> io::Result<String> {
    let size = fs::metadata(path)?.len();
    if size > FILE_SIZE_MAX {
        return Err(io::Error::other(format!("it has `{size}` bytes: at most {FILE_SIZE_MAX}")));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::Span;

    use super::*;

    const MINIMAL: &str = "id = \"t\"\nsampling_interval = \"1s\"\n[[properties]]\nid = \"p\"\nunit = \"W\"\n";

    #[track_caller]
    fn check_refused(text: &str, expected: &[&str]) {
        let refusal = parse_toml(text, "t.toml").expect_err("refused").to_string();
        assert!(refusal.starts_with("t.toml: ") && !refusal.contains('\n'), "{refusal}");
        for part in expected {
            assert!(refusal.contains(part), "{part} in: {refusal}");
        }
    }

    #[test]
    fn built_in_types_have_their_numbers() {
        let types = built_in_types();
        let ids: Vec<_> = types.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["emb", "seismic", "air", "power", "emb-qartod"]);
        let emb = &types[0].1;
        assert_eq!(emb.sampling_interval, Duration::from_secs(3600));
        assert!(emb.properties.iter().all(|property| property.required));
        let sec = emb.properties[0].gross_range.expect("a range");
        assert_eq!((sec.fail, sec.suspect), (Span(5.0, 100_000.0), Some(Span(100.0, 2000.0))));
        let power = &types[3].1;
        assert_eq!((power.properties.len(), power.sampling_interval), (1, Duration::from_secs(1)));
    }

    #[test]
    fn type_with_all_tests_is_the_other_borehole_besides() {
        let types = built_in_types();
        let (emb, all_tests) = (&types[0].1, &types[4].1);
        assert_eq!((emb.sampling_interval, &emb.csv), (all_tests.sampling_interval, &all_tests.csv));
        for (property, with_tests) in emb.properties.iter().zip(&all_tests.properties) {
            assert!(property.qc.is_empty() && !with_tests.qc.is_empty());
            let without = domain::ObservedProperty { qc: property.qc.clone(), ..with_tests.clone() };
            assert_eq!(*property, without);
        }
    }

    #[test]
    fn tests_of_a_property_are_read_and_their_faults_named() {
        let with = |qc: &str| format!("{MINIMAL}[properties.qc]\n{qc}\n");
        let (_, draft) = parse_toml(&with("spike = { fail = 5, method = \"differential\" }"), "t.toml").expect("read");
        assert_eq!(draft.properties[0].qc.spike.as_ref().and_then(|spike| spike.fail), Some(5.0));
        check_refused(&with("spike = { fail = 0 }"), &["`properties.p.qc.spike.fail` = `0`", "greater than zero"]);
        check_refused(&with("spikes = { fail = 1 }"), &["`spikes`", "`spike`"]);
        check_refused(&with("gap = { fail = 1 }"), &["gap"]);
    }

    #[test]
    fn refusal_names_file_key_value_and_rule() {
        assert!(parse_toml(MINIMAL, "t.toml").is_ok());
        check_refused(&MINIMAL.replace("id = \"t\"\n", ""), &["`id` is missing"]);
        check_refused(&MINIMAL.replace("\"t\"", "\"T t\""), &["`id`", "`T t`", "lower-case letter"]);
        check_refused(&MINIMAL.replace("1s", "soon"), &["`soon`", "`sampling_interval`", "duration such as"]);
        check_refused(&format!("{MINIMAL}colour = 1\n"), &["`colour`", "properties"]);
        check_refused(
            &format!("{MINIMAL}gross_range = {{ fail = [9, 1] }}\n"),
            &["properties.p.gross_range.fail", "low <= high"],
        );
        check_refused(&format!("{MINIMAL}required = \"yes\"\n"), &["\"yes\"", "required", "boolean"]);
        check_refused(
            &MINIMAL.replace("[[properties]]\nid = \"p\"\nunit = \"W\"\n", "properties = [[\"p\", \"n\", \"W\"]]\n"),
            &["expected an object", "properties"],
        );
        check_refused("id = \n", &["line 1"]);
        check_refused(&MINIMAL.replace("\"W\"", "\"\""), &["`properties.p.unit` = ``", "UCUM"]);
    }

    #[test]
    fn folder_gives_its_types_and_refuses_an_id_twice() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("b.toml"), MINIMAL).expect("written");
        fs::write(dir.path().join("notes.txt"), "not a type").expect("written");
        let types = load_folder(dir.path()).expect("one type");
        assert_eq!(types.len(), 1);
        fs::write(dir.path().join("a.toml"), MINIMAL).expect("written");
        let refusal = load_folder(dir.path()).expect_err("the id twice").to_string();
        assert!(refusal.contains("b.toml") && refusal.contains("a.toml") && refusal.contains("`t`"), "{refusal}");
        assert!(matches!(load_folder(&dir.path().join("none")), Err(TypeFileError::Unreadable { .. })));
    }
}

//! The parameters of a query string: each known, each given once unless it is a list.
//!
//! **Invariant:** every fault of a query string is reported at once, by name.

use actix_web::{HttpRequest, web::Query};
use domain::Timestamp;
use ports::TimeRange;

use super::format::Format;
use crate::{Code, Problem, problem::printable};

/// The parameters a route takes.
pub struct Known {
    /// Given at most once.
    pub single: &'static [&'static str],
    /// Given as often as wanted, each a list with commas.
    pub lists: &'static [&'static str],
}

/// The parameters of one request, and what is found wrong with them on the way.
pub struct Parameters {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
}

struct Fault {
    name: String,
    value: String,
    rule: String,
}

impl Parameters {
    /// Takes the query string apart; notes the parameters that are unknown or given too often.
    ///
    /// # Errors
    /// A problem where it is no query string.
    pub fn of(request: &HttpRequest, known: &Known) -> Result<Self, Problem> {
        Self::parse(request.query_string(), known)
    }

    fn parse(query: &str, known: &Known) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|_| Problem::new(Code::BadRequest, "the query string is not made of `name=value` pairs"))?
            .into_inner();
        let mut parameters = Self { pairs, faults: Vec::new() };
        let mut faults = Vec::new();
        for (index, (name, value)) in parameters.pairs.iter().enumerate() {
            if known.lists.contains(&name.as_str()) {
                continue;
            }
            let fault = |rule| Fault { name: name.clone(), value: value.clone(), rule };
            if !known.single.contains(&name.as_str()) {
                let all: Vec<&str> = known.lists.iter().chain(known.single).copied().collect();
                faults.push(fault(format!("is not known here; known are {}", all.join(", "))));
            } else if parameters.pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                faults.push(fault("may be given only once".to_owned()));
            }
        }
        parameters.faults = faults;
        Ok(parameters)
    }

    /// Reads a parameter that is given at most once; `None` where it is absent or refused.
    pub fn single<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (_, value) = self.pairs.iter().find(|(other, _)| other == name)?;
        match read(value) {
            Ok(read) => Some(read),
            Err(rule) => {
                self.faults.push(Fault { name: name.to_owned(), value: value.clone(), rule });
                None
            }
        }
    }

    /// Reads every element of a list; `None` where it is absent.
    pub fn list<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let mut all = None;
        for (_, value) in self.pairs.iter().filter(|(other, _)| other == name) {
            for element in value.split(',') {
                match read(element) {
                    Ok(read) => all.get_or_insert_with(Vec::new).push(read),
                    Err(rule) => {
                        self.faults.push(Fault { name: name.to_owned(), value: element.to_owned(), rule });
                    }
                }
            }
        }
        all
    }

    /// Reads `from` (inclusive) and `to` (exclusive).
    pub fn times(&mut self) -> TimeRange {
        // A `+` in a query string is a space by the rules of forms, but no time has one.
        let read = |text: &str| Timestamp::parse(&text.replace(' ', "+")).map_err(|error| error.rule().to_owned());
        let from = self.single("from", read).unwrap_or(TimeRange::ALL.from);
        let to = self.single("to", read).unwrap_or(TimeRange::ALL.to);
        if from > to {
            self.refuse("from", "must not be after `to`");
        }
        TimeRange { from, to }
    }

    /// Reads a parameter that must be given; `None` where it is absent or refused.
    pub fn required<T>(&mut self, name: &str, rule: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if !self.pairs.iter().any(|(other, _)| other == name) {
            self.refuse(name, rule);
        }
        self.single(name, read)
    }

    /// Chooses the format of the answer: `format`, or the `Accept` headers.
    ///
    /// # Errors
    /// `NotAcceptable` where `format` is not given and nothing of the `Accept` headers is offered.
    pub fn format(&mut self, request: &HttpRequest, offered: &[Format]) -> Result<Format, Problem> {
        if self.pairs.iter().any(|(name, _)| name == "format") {
            return Ok(self.single("format", |name| Format::parse(name, offered)).unwrap_or(offered[0]));
        }
        Format::accepted(request.headers(), offered)
    }

    /// Notes a fault of a parameter that is wrong only beside the others.
    pub fn refuse(&mut self, name: &str, rule: impl Into<String>) {
        let value = self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        self.faults.push(Fault { name: name.to_owned(), value: value.unwrap_or_default(), rule: rule.into() });
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// One problem that names every fault.
    pub fn finish(self) -> Result<(), Problem> {
        const SHOWN_MAX: usize = 20;
        let mut faults = self.faults.into_iter();
        let Some(first) = faults.next() else { return Ok(()) };
        let mut problem = Problem::parameter(&printable(&first.name), &first.value, &first.rule);
        let others: Vec<String> = faults.take(SHOWN_MAX).map(|fault| fault.to_string()).collect();
        if !others.is_empty() {
            let detail = format!("{}; {}", problem.detail(), others.join("; "));
            problem = Problem::new(Code::BadRequest, detail)
                .with("parameter", printable(&first.name))
                .with("value", printable(&first.value));
        }
        Err(problem)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "parameter `{}` = `{}`: {}", printable(&self.name), printable(&self.value), self.rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = Known { single: &["from", "to", "limit"], lists: &["sensor_id"] };

    fn read(query: &str) -> Parameters {
        Parameters::parse(query, &KNOWN).expect("a query string")
    }

    #[track_caller]
    fn check_refused(query: &str, expected: &[&str]) {
        let mut parameters = read(query);
        parameters.times();
        parameters.single("limit", |text| text.parse::<u32>().map_err(|_| "must be a number".to_owned()));
        let problem = parameters.finish().expect_err("faults");
        for part in expected {
            assert!(problem.detail().contains(part), "{} in {}", part, problem.detail());
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        check_refused("sensor=emb3", &["`sensor`", "`emb3`", "sensor_id, from, to, limit"]);
        check_refused("from=a&from=b&limit=x", &["only once", "`a`: must be an RFC 3339", "`x`: must be a number"]);
        check_refused("from=2018-01-01T00:00:00Z&to=2017-01-01T00:00:00Z", &["must not be after `to`"]);
        check_refused(&format!("{}=1", "%00".repeat(10_000)), &["\\0"]);
    }

    #[test]
    fn lists_are_repeated_or_have_commas() {
        let mut parameters = read("sensor_id=a,b&sensor_id=c");
        let all = parameters.list("sensor_id", |text| Ok(text.to_owned()));
        assert_eq!(all, Some(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
        assert_eq!(read("from=2017-01-01T00:00:00Z").list("sensor_id", |_| Ok(())), None);
    }

    #[test]
    fn an_offset_with_a_plain_plus_is_understood() {
        let plus = read("from=2017-02-08T16:00:00+01:00").times();
        let escaped = read("from=2017-02-08T16:00:00%2B01:00").times();
        assert_eq!(plus, escaped);
        assert_eq!(plus.from.to_string(), "2017-02-08T15:00:00Z");
    }
}

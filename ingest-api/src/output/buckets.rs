//! `GET /v1/datastreams/{sensor_id}/{property}/buckets`: statistics of a datastream in intervals of time.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use domain::{SensorType, write_number};
use ports::{Bucket, BucketQuery, ErrorKind};

use super::{
    answer::{Shape, is_head},
    coding::Coding,
    find,
    format::Format,
    openapi::Buckets,
    parameters::{Known, Parameters},
    readings::label,
};
use crate::{App, Code, Principal, Problem};

/// The most buckets of an answer.
const BUCKETS_MAX: usize = 10_000;

const KNOWN: Known = Known { single: &["interval", "from", "to", "qc", "format"], lists: &["statistics"] };

/// A statistic of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statistic {
    Count,
    Mean,
    Min,
    Max,
    StdDev,
}

impl Statistic {
    const ALL: [Self; 5] = [Self::Count, Self::Mean, Self::Min, Self::Max, Self::StdDev];

    fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::StdDev => "stddev",
        }
    }

    fn parse(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|statistic| statistic.name() == name);
        found.ok_or_else(|| "must be one of `count`, `mean`, `min`, `max`, `stddev`".to_owned())
    }

    /// Appends its value; `absent` where it is beyond a 64-bit float.
    fn write(self, bucket: &Bucket, absent: &[u8], out: &mut Vec<u8>) {
        let number = match self {
            Self::Count => return out.extend_from_slice(bucket.count.to_string().as_bytes()),
            Self::Mean => bucket.mean,
            Self::Min => bucket.min,
            Self::Max => bucket.max,
            Self::StdDev => bucket.stddev,
        };
        if number.is_finite() { write_number(number, out) } else { out.extend_from_slice(absent) }
    }
}

/// What a request asks for.
struct Request {
    interval: Interval,
    query: BucketQuery,
    statistics: Vec<Statistic>,
    format: Format,
}

/// The width of a bucket, as it was given and as a duration.
#[derive(Debug, Clone, PartialEq)]
struct Interval {
    text: String,
    duration: Duration,
}

/// Statistics of a datastream in intervals.
///
/// Intervals are aligned to 1970-01-01T00:00:00Z (a Thursday: so are those of `7d`); empty ones are left out. Missing values do
/// not count; values flagged fail do, unless `qc=normal` leaves their readings out. The standard deviation is the population's.
#[utoipa::path(
    method(get, head),
    path = "/v1/datastreams/{sensor_id}/{property}/buckets",
    tag = "Datastreams",
    params(
        ("sensor_id" = String, Path, description = "Id of the sensor", example = "emb3"),
        ("property" = String, Path, description = "Id of the observed property", example = "sec"),
        ("interval" = String, Query, description = "Width of a bucket: a whole number and `us`, `ms`, `s`, `m`, `h` or `d`", example = "1h"),
        ("statistics" = Option<Vec<String>>, Query, description = "Of `count`, `mean`, `min`, `max`, `stddev`; all if absent", example = json!(["count", "mean"])),
        ("qc" = Option<String>, Query, description = "Only readings with this label: `normal` or `anomaly`", example = "normal"),
        ("from" = Option<String>, Query, description = "First phenomenon time, inclusive (RFC 3339)", example = "2017-02-08T00:00:00Z"),
        ("to" = Option<String>, Query, description = "Last phenomenon time, exclusive (RFC 3339)", example = "2017-02-09T00:00:00Z"),
        ("format" = Option<String>, Query, description = "`json` (default) or `csv`; wins over `Accept`", example = "json"),
    ),
    responses(
        (status = 200, description = "The buckets, in order of time", content(
            (Buckets = "application/json"),
            (String = "text/csv", example = "start,count,mean,min,max,stddev\n2017-02-08T15:00:00Z,2,903.5,903,904,0.5\n"),
        )),
        (status = 400, description = "A parameter is unknown, repeated or wrong", content_type = "application/problem+json"),
        (status = 404, description = "There is no such sensor, or its type has no such property", content_type = "application/problem+json"),
        (status = 406, description = "No media type of `Accept` can be answered", content_type = "application/problem+json"),
        (status = 422, description = "More than 10,000 buckets: take a longer interval or a shorter time range", content_type = "application/problem+json"),
        (status = 503, description = "The store is not available now; see `Retry-After`", content_type = "application/problem+json"),
    )
)]
pub async fn buckets(
    http: HttpRequest,
    path: Path<(String, String)>,
    app: Data<App>,
    _principal: Principal,
) -> Result<HttpResponse, Problem> {
    let (sensor_id, property) = path.into_inner();
    let sensor = find::sensor(&app, &sensor_id)?;
    let sensor_type = app.sensor_type(sensor.sensor_type.as_str())?;
    let index = find::property_index(&sensor_type, &property).map_err(|rule| {
        let detail = format!("property `{}` {rule}", crate::problem::printable(&property));
        Problem::new(Code::NotFound, detail).with("known", find::property_ids(&sensor_type))
    })?;
    let request = Request::parse(&http, &sensor.id, &sensor_type, index)?;
    let name = format!("{}-{property}-buckets", sensor.id);
    let shape = Shape { format: request.format, coding: Coding::Identity, name };
    if is_head(&http) {
        return Ok(shape.head());
    }
    let found = find::or_empty(app.ports.store.buckets(&sensor_type.id, &request.query).await, Vec::new);
    let buckets = found.map_err(|error| match error.kind() {
        ErrorKind::Rejected => too_many(&request),
        _ => error.into(),
    })?;
    let unit = &sensor_type.definition.properties[index].unit;
    let body = match request.format {
        Format::Csv => csv(&request.statistics, &buckets),
        _ => json(&request, unit, &buckets),
    };
    Ok(shape.headers().body(body))
}

fn too_many(request: &Request) -> Problem {
    let detail = format!(
        "parameter `interval` = `{}`: there are more than {BUCKETS_MAX} buckets; take a longer interval, or a shorter time \
         range with `from` and `to`",
        request.interval.text
    );
    Problem::new(Code::Invalid, detail)
        .with("parameter", "interval")
        .with("value", request.interval.text.as_str())
        .with("buckets_max", BUCKETS_MAX)
}

impl Request {
    fn parse(
        http: &HttpRequest,
        sensor_id: &domain::SensorId,
        sensor_type: &SensorType,
        property: usize,
    ) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(http, &KNOWN)?;
        let interval = parameters.required("interval", INTERVAL_RULE, interval);
        let wanted = parameters.list("statistics", Statistic::parse);
        let times = parameters.times();
        let label = parameters.single("qc", label);
        let format = parameters.format(http, Format::TABLE)?;
        parameters.finish()?;
        let interval = interval.ok_or_else(|| Problem::parameter("interval", "", INTERVAL_RULE))?;
        let query = BucketQuery {
            sensor_id: sensor_id.clone(),
            property: sensor_type.property_ids[property].clone(),
            times,
            interval: interval.duration,
            label,
            buckets_max: BUCKETS_MAX,
        };
        let is_wanted = |statistic: &Statistic| wanted.as_ref().is_none_or(|wanted| wanted.contains(statistic));
        let statistics = Statistic::ALL.into_iter().filter(is_wanted).collect();
        Ok(Self { interval, query, statistics, format })
    }
}

const INTERVAL_RULE: &str = "must be a whole number and `us`, `ms`, `s`, `m`, `h` or `d`, from `1us` to `36600d`";

fn interval(text: &str) -> Result<Interval, String> {
    const DAY: u64 = 86_400_000_000;
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(split);
    let unit: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => DAY,
        _ => return Err(INTERVAL_RULE.to_owned()),
    };
    let micros = count.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    let micros = micros.filter(|micros| (1..=36_600 * DAY).contains(micros)).ok_or(INTERVAL_RULE)?;
    Ok(Interval { text: text.to_owned(), duration: Duration::from_micros(micros) })
}

fn json(request: &Request, unit: &str, buckets: &[Bucket]) -> Vec<u8> {
    // A unit is any printable ASCII, quotes among it; the others need no escapes.
    let head = format!(
        "{{\"sensor_id\":\"{}\",\"property\":\"{}\",\"unit\":{},\"interval\":\"{}\",\"items\":[",
        request.query.sensor_id,
        request.query.property,
        serde_json::Value::from(unit),
        request.interval.text
    );
    let mut out = head.into_bytes();
    for (place, bucket) in buckets.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"{\"start\":\"" } else { b",\n{\"start\":\"" });
        bucket.start.write_to(&mut out);
        out.push(b'"');
        for statistic in &request.statistics {
            out.extend_from_slice(format!(",\"{}\":", statistic.name()).as_bytes());
            statistic.write(bucket, b"null", &mut out);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}\n");
    out
}

fn csv(statistics: &[Statistic], buckets: &[Bucket]) -> Vec<u8> {
    let mut out = b"start".to_vec();
    for statistic in statistics {
        out.push(b',');
        out.extend_from_slice(statistic.name().as_bytes());
    }
    out.push(b'\n');
    for bucket in buckets {
        bucket.start.write_to(&mut out);
        for statistic in statistics {
            out.push(b',');
            statistic.write(bucket, b"", &mut out);
        }
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_whole_numbers_with_a_unit() {
        for (text, micros) in [("1us", 1), ("250ms", 250_000), ("15m", 900_000_000), ("7d", 604_800_000_000)] {
            assert_eq!(interval(text).map(|interval| interval.duration), Ok(Duration::from_micros(micros)));
        }
        for bad in ["", "h", "0h", "1", "1.5h", "-1h", "1 h", "1w", "36601d", "99999999999999999999d", "1hh", "١h"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_statistic_beyond_a_float_is_null() {
        let start = domain::Timestamp::from_micros(0);
        let bucket = Bucket { start, count: 2, mean: f64::INFINITY, min: 1e308, max: 1.5e308, stddev: f64::NAN };
        assert_eq!(
            String::from_utf8_lossy(&csv(&Statistic::ALL, &[bucket])),
            "start,count,mean,min,max,stddev\n1970-01-01T00:00:00Z,2,,1e308,1.5e308,\n"
        );
    }
}

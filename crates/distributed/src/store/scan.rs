//! Scanning: pages of rows in canonical order, from the second on in a point in time. Most scans are done with the first, which so takes one
//! request, not three.
//!
//! **Invariant:** a page begins behind the last row of the one before it by the canonical order alone, so that a scan can go on in another
//! point in time when the servers have lost the first.
//!
//! **Cost.** A page over several sensors is sorted by sensor first; Elasticsearch then looks at the rows of the sensors that can be on it
//! alone. Within a sensor with more rows than a page, pages are sorted by time alone, from the last time on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{Label, Position, Row, RowRef, Rows, SensorId, Timestamp};
use ports::{Order, PortError, ReadingQuery, Scan, SensorRows, TimeRange};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    client::{Answer, Client, Fault, FaultKind},
    hits::{self, Hit, Wanted},
    search::{self, PointInTime},
    settings::Settings,
    types::Known,
};

const DOING: &str = "scanning";
/// Sensors that one search names; Elasticsearch takes 65,536.
const SENSORS_MAX: usize = 8_192;
/// Pages grow by this from what was asked for, until they are full.
const PAGE_GROWTH: usize = 4;
/// About the size of a document without its values, in bytes, and of a value with its flag.
const ROW_SIZE: usize = 350;
const VALUE_SIZE: usize = 50;

/// A running scan.
pub(crate) struct ElasticScan {
    /// Away while a page is fetched ahead.
    pages: Option<Pages>,
    ahead: Option<JoinHandle<Result<Turned, PortError>>>,
    /// Rows that were fetched, by sensor.
    fetched: VecDeque<SensorRows>,
    /// How many of the first sensor's were answered.
    answered: usize,
    is_over: bool,
}

/// What fetches pages, with the page that it has fetched.
type Turned = (Pages, Vec<SensorRows>);

/// Fetches page after page.
struct Pages {
    client: Client,
    known: Arc<Known>,
    /// Opened for the second search.
    point_in_time: Option<PointInTime>,
    keep_alive: Duration,
    query: ReadingQuery,
    /// Sensors still to come, in order, by search; `None` for all.
    sensors: Option<VecDeque<Vec<SensorId>>>,
    /// The sensor whose rows alone are asked for now.
    within: Option<SensorId>,
    page_rows: usize,
    page_rows_max: usize,
    /// How many pages were fetched.
    turned: u32,
    has_searched: bool,
    done: bool,
}

impl ElasticScan {
    /// Opens a scan; what was written before has been refreshed.
    pub(crate) fn open(client: &Client, known: Arc<Known>, query: &ReadingQuery, settings: &Settings) -> Self {
        let keep_alive = settings.scan_keep_alive;
        let width = known.width();
        let fitting = settings.page_size_max / (ROW_SIZE + VALUE_SIZE * width);
        let page_rows_max = fitting.clamp(1, settings.page_rows_max.max(1));
        let sensors = query.sensor_ids.as_ref().map(|ids| by_search(ids, query.after.as_ref()));
        let pages = Pages {
            client: client.clone(),
            known,
            point_in_time: None,
            keep_alive,
            query: query.clone(),
            sensors,
            within: None,
            page_rows: 0,
            page_rows_max,
            turned: 0,
            has_searched: false,
            done: query.times.from >= query.times.to || query.accepted.from >= query.accepted.to,
        };
        Self { pages: Some(pages), ahead: None, fetched: VecDeque::new(), answered: 0, is_over: false }
    }

    /// Gets the next page; from the second on, the one behind it is fetched ahead.
    async fn turn(&mut self, rows_max: usize) -> Result<(), PortError> {
        let (mut pages, rows) = match (self.ahead.take(), self.pages.take()) {
            (Some(ahead), _) => ahead.await.map_err(|error| interrupted().with_source(error))??,
            (None, Some(pages)) => pages.turn(rows_max).await?,
            (None, None) => return Err(interrupted()),
        };
        self.fetched = rows.into();
        pages.turned += 1;
        if pages.turned == 1 || pages.done {
            self.pages = Some(pages);
        } else {
            self.ahead = Some(tokio::spawn(pages.turn(rows_max)));
        }
        Ok(())
    }
}

impl Drop for ElasticScan {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}

fn interrupted() -> PortError {
    PortError::new(ports::ErrorKind::Unavailable, "the scan was interrupted")
}

/// Sensors from where the scan begins, in order, each once, so many to a search.
fn by_search(ids: &[SensorId], after: Option<&(SensorId, Timestamp)>) -> VecDeque<Vec<SensorId>> {
    let mut ids: Vec<SensorId> = ids.iter().filter(|id| after.is_none_or(|(first, _)| *id >= first)).cloned().collect();
    ids.sort_unstable();
    ids.dedup();
    ids.chunks(SENSORS_MAX).map(<[SensorId]>::to_vec).collect()
}

impl Pages {
    /// Fetches the next page: what is asked for first, then more and more.
    async fn turn(mut self, rows_max: usize) -> Result<Turned, PortError> {
        let grown = rows_max.max(self.page_rows.saturating_mul(PAGE_GROWTH));
        self.page_rows = grown.clamp(1, self.page_rows_max);
        let rows = self.fetch().await?;
        Ok((self, rows))
    }

    /// The next page that has rows; empty behind the last.
    async fn fetch(&mut self) -> Result<Vec<SensorRows>, PortError> {
        while !self.done {
            let of_search = self.sensors.as_ref().map(|searches| searches.front().map_or(&[][..], Vec::as_slice));
            let alone = match of_search {
                Some([]) => {
                    self.done = true;
                    break;
                }
                Some([alone]) => Some(alone.clone()),
                _ => None,
            };
            let is_alone = alone.is_some();
            self.within = self.within.take().or(alone);
            let rows = self.search().await?;
            let is_full = rows.iter().map(|of_sensor| of_sensor.rows.len()).sum::<usize>() >= self.page_rows;
            if let Some(last) = rows.last() {
                self.query.after = last.rows.times().last().map(|time| (last.sensor_id.clone(), *time));
            }
            match (is_full, &rows[..]) {
                (true, [of_one]) => self.within = Some(of_one.sensor_id.clone()),
                (true, _) => {}
                // The end of one of many sensors: on with those behind it.
                (false, _) if self.within.take().is_some() && !is_alone => {}
                (false, _) => self.end_search(),
            }
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
        Ok(Vec::new())
    }

    fn end_search(&mut self) {
        match &mut self.sensors {
            Some(searches) => drop(searches.pop_front()),
            None => self.done = true,
        }
    }

    async fn search(&mut self) -> Result<Vec<SensorRows>, PortError> {
        let answer = self.ask(self.body()).await?;
        let wanted = if self.query.keys_only { Wanted::Keys } else { Wanted::Documents };
        let found = hits::read_search(&answer.body, &self.known.documents, wanted)?;
        if let Some(point_in_time) = &mut self.point_in_time {
            point_in_time.renew(found.point_in_time);
        }
        if self.query.keys_only {
            return self.keys(found.hits);
        }
        let mut rows: Vec<SensorRows> = Vec::new();
        for hit in found.hits {
            let document = hit.document.ok_or_else(|| hits::without_source(&hit.id))?;
            match rows.last_mut().filter(|last| last.sensor_id == document.sensor_id) {
                Some(of_sensor) => of_sensor.rows.push(document.as_ref()),
                None => {
                    let mut of_sensor = Rows::with_capacity(self.known.width(), self.page_rows.min(1_024));
                    of_sensor.push(document.as_ref());
                    rows.push(SensorRows { sensor_id: document.sensor_id, rows: of_sensor });
                }
            }
        }
        Ok(rows)
    }

    /// The identities that hits were sorted by, as rows without values.
    fn keys(&self, hits: Vec<Hit>) -> Result<Vec<SensorRows>, PortError> {
        let mut rows: Vec<SensorRows> = Vec::new();
        for Hit { sorted_by: (sensor_id, time), .. } in hits {
            let sensor_id =
                sensor_id.or_else(|| self.within.clone()).ok_or_else(|| hits::without_source("without id"))?;
            if rows.last().is_none_or(|last| last.sensor_id != sensor_id) {
                rows.push(SensorRows { sensor_id, rows: Rows::new(0) });
            }
            let row = Row {
                phenomenon_time: Timestamp::from_micros(time),
                accepted_at: Timestamp::MIN,
                position: Position(0),
                first_position: Position(0),
                type_version: 0,
                label: Label::Normal,
            };
            let key = RowRef { row, values: &[], flags: &[] };
            rows.last_mut().into_iter().for_each(|of_sensor| of_sensor.rows.push(key));
        }
        Ok(rows)
    }

    async fn ask(&mut self, body: Value) -> Result<Answer, PortError> {
        let pattern = self.known.pattern();
        let failed = |fault: Fault| fault.while_doing(DOING);
        if !std::mem::replace(&mut self.has_searched, true) {
            return search::search(&self.client, &pattern, "", &body).await.map_err(failed);
        }
        if let Some(point_in_time) = &self.point_in_time {
            match point_in_time.search(body.clone()).await {
                // Nobody asked for too long, or an index is gone.
                Err(fault) if fault.kind == FaultKind::Missing => {}
                answer => return answer.map_err(failed),
            }
        }
        let point_in_time = PointInTime::open(&self.client, &pattern, self.keep_alive).await?;
        self.point_in_time.insert(point_in_time).search(body).await.map_err(failed)
    }

    fn body(&self) -> Value {
        let query = &self.query;
        let mut times = query.times;
        let mut filters: Vec<Value> = search::range("accepted_at", query.accepted).into_iter().collect();
        filters.extend(query.label.map(search::label));
        if query.changed_from > Position(0) {
            filters.push(
                json!({"range": {"@position": {"gte": i64::try_from(query.changed_from.0).unwrap_or(i64::MAX)}}}),
            );
        }
        let time_order = if query.order == Order::Ascending { "asc" } else { "desc" };
        let by_time = json!({"phenomenon_time": time_order});
        let (mut sort, mut after) = (json!([by_time]), None);
        match (&self.within, self.sensors.as_ref().and_then(VecDeque::front)) {
            (Some(sensor_id), _) => {
                filters.push(json!({"term": {"sensor_id": sensor_id}}));
                if let Some((_, time)) = query.after.as_ref().filter(|(last, _)| last == sensor_id) {
                    times = behind(times, *time, query.order);
                }
            }
            (None, sensor_ids) => {
                filters.extend(sensor_ids.map(|ids| json!({"terms": {"sensor_id": ids}})));
                sort = json!([{"sensor_id": "asc"}, by_time]);
                after = query.after.as_ref().map(|(sensor_id, time)| json!([sensor_id, time.as_micros()]));
            }
        }
        filters.extend(search::range("phenomenon_time", times));
        let filters = json!({"bool": {"filter": filters}});
        let mut body = json!({"size": self.page_rows, "track_total_hits": false, "query": filters, "sort": sort});
        if let Some(after) = after {
            body["search_after"] = after;
        }
        if query.keys_only {
            // The servers need not load what is not read here.
            body["_source"] = false.into();
            body["stored_fields"] = "_none_".into();
        }
        body
    }
}

/// What is left of a range behind a time.
fn behind(times: TimeRange, time: Timestamp, order: Order) -> TimeRange {
    let next = Timestamp::from_micros(time.as_micros().saturating_add(1));
    match order {
        Order::Ascending => TimeRange { from: times.from.max(next), to: times.to },
        Order::Descending => TimeRange { from: times.from, to: times.to.min(time) },
    }
}

#[async_trait]
impl Scan for ElasticScan {
    async fn next(&mut self, rows_max: usize) -> Result<Option<SensorRows>, PortError> {
        if self.fetched.is_empty() {
            if self.is_over {
                return Ok(None);
            }
            let turned = self.turn(rows_max).await;
            // Of a page that can't be read nobody knows where it ends.
            self.is_over = turned.as_ref().is_err_and(|error| !error.is_transient());
            turned?;
            self.answered = 0;
        }
        let rows_max = rows_max.max(1);
        let Some(of_sensor) = self.fetched.front() else {
            self.is_over = true;
            return Ok(None);
        };
        if self.answered == 0 && of_sensor.rows.len() <= rows_max {
            return Ok(self.fetched.pop_front());
        }
        let to = of_sensor.rows.len().min(self.answered + rows_max);
        let mut rows = Rows::with_capacity(of_sensor.rows.width(), to - self.answered);
        (self.answered..to).for_each(|index| rows.push(of_sensor.rows.get(index)));
        let sensor_id = of_sensor.sensor_id.clone();
        self.answered = to;
        if to == of_sensor.rows.len() {
            self.fetched.pop_front();
            self.answered = 0;
        }
        Ok(Some(SensorRows { sensor_id, rows }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(texts: &[&str]) -> Vec<SensorId> {
        texts.iter().map(|text| SensorId::parse(text).expect("an id")).collect()
    }

    #[test]
    fn sensors_are_searched_in_order_from_where_the_scan_begins() {
        let after = (ids(&["s10"]).remove(0), Timestamp::MIN);
        let searches = by_search(&ids(&["s2", "s1", "s2", "s10", "s3"]), Some(&after));
        assert_eq!(searches, [ids(&["s10", "s2", "s3"])]);
        let many: Vec<SensorId> =
            (0..SENSORS_MAX + 1).map(|n| SensorId::parse(&format!("s{n:06}")).expect("an id")).collect();
        assert_eq!(by_search(&many, None).iter().map(Vec::len).collect::<Vec<_>>(), [SENSORS_MAX, 1]);
        assert!(by_search(&[], None).is_empty());
    }

    #[test]
    fn what_is_behind_a_time_leaves_it_out() {
        let at = Timestamp::from_micros;
        let all = TimeRange { from: at(0), to: at(10) };
        assert_eq!(behind(all, at(4), Order::Ascending), TimeRange { from: at(5), to: at(10) });
        assert_eq!(behind(all, at(4), Order::Descending), TimeRange { from: at(0), to: at(4) });
        assert_eq!(behind(all, at(-4), Order::Ascending), all);
    }
}

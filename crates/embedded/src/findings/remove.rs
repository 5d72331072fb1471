//! Taking findings out: by age along their keys, with a sensor type by looking at all of them.
//!
//! **Invariant:** a run goes in one batch with everything that leads to it.

use domain::{Anomaly, Run, SensorTypeId, Timestamp};
use fjall::{Keyspace, OwnedWriteBatch};
use ports::{ErrorKind, PortError, Removal, RemovalPlace, Removed, leases};

use super::{Keyspaces, OPEN_BY_START, RUN_BY_START, from_json, newest_first, reading, run_key, start_key, time_key};

/// Takes out one part.
pub(super) struct Remover<'a> {
    pub keyspaces: &'a Keyspaces,
    pub batch: &'a mut OwnedWriteBatch,
    pub looked_at_max: usize,
}

/// What a sensor type has, in the order in which it goes; the first byte of a place.
const ANOMALIES: u8 = b'a';
const RUNS: u8 = b'r';
const SHARES: u8 = b's';

impl Remover<'_> {
    /// Takes out what is next of a removal.
    pub fn part(mut self, removal: &Removal, from: Option<RemovalPlace>) -> Result<Removed, PortError> {
        let from = from.map(|RemovalPlace(place)| place);
        match removal {
            Removal::AnomaliesBefore(time) => {
                let (low, high) = (from.unwrap_or_default(), time_key(*time).to_vec());
                let (count, rest) = self.anomalies(low, high, None)?;
                Ok(Removed { count, rest: rest.map(RemovalPlace) })
            }
            Removal::RunsBefore(Timestamp::MIN) => Ok(Removed { count: 0, rest: None }),
            Removal::RunsBefore(time) => {
                let newest = Timestamp::from_micros(time.as_micros() - 1);
                let low = from.unwrap_or_else(|| [&[RUN_BY_START][..], &newest_first(newest)].concat());
                let (count, rest) = self.runs(low, |run| run.state.has_ended())?;
                Ok(Removed { count, rest: rest.map(RemovalPlace) })
            }
            Removal::SensorType(id) => self.of_type(id, from),
        }
    }

    fn of_type(&mut self, id: &SensorTypeId, from: Option<Vec<u8>>) -> Result<Removed, PortError> {
        let from = from.unwrap_or_else(|| vec![ANOMALIES]);
        let (what, low) = from.split_first().ok_or_else(not_ours)?;
        let (count, rest, next) = match *what {
            ANOMALIES => {
                let (count, rest) = self.anomalies(low.to_vec(), vec![0xff; 9], Some(id))?;
                (count, rest, Some(vec![RUNS, RUN_BY_START]))
            }
            RUNS => {
                let (count, rest) = self.runs(low.to_vec(), |run| run.sensor_type == *id)?;
                (count, rest, Some(vec![SHARES]))
            }
            SHARES => (self.shares(&leases::prefix_of_type(id))?, None, None),
            _ => return Err(not_ours()),
        };
        let rest = rest.map(|rest| [&[*what][..], &rest].concat()).or(next);
        Ok(Removed { count, rest: rest.map(RemovalPlace) })
    }

    /// Looks at anomalies from a key on, those of a sensor type or whatever is there; answers how many went and where it was left.
    fn anomalies(
        &mut self,
        low: Vec<u8>,
        high: Vec<u8>,
        of: Option<&SensorTypeId>,
    ) -> Result<(u64, Option<Vec<u8>>), PortError> {
        let goes =
            |value: &[u8]| of.is_none_or(|id| from_json::<Anomaly>(value).is_ok_and(|its| its.sensor_type == *id));
        let keyspace: &Keyspace = &self.keyspaces.anomalies;
        let (mut count, mut looked_at) = (0, 0);
        if low >= high {
            return Ok((0, None));
        }
        for item in keyspace.range(low..high) {
            let (key, value) = item.into_inner().map_err(reading)?;
            if looked_at >= self.looked_at_max {
                return Ok((count, Some(key.to_vec())));
            }
            looked_at += 1;
            if goes(&value) {
                self.batch.remove(keyspace, key);
                count += 1;
            }
        }
        Ok((count, None))
    }

    /// The same of runs, by their start.
    fn runs(&mut self, low: Vec<u8>, goes: impl Fn(&Run) -> bool) -> Result<(u64, Option<Vec<u8>>), PortError> {
        let Keyspaces { runs, shares, .. } = self.keyspaces;
        let (mut count, mut looked_at) = (0, 0);
        for item in runs.range(low..vec![RUN_BY_START + 1]) {
            let (key, value) = item.into_inner().map_err(reading)?;
            if looked_at >= self.looked_at_max {
                return Ok((count, Some(key.to_vec())));
            }
            looked_at += 1;
            let Some(run) = from_json::<Run>(&value).ok().filter(&goes) else { continue };
            self.batch.remove(runs, run_key(OPEN_BY_START, &newest_first(run.started_at), &run.id));
            self.batch.remove(runs, start_key(&run.id));
            self.batch.remove(runs, key);
            self.batch.remove(shares, leases::of_run(run.id.as_str()));
            count += 1;
        }
        Ok((count, None))
    }

    fn shares(&mut self, prefix: &str) -> Result<u64, PortError> {
        let shares = &self.keyspaces.shares;
        let mut count = 0;
        for item in shares.prefix(prefix) {
            self.batch.remove(shares, item.key().map_err(reading)?);
            count += 1;
        }
        Ok(count)
    }
}

fn not_ours() -> PortError {
    PortError::new(ErrorKind::Rejected, "a place in a removal that no part of one answered")
}

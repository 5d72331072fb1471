//! Walks rows from the store into an encoder and hands out its bytes piece by piece.
//!
//! **Invariant:** one block of rows and one buffer are held at a time, and nothing is read before the piece in front of it is
//! taken: memory does not grow with the answer, and a slow client slows the scan.

use std::sync::Arc;

use bytes::Bytes;
use domain::{Judged, Rows, SensorId, SensorTypeId, Timestamp};
use ports::{ErrorKind, PortError, Scan, SensorQuery, SensorRows, Store};

use super::encoder::{EncodeError, Encoder};
use crate::{Code, Problem};

/// Bytes at which a piece is handed out.
const PIECE_SIZE: usize = 64 * 1024;
/// The most rows read from the store at once.
const BLOCK_ROWS_MAX: usize = 8_192;
/// The most values (rows times properties) read at once, unless [`BLOCK_ROWS_MIN`] rows have more.
const BLOCK_CELLS_MAX: usize = 65_536;
const BLOCK_ROWS_MIN: usize = 256;

/// Where the rows of an answer come from.
pub enum Source {
    /// A scan of the store.
    Scan(Box<dyn Scan>),
    /// The newest rows of sensors.
    Latest(Box<Latest>),
    /// Nowhere (any more).
    Nothing,
}

/// The newest rows of the sensors that a query still asks for.
pub struct Latest {
    /// Where they are.
    pub store: Arc<dyn Store>,
    /// The type of the sensors.
    pub sensor_type: SensorTypeId,
    /// Which sensors are left; its `count_max` is set for each page.
    pub query: SensorQuery,
}

impl Latest {
    /// The next of them; `None` behind the last.
    async fn next(&mut self, rows_max: usize) -> Result<Option<Block>, PortError> {
        self.query.count_max = rows_max;
        let Judged { sensor_ids, rows } = match self.store.latest(&self.sensor_type, &self.query).await {
            // Nothing of this type was ever stored.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            latest => latest?,
        };
        let Some(last) = sensor_ids.last() else { return Ok(None) };
        self.query.after = Some(last.clone());
        Ok(Some(Block { owners: Owners::Each(sensor_ids), rows, at: 0 }))
    }
}

/// Rows in memory, with whose they are.
struct Block {
    owners: Owners,
    rows: Rows,
    /// The first row not encoded yet.
    at: usize,
}

enum Owners {
    One(SensorId),
    Each(Vec<SensorId>),
}

impl Block {
    fn owner(&self, index: usize) -> &SensorId {
        match &self.owners {
            Owners::One(id) => id,
            Owners::Each(ids) => &ids[index],
        }
    }
}

impl Source {
    async fn next(&mut self, rows_max: usize) -> Result<Option<Block>, PortError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Scan(scan) => Ok(scan.next(rows_max).await?.map(|SensorRows { sensor_id, rows }| Block {
                owners: Owners::One(sensor_id),
                rows,
                at: 0,
            })),
            Self::Latest(latest) => latest.next(rows_max).await,
        }
    }
}

/// Why an answer can't be finished.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store fails.
    #[error("the store fails: {0}")]
    Store(#[from] PortError),
    /// The encoder fails.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The thread that encodes ended before its work did: the process stops, or the encoder has panicked.
    #[error("the thread that writes the answer has ended")]
    Interrupted,
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Store(error) => error.into(),
            ExportError::Encode(_) | ExportError::Interrupted => {
                tracing::error!(%error, "an answer can't be written");
                Self::new(Code::Internal, "the answer can't be written in this format")
            }
        }
    }
}

/// An answer on its way: rows in, bytes out.
pub struct Export {
    source: Source,
    /// Away only while a blocking thread works on it.
    work: Option<Work>,
    block_rows: usize,
    is_done: bool,
}

/// The part of an export that needs a processor but does not wait.
struct Work {
    encoder: Box<dyn Encoder>,
    block: Option<Block>,
    /// How many more rows may be answered.
    left: u64,
    /// The row answered last.
    last: Option<(SensorId, Timestamp)>,
}

impl Export {
    /// An answer of at most `limit` rows of `width` stored properties.
    pub fn new(source: Source, encoder: Box<dyn Encoder>, width: usize, limit: Option<u64>) -> Self {
        let work = Work { encoder, block: None, left: limit.unwrap_or(u64::MAX), last: None };
        let block_rows = (BLOCK_CELLS_MAX / width.max(1)).clamp(BLOCK_ROWS_MIN, BLOCK_ROWS_MAX);
        Self { source, work: Some(work), block_rows, is_done: false }
    }

    /// Says whether the last piece was handed out.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The next piece; `None` behind the last.
    ///
    /// # Errors
    /// [`ExportError`]: what was handed out so far is not the whole answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        while !self.is_done {
            let mut work = self.work.take().ok_or(ExportError::Interrupted)?;
            if work.block.is_none() {
                let rows_max = usize::try_from(work.left).unwrap_or(usize::MAX).saturating_add(1);
                work.block = self.source.next(rows_max.min(self.block_rows)).await?;
            }
            if work.block.is_none() || work.left == 0 {
                work.finish()?;
                self.is_done = true;
            } else if work.encoder.is_heavy() {
                work = tokio::task::spawn_blocking(move || work.encode().map(|()| work))
                    .await
                    .map_err(|_| ExportError::Interrupted)??;
            } else {
                work.encode()?;
            }
            let ready = work.encoder.ready();
            let piece = (ready >= PIECE_SIZE || (self.is_done && ready > 0)).then(|| work.encoder.take());
            self.work = Some(work);
            if let Some(piece) = piece {
                return Ok(Some(Bytes::from(piece)));
            }
        }
        Ok(None)
    }
}

impl Work {
    /// Encodes rows of the block until a piece is full.
    fn encode(&mut self) -> Result<(), EncodeError> {
        let Some(block) = &mut self.block else { return Ok(()) };
        while block.at < block.rows.len() && self.left > 0 && self.encoder.ready() < PIECE_SIZE {
            self.encoder.row(block.owner(block.at), block.rows.get(block.at))?;
            block.at += 1;
            self.left -= 1;
        }
        if let Some(before) = block.at.checked_sub(1) {
            self.last = Some((block.owner(before).clone(), block.rows.times()[before]));
        }
        if block.at == block.rows.len() {
            self.block = None;
        }
        Ok(())
    }

    /// Ends the answer. Rows that are left over begin the next page.
    fn finish(&mut self) -> Result<(), EncodeError> {
        let next = self.last.as_ref().filter(|_| self.block.is_some());
        self.encoder.finish(next.map(|(id, time)| (id, *time)))
    }
}

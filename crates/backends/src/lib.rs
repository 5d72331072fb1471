//! Opens the log and the store of a hub, wherever they are.
//!
//! **Invariant:** only this crate asks which backend is configured; everybody else has the two ports.

use std::{path::PathBuf, sync::Arc};

#[cfg(feature = "distributed")]
use distributed::{log::KafkaLog, store::ElasticStore};
use embedded::Folder;
use ports::{Clock, ErrorKind, Log, PortError, Store};

/// Where log and store are, and what they go by.
#[derive(Debug, Clone)]
pub enum Settings {
    /// Both in a data folder, for one process.
    Embedded {
        /// The data folder.
        folder: PathBuf,
        /// Its bounds.
        settings: embedded::Settings,
    },
    /// The log on Kafka, the store on Elasticsearch, for any number of processes.
    #[cfg(feature = "distributed")]
    Distributed {
        /// What the log goes by.
        log: Box<distributed::log::Settings>,
        /// What the store goes by.
        store: Box<distributed::store::Settings>,
    },
}

/// Why log and store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder can't be used.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The servers can't be used.
    #[error(transparent)]
    Distributed(#[from] PortError),
}

impl OpenError {
    /// Says whether the servers are away, and may come back while nobody does anything.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Distributed(error) if error.kind() == ErrorKind::Unavailable)
    }
}

/// An open log and an open store.
pub struct Backends {
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
    place: Place,
}

/// Where both are.
enum Place {
    Embedded(PathBuf, Arc<Folder>),
    #[cfg(feature = "distributed")]
    Distributed(Arc<KafkaLog>),
}

impl Backends {
    /// Opens both.
    ///
    /// # Errors
    /// [`OpenError`], each saying what to do.
    pub async fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        match settings {
            Settings::Embedded { folder: path, settings } => {
                let folder = Folder::open(path, settings.clone(), clock)?;
                let (log, store) = (folder.log(), folder.store());
                Ok(Self { log, store, place: Place::Embedded(path.clone(), Arc::new(folder)) })
            }
            #[cfg(feature = "distributed")]
            Settings::Distributed { log, store } => {
                let store = Arc::new(ElasticStore::new((**store).clone())?);
                let log = Arc::new(KafkaLog::open((**log).clone(), clock).await?);
                Ok(Self { log: Arc::clone(&log) as _, store, place: Place::Distributed(log) })
            }
        }
    }

    /// The log.
    pub fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log)
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The data folder and its path, where both are in one: to be copied while it is in use.
    pub fn folder(&self) -> Option<(PathBuf, Arc<Folder>)> {
        match &self.place {
            Place::Embedded(path, folder) => Some((path.clone(), Arc::clone(folder))),
            #[cfg(feature = "distributed")]
            Place::Distributed(_) => None,
        }
    }

    /// What must be done for the log from time to time by a process that works it off. It may outlive this value.
    pub fn upkeep(&self) -> Upkeep {
        match &self.place {
            Place::Embedded(..) => Upkeep::None,
            #[cfg(feature = "distributed")]
            Place::Distributed(log) => Upkeep::Kafka(Arc::clone(log)),
        }
    }

    /// Finishes what is under way; the ports refuse from then on. Answers false where somebody still copies the data folder, so that
    /// it can't be closed in order; nothing acknowledged is lost by that.
    ///
    /// # Errors
    /// `DiskFull` or `Corrupt` where the last sync failed, `Unavailable` where the servers are away; nothing acknowledged is lost by
    /// that, either.
    pub async fn close(self) -> Result<bool, PortError> {
        drop((self.log, self.store));
        match self.place {
            Place::Embedded(_, folder) => match Arc::into_inner(folder) {
                Some(folder) => folder.close().map(|()| true),
                None => Ok(false),
            },
            #[cfg(feature = "distributed")]
            Place::Distributed(log) => log.close().await.map(|()| true),
        }
    }
}

/// Upkeep of a log that does not look after itself.
#[derive(Clone)]
pub enum Upkeep {
    /// There is none: the data folder looks after itself.
    None,
    /// Retention of topics on Kafka.
    #[cfg(feature = "distributed")]
    Kafka(Arc<KafkaLog>),
}

impl Upkeep {
    /// Removes from the log what is old and read by all.
    ///
    /// # Errors
    /// `Unavailable`; to be tried again next time.
    pub async fn apply_retention(&self) -> Result<(), PortError> {
        match self {
            Self::None => Ok(()),
            #[cfg(feature = "distributed")]
            Self::Kafka(log) => log.apply_retention().await,
        }
    }

    /// Says where records that `group` has not read are about to be deleted by somebody else's rules.
    ///
    /// # Errors
    /// Which, in words for a person.
    pub async fn check_unread(&self, group: &str) -> Result<(), String> {
        #[cfg(not(feature = "distributed"))]
        let _ = group;
        match self {
            Self::None => Ok(()),
            #[cfg(feature = "distributed")]
            Self::Kafka(log) => {
                let endangered = log.endangered(group).await.map_err(|error| error.to_string())?;
                let Some(first) = endangered.first() else { return Ok(()) };
                Err(format!(
                    "Kafka is about to delete records that `{group}` has not read, in `{}` partition(s), such as `{}` of topic `{}`, \
                     which keeps them for {} s whoever has read them",
                    endangered.len(),
                    first.partition,
                    first.topic,
                    first.kept_for.as_secs(),
                ))
            }
        }
    }
}

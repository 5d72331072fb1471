//! Opens the log, the store and the findings of a hub, wherever they are.
//!
//! **Invariant:** only this crate asks which backend is configured; everybody else has the ports.

#[cfg(feature = "distributed")]
use std::sync::{Mutex, PoisonError};
use std::{path::PathBuf, sync::Arc};

#[cfg(feature = "distributed")]
use distributed::{
    findings::ElasticFindings,
    log::{Endangered, KafkaLog},
    store::ElasticStore,
};
use domain::Sensor;
use embedded::Folder;
use ports::{Clock, ErrorKind, Findings, Log, PortError, Store};

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

/// An open log, an open store and open findings.
pub struct Backends {
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
    findings: Arc<dyn Findings>,
    place: Place,
}

/// Where they are.
enum Place {
    Embedded(PathBuf, Arc<Folder>),
    #[cfg(feature = "distributed")]
    Distributed(Arc<KafkaLog>, Arc<ElasticStore>, Arc<Mutex<Vec<Endangered>>>),
}

impl Backends {
    /// Opens them.
    ///
    /// # Errors
    /// [`OpenError`], each saying what to do.
    pub async fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        match settings {
            Settings::Embedded { folder: path, settings } => {
                let folder = Folder::open(path, settings.clone(), clock)?;
                let (log, store, findings) = (folder.log(), folder.store(), folder.findings());
                Ok(Self { log, store, findings, place: Place::Embedded(path.clone(), Arc::new(folder)) })
            }
            #[cfg(feature = "distributed")]
            Settings::Distributed { log, store } => {
                let findings = Arc::new(ElasticFindings::new(store)?);
                let store = Arc::new(ElasticStore::new((**store).clone())?);
                let log = Arc::new(KafkaLog::open((**log).clone(), clock).await?);
                let place = Place::Distributed(Arc::clone(&log), Arc::clone(&store), Arc::default());
                Ok(Self { log, store, findings, place })
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

    /// The findings.
    pub fn findings(&self) -> Arc<dyn Findings> {
        Arc::clone(&self.findings)
    }

    /// Says whether other processes may be at work on the same log, store and findings.
    pub fn are_shared(&self) -> bool {
        match &self.place {
            Place::Embedded(..) => false,
            #[cfg(feature = "distributed")]
            Place::Distributed(..) => true,
        }
    }

    /// The data folder and its path, where all are in one: to be copied while it is in use.
    pub fn folder(&self) -> Option<(PathBuf, Arc<Folder>)> {
        match &self.place {
            Place::Embedded(path, folder) => Some((path.clone(), Arc::clone(folder))),
            #[cfg(feature = "distributed")]
            Place::Distributed(..) => None,
        }
    }

    /// What must be done from time to time by a process that works off the log. It may outlive this value.
    pub fn upkeep(&self) -> Upkeep {
        match &self.place {
            Place::Embedded(..) => Upkeep::None,
            #[cfg(feature = "distributed")]
            Place::Distributed(log, store, endangered) => {
                Upkeep::Servers(Arc::clone(log), Arc::clone(store), Arc::clone(endangered))
            }
        }
    }

    /// Finishes what is under way; the ports refuse from then on. Answers false where somebody still copies the data folder, so that
    /// it can't be closed in order; nothing acknowledged is lost by that.
    ///
    /// # Errors
    /// `DiskFull` or `Corrupt` where the last sync failed, `Unavailable` where the servers are away; nothing acknowledged is lost by
    /// that, either.
    pub async fn close(self) -> Result<bool, PortError> {
        drop((self.log, self.store, self.findings));
        match self.place {
            Place::Embedded(_, folder) => match Arc::into_inner(folder) {
                Some(folder) => folder.close().map(|()| true),
                None => Ok(false),
            },
            #[cfg(feature = "distributed")]
            Place::Distributed(log, ..) => log.close().await.map(|()| true),
        }
    }
}

/// Upkeep of backends that do not look after themselves.
#[derive(Clone)]
pub enum Upkeep {
    /// There is none: the data folder looks after itself.
    None,
    /// Retention of topics on Kafka, sensors shown in Elasticsearch, and what the last round found that is about to be deleted unread.
    #[cfg(feature = "distributed")]
    Servers(Arc<KafkaLog>, Arc<ElasticStore>, Arc<Mutex<Vec<Endangered>>>),
}

impl Upkeep {
    /// Removes from the log what is old and read by all, and looks where records that `group` has not read are about to be deleted by
    /// somebody else's rules.
    ///
    /// # Errors
    /// `Unavailable`; to be tried again next time.
    pub async fn apply_retention(&self, group: &str) -> Result<(), PortError> {
        #[cfg(not(feature = "distributed"))]
        let _ = group;
        match self {
            Self::None => Ok(()),
            #[cfg(feature = "distributed")]
            Self::Servers(log, _, endangered) => {
                let found = log.endangered(group).await?;
                *endangered.lock().unwrap_or_else(PoisonError::into_inner) = found;
                log.apply_retention().await
            }
        }
    }

    /// Says whether the store's servers can make the indices that come next.
    ///
    /// # Errors
    /// `Full`, with how many shards there are and may be; `Unavailable`.
    pub async fn check_shards(&self) -> Result<(), PortError> {
        match self {
            Self::None => Ok(()),
            #[cfg(feature = "distributed")]
            Self::Servers(_, store, _) => store.check_shards().await,
        }
    }

    /// Shows the sensors to programs that look into the store by themselves.
    ///
    /// # Errors
    /// `Unavailable`, `DiskFull`, `Rejected`; to be tried again next time.
    pub async fn show_sensors(&self, sensors: impl FnOnce() -> Vec<Arc<Sensor>>) -> Result<(), PortError> {
        #[cfg(not(feature = "distributed"))]
        let _ = sensors;
        match self {
            Self::None => Ok(()),
            #[cfg(feature = "distributed")]
            Self::Servers(_, store, _) => store.show_sensors(&sensors()).await.map(drop),
        }
    }

    /// Says where records that `group` has not read are about to be deleted by somebody else's rules, as the last round of
    /// [`apply_retention`](Self::apply_retention) found it.
    ///
    /// # Errors
    /// Which, in words for a person.
    pub fn check_unread(&self, group: &str) -> Result<(), String> {
        #[cfg(not(feature = "distributed"))]
        let _ = group;
        match self {
            Self::None => Ok(()),
            #[cfg(feature = "distributed")]
            Self::Servers(_, _, endangered) => {
                let endangered = endangered.lock().unwrap_or_else(PoisonError::into_inner);
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

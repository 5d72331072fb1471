//! The contracts of the ports on the data folder, with memtables so small that rows are folded all the time.

use std::{fs, path::Path, sync::Arc};

use async_trait::async_trait;
use embedded::Folder;
use ports::{
    Findings, Log, ManualClock, Store,
    contracts::{Backend, Ending, Settings, findings::FindingsBackend},
};
use tempfile::TempDir;

struct Embedded {
    clock: Arc<ManualClock>,
    settings: embedded::Settings,
    place: TempDir,
    /// Open but while it is opened again.
    folder: Option<Folder>,
}

impl Embedded {
    fn folder(&self) -> &Folder {
        self.folder.as_ref().expect("it is open")
    }

    fn open(&mut self) {
        let folder = Folder::open(self.place.path(), self.settings.clone(), Arc::clone(&self.clock) as _);
        self.folder = Some(folder.expect("the folder opens"));
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn start(settings: Settings) -> Self {
        let settings = embedded::Settings {
            log_retention: settings.retention,
            log_size_max: if settings.small { 4 << 20 } else { 1 << 30 },
            memtable_size_max: 64 << 10,
            ..embedded::Settings::default()
        };
        let place = tempfile::tempdir().expect("a temporary folder");
        let mut backend = Self { clock: Arc::default(), settings, place, folder: None };
        backend.open();
        backend
    }

    fn log(&self) -> Arc<dyn Log> {
        self.folder().log()
    }

    fn store(&self) -> Arc<dyn Store> {
        self.folder().store()
    }

    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    async fn reopen(&mut self, ending: Ending) {
        match ending {
            Ending::Closed => self.folder.take().expect("it is open").close().expect("it closes"),
            Ending::Killed => {
                // What a killed process leaves is what its files hold at that moment.
                let copy = tempfile::tempdir().expect("a temporary folder");
                copy_folder(self.place.path(), copy.path());
                self.folder = None;
                self.place = copy;
            }
        }
        let report = embedded::check(self.place.path(), &mut |_| {}).expect("the folder can be checked");
        assert_eq!(report.faults, Vec::<String>::new());
        self.open();
    }

    async fn maintain(&self) {
        self.folder().apply_log_retention().await.expect("the log is open");
    }

    async fn disturb(&mut self, step: u64) {
        match step % 400 {
            133 => Backend::reopen(self, Ending::Closed).await,
            266 => Backend::reopen(self, Ending::Killed).await,
            _ => {}
        }
    }
}

#[async_trait]
impl FindingsBackend for Embedded {
    async fn start() -> Self {
        <Self as Backend>::start(Settings::default()).await
    }

    fn findings(&self) -> Arc<dyn Findings> {
        self.folder().findings()
    }

    async fn reopen(&mut self, ending: Ending) {
        Backend::reopen(self, ending).await;
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("its entries can be listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("an entry has a type").is_dir() {
            fs::create_dir_all(&target).expect("a new folder");
            copy_folder(&entry.path(), &target);
        } else if let Err(error) = fs::copy(entry.path(), &target) {
            // Merged files go at any moment; the journal says which are needed.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", entry.path().display());
        }
    }
}

mod log {
    ports::log_contracts!(super::Embedded);
}

mod store {
    ports::store_contracts!(super::Embedded);
}

mod findings {
    ports::findings_contracts!(super::Embedded);
}

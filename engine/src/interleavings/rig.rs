//! A store with a dataset, whose journal and index threads are shuttle's.

use std::sync::{Arc, OnceLock};

use shuttle::future::block_on;

use crate::blobs::StagedBlob;
use crate::committer::{Basis, Committer, Reply, Submission, Ticket};
use crate::disk::{Disk, Reached, SimulatedDisk};
use crate::engine::{EngineOptions, Sizes, start_writing};
use crate::error::MutationError;
use crate::model::change::{CatalogueChange, Change, NewFile};
use crate::model::{
    DatasetId, Digest, FileRecord, Filename, LicenceId, NewDataset, NewLicence, NewProject,
    NewTeam, ProjectId, TeamId, Timestamp,
};
use crate::recovery;
use crate::store::Store;

/// The dataset that every rig holds.
pub(super) const SET: DatasetId = DatasetId(1);

/// A running store without actors.
pub(super) struct Rig {
    pub(super) disk: SimulatedDisk,
    pub(super) store: Arc<Store>,
    pub(super) committer: Arc<Committer>,
}

fn options() -> EngineOptions {
    EngineOptions {
        index_cache_bytes: 1 << 20,
        segment_bytes: 64 << 10,
        ..EngineOptions::default()
    }
}

/// Makes the store that [`Rig::new`] begins with. To be called once, before the schedules, so that
/// all of them find the same bytes.
pub(super) fn prepare() {
    PREPARED.get_or_init(|| {
        let prepared = Arc::new(OnceLock::new());
        let found = Arc::clone(&prepared);
        let make = move || {
            let rig = Rig::open(&SimulatedDisk::new());
            for change in records() {
                rig.commit(change).unwrap();
            }
            rig.committer.stop();
            found.set(rig.disk.image(Reached::Nothing)).unwrap();
        };
        let mut config = shuttle::Config::new();
        config.stack_size = 1 << 20;
        let scheduler = shuttle::scheduler::RandomScheduler::new_from_seed(1, 1);
        shuttle::Runner::new(scheduler, config).run(make);
        prepared.get().unwrap().clone()
    });
}

static PREPARED: OnceLock<SimulatedDisk> = OnceLock::new();

fn records() -> [Change; 4] {
    let (name, at, creator) = (String::from, Timestamp(1), None);
    let licence = NewLicence {
        name: name("licence"),
        url: name("https://example.org/"),
        permissions: vec![],
        conditions: vec![],
        limitations: vec![],
        domains: vec![],
    };
    let team = NewTeam { name: name("team"), creator };
    let project = NewProject { name: name("project"), team: TeamId(1), creator };
    let dataset = NewDataset {
        name: name("set"),
        description: String::new(),
        project: ProjectId(1),
        licence: LicenceId(1),
        tags: String::new(),
        is_public: false,
        creator,
    };
    [
        Change::Catalogue(CatalogueChange::CreateLicence { licence }),
        Change::Catalogue(CatalogueChange::CreateTeam { team, at }),
        Change::Catalogue(CatalogueChange::CreateProject { project, at }),
        Change::CreateDataset { dataset, at },
    ]
}

impl Rig {
    /// Opens the prepared store on a disk of its own.
    pub(super) fn new() -> Self {
        Self::open(&PREPARED.get().unwrap().image(Reached::Nothing))
    }

    /// Opens a store.
    pub(super) fn open(disk: &SimulatedDisk) -> Self {
        let port: Arc<dyn Disk> = Arc::new(disk.clone());
        let sizes = Sizes::on(&*port, &options()).unwrap();
        let recovered = recovery::open(&port, sizes.journal, options().index_cache_bytes).unwrap();
        let (store, _uploads, committer) =
            start_writing(&port, recovered, &sizes, &options()).unwrap();
        Self { disk: disk.clone(), store, committer }
    }

    /// Commits a change and awaits its answer.
    pub(super) fn commit(&self, change: Change) -> Result<(), MutationError> {
        block_on(self.committer.commit(change, None)).map(drop)
    }

    /// Brings a content in, as uploads do.
    pub(super) fn content(&self, bytes: &[u8]) -> StagedBlob {
        content(&self.store, bytes)
    }

    /// Submits a new file with this content.
    pub(super) fn submit_file(
        &self,
        name: &str,
        content: StagedBlob,
    ) -> Result<Ticket, MutationError> {
        submit_file(&self.committer, name, content)
    }

    /// Adds a file and awaits its answer.
    pub(super) fn add(&self, name: &str, bytes: &[u8]) -> Result<(), MutationError> {
        let content = self.content(bytes);
        block_on(self.submit_file(name, content)?.redeem()).map(drop)
    }

    /// Removes a file and awaits the answer.
    pub(super) fn delete(&self, name: &str, bytes: &[u8]) -> Result<(), MutationError> {
        let (filename, expects) = (Filename::exact(name).unwrap(), Digest::of(bytes));
        self.commit(Change::DeleteFile { dataset: SET, filename, expects })
    }

    /// Reads a file; `None` if it is not there.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let record = {
            let snapshot = self.store.snapshot().unwrap();
            let header = snapshot.dataset(SET).unwrap().unwrap();
            snapshot.file(&header, name).unwrap()?
        };
        Some(read_content(&self.store, &record.digest))
    }

    /// Ends both threads; all invariants hold then.
    pub(super) fn close(&self) {
        self.committer.stop();
        let progress = crate::CheckProgress::default();
        let report = crate::check::check(&self.store, true, &progress).unwrap().unwrap();
        assert_eq!(report.findings, []);
    }

    /// Another handle to the same store, for another thread.
    pub(super) fn share(&self) -> Self {
        let (store, committer) = (Arc::clone(&self.store), Arc::clone(&self.committer));
        Self { disk: self.disk.clone(), store, committer }
    }

    /// Names of the files that the store holds that a machine finds which stops now.
    pub(super) fn names_after_power_cut(&self) -> Vec<String> {
        names_on(&self.disk.image(Reached::Nothing))
    }
}

/// Names of the dataset's files in the store on a disk, as opening finds them.
pub(super) fn names_on(disk: &SimulatedDisk) -> Vec<String> {
    let port: Arc<dyn Disk> = Arc::new(disk.clone());
    let sizes = Sizes::on(&*port, &options()).unwrap();
    let recovered = recovery::open(&port, sizes.journal, options().index_cache_bytes).unwrap();
    let snapshot =
        crate::Snapshot::take(&recovered.index, &Arc::default(), &Arc::default()).unwrap();
    let header = snapshot.dataset(SET).unwrap().unwrap();
    snapshot.files(&header).unwrap().map(|file| file.unwrap().0).collect()
}

/// Brings a content in, as uploads do.
pub(super) fn content(store: &Arc<Store>, bytes: &[u8]) -> StagedBlob {
    let looked_up = Arc::clone(store);
    block_on(async {
        let length = u64::try_from(bytes.len()).unwrap();
        let mut upload = store.blobs.begin_upload(Some(length)).unwrap();
        upload.write(bytes).await.unwrap();
        upload.finish(move |digest| looked_up.knows(digest)).await.unwrap()
    })
}

/// Submits a new file, whose name must be free whatever is in flight.
pub(super) fn submit_file(
    committer: &Committer,
    name: &str,
    content: StagedBlob,
) -> Result<Ticket, MutationError> {
    let basis = Basis::Upload(committer.footing());
    let files = vec![new_file(name, &content)];
    let change = Change::AddFiles { dataset: SET, files };
    let (reply, ticket) = Reply::new(None);
    let contents = vec![content];
    committer.submit(Submission { contents, basis, ..Submission::of(change, reply) })?;
    Ok(ticket)
}

/// A file with this content.
pub(super) fn new_file(name: &str, content: &StagedBlob) -> NewFile {
    let record = FileRecord {
        digest: content.digest(),
        length: content.length(),
        crc32: content.crc32(),
        creation_time: Timestamp(1),
        compressible: content.compressible(),
    };
    NewFile { filename: Filename::exact(name).unwrap(), record, metadata: String::new() }
}

/// Reads a content whole and checks it.
pub(super) fn read_content(store: &Store, digest: &Digest) -> Vec<u8> {
    let blob = store.open_blob(digest).unwrap().expect("a named content is there");
    blob.read_whole().unwrap().to_vec()
}

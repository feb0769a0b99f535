//! A store to measure, with a project for its datasets.

use std::io::{Cursor, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use granary_engine::disk::RealDisk;
use granary_engine::model::{
    DatasetId, LicenceId, NewDataset, NewLicence, NewProject, NewTeam, ProjectId,
};
use granary_engine::{Engine, EngineOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::floor::length;
use super::recording::{Groups, RecordingDisk};
use super::{directory, runtime, stamp};

/// An engine in a directory of its own, and a runtime for its callers.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) engine: Engine,
    pub(crate) runtime: Runtime,
    /// What the journal synced.
    pub(crate) groups: Groups,
    within: (ProjectId, LicenceId),
    directory: TempDir,
}

impl Store {
    /// Makes a store with a project, as a server opens it. Shared, so that its directory stays as
    /// long as anybody uses any of it.
    pub(crate) fn new() -> Rc<Self> {
        let (directory, runtime, groups) = (directory(), runtime(), Groups::default());
        let disk = RealDisk::new(directory.path().join("data")).unwrap();
        let disk = RecordingDisk::new(disk, Arc::clone(&groups));
        let engine = Engine::open_on(Arc::new(disk), &EngineOptions::default()).unwrap();
        let within = runtime.block_on(project(&engine));
        Rc::new(Self { engine, runtime, groups, within, directory })
    }

    /// The store's own directory, and that of what is measured beside it.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes an empty dataset.
    pub(crate) fn dataset(&self, name: &str) -> DatasetId {
        let (project, licence) = self.within;
        let dataset = NewDataset {
            name: name.into(),
            description: String::new(),
            project,
            licence,
            tags: String::new(),
            is_public: false,
            creator: None,
        };
        self.runtime.block_on(self.engine.create_dataset(dataset)).unwrap().id
    }

    /// Adds files named by number, in one go, each with its number as its content.
    pub(crate) fn fill(&self, dataset: DatasetId, numbers: std::ops::Range<u64>) {
        self.fill_with(dataset, numbers, 0);
    }

    /// The same, each with its number and so much more as its content.
    pub(crate) fn fill_with(&self, dataset: DatasetId, numbers: std::ops::Range<u64>, more: u64) {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for number in numbers {
            zip.start_file(format!("files/{number:09}.txt"), stored).unwrap();
            zip.write_all(&(number + more).to_le_bytes()).unwrap();
        }
        let zip = zip.finish().unwrap().into_inner();
        self.runtime.block_on(async {
            let mut spool = self.engine.begin_spool_upload();
            for chunk in zip.chunks(1 << 20) {
                spool.write(chunk).await.unwrap();
            }
            self.engine.add_files(dataset, spool.finish().await.unwrap()).await.unwrap();
        });
    }
}

async fn project(engine: &Engine) -> (ProjectId, LicenceId) {
    let licence = NewLicence {
        name: "CC0".into(),
        url: "https://creativecommons.org/publicdomain/zero/1.0/".into(),
        permissions: vec![],
        conditions: vec![],
        limitations: vec![],
        domains: vec![],
    };
    let licence = engine.create_licence(licence).await.unwrap();
    let team = engine.create_team(NewTeam { name: "team".into(), creator: None }).await.unwrap();
    let project = NewProject { name: "project".into(), team: team.id, creator: None };
    let project = engine.create_project(project).await.unwrap();
    (project.id, licence.id)
}

/// Adds a file of these bytes, stamped with a number, as a request does.
pub(crate) async fn add(
    engine: &Engine,
    dataset: DatasetId,
    name: &str,
    template: &[u8],
    number: u64,
) {
    let mut bytes = template.to_vec();
    stamp(&mut bytes, number);
    let mut upload = engine.begin_upload(Some(length(bytes.len()))).await.unwrap();
    upload.write(&bytes).await.unwrap();
    let content = upload.finish().await.unwrap();
    engine.add_file(dataset, name, content).await.unwrap();
}

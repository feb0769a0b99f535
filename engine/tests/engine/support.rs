//! What tests need before they can begin: an engine with a project and a dataset.

use granary_engine::model::{
    Dataset, DatasetId, Digest, LicenceId, NewDataset, NewLicence, NewProject, NewTeam, ProjectId,
};
use granary_engine::{AuditLimits, Engine, EngineOptions, MutationError, StagedBlob};

/// Small segments and caches, so that segments roll within a test.
pub fn options() -> EngineOptions {
    EngineOptions {
        index_cache_bytes: 4 << 20,
        segment_bytes: 1 << 20,
        segments_open_max: 1,
        arbiters: 1,
        ..EngineOptions::default()
    }
}

/// The licence, team and project that all tests use; makes those that are not there, and brings
/// back a project that was destroyed.
pub async fn project(engine: &Engine) -> Result<(ProjectId, LicenceId), MutationError> {
    let (licence, team, project) = {
        let snapshot = engine.snapshot()?;
        let licence = snapshot.licences()?.next().transpose()?.map(|licence| licence.id);
        let team = snapshot.teams()?.next().transpose()?.map(|team| team.id);
        (licence, team, snapshot.projects()?.next().transpose()?)
    };
    let licence = match licence {
        Some(licence) => licence,
        None => engine.create_licence(licence_named("CC0")).await?.id,
    };
    let team = match team {
        Some(team) => team,
        None => engine.create_team(NewTeam { name: "team".into(), creator: None }).await?.id,
    };
    let new = NewProject { name: "project".into(), team, creator: None };
    let project = match project {
        Some(project) if project.deletion_time.is_none() => project.id,
        Some(project) => engine.reinstate_project(project.id).await?.id,
        None => engine.create_project(new).await?.id,
    };
    Ok((project, licence))
}

pub fn licence_named(name: &str) -> NewLicence {
    NewLicence {
        name: name.into(),
        url: "https://creativecommons.org/publicdomain/zero/1.0/".into(),
        permissions: vec![],
        conditions: vec![],
        limitations: vec![],
        domains: vec![],
    }
}

/// An empty dataset.
pub fn new_dataset((project, licence): (ProjectId, LicenceId), name: &str) -> NewDataset {
    NewDataset {
        name: name.into(),
        description: String::new(),
        project,
        licence,
        tags: String::new(),
        is_public: false,
        creator: None,
    }
}

/// Makes an empty dataset.
pub async fn dataset(
    engine: &Engine,
    within: (ProjectId, LicenceId),
    name: &str,
) -> Result<Dataset, MutationError> {
    engine.create_dataset(new_dataset(within, name)).await
}

/// Brings a content in.
pub async fn content(engine: &Engine, bytes: &[u8]) -> Result<StagedBlob, MutationError> {
    let mut upload = engine.begin_upload(Some(bytes.len() as u64)).await?;
    upload.write(bytes).await?;
    upload.finish().await
}

/// Adds a file.
pub async fn add(
    engine: &Engine,
    dataset: DatasetId,
    name: &str,
    bytes: &[u8],
) -> Result<String, MutationError> {
    let content = content(engine, bytes).await?;
    Ok(engine.add_file(dataset, name, content).await?.filename.to_string())
}

/// Reads a file whole.
pub async fn read(engine: &Engine, dataset: DatasetId, name: &str) -> Option<Vec<u8>> {
    let record = {
        let snapshot = engine.snapshot().unwrap();
        let header = snapshot.dataset(dataset).unwrap()?;
        snapshot.file(&header, name).unwrap()?
    };
    Some(read_content(engine, &record.digest).await)
}

/// Reads a content whole.
pub async fn read_content(engine: &Engine, digest: &Digest) -> Vec<u8> {
    let blob = engine.open_blob(digest).unwrap().expect("a named content is there");
    let length = blob.length();
    let mut stream = blob.stream(0..length);
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    bytes
}

/// Names of a dataset's files.
pub fn names(engine: &Engine, dataset: DatasetId) -> Vec<String> {
    let snapshot = engine.snapshot().unwrap();
    let header = snapshot.dataset(dataset).unwrap().unwrap();
    snapshot.files(&header).unwrap().map(|file| file.unwrap().0).collect()
}

/// As [`options`], with segments so small that most groups begin one, and so small an audit log that
/// it is rotated; merges of two files and more share layers where they can.
pub fn small_segments() -> EngineOptions {
    let audit = AuditLimits { bytes: 512, ..options().audit };
    EngineOptions { segment_bytes: 64 << 10, audit, merge_layers_from: 2, ..options() }
}

/// Runs a test's story on a thread of its own runtime.
pub fn block_on<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(story)
}

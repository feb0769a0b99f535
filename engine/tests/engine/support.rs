//! What tests need before they can begin: an engine with a project and a dataset.

use granary_engine::model::{
    Dataset, DatasetId, LicenceId, NewDataset, NewLicence, NewProject, NewTeam, ProjectId,
};
use granary_engine::{Engine, EngineOptions, MutationError, StagedBlob};

/// Small segments and caches, so that segments roll within a test.
pub fn options() -> EngineOptions {
    EngineOptions { index_cache_bytes: 4 << 20, segment_bytes: 1 << 20, arbiters: 1 }
}

/// Makes a licence, a team and a project.
pub async fn project(engine: &Engine) -> Result<(ProjectId, LicenceId), MutationError> {
    let licence = NewLicence {
        name: "CC0".into(),
        url: "https://creativecommons.org/publicdomain/zero/1.0/".into(),
        permissions: vec![],
        conditions: vec![],
        limitations: vec![],
        domains: vec![],
    };
    let licence = engine.create_licence(licence).await?;
    let team = engine.create_team(NewTeam { name: "team".into(), creator: None }).await?;
    let project = NewProject { name: "project".into(), team: team.id, creator: None };
    let project = engine.create_project(project).await?;
    Ok((project.id, licence.id))
}

/// Makes an empty dataset.
pub async fn dataset(
    engine: &Engine,
    (project, licence): (ProjectId, LicenceId),
    name: &str,
) -> Result<Dataset, MutationError> {
    let dataset = NewDataset {
        name: name.into(),
        description: String::new(),
        project,
        licence,
        tags: String::new(),
        is_public: false,
        creator: None,
    };
    engine.create_dataset(dataset).await
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
    let blob = engine.open_blob(&record.digest).unwrap().expect("a named content is there");
    let mut stream = blob.stream(0..blob.length());
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    Some(bytes)
}

/// Names of a dataset's files.
pub fn names(engine: &Engine, dataset: DatasetId) -> Vec<String> {
    let snapshot = engine.snapshot().unwrap();
    let header = snapshot.dataset(dataset).unwrap().unwrap();
    snapshot.files(&header).unwrap().map(|file| file.unwrap().0).collect()
}

//! What tests of bulk changes begin with: an engine on a disk in memory, with two contents in a dataset.

use std::sync::Arc;

use super::{ClaimedFile, MayRead};
use crate::disk::SimulatedDisk;
use crate::engine::rig::dataset;
use crate::model::{DatasetId, Digest};
use crate::{Engine, EngineOptions};

/// The contents that the store has.
const CONTENTS: [&str; 2] = ["one", "two"];

/// Runs a test on an engine and a dataset with a file of each content, called like it.
pub(crate) fn run(test: impl AsyncFnOnce(&Engine, DatasetId)) {
    let options = EngineOptions {
        index_cache_bytes: 4 << 20,
        segment_bytes: 8 << 20,
        arbiters: 1,
        ..EngineOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Engine::open_on(Arc::new(SimulatedDisk::new()), &options).unwrap();
        let dataset = dataset(&engine).await;
        for content in CONTENTS {
            let mut upload = engine.begin_upload(None).await.unwrap();
            upload.write(content.as_bytes()).await.unwrap();
            let staged = upload.finish().await.unwrap();
            engine.add_file(dataset, content, staged).await.unwrap();
        }
        test(&engine, dataset).await;
        engine.shutdown().await;
    });
}

/// A file with one of the contents.
pub(crate) fn claim(filename: &str, content: &str) -> ClaimedFile {
    let length = u64::try_from(content.len()).unwrap();
    ClaimedFile { filename: filename.to_owned(), digest: Digest::of(content.as_bytes()), length }
}

pub(crate) fn all_may_read() -> MayRead {
    Arc::new(|_, _| Ok(true))
}

/// Adds files with one of the contents.
pub(crate) async fn attach(
    engine: &Engine,
    dataset: DatasetId,
    content: &str,
    names: impl Iterator<Item = String>,
) {
    let files = names.map(|name| claim(&name, content)).collect();
    engine.attach_files(dataset, files, all_may_read()).await.unwrap();
}

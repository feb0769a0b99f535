//! Uploads that are interrupted by everything: they go on from what was told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::blobs::byte_count;
use crate::disk::{At, Fault, Reached, SimulatedDisk, reserve_bytes};
use crate::engine::rig::dataset;
use crate::model::{FileCondition, NewDataset, Quota};
use crate::{CollectionProgress, Engine, EngineOptions, Upload};

mod ends;
mod faults;
mod given;
mod refusals;
mod state;

const LARGE: usize = (1 << 20) + 5000;
/// Bytes of one request; no whole pages, so that the next one goes on within a page.
const PIECE: usize = 400_000;
/// Some that fill more than the memory of an upload in one request.
const LONGER: usize = (2 << 20) + 5000;
const OWNER: UserId = UserId(1);

fn options() -> EngineOptions {
    EngineOptions {
        index_cache_bytes: 4 << 20,
        segment_bytes: 4 << 20,
        arbiters: 1,
        ..EngineOptions::default()
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(work);
    drop(runtime);
    result
}

fn content(length: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(length).collect()
}

fn open(disk: &SimulatedDisk) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), &options()).unwrap()
}

fn terms(dataset: DatasetId, content: &[u8]) -> ResumableTerms {
    ResumableTerms {
        owner: OWNER,
        dataset,
        filename: "large.bin".into(),
        length: byte_count(content.len()),
        replaces: false,
        condition: FileCondition::default(),
        digests: vec![WholeDigest::Blake3(Digest::of(content))],
        metadata: "filename bGFyZ2UuYmlu".to_owned(),
    }
}

/// Sends the rest in pieces; `told` hears every offset that was answered.
async fn send(
    engine: &Engine,
    (dataset, id): (DatasetId, ResumableId),
    content: &[u8],
    told: &mut dyn FnMut(u64),
) -> Result<Digest, MutationError> {
    loop {
        let part = engine.resume(id, OWNER, dataset).await?;
        let state = engine.resumable_state(&part);
        told(state.offset);
        if let Some(digest) = state.added {
            return Ok(digest);
        }
        let start = usize::try_from(state.offset).unwrap();
        let piece_bytes = if content.len() == LONGER { 3 * PIECE } else { PIECE };
        let end = content.len().min(start + piece_bytes);
        let mut part = part;
        for frame in content[start..end].chunks(150_001) {
            part = part.write(bytes::Bytes::copy_from_slice(frame), false).await?;
        }
        let part = part.settle().await?;
        if end == content.len() {
            let (part, stored) = engine.complete_resumable(part).await?;
            told(engine.resumable_state(&part).offset);
            return Ok(stored.digest);
        }
        told(engine.resumable_state(&part).offset);
    }
}

async fn set_quota(engine: &Engine, dataset: DatasetId, bytes: Option<u64>) {
    let snapshot = engine.snapshot().unwrap();
    let project = snapshot.dataset(dataset).unwrap().unwrap().project;
    let team = snapshot.project(project).unwrap().unwrap().team;
    drop(snapshot);
    engine.set_quota(team, Quota { files: None, bytes }).await.unwrap();
}

fn assert_has(engine: &Engine, dataset: DatasetId, content: &[u8]) {
    let snapshot = engine.snapshot().unwrap();
    let header = snapshot.dataset(dataset).unwrap().unwrap();
    let record = snapshot.file(&header, "large.bin").unwrap().unwrap();
    assert_eq!(record.digest, Digest::of(content));
    let blob = engine.open_blob(&record.digest).unwrap().unwrap();
    let mut bytes = vec![0; content.len()];
    blob.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == content);
    assert_eq!(header.file_count, 1);
}

#[test]
fn only_the_owner_goes_on_and_whoever_comes_last_takes_over() {
    block_on(async {
        let content = content(LARGE);
        let engine = open(&SimulatedDisk::new());
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        for (owner, dataset) in [(UserId(2), dataset), (OWNER, DatasetId(99))] {
            let refused = engine.resume(id, owner, dataset).await.unwrap_err();
            assert!(matches!(refused, MutationError::UploadNotFound { .. }));
        }
        let mut first = engine.resume(id, OWNER, dataset).await.unwrap();
        let second = engine.resume(id, OWNER, dataset);
        let (part, ()) = tokio::join!(second, async {
            first.is_wanted().await;
            let piece = bytes::Bytes::copy_from_slice(&content[..PIECE]);
            drop(first.write(piece, false).await.unwrap());
        });
        let part = part.unwrap();
        // What the one before brought counts, though it was never settled.
        assert_eq!(engine.resumable_state(&part).offset, byte_count(PIECE));
        drop(part);
        engine.give_up_resumable(id, OWNER, dataset).await.unwrap();
        engine.shutdown().await;
    });
}

#[test]
fn bytes_that_come_again_and_differ_are_the_ones_that_count() {
    block_on(async {
        let content = content(LARGE);
        let engine = open(&SimulatedDisk::new());
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        let mut part = part.write(vec![9; PIECE].into(), true).await.unwrap();
        part.forget();
        assert_eq!(part.offset(), 0);
        drop(part);
        assert_eq!(
            send(&engine, (dataset, id), &content, &mut drop).await.unwrap(),
            Digest::of(&content)
        );
        engine.shutdown().await;
    });
}

#[test]
fn what_was_not_checked_yet_goes_with_the_part_that_brought_it() {
    block_on(async {
        let content = content(LONGER);
        let engine = open(&SimulatedDisk::new());
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        // In memory, and in the file as well.
        for bytes in [PIECE, 4 * PIECE] {
            let mut part = engine.resume(id, OWNER, dataset).await.unwrap();
            for frame in content[..bytes].chunks(70_001) {
                part = part.write(bytes::Bytes::copy_from_slice(frame), true).await.unwrap();
            }
            drop(part);
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            assert_eq!(engine.resumable_state(&part).offset, 0, "{bytes}");
            let part = part.write(content[..PIECE].to_vec().into(), true).await.unwrap();
            part.write(vec![0; LONGER].into(), true).await.unwrap_err();
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            assert_eq!(engine.resumable_state(&part).offset, 0, "{bytes}, and too many");
        }
        assert_eq!(
            send(&engine, (dataset, id), &content, &mut drop).await.unwrap(),
            Digest::of(&content)
        );
        assert_has(&engine, dataset, &content);
        engine.shutdown().await;
    });
}

/// Sends so much in one request, and goes away without a word.
async fn send_and_leave(engine: &Engine, upload: (DatasetId, ResumableId), bytes: &[u8]) {
    let mut part = engine.resume(upload.1, OWNER, upload.0).await.unwrap();
    for frame in bytes.chunks(70_001) {
        part = part.write(bytes::Bytes::copy_from_slice(frame), false).await.unwrap();
    }
}

#[test]
fn who_goes_away_leaves_no_memory_and_loses_no_byte() {
    block_on(async {
        let content = content(LONGER);
        let engine = open(&SimulatedDisk::new());
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        send_and_leave(&engine, (dataset, id), &content[..PIECE]).await;
        assert_eq!(engine.figures().upload_memory.0, 1 << 20);
        while engine.figures().upload_memory.0 > 0 {
            tokio::task::yield_now().await;
        }
        send_and_leave(&engine, (dataset, id), &content[PIECE..4 * PIECE]).await;
        let mut first = None;
        let mut heard = |offset| {
            first.get_or_insert(offset);
        };
        send(&engine, (dataset, id), &content, &mut heard).await.unwrap();
        assert_eq!(first, Some(byte_count(4 * PIECE)));
        assert_eq!(engine.figures().upload_memory.0, 0);
        assert_has(&engine, dataset, &content);
        engine.shutdown().await;
    });
}

#[test]
fn one_that_flows_leaves_its_memory_to_those_who_wait() {
    block_on(async {
        let content = content(LONGER);
        let engine = open(&SimulatedDisk::new());
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        let part = part.write(vec![content[0]].into(), false).await.unwrap();
        let others = memory_of_all_others(&engine).await;
        let small = engine.clone();
        let waiting = tokio::spawn(async move {
            let mut upload = small.begin_upload(Some(5)).await?;
            upload.write(b"small").await
        });
        while !engine.resumables().store.blobs.is_short_of_memory() {
            assert!(!waiting.is_finished());
            tokio::task::yield_now().await;
        }
        let next = bytes::Bytes::copy_from_slice(&content[1..PIECE]);
        let part = part.write(next, false).await.unwrap();
        waiting.await.unwrap().unwrap();
        drop((part, others));
        send(&engine, (dataset, id), &content, &mut drop).await.unwrap();
        assert_has(&engine, dataset, &content);
        engine.shutdown().await;
    });
}

/// Small contents that have all upload memory that is free.
async fn memory_of_all_others(engine: &Engine) -> Vec<Upload> {
    let mut others = Vec::new();
    while engine.figures().upload_memory.0 < engine.figures().upload_memory.1 {
        let mut other = engine.begin_upload(Some(1 << 20)).await.unwrap();
        other.write(b"x").await.unwrap();
        others.push(other);
    }
    others
}

#[test]
fn where_no_memory_is_free_pieces_go_to_the_file_as_they_come() {
    block_on(async {
        let content = content(LONGER);
        let disk = SimulatedDisk::new();
        let engine = open(&disk);
        let dataset = dataset(&engine).await;
        let others = memory_of_all_others(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let before = disk.writes();
        send_and_leave(&engine, (dataset, id), &content[..PIECE]).await;
        assert_eq!(disk.writes() - before, byte_count(PIECE.div_ceil(70_001)));
        drop(others);
        let pages = disk.page_writes();
        send(&engine, (dataset, id), &content, &mut drop).await.unwrap();
        assert!(disk.page_writes() > pages, "whole pages, once there is memory");
        assert_has(&engine, dataset, &content);
        engine.shutdown().await;
    });
}

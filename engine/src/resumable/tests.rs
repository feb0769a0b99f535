//! Uploads that are interrupted by everything: they go on from what was told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::blobs::byte_count;
use crate::disk::{At, Fault, Reached, SimulatedDisk};
use crate::model::{
    FileCondition, LicenceId, NewDataset, NewLicence, NewProject, NewTeam, ProjectId, Quota,
};
use crate::{CollectionProgress, Engine, EngineOptions};

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

async fn dataset(engine: &Engine) -> DatasetId {
    let licence = NewLicence {
        name: "CC0".into(),
        url: "https://example.org/".into(),
        permissions: vec![],
        conditions: vec![],
        limitations: vec![],
        domains: vec![],
    };
    let licence: LicenceId = engine.create_licence(licence).await.unwrap().id;
    let team = engine.create_team(NewTeam { name: "team".into(), creator: None }).await.unwrap();
    let project = NewProject { name: "project".into(), team: team.id, creator: None };
    let project: ProjectId = engine.create_project(project).await.unwrap().id;
    let dataset = NewDataset {
        name: "cats".into(),
        description: String::new(),
        project,
        licence,
        tags: String::new(),
        is_public: false,
        creator: None,
    };
    engine.create_dataset(dataset).await.unwrap().id
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

/// Runs an upload until the disk stops; gives its id, if it was told, and the last offset that was.
async fn run_until_stopped(
    disk: &SimulatedDisk,
    stop: u64,
    content: &[u8],
) -> (DatasetId, Option<ResumableId>, u64, bool) {
    let engine = open(disk);
    let dataset = dataset(&engine).await;
    disk.stop_at(disk.operations() + stop);
    let mut last = 0;
    let Ok(id) = engine.begin_resumable(terms(dataset, content)).await else {
        engine.abandon();
        return (dataset, None, 0, false);
    };
    let mut told = |offset: u64| {
        assert!(offset >= last, "an offset went back from {last} to {offset}");
        last = offset;
    };
    let is_done = send(&engine, (dataset, id), content, &mut told).await.is_ok();
    engine.abandon();
    (dataset, Some(id), last, is_done)
}

#[test]
fn what_was_told_of_an_upload_is_there_after_a_power_cut_at_any_operation() {
    let every = std::env::var("GRANARY_CRASH_EVERY").map_or(3, |every| every.parse().unwrap());
    for content in [content(LONGER), content(LARGE), content(3000)] {
        let (mut stop, mut finished) = (1, 0);
        while finished < 3 {
            for reached in [Reached::Nothing, Reached::Everything, Reached::Torn(stop)] {
                let disk = SimulatedDisk::new();
                let (dataset, id, told, is_done) =
                    block_on(run_until_stopped(&disk, stop, &content));
                finished += usize::from(is_done && reached == Reached::Nothing);
                let image = disk.image(reached);
                let case = format!("{} bytes, stopped at {stop}, {reached:?}", content.len());
                block_on(async {
                    let engine = open(&image);
                    if let Some(id) = id {
                        let mut first = None;
                        let mut heard = |offset| {
                            first.get_or_insert(offset);
                        };
                        let digest = send(&engine, (dataset, id), &content, &mut heard).await;
                        assert_eq!(digest.unwrap(), Digest::of(&content), "{case}");
                        assert!(first.unwrap() >= told, "{case}: {first:?} after {told}");
                        assert_has(&engine, dataset, &content);
                    }
                    assert_eq!(engine.check(true).unwrap(), [], "{case}");
                    engine.shutdown().await;
                    drop(engine);
                    // Nothing of it is left but the note that it is done.
                    let engine = open(&image);
                    let staged = image.list(STAGING).unwrap();
                    if let Some(id) = id {
                        let is_note =
                            |name: &String| Path::new(name).extension() == Some("state".as_ref());
                        assert!(staged.iter().all(is_note), "{case}: {staged:?}");
                        let part = engine.resume(id, OWNER, dataset).await.unwrap();
                        assert!(engine.resumable_state(&part).added.is_some(), "{case}");
                    }
                    engine.abandon();
                });
            }
            stop += every;
        }
    }
}

#[test]
fn an_upload_survives_a_full_disk_and_goes_on_when_there_is_space() {
    block_on(async {
        let content = content(LARGE);
        let disk = SimulatedDisk::new();
        let engine = open(&disk);
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        let piece = bytes::Bytes::copy_from_slice(&content[..PIECE]);
        let part = part.write(piece, false).await.unwrap().settle().await.unwrap();
        let piece = bytes::Bytes::copy_from_slice(&content[PIECE..2 * PIECE]);
        disk.fail(At::Operation(disk.operations() + 1), Fault::Full);
        let refused = part.write(piece, false).await.unwrap().settle().await.unwrap_err();
        assert!(matches!(refused, MutationError::OutOfSpace), "{refused:?}");
        let mut offsets = Vec::new();
        let mut heard = |offset| offsets.push(offset);
        let sent = send(&engine, (dataset, id), &content, &mut heard).await;
        assert_eq!(sent.unwrap(), Digest::of(&content));
        assert_eq!(offsets[0], byte_count(PIECE));
        assert_has(&engine, dataset, &content);
        engine.shutdown().await;
    });
}

#[test]
fn bytes_that_are_not_the_ones_announced_are_not_kept() {
    block_on(async {
        let content = content(LARGE);
        let disk = SimulatedDisk::new();
        let engine = open(&disk);
        let dataset = dataset(&engine).await;
        let other = ResumableTerms {
            digests: vec![WholeDigest::Sha256([7; 32])],
            ..terms(dataset, &content)
        };
        let id = engine.begin_resumable(other).await.unwrap();
        let refused = send(&engine, (dataset, id), &content, &mut drop).await.unwrap_err();
        assert!(matches!(refused, MutationError::OtherDigest { .. }), "{refused:?}");
        let gone = engine.resume(id, OWNER, dataset).await.unwrap_err();
        assert!(matches!(gone, MutationError::UploadNotFound { .. }));
        assert_eq!(disk.list(STAGING).unwrap(), [""; 0]);
        assert_eq!(disk.list(BLOBS).unwrap(), [""; 0]);
        engine.shutdown().await;
    });
}

#[test]
fn a_name_that_is_in_use_by_now_costs_no_byte_of_an_upload() {
    block_on(async {
        let content = content(LARGE);
        let engine = open(&SimulatedDisk::new());
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let mut upload = engine.begin_upload(None).await.unwrap();
        upload.write(b"in the way").await.unwrap();
        let staged = upload.finish().await.unwrap();
        engine.add_file(dataset, "large.bin", staged).await.unwrap();
        let refused = send(&engine, (dataset, id), &content, &mut drop).await.unwrap_err();
        assert!(matches!(refused, MutationError::FilenameTaken { .. }), "{refused:?}");
        engine.delete_file(dataset, "large.bin").await.unwrap();
        let mut first = None;
        let mut heard = |offset| {
            first.get_or_insert(offset);
        };
        send(&engine, (dataset, id), &content, &mut heard).await.unwrap();
        assert_eq!(first, Some(byte_count(LARGE) - 1));
        assert_has(&engine, dataset, &content);
        assert_eq!(engine.check(true).unwrap(), []);
        engine.shutdown().await;
    });
}

/// What a race for the last of a quota comes to: it was there when the last byte came, and is not
/// when the change is applied.
async fn refused_when_applied(
    engine: &Engine,
    id: ResumableId,
    dataset: DatasetId,
) -> Result<(), MutationError> {
    let content = content(LARGE);
    let mut part = engine.resume(id, OWNER, dataset).await?;
    while part.offset() < part.length() {
        let start = usize::try_from(part.offset()).unwrap();
        let piece = content[start..content.len().min(start + PIECE)].to_vec();
        part = part.write(piece.into(), false).await?;
    }
    let (part, arrived) = part.settle().await?.arrived().await?;
    let filename = part.writer.terms().named().unwrap();
    engine.add_arrived(part, arrived?, filename).await.map(drop)
}

async fn set_quota(engine: &Engine, dataset: DatasetId, bytes: Option<u64>) {
    let snapshot = engine.snapshot().unwrap();
    let project = snapshot.dataset(dataset).unwrap().unwrap().project;
    let team = snapshot.project(project).unwrap().unwrap().team;
    drop(snapshot);
    engine.set_quota(team, Quota { files: None, bytes }).await.unwrap();
}

async fn goes_on_one_byte_before_its_end(
    engine: &Engine,
    upload: (DatasetId, ResumableId),
    content: &[u8],
) {
    let mut first = None;
    let mut heard = |offset| {
        first.get_or_insert(offset);
    };
    send(engine, upload, content, &mut heard).await.unwrap();
    assert_eq!(first, Some(byte_count(LARGE) - 1));
    assert_has(engine, upload.0, content);
    assert_eq!(engine.check(true).unwrap(), []);
}

#[test]
fn a_quota_that_others_filled_meanwhile_costs_no_byte_of_an_upload() {
    // Whether the store has removed what it was given by the time that the upload goes on.
    for is_reclaimed in [false, true] {
        block_on(async {
            let content = content(LARGE);
            let disk = SimulatedDisk::new();
            let engine = open(&disk);
            let dataset = dataset(&engine).await;
            let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
            set_quota(&engine, dataset, Some(10)).await;
            let refused = refused_when_applied(&engine, id, dataset).await.unwrap_err();
            assert!(matches!(refused, MutationError::QuotaExceeded { .. }), "{refused:?}");
            if is_reclaimed {
                let engine = engine.clone();
                let collect = move || engine.collect_garbage(&CollectionProgress::default());
                tokio::task::spawn_blocking(collect).await.unwrap().unwrap();
                assert_eq!(disk.list(BLOBS).unwrap(), [""; 0]);
            }
            set_quota(&engine, dataset, None).await;
            goes_on_one_byte_before_its_end(&engine, (dataset, id), &content).await;
            engine.shutdown().await;
        });
    }
}

#[test]
fn nor_if_the_power_is_cut_at_any_operation_after_the_refusal_was_journaled() {
    let (mut stop, mut is_answered) = (1, false);
    while !is_answered {
        for reached in [Reached::Nothing, Reached::Everything, Reached::Torn(stop)] {
            let disk = SimulatedDisk::new();
            let content = content(LARGE);
            let (dataset, id) = block_on(async {
                let engine = open(&disk);
                let dataset = dataset(&engine).await;
                let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
                set_quota(&engine, dataset, Some(10)).await;
                let part = engine.resume(id, OWNER, dataset).await.unwrap();
                let most = bytes::Bytes::copy_from_slice(&content[..LARGE - 1]);
                drop(part.write(most, false).await.unwrap().settle().await.unwrap());
                disk.stop_at(disk.operations() + stop);
                let refused = refused_when_applied(&engine, id, dataset).await.unwrap_err();
                is_answered = matches!(refused, MutationError::QuotaExceeded { .. });
                engine.abandon();
                (dataset, id)
            });
            let image = disk.image(reached);
            block_on(async {
                let engine = open(&image);
                set_quota(&engine, dataset, None).await;
                goes_on_one_byte_before_its_end(&engine, (dataset, id), &content).await;
                engine.shutdown().await;
            });
        }
        stop += 1;
    }
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
fn what_comes_no_further_expires_and_what_is_too_much_is_refused() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let small = EngineOptions { resumable_bytes: 8000, ..options() };
        let engine = Engine::open_on(Arc::new(disk.clone()), &small).unwrap();
        let dataset = dataset(&engine).await;
        let content = content(3000);
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let refused = engine.begin_resumable(terms(dataset, &content)).await.unwrap_err();
        assert!(matches!(refused, MutationError::TooManyUploads { .. }), "{refused:?}");
        let others = ResumableTerms { owner: UserId(2), ..terms(dataset, &content) };
        engine.begin_resumable(others.clone()).await.unwrap();
        let third = ResumableTerms { owner: UserId(3), ..others };
        let refused = engine.begin_resumable(third).await.unwrap_err();
        assert!(refused.to_string().starts_with("the server has 2"), "{refused}");
        engine.shutdown().await;
        drop(engine);

        let now = EngineOptions { resumable_expire_after: Duration::ZERO, ..options() };
        let engine = Engine::open_on(Arc::new(disk.clone()), &now).unwrap();
        assert_eq!(disk.list(STAGING).unwrap(), [""; 0], "all have expired");
        let gone = engine.resume(id, OWNER, dataset).await.unwrap_err();
        assert!(matches!(gone, MutationError::UploadNotFound { .. }));
        engine.shutdown().await;
    });
}

#[test]
fn an_upload_goes_with_its_dataset_for_good() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let small = EngineOptions { resumable_bytes: 8000, ..options() };
        let engine = Engine::open_on(Arc::new(disk.clone()), &small).unwrap();
        let gone = dataset(&engine).await;
        let header = engine.snapshot().unwrap().dataset(gone).unwrap().unwrap();
        let stays = NewDataset {
            name: "dogs".into(),
            description: String::new(),
            project: header.project,
            licence: header.licence,
            tags: String::new(),
            is_public: false,
            creator: None,
        };
        let stays = engine.create_dataset(stays).await.unwrap().id;
        let content = content(3000);
        let id = engine.begin_resumable(terms(gone, &content)).await.unwrap();
        engine.destroy_dataset(gone).await.unwrap();
        engine.resumables().expire(Timestamp::now());
        assert_eq!(disk.list(STAGING).unwrap().len(), 2, "it can be reinstated");
        engine.hard_delete_dataset(gone).await.unwrap();
        // Its share is free at once.
        let other = engine.begin_resumable(terms(stays, &content)).await.unwrap();
        let refused = engine.resume(id, OWNER, gone).await.unwrap_err();
        assert!(matches!(refused, MutationError::UploadNotFound { .. }));
        assert_eq!(disk.list(STAGING).unwrap().len(), 2, "those of the other one");
        send(&engine, (stays, other), &content, &mut drop).await.unwrap();
        engine.shutdown().await;
    });
}

#[test]
fn what_came_last_puts_off_the_end_of_an_upload_however_its_request_ended() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let engine = open(&disk);
        let dataset = dataset(&engine).await;
        let content = content(24 << 20);
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let mut last = 0;
        // So much that some of it counts before the request ends, and so little that none does.
        for bytes in [9 << 20, PIECE] {
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            let end = engine.resumable_state(&part).expires;
            let next = content[last..last + bytes].to_vec();
            drop(part.write(next.into(), false).await.unwrap());
            engine.resumables().expire(end);
            last += bytes;
            while engine.figures().upload_memory.0 > 0 {
                tokio::task::yield_now().await;
            }
            engine.resumables().expire(end);
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            assert_eq!(engine.resumable_state(&part).offset, byte_count(last));
        }
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        let end = engine.resumable_state(&part).expires;
        drop(part);
        engine.shutdown().await;
        drop(engine);
        let engine = open(&disk);
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        assert_eq!(engine.resumable_state(&part).expires, end, "as it was told before the restart");
        // Of which nobody comes to count the last bytes.
        let next = content[last..last + PIECE].to_vec();
        drop(part.write(next.into(), false).await.unwrap());
        while !disk.list(STAGING).unwrap().is_empty() {
            engine.resumables().expire(Timestamp(i64::MAX));
            tokio::task::yield_now().await;
        }
        engine.shutdown().await;
    });
}

/// Refused for its name, a whole upload waits for its last byte to be sent again: that puts off its end.
#[test]
fn a_last_byte_that_is_refused_puts_off_the_end_of_an_upload_and_asking_writes_nothing() {
    block_on(async {
        let content = content(3000);
        let disk = SimulatedDisk::new();
        let engine = open(&disk);
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        set_quota(&engine, dataset, Some(10)).await;
        let mut end = Timestamp(0);
        for _ in 0..2 {
            send(&engine, (dataset, id), &content, &mut drop).await.unwrap_err();
            let writes = disk.writes();
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            let state = engine.resumable_state(&part);
            assert_eq!((disk.writes(), state.offset), (writes, 2999));
            assert!(state.expires > end);
            end = state.expires;
        }
        engine.shutdown().await;
        drop(engine);
        let engine = open(&disk);
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        assert_eq!(engine.resumable_state(&part).expires, end);
        engine.abandon();
    });
}

#[test]
fn of_those_who_begin_at_once_no_more_have_a_place_than_one_after_the_other() {
    let small = EngineOptions { resumable_bytes: 8000, ..options() };
    let disk = SimulatedDisk::new();
    let engine = Engine::open_on(Arc::new(disk.clone()), &small).unwrap();
    let dataset = block_on(dataset(&engine));
    let barrier = std::sync::Barrier::new(8);
    let make = |owner| {
        let terms = ResumableTerms { owner: UserId(owner), ..terms(dataset, &content(4000)) };
        barrier.wait();
        block_on(engine.begin_resumable(terms))
    };
    let make = &make;
    let at_once = |owners: [u64; 8]| {
        std::thread::scope(|scope| {
            let threads = owners.map(|owner| scope.spawn(move || make(owner)));
            threads.map(|thread| thread.join().unwrap())
        })
    };
    // Of one user, who may have half of all, then of others.
    let own = at_once([OWNER.0; 8]);
    let others = at_once([2, 3, 4, 5, 6, 7, 8, 9]);
    for made in [&own, &others] {
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
    }
    // Nothing is kept of a place that came to nothing.
    block_on(async {
        let id = own.into_iter().flatten().next().unwrap();
        engine.give_up_resumable(id, OWNER, dataset).await.unwrap();
        disk.fail(At::Operation(disk.operations() + 1), Fault::Io);
        let again = || engine.begin_resumable(terms(dataset, &content(4000)));
        again().await.unwrap_err();
        again().await.unwrap();
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
fn where_no_memory_is_free_pieces_go_to_the_file_as_they_come() {
    block_on(async {
        let content = content(LONGER);
        let disk = SimulatedDisk::new();
        let engine = open(&disk);
        let dataset = dataset(&engine).await;
        let mut others = Vec::new();
        while engine.figures().upload_memory.0 < engine.figures().upload_memory.1 {
            let mut other = engine.begin_upload(Some(1 << 20)).await.unwrap();
            other.write(b"x").await.unwrap();
            others.push(other);
        }
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

#[test]
fn a_piece_that_fails_half_way_is_as_if_it_had_not_come() {
    for fault in [Fault::Io, Fault::Full, Fault::Short { bytes: 5000 }] {
        // Of the bytes before a page, the pages, the bytes behind them.
        for failed in 1..=3 {
            block_on(async {
                let content = content(LONGER);
                let disk = SimulatedDisk::new();
                let engine = open(&disk);
                let dataset = dataset(&engine).await;
                let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
                let part = engine.resume(id, OWNER, dataset).await.unwrap();
                let start = bytes::Bytes::copy_from_slice(&content[..PIECE]);
                let part = part.write(start, false).await.unwrap().settle().await.unwrap();
                disk.fail(At::Write(disk.writes() + failed), fault);
                let next = bytes::Bytes::copy_from_slice(&content[PIECE..2 * PIECE]);
                part.write(next, false).await.unwrap().settle().await.unwrap_err();
                let mut first = None;
                let mut heard = |offset| {
                    first.get_or_insert(offset);
                };
                let digest = send(&engine, (dataset, id), &content, &mut heard).await.unwrap();
                assert_eq!(digest, Digest::of(&content));
                assert_eq!(first, Some(byte_count(PIECE)), "{fault:?} of write {failed}");
                assert_has(&engine, dataset, &content);
                engine.shutdown().await;
            });
        }
    }
}

/// An upload of which a part of other bytes fails at so many operations from its first on, all of which
/// it has; no byte of that part counts.
async fn after_a_fault(
    disk: &SimulatedDisk,
    content: &[u8],
    (failed, fault): (u64, Fault),
) -> (Engine, DatasetId, ResumableId) {
    let engine = open(disk);
    let dataset = dataset(&engine).await;
    let id = engine.begin_resumable(terms(dataset, content)).await.unwrap();
    let part = engine.resume(id, OWNER, dataset).await.unwrap();
    disk.fail(At::Operation(disk.operations() + failed), fault);
    let others = vec![9; content.len() / 2].into();
    if let Ok(part) = part.write(others, false).await {
        part.settle().await.unwrap_err();
    }
    (engine, dataset, id)
}

/// The last one leaves a record that is whole.
const FAULTS: [Fault; 3] = [Fault::Io, Fault::Full, Fault::Short { bytes: 64 }];

#[test]
fn an_upload_can_be_given_up_after_any_fault_of_the_disk() {
    for fault in FAULTS {
        for (content, operations) in [(content(3000), 4), (content(LARGE), 5)] {
            for failed in 1..=operations {
                block_on(async {
                    let disk = SimulatedDisk::new();
                    let (engine, dataset, id) =
                        after_a_fault(&disk, &content, (failed, fault)).await;
                    let given_up = engine.give_up_resumable(id, OWNER, dataset).await;
                    given_up.unwrap();
                    assert_eq!(disk.list(STAGING).unwrap(), [""; 0], "{fault:?} at {failed}");
                    engine.shutdown().await;
                });
            }
        }
    }
}

/// A sync that fails may have lost what it was for, so that is to come again; and until it has, no power
/// cut brings back a record that was not made.
#[test]
fn an_upload_goes_on_from_what_was_told_after_any_fault_of_the_disk() {
    let cuts = [Reached::Nothing, Reached::Everything];
    for (fault, reached) in FAULTS.into_iter().flat_map(|fault| cuts.map(|cut| (fault, cut))) {
        for (content, operations) in [(content(3000), 4), (content(LARGE), 5)] {
            for (failed, is_settled) in (1..=operations).flat_map(|at| [(at, false), (at, true)]) {
                block_on(async {
                    let case = format!("{fault:?} at {failed}, {reached:?}, settled: {is_settled}");
                    let disk = SimulatedDisk::with_seed(failed);
                    let (engine, dataset, id) =
                        after_a_fault(&disk, &content, (failed, fault)).await;
                    let part = engine.resume(id, OWNER, dataset).await.expect(&case);
                    assert_eq!(engine.resumable_state(&part).offset, 0, "{case}");
                    let start = content.len() / 4;
                    let part = part.write(content[..start].to_vec().into(), false).await.unwrap();
                    if is_settled {
                        drop(part.settle().await.expect(&case));
                    }
                    engine.abandon();
                    let engine = open(&disk.image(reached));
                    let mut first = None;
                    let mut heard = |offset| {
                        first.get_or_insert(offset);
                    };
                    let sent = send(&engine, (dataset, id), &content, &mut heard).await;
                    assert_eq!(sent.expect(&case), Digest::of(&content));
                    let told = if is_settled { byte_count(start) } else { 0 };
                    assert_eq!(first, Some(told), "{case}");
                    assert_has(&engine, dataset, &content);
                    engine.shutdown().await;
                });
            }
        }
    }
}

#[test]
fn an_upload_that_a_start_could_not_read_is_there_with_the_next_one() {
    let content = content(LARGE);
    let disk = SimulatedDisk::new();
    let (dataset, id) = block_on(async {
        let engine = open(&disk);
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        let start = content[..PIECE].to_vec().into();
        drop(part.write(start, false).await.unwrap().settle().await.unwrap());
        engine.shutdown().await;
        (dataset, id)
    });
    let (mut failed, mut is_reached) = (0, true);
    while is_reached {
        failed += 1;
        let disk = disk.image(Reached::Everything);
        disk.fail(At::Read(failed), Fault::Io);
        if let Ok(engine) = Engine::open_on(Arc::new(disk.clone()), &options()) {
            engine.abandon();
        }
        is_reached = disk.reads() >= failed;
        block_on(async {
            let engine = open(&disk.restart());
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            assert_eq!(engine.resumable_state(&part).offset, byte_count(PIECE), "read {failed}");
            drop(part);
            engine.abandon();
        });
    }
    // One of which bytes are gone that were told cannot go on.
    block_on(async {
        let disk = disk.image(Reached::Everything);
        disk.remove(&id.data_path()).unwrap();
        let engine = open(&disk);
        let gone = engine.resume(id, OWNER, dataset).await.unwrap_err();
        assert!(matches!(gone, MutationError::UploadNotFound { .. }));
        assert_eq!(disk.list(STAGING).unwrap(), [""; 0]);
        engine.shutdown().await;
    });
}

/// Once its file is the store's, others may rely on it: what a client sends again goes to a copy.
#[test]
fn a_last_byte_that_comes_again_and_differs_changes_no_content_of_the_store() {
    let mut is_reached = true;
    let mut failed = 0;
    while is_reached {
        failed += 1;
        is_reached = block_on(async {
            let content = content(LARGE);
            let disk = SimulatedDisk::new();
            let engine = open(&disk);
            let dataset = dataset(&engine).await;
            let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            let all = bytes::Bytes::copy_from_slice(&content);
            let part = part.write(all, false).await.unwrap().settle().await.unwrap();
            let at = disk.operations() + failed;
            disk.fail(At::Operation(at), Fault::Io);
            let outcome = engine.complete_resumable(part).await.map(drop);
            if let Ok(part) = engine.resume(id, OWNER, dataset).await
                && engine.resumable_state(&part).added.is_none()
                && let Ok(part) = part.write(vec![!content[LARGE - 1]].into(), false).await
            {
                // Refused or not, it must not be seen.
                drop(part.settle().await);
            }
            let is_reached = disk.operations() >= at;
            engine.shutdown().await;
            let engine = open(&disk.restart());
            let snapshot = engine.snapshot().unwrap();
            let header = snapshot.dataset(dataset).unwrap().unwrap();
            let is_there = snapshot.file(&header, "large.bin").unwrap().is_some();
            drop(snapshot);
            assert!(is_there || outcome.is_err(), "operation {failed}");
            if is_there {
                assert_has(&engine, dataset, &content);
            }
            engine.shutdown().await;
            is_reached
        });
    }
    assert!(failed > 5, "there is something to fail");
}

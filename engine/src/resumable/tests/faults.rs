//! Power cuts, full disks and failures at any operation.

use super::*;

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

/// Most of it is in the file by then, and the rest in memory.
#[test]
fn of_a_checked_part_whose_end_finds_no_space_nothing_counts() {
    block_on(async {
        let content = content(LONGER);
        let disk = SimulatedDisk::new();
        let engine = open(&disk);
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let mut part = engine.resume(id, OWNER, dataset).await.unwrap();
        for frame in content[..5 * PIECE].chunks(70_001) {
            part = part.write(bytes::Bytes::copy_from_slice(frame), true).await.unwrap();
        }
        disk.fail(At::Operation(disk.operations() + 1), Fault::Full);
        let refused = part.settle().await.unwrap_err();
        assert!(matches!(refused, MutationError::OutOfSpace), "{refused:?}");
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        assert_eq!(engine.resumable_state(&part).offset, 0);
        drop(part);
        let sent = send(&engine, (dataset, id), &content, &mut drop).await;
        assert_eq!(sent.unwrap(), Digest::of(&content));
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

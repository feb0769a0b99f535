//! The file as the store's: what goes wrong when it is given, goes back, or is copied.

use super::refusals::{goes_on_one_byte_before_its_end, refused_when_applied};
use super::*;

/// Every large content that the store has has the bytes that its name says. What nobody names is swept.
fn assert_contents_unharmed(engine: &Engine, case: &str) {
    let store = &engine.resumables().store;
    for name in store.disk.list(BLOBS).unwrap() {
        let (digest, file) = store.blobs.earlier_large_file(&name, true).unwrap().unwrap();
        let Ok(content) = store.blobs.open_large(&digest, file) else { continue };
        if store.snapshot_as_applied().unwrap().names_large_file(&digest, file).unwrap() {
            let mut bytes = vec![0; usize::try_from(content.len().unwrap()).unwrap()];
            content.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(Digest::of(&bytes), digest, "{case}: {name}");
        }
    }
}

/// An upload of which all but the last byte counts.
async fn all_but_one_byte(engine: &Engine, content: &[u8]) -> (DatasetId, ResumableId) {
    let dataset = dataset(engine).await;
    let id = engine.begin_resumable(terms(dataset, content)).await.unwrap();
    let part = engine.resume(id, OWNER, dataset).await.unwrap();
    let most = bytes::Bytes::copy_from_slice(&content[..content.len() - 1]);
    drop(part.write(most, false).await.unwrap().settle().await.unwrap());
    (dataset, id)
}

/// Sends another last byte, which may be refused or not.
async fn send_another_end(engine: &Engine, (dataset, id): (DatasetId, ResumableId), end: u8) {
    if let Ok(part) = engine.resume(id, OWNER, dataset).await
        && engine.resumable_state(&part).added.is_none()
        && let Ok(part) = part.write(vec![end].into(), false).await
    {
        drop(part.settle().await);
    }
}

#[test]
fn a_sync_that_fails_while_a_file_is_given_or_copied_harms_no_content_of_the_store() {
    let (mut failed, mut is_reached) = (0, true);
    while is_reached {
        failed += 1;
        is_reached = block_on(async {
            let content = content(LARGE);
            let disk = SimulatedDisk::new();
            let engine = open(&disk);
            let (dataset, id) = all_but_one_byte(&engine, &content).await;
            set_quota(&engine, dataset, Some(10)).await;
            let at = disk.syncs() + failed;
            disk.fail(At::Sync(at), Fault::Io);
            refused_when_applied(&engine, id, dataset).await.unwrap_err();
            // As a client does that was told of an error.
            for _ in 0..2 {
                send_another_end(&engine, (dataset, id), !content[LARGE - 1]).await;
                assert_contents_unharmed(&engine, &format!("sync {failed}"));
            }
            engine.abandon();
            disk.syncs() >= at
        });
    }
    assert!(failed > 4, "there is something to fail");
}

/// Whose name was not synced the store never had: it goes back at once, and no copy is made of it.
#[test]
fn a_file_whose_new_name_could_not_be_synced_is_the_uploads_again() {
    for goes_on in [true, false] {
        block_on(async {
            let content = content(LARGE);
            let disk = SimulatedDisk::new();
            let engine = open(&disk);
            let (dataset, id) = all_but_one_byte(&engine, &content).await;
            // The last byte, its record, and the record that the file is about to be renamed.
            disk.fail(At::Sync(disk.syncs() + 4), Fault::Io);
            send(&engine, (dataset, id), &content, &mut drop).await.unwrap_err();
            assert_eq!(disk.list(BLOBS).unwrap(), [""; 0]);
            assert_eq!(disk.list(STAGING).unwrap().len(), 2);
            if goes_on {
                // None for a copy.
                let space = disk.space().unwrap();
                disk.set_space(space.total, 2 * reserve_bytes(space) + byte_count(LARGE) / 2);
                goes_on_one_byte_before_its_end(&engine, (dataset, id), &content).await;
            } else {
                engine.give_up_resumable(id, OWNER, dataset).await.unwrap();
                assert_eq!(disk.list(STAGING).unwrap(), [""; 0]);
            }
            engine.shutdown().await;
        });
    }
}

/// The last byte, its record, and the record that the file is about to be renamed, each with its sync, come first.
const RENAMED_AT: u64 = 7;

#[test]
fn a_file_is_renamed_after_the_record_of_that() {
    for at in [RENAMED_AT - 1, RENAMED_AT] {
        block_on(async {
            let content = content(LARGE);
            let disk = SimulatedDisk::new();
            let engine = open(&disk);
            let (dataset, id) = all_but_one_byte(&engine, &content).await;
            disk.stop_at(disk.operations() + at);
            send(&engine, (dataset, id), &content, &mut drop).await.unwrap_err();
            engine.abandon();
            let is_renamed = !disk.restart().list(BLOBS).unwrap().is_empty();
            assert_eq!(is_renamed, at == RENAMED_AT);
        });
    }
}

/// Whether it was made or not, the upload finds its bytes, and so does the next start; no copy is made of it.
#[test]
fn a_file_that_was_renamed_though_the_rename_failed_costs_no_byte() {
    for (fault, starts_again) in
        [Fault::Io, Fault::Made].into_iter().flat_map(|fault| [(fault, false), (fault, true)])
    {
        block_on(async {
            let content = content(LARGE);
            let disk = SimulatedDisk::new();
            let mut engine = open(&disk);
            let (dataset, id) = all_but_one_byte(&engine, &content).await;
            disk.fail(At::Operation(disk.operations() + RENAMED_AT), fault);
            send(&engine, (dataset, id), &content, &mut drop).await.unwrap_err();
            assert_eq!(disk.list(BLOBS).unwrap(), [""; 0]);
            // None for a copy.
            let space = disk.space().unwrap();
            disk.set_space(space.total, 2 * reserve_bytes(space) + byte_count(LARGE) / 2);
            if starts_again {
                engine.abandon();
                engine = open(&disk.restart());
            }
            goes_on_one_byte_before_its_end(&engine, (dataset, id), &content).await;
            engine.shutdown().await;
        });
    }
}

/// What a power cut may leave of names that were not synced.
fn cuts(stop: u64) -> impl Iterator<Item = Reached> {
    let random = (6 * stop..6 * (stop + 1)).map(Reached::Random);
    [Reached::Nothing, Reached::Everything].into_iter().chain(random)
}

#[test]
fn no_power_cut_after_a_refusal_leaves_a_content_of_the_store_to_an_upload() {
    let (mut stop, mut is_answered) = (1, false);
    while !is_answered {
        let content = content(LARGE);
        let disk = SimulatedDisk::new();
        let upload = block_on(async {
            let engine = open(&disk);
            let upload = all_but_one_byte(&engine, &content).await;
            set_quota(&engine, upload.0, Some(10)).await;
            disk.stop_at(disk.operations() + stop);
            let refused = refused_when_applied(&engine, upload.1, upload.0).await.unwrap_err();
            is_answered = matches!(refused, MutationError::QuotaExceeded { .. });
            engine.abandon();
            upload
        });
        for reached in cuts(stop) {
            let image = disk.image(reached);
            block_on(async {
                let engine = open(&image);
                send_another_end(&engine, upload, !content[LARGE - 1]).await;
                assert_contents_unharmed(&engine, &format!("stopped at {stop}, {reached:?}"));
                engine.abandon();
            });
        }
        stop += 1;
    }
}

async fn add_in_the_way(engine: &Engine, dataset: DatasetId) {
    let mut upload = engine.begin_upload(None).await.unwrap();
    upload.write(b"in the way").await.unwrap();
    let staged = upload.finish().await.unwrap();
    engine.add_file(dataset, "large.bin", staged).await.unwrap();
}

/// Each attempt gives the file another name, and takes it back; a start in between finds it back.
#[test]
fn no_power_cut_in_a_second_attempt_costs_a_byte() {
    for is_restarted in [false, true] {
        let (mut stop, mut is_answered) = (1, false);
        while !is_answered {
            let content = content(LARGE);
            let mut disk = SimulatedDisk::new();
            let upload = block_on(async {
                let mut engine = open(&disk);
                let upload = all_but_one_byte(&engine, &content).await;
                add_in_the_way(&engine, upload.0).await;
                if is_restarted {
                    // Of the names, when it is back: before it the byte, two records, and the names when it went.
                    disk.fail(At::Sync(disk.syncs() + 6), Fault::Io);
                }
                let refused = send(&engine, upload, &content, &mut drop).await.unwrap_err();
                assert!(matches!(refused, MutationError::FilenameTaken { .. }), "{refused:?}");
                if is_restarted {
                    engine.abandon();
                    disk = disk.restart();
                    engine = open(&disk);
                }
                disk.stop_at(disk.operations() + stop);
                let refused = send(&engine, upload, &content, &mut drop).await.unwrap_err();
                is_answered = matches!(refused, MutationError::FilenameTaken { .. });
                engine.abandon();
                upload
            });
            for reached in cuts(stop) {
                let image = disk.image(reached);
                block_on(async {
                    let engine = open(&image);
                    let case = format!("stopped at {stop}, {reached:?}, {is_restarted}");
                    let part = engine.resume(upload.1, OWNER, upload.0).await.expect(&case);
                    assert_eq!(engine.resumable_state(&part).offset, byte_count(LARGE) - 1);
                    drop(part);
                    engine.delete_file(upload.0, "large.bin").await.unwrap();
                    goes_on_one_byte_before_its_end(&engine, upload, &content).await;
                    engine.abandon();
                });
            }
            stop += 1;
        }
    }
}

/// Of a refused upload of which the store has the file, since there was no space for a copy.
async fn refused_without_a_copy(disk: &SimulatedDisk, content: &[u8]) -> (DatasetId, ResumableId) {
    let engine = open(disk);
    let upload = all_but_one_byte(&engine, content).await;
    set_quota(&engine, upload.0, Some(10)).await;
    let space = disk.space().unwrap();
    disk.set_space(space.total, 2 * reserve_bytes(space) + byte_count(LARGE) / 2);
    refused_when_applied(&engine, upload.1, upload.0).await.unwrap_err();
    disk.set_space(space.total, space.available);
    engine.shutdown().await;
    upload
}

/// Of many large ones, copying would keep everybody waiting for the server.
#[test]
fn a_start_copies_no_upload_and_the_next_byte_does() {
    block_on(async {
        let content = content(LARGE);
        let disk = SimulatedDisk::new();
        let upload = refused_without_a_copy(&disk, &content).await;
        for _ in 0..2 {
            let engine = open(&disk);
            assert_eq!(disk.list(STAGING).unwrap().len(), 1, "its state and no copy");
            let part = engine.resume(upload.1, OWNER, upload.0).await.unwrap();
            assert_eq!(engine.resumable_state(&part).offset, byte_count(LARGE) - 1);
            drop(part);
            engine.shutdown().await;
        }
        let engine = open(&disk);
        set_quota(&engine, upload.0, None).await;
        send_another_end(&engine, upload, !content[LARGE - 1]).await;
        assert_eq!(disk.list(STAGING).unwrap().len(), 2, "a copy");
        assert_contents_unharmed(&engine, "after another last byte");
        // It is as the store has it by then.
        goes_on_one_byte_before_its_end(&engine, upload, &content).await;
        engine.shutdown().await;
    });
}

#[test]
fn an_upload_that_was_not_copied_goes_with_what_the_store_has_of_it() {
    for is_expired in [false, true] {
        block_on(async {
            let content = content(LARGE);
            let disk = SimulatedDisk::new();
            let (dataset, id) = refused_without_a_copy(&disk, &content).await;
            let mut engine = open(&disk);
            if is_expired {
                engine.resumables().expire(Timestamp(i64::MAX));
            } else {
                engine.destroy_dataset(dataset).await.unwrap();
                engine.hard_delete_dataset(dataset).await.unwrap();
                engine.shutdown().await;
                drop(engine);
                engine = open(&disk);
            }
            assert_eq!(disk.list(STAGING).unwrap(), [""; 0]);
            engine.resume(id, OWNER, dataset).await.unwrap_err();
            let collecting = engine.clone();
            let collect = move || collecting.collect_garbage(&CollectionProgress::default());
            tokio::task::spawn_blocking(collect).await.unwrap().unwrap();
            assert_eq!(disk.list(BLOBS).unwrap(), [""; 0]);
            engine.shutdown().await;
        });
    }
}

/// The store may have its file, which no row names and nobody pins.
#[test]
fn what_the_store_has_of_an_upload_that_a_start_could_not_read_is_not_reclaimed() {
    let content = content(LARGE);
    let disk = SimulatedDisk::new();
    let upload = block_on(refused_without_a_copy(&disk, &content));
    let (mut failed, mut is_reached) = (0, true);
    while is_reached {
        failed += 1;
        let disk = disk.image(Reached::Everything);
        disk.fail(At::Read(failed), Fault::Io);
        block_on(async {
            let Ok(engine) = Engine::open_on(Arc::new(disk.clone()), &options()) else { return };
            let collecting = engine.clone();
            let collect = move || collecting.collect_garbage(&CollectionProgress::default());
            // What cannot be read may be of the index.
            drop(tokio::task::spawn_blocking(collect).await.unwrap());
            engine.shutdown().await;
        });
        is_reached = disk.reads() >= failed;
        block_on(async {
            let engine = open(&disk.restart());
            set_quota(&engine, upload.0, None).await;
            goes_on_one_byte_before_its_end(&engine, upload, &content).await;
            engine.shutdown().await;
        });
    }
}

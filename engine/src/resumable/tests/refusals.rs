//! What is refused with the last byte, and what that costs.

use super::*;

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
pub(super) async fn refused_when_applied(
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

pub(super) async fn goes_on_one_byte_before_its_end(
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

/// The copy waits for space, and the file that the store has stays until there is some, whoever starts in between.
#[test]
fn nor_if_there_is_no_space_for_a_copy_before_the_next_start() {
    for is_restarted in [false, true] {
        block_on(async {
            let content = content(LARGE);
            let disk = SimulatedDisk::new();
            let mut engine = open(&disk);
            let dataset = dataset(&engine).await;
            let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
            set_quota(&engine, dataset, Some(10)).await;
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            let part = part.write(content[..LARGE - 1].to_vec().into(), false).await.unwrap();
            drop(part.settle().await.unwrap());
            // Enough for what is left of the upload, and for no second one.
            let space = disk.space().unwrap();
            disk.set_space(space.total, 2 * reserve_bytes(space) + byte_count(LARGE) / 2);
            let refused = refused_when_applied(&engine, id, dataset).await.unwrap_err();
            assert!(matches!(refused, MutationError::QuotaExceeded { .. }), "{refused:?}");
            assert_eq!(disk.list(STAGING).unwrap().len(), 1, "no part of a copy");
            for _ in 0..2 {
                let collecting = engine.clone();
                let collect = move || collecting.collect_garbage(&CollectionProgress::default());
                tokio::task::spawn_blocking(collect).await.unwrap().unwrap();
                let files = [BLOBS, STAGING].map(|directory| disk.list(directory).unwrap().len());
                assert_eq!(files, [1, 1]);
                if is_restarted {
                    engine.shutdown().await;
                    drop(engine);
                    engine = open(&disk);
                }
            }
            disk.set_space(space.total, space.available);
            set_quota(&engine, dataset, None).await;
            goes_on_one_byte_before_its_end(&engine, (dataset, id), &content).await;
            engine.shutdown().await;
        });
    }
}

/// The store keeps one file of a content, and that is another's by then.
#[test]
fn nor_if_another_upload_of_the_same_content_takes_the_place_of_its_file() {
    block_on(async {
        let content = content(LARGE);
        let disk = SimulatedDisk::new();
        let mut engine = open(&disk);
        let dataset = dataset(&engine).await;
        let mut other = engine.begin_upload(None).await.unwrap();
        other.write(&content).await.unwrap();
        // Published while nobody has the content, and added later.
        let other = other.finish().await.unwrap();
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        let part = part.write(content[..LARGE - 1].to_vec().into(), false).await.unwrap();
        drop(part.settle().await.unwrap());
        set_quota(&engine, dataset, Some(10)).await;
        // None for a copy.
        let space = disk.space().unwrap();
        disk.set_space(space.total, 2 * reserve_bytes(space) + byte_count(LARGE) / 2);
        let refused = refused_when_applied(&engine, id, dataset).await.unwrap_err();
        assert!(matches!(refused, MutationError::QuotaExceeded { .. }), "{refused:?}");
        disk.set_space(space.total, space.available);
        set_quota(&engine, dataset, None).await;
        engine.add_file(dataset, "other.bin", other).await.unwrap();
        for _ in 0..2 {
            engine.shutdown().await;
            drop(engine);
            engine = open(&disk);
            let files = [BLOBS, STAGING].map(|directory| disk.list(directory).unwrap().len());
            assert_eq!(files, [1, 1], "the other's file, and no own one");
        }
        // The upload alone keeps the content then.
        engine.delete_file(dataset, "other.bin").await.unwrap();
        let collecting = engine.clone();
        let collect = move || collecting.collect_garbage(&CollectionProgress::default());
        tokio::task::spawn_blocking(collect).await.unwrap().unwrap();
        goes_on_one_byte_before_its_end(&engine, (dataset, id), &content).await;
        engine.shutdown().await;
    });
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

//! Memory that uploads share: who waits for some, who gives some back, and who is refused.

use super::*;

#[tokio::test]
async fn uploads_under_a_budget_of_a_few_kibibytes_all_get_through() {
    let disk = MemoryDisk::prepared();
    let budget = Budget::for_all(4 << 10, Duration::from_mins(10));
    let blobs = Blobs::with_budget(disk.clone(), 7, budget);
    let uploads: Vec<_> = (0..8)
        .map(|number| {
            let blobs = blobs.clone();
            tokio::spawn(async move {
                let announced = (number % 2 == 0).then_some(300_000);
                let content = content(300_000 + number);
                staged(&blobs, announced, &content).await.digest() == Digest::of(&content)
            })
        })
        .collect();
    for upload in uploads {
        assert!(upload.await.unwrap());
    }
    assert_eq!(blobs.budget.available(), 4 << 10);
}

#[tokio::test]
async fn what_is_too_large_or_finds_no_memory_is_refused_at_once() {
    let disk = MemoryDisk::prepared();
    let blobs = blobs(&disk, 1 << 10);
    let refused = blobs.begin_upload(Some(FILE_BYTES_MAX + 1));
    assert!(matches!(refused, Err(MutationError::TooLarge { .. })));
    let mut first = blobs.begin_upload(Some(1)).unwrap();
    first.write(b"x").await.unwrap();
    let mut second = blobs.begin_upload(None).unwrap();
    let refused = second.write(b"x").await;
    assert!(matches!(refused, Err(MutationError::Busy { .. })));
}

#[tokio::test]
async fn announcements_of_which_nothing_comes_keep_no_memory() {
    let blobs = blobs(&MemoryDisk::prepared(), MIB);
    let silent: Vec<_> = (0..100).map(|_| blobs.begin_upload(Some(1 << 20)).unwrap()).collect();
    assert_eq!(blobs.budget.available(), MIB);
    staged(&blobs, Some(1 << 20), &content(MIB)).await;
    drop(silent);
}

#[test]
fn an_upload_that_rests_leaves_its_memory_to_those_who_wait_and_goes_on_later() {
    block_on(async {
        let disk = MemoryDisk::prepared();
        let budget = Budget::for_all(MIB, Duration::from_hours(1));
        let blobs = Blobs::with_budget(disk.clone(), 7, budget);
        let content = content(MIB);
        let mut resting = blobs.begin_upload(Some(1 << 20)).unwrap();
        resting.write(&content[..10]).await.unwrap();
        // Nobody waits, so that nothing is to be gained.
        resting.rest().await.unwrap();
        assert_eq!(blobs.budget.available(), 0);
        assert_eq!(disk.paths(), [""; 0]);

        let other = blobs.clone();
        let waiting = tokio::spawn(async move { staged(&other, Some(5), b"other").await });
        while !blobs.budget.is_short() {
            tokio::task::yield_now().await;
        }
        resting.rest().await.unwrap();
        assert_eq!(waiting.await.unwrap().digest(), Digest::of(b"other"));
        assert_eq!(blobs.budget.available(), MIB);

        resting.write(&content[10..]).await.unwrap();
        let blob = resting.finish(|_| Ok(false)).await.unwrap();
        assert_eq!(blob.digest(), Digest::of(&content));
        assert_eq!(blobs.budget.available(), MIB);
    });
}

/// A small content that waits for memory, and gives up after a while.
async fn waiting_upload(blobs: &Arc<Blobs>) -> JoinHandle<Result<StagedBlob, MutationError>> {
    let other = blobs.clone();
    let waiting = tokio::spawn(async move {
        let mut upload = other.begin_upload(Some(5))?;
        upload.write(b"other").await?;
        upload.finish(|_| Ok(false)).await
    });
    while !blobs.budget.is_short() {
        assert!(!waiting.is_finished());
        tokio::task::yield_now().await;
    }
    waiting
}

#[test]
fn large_uploads_that_flow_leave_memory_to_those_who_wait_and_have_it_back_afterwards() {
    block_on(async {
        let disk = MemoryDisk::prepared();
        let budget = Budget::for_all(2 * MIB, Duration::from_secs(10));
        let blobs = Blobs::with_budget(disk.clone(), 7, budget);
        let content = content(6 * MIB);
        let mut announced = blobs.begin_upload(Some(byte_count(content.len()))).unwrap();
        let mut unannounced = blobs.begin_upload(None).unwrap();
        announced.write(&content[..10]).await.unwrap();
        unannounced.write(&content[..3 * MIB / 2]).await.unwrap();
        for (flowing, from) in [(&mut announced, 10), (&mut unannounced, 3 * MIB / 2)] {
            assert_eq!(blobs.budget.available(), 0);
            let waiting = waiting_upload(&blobs).await;
            flowing.write(&content[from..from + 10]).await.unwrap();
            drop(waiting.await.unwrap().unwrap());
            assert_eq!(blobs.budget.available(), MIB - UPLOAD_FIRST_BYTES);
            // With the next piece that leaves the buffer.
            flowing.write(&content[from + 10..3 * MIB]).await.unwrap();
        }
        for mut flowing in [announced, unannounced] {
            drop(disk.take_log());
            flowing.write(&content[3 * MIB..]).await.unwrap();
            let blob = flowing.finish(|_| Ok(false)).await.unwrap();
            assert_eq!(blob.digest(), Digest::of(&content));
            let log = disk.take_log();
            let pages = log.iter().filter(|line| line.starts_with("write pages of staging"));
            assert!(pages.count() <= 5, "whole buffers again: {log:?}");
        }
        assert_eq!(blobs.budget.available(), 2 * MIB);
    });
}

#[test]
fn a_small_content_that_comes_slowly_goes_on_in_a_file_where_others_wait() {
    block_on(async {
        let disk = MemoryDisk::prepared();
        let budget = Budget::for_all(MIB, Duration::from_secs(10));
        let blobs = Blobs::with_budget(disk.clone(), 7, budget);
        let content = content(MIB);
        let mut slow = blobs.begin_upload(Some(byte_count(MIB))).unwrap();
        let soonest = Instant::now() + UPLOAD_SLOW_AFTER;
        slow.write(&content[..10]).await.unwrap();
        let latest = Instant::now() + UPLOAD_SLOW_AFTER;
        assert!((soonest..=latest).contains(&slow.slow_from.unwrap()));
        let waiting = waiting_upload(&blobs).await;
        // It may be there whole in a moment, for however long this thread stood still.
        slow.slow_from = Some(Instant::now() + Duration::from_hours(1));
        slow.write(&content[10..20]).await.unwrap();
        assert_eq!(disk.paths(), [""; 0]);
        slow.slow_from = Some(Instant::now());
        slow.write(&content[20..30]).await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().digest(), Digest::of(b"other"));
        assert_eq!(disk.paths().len(), 1);
        slow.write(&content[30..]).await.unwrap();
        let blob = slow.finish(|_| Ok(false)).await.unwrap();
        assert_eq!(blob.digest(), Digest::of(&content));
        drop(blob);
        assert_eq!(blobs.budget.available(), MIB);
    });
}

//! What arrives, where it goes, what is left of it, and what a failure or a drop leaves.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use super::super::budget::Budget;
use super::super::buffer::Buffer;
use super::super::memory_disk::MemoryDisk;
use super::super::test_runtime::{block_on, drop_half_way, settle};
use super::super::{Pins, StagedBody, byte_count};
use super::*;
use crate::disk::{At, Disk as _, SimulatedDisk};
use crate::limits::KEPT_PIECE_MEMORY_BYTES;

const MIB: usize = 1 << 20;

mod memory;

/// Contents with a budget of so many bytes, for which nobody waits.
fn blobs(disk: &Arc<MemoryDisk>, budget_bytes: usize) -> Arc<Blobs> {
    let budget = Budget::for_all(budget_bytes, Duration::ZERO);
    Blobs::with_budget(disk.clone(), 7, budget)
}

fn content(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

async fn write(upload: &mut Upload, content: &[u8]) -> Result<(), MutationError> {
    for chunk in content.chunks(50_000) {
        upload.write(chunk).await?;
    }
    Ok(())
}

/// Uploads a content that nobody knows yet.
async fn staged(blobs: &Arc<Blobs>, length: Option<u64>, content: &[u8]) -> StagedBlob {
    let mut upload = blobs.begin_upload(length).unwrap();
    write(&mut upload, content).await.unwrap();
    upload.finish(|_| Ok(false)).await.unwrap()
}

fn may_doom(pins: &Pins, digest: &Digest) -> bool {
    pins.doom(std::iter::once(*digest)).contains(digest)
}

#[tokio::test]
async fn contents_up_to_a_mebibyte_stay_in_memory_and_longer_ones_get_files() {
    for length in [0, 1, 65_536, 65_537, MIB, MIB + 1, 3 * MIB] {
        for announced in [None, Some(byte_count(length))] {
            let disk = MemoryDisk::prepared();
            let blobs = blobs(&disk, 8 * MIB);
            let content = content(length);
            let blob = staged(&blobs, announced, &content).await;

            assert_eq!(blob.digest(), Digest::of(&content));
            assert_eq!(blob.length(), byte_count(length));
            assert_eq!(blob.crc32(), crc32fast::hash(&content));
            let digest = blob.digest();
            let stored = match blob.body() {
                StagedBody::Memory(bytes) => {
                    assert!(length <= MIB);
                    assert!(disk.paths().is_empty());
                    bytes.to_vec()
                }
                StagedBody::Large(id) => {
                    assert!(length > MIB);
                    let path = super::super::large::blob_path(&digest, *id);
                    assert_eq!(disk.paths(), [path.as_str()]);
                    disk.content(&path)
                }
                StagedBody::Known => panic!("nobody knows it"),
            };
            assert!(stored == content, "{length} bytes, announced {announced:?}");
        }
    }
}

#[tokio::test]
async fn a_large_content_is_written_by_whole_pages_but_for_its_end() {
    for announced in [None, Some(byte_count(3 * MIB + 5))] {
        let disk = MemoryDisk::prepared();
        let blobs = blobs(&disk, 8 * MIB);
        let blob = staged(&blobs, announced, &content(3 * MIB + 5)).await;
        let (mut pages, mut others) = (0, 0);
        for line in disk.take_log() {
            pages += usize::from(line.starts_with("write pages of staging"));
            others += usize::from(line.starts_with("write staging"));
        }
        assert_eq!((pages, others), (3, 1), "announced {announced:?}");
        drop(blob);
    }
}

#[test]
fn what_comes_while_a_piece_is_written_has_room_and_waits_only_for_the_next_one() {
    block_on(async {
        let disk = SimulatedDisk::new();
        Blobs::prepare(&disk).unwrap();
        let budget = Budget::for_all(MIB, Duration::ZERO);
        let blobs = Blobs::with_budget(Arc::new(disk.clone()), 7, budget);
        let content = content(3 * MIB + 5);
        let stall = disk.stall(At::Write(1));
        let mut upload = blobs.begin_upload(Some(byte_count(content.len()))).unwrap();
        upload.write(&content[..2 * MIB]).await.unwrap();
        while !stall.is_reached() {
            std::thread::yield_now();
        }
        {
            let mut third = std::pin::pin!(upload.write(&content[2 * MIB..]));
            let mut once = |context: &mut Context<'_>| third.as_mut().poll(context).is_pending();
            assert!(poll_fn(|context| Poll::Ready(once(context))).await);
            drop(stall);
            third.await.unwrap();
        }
        let blob = upload.finish(|_| Ok(false)).await.unwrap();
        assert_eq!(blob.digest(), Digest::of(&content));
    });
}

#[test]
fn pieces_that_leave_in_different_ways_make_one_content() {
    block_on(async {
        let disk = MemoryDisk::prepared();
        let budget = Budget::for_all(5 * MIB, Duration::from_hours(1));
        let blobs = Blobs::with_budget(disk.clone(), 7, budget);
        let content = content(9 * MIB + 5);
        let mut upload = blobs.begin_upload(Some(byte_count(content.len()))).unwrap();
        let mut taken = Vec::new();
        for (number, piece) in content.chunks(MIB / 2).enumerate() {
            match number {
                // Others have all the spare buffers for a while: the piece leaves by itself.
                4 | 12 => {
                    while let Some(spare) = blobs.spares.exchange(&mut Buffer::default(), 0) {
                        taken.push(spare);
                    }
                }
                7 | 14 => taken.clear(),
                // Somebody waits for memory: this one gives its own away.
                9 => {
                    let other = blobs.clone();
                    let wanted = content[..5 * MIB / 8].to_vec();
                    let rest = blobs.budget.try_acquire(4 * MIB).unwrap();
                    let waiting = tokio::spawn(async move { staged(&other, None, &wanted).await });
                    while !blobs.budget.is_short() {
                        tokio::task::yield_now().await;
                    }
                    upload.rest().await.unwrap();
                    drop(rest);
                    waiting.await.unwrap();
                }
                _ => {}
            }
            upload.write(piece).await.unwrap();
        }
        drop(taken);
        let blob = upload.finish(|_| Ok(false)).await.unwrap();
        assert_eq!(blob.digest(), Digest::of(&content));
        assert_eq!(blob.crc32(), crc32fast::hash(&content));
        let StagedBody::Large(id) = blob.body() else { panic!("it is large") };
        let path = super::super::large::blob_path(&blob.digest(), *id);
        assert!(disk.content(&path) == content);
    });
}

#[test]
fn an_upload_that_is_dropped_while_a_piece_is_written_leaves_nothing() {
    block_on(async {
        let disk = SimulatedDisk::new();
        Blobs::prepare(&disk).unwrap();
        let budget = Budget::for_all(MIB, Duration::ZERO);
        let blobs = Blobs::with_budget(Arc::new(disk.clone()), 7, budget);
        let stall = disk.stall(At::Write(1));
        let mut upload = blobs.begin_upload(None).unwrap();
        upload.write(&content(MIB + 1)).await.unwrap();
        while !stall.is_reached() {
            std::thread::yield_now();
        }
        drop(upload);
        assert_eq!(blobs.budget.available(), MIB);
        drop(stall);
        settle().await;
        assert_eq!(disk.list("staging").unwrap(), [""; 0]);
    });
}

fn in_memory(blob: &StagedBlob) -> Bytes {
    let StagedBody::Memory(bytes) = blob.body() else { panic!("{blob:?}") };
    bytes.clone()
}

#[tokio::test]
async fn a_content_that_comes_in_one_piece_is_kept_as_it_came() {
    let blobs = blobs(&MemoryDisk::prepared(), MIB);
    for (length, is_kept) in
        [(16_383, false), (16_384, true), (20_480, true), (65_536, true), (65_537, false)]
    {
        let piece = Bytes::from(content(length));
        let mut upload = blobs.begin_upload(Some(byte_count(length))).unwrap();
        upload.take(piece.clone()).await.unwrap();
        let blob = upload.finish(|_| Ok(false)).await.unwrap();
        let bytes = in_memory(&blob);
        assert_eq!(bytes, piece);
        assert_eq!((blob.digest(), blob.length()), (Digest::of(&piece), byte_count(length)));
        assert_eq!(bytes.as_ptr() == piece.as_ptr(), is_kept, "{length} bytes");
        // What it is a part of may be longer.
        let copied = length.next_multiple_of(1 << 10);
        let counted = if is_kept { KEPT_PIECE_MEMORY_BYTES } else { copied };
        assert_eq!(blobs.budget.available(), MIB - counted);
        drop((blob, bytes));
        assert_eq!(blobs.budget.available(), MIB);
    }
}

#[tokio::test]
async fn a_piece_is_copied_where_memory_is_short() {
    let blobs = blobs(&MemoryDisk::prepared(), MIB);
    let half = blobs.budget.try_acquire(MIB / 2).unwrap();
    let piece = Bytes::from(content(20_480));
    let mut upload = blobs.begin_upload(Some(20_480)).unwrap();
    upload.take(piece.clone()).await.unwrap();
    let blob = upload.finish(|_| Ok(false)).await.unwrap();
    assert_ne!(in_memory(&blob).as_ptr(), piece.as_ptr());
    drop(half);
    assert_eq!(blobs.budget.available(), MIB - 20_480);
}

/// More may come of it than of what was announced, and a form's file is a part of much more.
#[tokio::test]
async fn a_piece_of_what_nobody_announced_is_copied() {
    let blobs = blobs(&MemoryDisk::prepared(), MIB);
    for (announced, length) in [(None, 65_536), (None, 20_480), (Some(65_536), 20_480)] {
        let piece = Bytes::from(content(length));
        let mut upload = blobs.begin_upload(announced).unwrap();
        upload.take(piece.clone()).await.unwrap();
        let blob = upload.finish(|_| Ok(false)).await.unwrap();
        assert_ne!(in_memory(&blob).as_ptr(), piece.as_ptr());
    }
}

#[tokio::test]
async fn more_may_follow_than_was_announced() {
    const FIRST: usize = 20_480;
    for (length, has_room) in
        [(FIRST + 1, true), (2 * FIRST, true), (300_000, true), (MIB + 1, true), (FIRST + 1, false)]
    {
        let blobs = blobs(&MemoryDisk::prepared(), 8 * MIB);
        let content = Bytes::from(content(length));
        let mut upload = blobs.begin_upload(Some(byte_count(FIRST))).unwrap();
        upload.take(content.slice(..FIRST)).await.unwrap();
        assert_eq!(blobs.budget.available(), 8 * MIB - KEPT_PIECE_MEMORY_BYTES);
        let others =
            (!has_room).then(|| blobs.budget.try_acquire(blobs.budget.available()).unwrap());
        upload.take(content.slice(FIRST..)).await.unwrap();
        let blob = upload.finish(|_| Ok(false)).await.unwrap();
        assert_eq!((blob.digest(), blob.length()), (Digest::of(&content), byte_count(length)));
        if has_room && length <= MIB {
            assert_eq!(in_memory(&blob), content);
            assert_eq!(blobs.budget.available(), 8 * MIB - length.next_multiple_of(1 << 10));
        } else {
            assert!(matches!(blob.body(), StagedBody::Large(_)));
        }
        drop((blob, others));
        assert_eq!(blobs.budget.available(), 8 * MIB);
    }
}

#[tokio::test]
async fn a_kept_piece_goes_to_a_file_where_its_sender_rests_and_others_wait() {
    let budget = Budget::for_all(MIB, Duration::from_hours(1));
    let blobs = Blobs::with_budget(MemoryDisk::prepared(), 7, budget);
    let content = Bytes::from(content(40_960));
    let mut upload = blobs.begin_upload(Some(20_480)).unwrap();
    upload.take(content.slice(..20_480)).await.unwrap();
    assert_eq!(blobs.budget.available(), MIB - KEPT_PIECE_MEMORY_BYTES);
    let other = blobs.clone();
    let waiting = tokio::spawn(async move { other.budget.acquire(MIB).await.map(drop) });
    while !blobs.budget.is_short() {
        tokio::task::yield_now().await;
    }
    upload.rest().await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(blobs.budget.available(), MIB);
    // As long as what was announced, but not all of it.
    upload.take(content.slice(20_480..)).await.unwrap();
    let blob = upload.finish(|_| Ok(false)).await.unwrap();
    assert_eq!((blob.digest(), blob.length()), (Digest::of(&content), 40_960));
    assert!(matches!(blob.body(), StagedBody::Large(_)));
}

#[tokio::test]
async fn a_staged_content_holds_the_memory_of_its_bytes_until_the_last_clone_goes() {
    let disk = MemoryDisk::prepared();
    let blobs = blobs(&disk, MIB);
    let blob = staged(&blobs, None, &content(2_000)).await;
    assert_eq!(blobs.budget.available(), MIB - 2_048);
    let body = blob.body().clone();
    drop(blob.into_pin());
    assert_eq!(blobs.budget.available(), MIB - 2_048);
    drop(body);
    assert_eq!(blobs.budget.available(), MIB);
}

#[test]
fn a_known_content_is_dropped_and_only_its_pin_stays() {
    block_on(async {
        for length in [2_000, 3 * MIB] {
            let disk = MemoryDisk::prepared();
            let blobs = blobs(&disk, 2 * MIB);
            let mut upload = blobs.begin_upload(None).unwrap();
            write(&mut upload, &content(length)).await.unwrap();
            let pins = blobs.pins().clone();
            // I3: when it is looked up it is pinned already.
            let asked = move |digest: &Digest| Ok(!may_doom(&pins, digest));
            let blob = upload.finish(asked).await.unwrap();
            settle().await;

            assert_eq!(disk.paths(), [""; 0]);
            assert_eq!(blobs.budget.available(), 2 * MIB);
            let digest = blob.digest();
            assert!(matches!(blob.body(), StagedBody::Known));
            let pin = blob.into_pin();
            assert!(!may_doom(blobs.pins(), &digest));
            drop(pin);
            assert!(may_doom(blobs.pins(), &digest));
        }
    });
}

#[tokio::test]
async fn a_content_whose_row_is_being_removed_counts_as_unknown() {
    let disk = MemoryDisk::prepared();
    let blobs = blobs(&disk, MIB);
    let doomed = blobs.pins().doom([Digest::of(b"x")].into_iter());
    let mut upload = blobs.begin_upload(Some(1)).unwrap();
    upload.write(b"x").await.unwrap();
    let blob = upload.finish(|_| Ok(true)).await.unwrap();
    assert!(matches!(blob.body(), StagedBody::Memory(_)));
    drop(doomed);
}

#[test]
fn dropped_uploads_and_staged_contents_leave_nothing() {
    block_on(async {
        let disk = MemoryDisk::prepared();
        let blobs = blobs(&disk, 8 * MIB);
        let content = content(3 * MIB);

        let mut upload = blobs.begin_upload(None).unwrap();
        write(&mut upload, &content).await.unwrap();
        assert_eq!(disk.paths().len(), 1);
        drop(upload);
        settle().await;
        assert_eq!(disk.paths(), [""; 0]);

        drop(staged(&blobs, None, &content).await);
        settle().await;
        assert_eq!(disk.paths(), [""; 0]);

        // What the journal has is not ours to remove.
        drop(staged(&blobs, None, &content).await.into_pin());
        settle().await;
        assert_eq!(disk.paths().len(), 1);
        assert_eq!(blobs.budget.available(), 8 * MIB);
    });
}

#[test]
fn futures_dropped_half_way_leave_nothing() {
    block_on(async {
        let disk = MemoryDisk::prepared();
        let blobs = blobs(&disk, 8 * MIB);
        let content = content(3 * MIB);

        let mut upload = blobs.begin_upload(None).unwrap();
        drop_half_way(upload.write(&content)).await;
        settle().await;
        assert_eq!(disk.paths(), [""; 0]);
        // It is over, also for a caller who did not notice.
        assert!(upload.write(b"more").await.is_err());
        assert!(upload.finish(|_| Ok(false)).await.is_err());

        let mut upload = blobs.begin_upload(None).unwrap();
        write(&mut upload, &content).await.unwrap();
        drop_half_way(upload.finish(|_| Ok(false))).await;
        settle().await;
        assert_eq!(disk.paths(), [""; 0]);
        assert_eq!(blobs.budget.available(), 8 * MIB);
    });
}

#[test]
fn failures_of_the_disk_end_the_upload_and_leave_nothing() {
    block_on(async {
        for step in ["open staging", "write", "sync staging", "rename", "sync_dir"] {
            for (kind, is_full) in [
                (io::ErrorKind::StorageFull, true),
                (io::ErrorKind::QuotaExceeded, true),
                (io::ErrorKind::Other, false),
            ] {
                let disk = MemoryDisk::prepared();
                let blobs = blobs(&disk, 8 * MIB);
                disk.fail_with(step, kind);
                let outcome = async {
                    let mut upload = blobs.begin_upload(None)?;
                    write(&mut upload, &content(3 * MIB)).await?;
                    upload.finish(|_| Ok(false)).await
                };
                let refused = outcome.await.unwrap_err();
                assert_eq!(matches!(refused, MutationError::OutOfSpace), is_full, "{step}, {kind}");
                settle().await;
                assert_eq!(disk.paths(), [""; 0], "{step}");
                assert_eq!(blobs.budget.available(), 8 * MIB);
            }
        }
    });
}

#[tokio::test]
async fn an_index_that_cannot_be_asked_ends_the_upload() {
    let blobs = blobs(&MemoryDisk::prepared(), MIB);
    let upload = blobs.begin_upload(None).unwrap();
    let refused = upload.finish(|_| Err(ReadError::Busy)).await;
    assert!(matches!(refused, Err(MutationError::Read(_))));
}

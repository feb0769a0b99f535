//! An archive on its way in: bytes that a client sends, until all of them have come.

use std::sync::Arc;

use super::{Spool, Spooled};
use crate::blobs::{Blobs, Share, abandoned, byte_count, on_blocking_pool, staging_error};
use crate::disk::Disk;
use crate::error::MutationError;
use crate::limits::{SPOOL_KEPT_BYTES_MAX, SPOOL_MEMORY_BYTES, SPOOL_MEMORY_LEAN_BYTES};

/// Takes bytes in from async code, up to a bound.
///
/// Its buffer is a part of the memory of all uploads, where there is plenty of it. Otherwise it
/// is little, since it is held for as long as its sender takes. Full ones stay in memory where that for
/// archives has room, and go to the file otherwise, all that came before with them.
#[derive(Debug)]
pub struct SpoolUpload {
    /// Gone after an error, or after a future of [`SpoolUpload::write`] was dropped half way.
    spool: Option<Spool>,
    blobs: Arc<Blobs>,
    /// Its buffer's part of the memory of all uploads.
    share: Option<Share>,
    bytes_max: u64,
    /// Whether it tries for memory for archives.
    may_keep: bool,
}

impl SpoolUpload {
    /// Begins with nothing, and takes at most so many bytes.
    pub(crate) fn new(disk: Arc<dyn Disk>, blobs: Arc<Blobs>, bytes_max: u64) -> Self {
        Self { spool: Some(Spool::new(disk)), blobs, share: None, bytes_max, may_keep: true }
    }

    /// Tells how many bytes will come, as far as that is known. If all memory for archives is too little
    /// for them, they go to the file from the beginning and leave that memory to others.
    pub(crate) fn expecting(mut self, bytes: Option<u64>) -> Self {
        self.may_keep = bytes.is_none_or(|bytes| bytes <= byte_count(SPOOL_KEPT_BYTES_MAX));
        self
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`MutationError::TooLarge`], [`MutationError::OutOfSpace`] or [`MutationError::Staging`];
    /// it is over then, and nothing of it remains.
    ///
    /// # Cancellation
    /// After a write that was dropped half way it is over, as after an error.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), MutationError> {
        let mut spool = self.spool.take().ok_or_else(abandoned)?;
        let actual = spool.length().saturating_add(byte_count(chunk.len()));
        if actual > self.bytes_max {
            return Err(MutationError::TooLarge {
                what: "the body",
                actual,
                limit: self.bytes_max,
            });
        }
        if self.share.is_none() {
            self.share = self.blobs.try_memory(SPOOL_MEMORY_BYTES);
            spool.memory_bytes =
                self.share.as_ref().map_or(SPOOL_MEMORY_LEAN_BYTES, |_| SPOOL_MEMORY_BYTES);
        }
        let mut rest = spool.push(chunk);
        while !rest.is_empty() {
            spool = self.with_room(spool).await?;
            rest = spool.push(rest);
        }
        self.spool = Some(spool);
        Ok(())
    }

    /// Makes room in a spool whose buffer is full.
    async fn with_room(&self, mut spool: Spool) -> Result<Spool, MutationError> {
        if self.may_keep
            && spool.is_piece_full()
            && let Some(share) = self.blobs.try_archive_memory(SPOOL_MEMORY_BYTES)
        {
            spool.keep(share);
            return Ok(spool);
        }
        spilled(spool).await
    }

    /// Moves what is in memory to the file; a sender that lets wait is not to hold any.
    ///
    /// # Errors
    /// As [`SpoolUpload::write`].
    pub(crate) async fn rest(&mut self) -> Result<(), MutationError> {
        let mut spool = self.spool.take().ok_or_else(abandoned)?;
        if spool.bytes_in_memory() > 0 {
            spool = spilled(spool).await?;
        }
        spool.buffer = Vec::new();
        self.share = None;
        self.spool = Some(spool);
        Ok(())
    }

    /// Ends the content.
    ///
    /// # Errors
    /// As [`SpoolUpload::write`].
    pub async fn finish(self) -> Result<Spooled, MutationError> {
        let spool = self.spool.ok_or_else(abandoned)?;
        if spool.file.is_some() {
            on_blocking_pool(move || spool.finish().map_err(staging_error)).await
        } else {
            spool.finish().map_err(staging_error)
        }
    }
}

/// A spool whose bytes are all in its file.
async fn spilled(mut spool: Spool) -> Result<Spool, MutationError> {
    on_blocking_pool(move || {
        spool.spill().map_err(staging_error)?;
        Ok(spool)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::super::tests::{chunks, content};
    use super::*;
    use crate::blobs::memory_disk::MemoryDisk;

    const PIECE: usize = SPOOL_MEMORY_BYTES;

    fn has_file(disk: &MemoryDisk) -> bool {
        disk.take_log().iter().any(|line| line.starts_with("write"))
    }

    /// Takes the memory for archives, but for so many pieces.
    fn all_but(blobs: &Blobs, pieces: usize) -> Share {
        blobs.try_archive_memory(SPOOL_KEPT_BYTES_MAX - pieces * PIECE).unwrap()
    }

    async fn taken(mut upload: SpoolUpload, content: &[u8]) -> Spooled {
        for chunk in content.chunks(300_000) {
            upload.write(chunk).await.unwrap();
        }
        upload.finish().await.unwrap()
    }

    #[tokio::test]
    async fn an_archive_stays_in_memory_as_long_as_there_is_some_for_it() {
        // Beside the pieces there is the buffer.
        let bound = 3 * PIECE;
        let lengths = [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 1, bound - 1, bound, bound + 1];
        for length in lengths.into_iter().chain([bound + PIECE, 2 * bound]) {
            let disk = MemoryDisk::prepared();
            let blobs = Blobs::new(disk.clone(), 7);
            let others = all_but(&blobs, 2);
            let content = content(length);
            let upload = SpoolUpload::new(disk.clone(), Arc::clone(&blobs), u64::MAX);
            let spooled = taken(upload, &content).await;
            assert_eq!(has_file(&disk), length > bound, "{length}");
            assert_eq!(spooled.len(), byte_count(length));
            let in_memory = if length > bound { 0 } else { length };
            assert_eq!(spooled.memory_bytes(), in_memory);
            drop(others);
            let kept = (in_memory.saturating_sub(1) / PIECE) * PIECE;
            assert_eq!(blobs.archive_memory(), byte_count(kept), "{length}");
            assert_eq!(blobs.memory().0, 0);

            assert_eq!(chunks(&spooled).await, content);
            let mut read = Vec::new();
            spooled.reader().read_to_end(&mut read).unwrap();
            assert_eq!(read, content);
            drop(spooled);
            assert_eq!(blobs.archive_memory(), 0);
        }
    }

    #[tokio::test]
    async fn who_lets_wait_gives_all_memory_back() {
        let disk = MemoryDisk::prepared();
        let blobs = Blobs::new(disk.clone(), 7);
        let content = content(4 * PIECE + 1);
        let mut upload = SpoolUpload::new(disk.clone(), Arc::clone(&blobs), u64::MAX);
        upload.write(&content[..3 * PIECE]).await.unwrap();
        assert!(!has_file(&disk));
        assert_eq!(blobs.archive_memory(), byte_count(2 * PIECE));
        upload.rest().await.unwrap();
        assert!(has_file(&disk));
        assert_eq!((blobs.archive_memory(), blobs.memory().0), (0, 0));
        // What follows goes behind it.
        upload.write(&content[3 * PIECE..]).await.unwrap();
        assert_eq!(blobs.archive_memory(), 0);
        assert_eq!(chunks(&upload.finish().await.unwrap()).await, content);
    }

    #[tokio::test]
    async fn beside_an_archive_that_has_all_memory_the_next_one_goes_to_a_file() {
        let disk = MemoryDisk::prepared();
        let blobs = Blobs::new(disk.clone(), 7);
        let _others = all_but(&blobs, 2);
        let content = content(3 * PIECE);
        let begin = || SpoolUpload::new(disk.clone(), Arc::clone(&blobs), u64::MAX);
        let first = taken(begin(), &content).await;
        assert!(!has_file(&disk));
        let second = taken(begin(), &content).await;
        assert!(has_file(&disk));
        assert_eq!((first.memory_bytes(), second.memory_bytes()), (content.len(), 0));
        assert_eq!(chunks(&second).await, content);
        assert_eq!(chunks(&first).await, content);
        drop(first);
        let third = taken(begin(), &content).await;
        assert_eq!(third.memory_bytes(), content.len());
    }

    #[tokio::test]
    async fn an_archive_that_is_too_long_for_memory_takes_none_from_others() {
        let disk = MemoryDisk::prepared();
        let blobs = Blobs::new(disk.clone(), 7);
        let bound = byte_count(SPOOL_KEPT_BYTES_MAX);
        for (expected, kept) in [(None, 2), (Some(bound), 2), (Some(bound + 1), 0)] {
            let upload = SpoolUpload::new(disk.clone(), Arc::clone(&blobs), u64::MAX);
            let mut upload = upload.expecting(expected);
            upload.write(&content(3 * PIECE)).await.unwrap();
            assert_eq!(blobs.archive_memory(), byte_count(kept * PIECE), "{expected:?}");
            assert_eq!(has_file(&disk), kept == 0);
            drop(upload);
            assert_eq!(blobs.archive_memory(), 0);
        }
    }

    #[tokio::test]
    async fn an_archive_that_finds_no_space_gives_its_memory_back() {
        let disk = MemoryDisk::prepared();
        let blobs = Blobs::new(disk.clone(), 7);
        let others = all_but(&blobs, 2);
        disk.fail_with("write", io::ErrorKind::StorageFull);
        let mut upload = SpoolUpload::new(disk.clone(), Arc::clone(&blobs), u64::MAX);
        let refused = upload.write(&content(4 * PIECE)).await;
        assert!(matches!(refused, Err(MutationError::OutOfSpace)));
        drop(others);
        assert_eq!(blobs.archive_memory(), 0);
    }

    #[tokio::test]
    async fn an_upload_comes_back_and_is_bounded() {
        let disk = MemoryDisk::prepared();
        let content = content(3_000_000);
        let mut upload = SpoolUpload::new(disk.clone(), Blobs::new(disk.clone(), 7), 3_000_000);
        for piece in content.chunks(700_000) {
            upload.write(piece).await.unwrap();
        }
        let spooled = upload.finish().await.unwrap();
        assert_eq!(chunks(&spooled).await, content);

        let mut upload = SpoolUpload::new(disk.clone(), Blobs::new(disk.clone(), 7), 3_000_000);
        for piece in content.chunks(700_000) {
            upload.write(piece).await.unwrap();
            upload.rest().await.unwrap();
            assert_eq!(upload.spool.as_ref().unwrap().buffer.capacity(), 0);
        }
        assert_eq!(chunks(&upload.finish().await.unwrap()).await, content);

        let mut upload = SpoolUpload::new(disk.clone(), Blobs::new(disk.clone(), 7), 10);
        upload.write(&content[..10]).await.unwrap();
        let refused = upload.write(&content[..1]).await;
        assert!(matches!(refused, Err(MutationError::TooLarge { actual: 11, .. })));
        assert!(upload.finish().await.is_err());
    }

    #[tokio::test]
    async fn an_archive_on_its_way_in_holds_little_memory_where_there_is_not_plenty() {
        let disk = MemoryDisk::prepared();
        let blobs = Blobs::new(disk.clone(), 7);
        let used = || blobs.memory().0;
        let begin = || SpoolUpload::new(disk.clone(), Arc::clone(&blobs), u64::MAX);
        let mut many = Vec::new();
        for number in 0..200 {
            let mut upload = begin();
            upload.write(&content(100_000)).await.unwrap();
            let capacity = upload.spool.as_ref().unwrap().buffer.capacity();
            assert!(upload.share.is_some() || capacity <= SPOOL_MEMORY_LEAN_BYTES, "{number}");
            many.push(upload);
        }
        assert!(many.iter().filter(|upload| upload.share.is_some()).count() >= 2);
        assert!(used() <= blobs.memory().1 / 2, "most of it is left for others");
        let mut lean = many.pop().unwrap();
        assert!(lean.share.is_none());
        // Who stands still gives back what it has, and gets some again when it goes on.
        for upload in &mut many {
            upload.rest().await.unwrap();
        }
        assert_eq!(used(), 0);
        lean.write(&content(2_000_000)).await.unwrap();
        assert!(lean.share.is_some());
        let wanted = [content(100_000), content(2_000_000)].concat();
        assert_eq!(chunks(&lean.finish().await.unwrap()).await, wanted);
        assert_eq!(used(), 0);
    }

    #[tokio::test]
    async fn a_full_disk_is_told_from_a_broken_one() {
        for (kind, is_full) in [
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::QuotaExceeded, true),
            (io::ErrorKind::Other, false),
        ] {
            let disk = MemoryDisk::prepared();
            disk.fail_with("write", kind);
            let blobs = Blobs::new(disk.clone(), 7);
            let _others = all_but(&blobs, 0);
            let mut upload = SpoolUpload::new(disk.clone(), blobs, u64::MAX);
            let refused = upload.write(&content(2_000_000)).await.unwrap_err();
            assert_eq!(matches!(refused, MutationError::OutOfSpace), is_full);
            assert_eq!(disk.paths(), [""; 0]);
        }
    }
}

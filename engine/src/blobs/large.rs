//! Large contents as files: their names, and the way from `staging` to `blobs`.
//!
//! Publishing is fsync, rename, fsync of the directory, in this order; only then is there a
//! [`PublishedFile`] that a record may name (I2). Whoever holds a file that is not handed over
//! holds its name too: dropping it removes the name.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, OpenMode, expect_room};
use crate::limits::STAGE_SYNC_BYTES;
use crate::model::Digest;
use crate::model::change::LargeFileId;

use super::buffer::write_run;
use super::{BLOBS, STAGING, byte_count, remove_if_there};

/// Path of a content on its way.
pub(super) fn staging_path(id: LargeFileId) -> String {
    format!("{STAGING}/{}", suffix(id))
}

/// Path of a large content.
pub(crate) fn blob_path(digest: &Digest, id: LargeFileId) -> String {
    format!("{BLOBS}/{digest}.{}", suffix(id))
}

/// Reads a name in `staging`; `None` if it is not that of an upload.
pub(super) fn parse_staging_name(name: &str) -> Option<LargeFileId> {
    let (start, number) = name.split_once('-')?;
    let id = LargeFileId {
        start: u64::from_str_radix(start, 16).ok()?,
        number: u64::from_str_radix(number, 16).ok()?,
    };
    // Other ways to write the same numbers are not ours.
    (suffix(id) == name).then_some(id)
}

/// Reads a name in `blobs`; `None` if it is not that of a content.
pub(super) fn parse_blob_name(name: &str) -> Option<(Digest, LargeFileId)> {
    let (digest, id) = name.split_once('.')?;
    Some((digest.parse().ok()?, parse_staging_name(id)?))
}

fn suffix(id: LargeFileId) -> String {
    format!("{:016x}-{:016x}", id.start, id.number)
}

/// Digest and CRC-32 of what has passed.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    digest: Box<blake3::Hasher>,
    crc32: crc32fast::Hasher,
}

impl Hashes {
    /// Adds the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.crc32.update(bytes);
    }

    /// Of the bytes so far.
    pub(crate) fn finish(&self) -> (Digest, u32) {
        let digest = Digest(*self.digest.finalize().as_bytes());
        (digest, self.crc32.clone().finalize())
    }
}

/// A content that is being written to `staging`. All calls block.
#[derive(Debug)]
pub(crate) struct StagingFile {
    id: LargeFileId,
    name: OwnedName,
    file: Arc<dyn DiskFile>,
    /// Bytes written.
    length: u64,
    /// Bytes written since the last sync.
    unsynced: u64,
}

impl StagingFile {
    /// Makes an empty staging file.
    pub(crate) fn create(disk: &Arc<dyn Disk>, id: LargeFileId) -> io::Result<Self> {
        let path = staging_path(id);
        let file = disk.open(&path, OpenMode::CreateNew)?;
        Ok(Self {
            id,
            name: OwnedName { disk: Arc::clone(disk), path: Some(path), back_to: None },
            file,
            length: 0,
            unsynced: 0,
        })
    }

    /// Adds bytes; syncs now and then, so that the last sync has little left to do.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        expect_room(&*self.name.disk, byte_count(bytes.len()))?;
        write_run(&*self.file, bytes, self.length)?;
        self.length += byte_count(bytes.len());
        self.unsynced += byte_count(bytes.len());
        if self.unsynced >= STAGE_SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Makes the bytes, whose digest this is, and their name durable (I2). After an error nothing
    /// is left of either.
    pub(crate) fn publish(mut self, digest: &Digest) -> io::Result<PublishedFile> {
        let published = blob_path(digest, self.id);
        self.file.sync_data()?;
        let disk = &self.name.disk;
        disk.rename(&staging_path(self.id), &published)?;
        self.name.path = Some(published);
        self.name.disk.sync_dir(BLOBS)?;
        Ok(PublishedFile { id: self.id, name: self.name })
    }
}

/// A large content, durable under its name, which goes on drop unless it is kept.
#[derive(Debug)]
pub(crate) struct PublishedFile {
    id: LargeFileId,
    name: OwnedName,
}

impl PublishedFile {
    /// A file that was given its name already, and goes back to its old one where it is not wanted.
    pub(crate) fn renamed(
        disk: &Arc<dyn Disk>,
        digest: &Digest,
        id: LargeFileId,
        back_to: String,
    ) -> Self {
        let path = Some(blob_path(digest, id));
        Self { id, name: OwnedName { disk: Arc::clone(disk), path, back_to: Some(back_to) } }
    }

    /// What distinguishes the file from others of the same content.
    pub(crate) fn id(&self) -> LargeFileId {
        self.id
    }

    /// Leaves the file where it is.
    pub(crate) fn keep(mut self) {
        self.name.path = None;
    }
}

/// A file's name that is removed on drop, since nobody else knows of it.
#[derive(Debug)]
struct OwnedName {
    disk: Arc<dyn Disk>,
    path: Option<String>,
    /// The name that it gets instead.
    back_to: Option<String>,
}

impl Drop for OwnedName {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else {
            return;
        };
        if let Some(back_to) = self.back_to.take() {
            // A rename frees nothing, so it is not worth a thread.
            if let Err(error) = self.disk.rename(&path, &back_to) {
                tracing::warn!(path, %error, "cannot take a file back; the next start will");
            }
            return;
        }
        let disk = Arc::clone(&self.disk);
        let remove = move || {
            if let Err(error) = remove_if_there(&*disk, &path) {
                tracing::warn!(path, %error, "cannot remove a staged file; the next start will");
            }
        };
        // Freeing gigabytes takes a while, and uploads are dropped by async tasks. A runtime that
        // is shutting down may pass the work over; the next start's sweep makes up for it.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_disk::MemoryDisk;
    use super::*;

    const ID: LargeFileId = LargeFileId { start: 3, number: 0x2a };

    fn staged(disk: &Arc<MemoryDisk>, pieces: &[&[u8]]) -> StagingFile {
        let disk: Arc<dyn Disk> = disk.clone();
        let mut file = StagingFile::create(&disk, ID).unwrap();
        for piece in pieces {
            file.append(piece).unwrap();
        }
        file
    }

    #[test]
    fn names_read_back_and_others_are_not_ours() {
        let digest = Digest::of(b"x");
        let blob = blob_path(&digest, ID);
        let staging = staging_path(ID);
        let name = blob.strip_prefix("blobs/").unwrap();
        assert_eq!(parse_blob_name(name), Some((digest, ID)));
        let name = staging.strip_prefix("staging/").unwrap();
        assert_eq!(name, "0000000000000003-000000000000002a");
        assert_eq!(parse_staging_name(name), Some(ID));
        for other in [
            "",
            "3-2a",
            "0000000000000003-000000000000002A",
            "spool-1",
            "+000000000000003-000000000000002a",
        ] {
            assert_eq!(parse_staging_name(other), None, "{other}");
            assert_eq!(parse_blob_name(&format!("{digest}.{other}")), None);
        }
        assert_eq!(parse_blob_name(&format!("{digest}0.{name}")), None);
    }

    #[test]
    fn hashes_are_those_of_all_that_has_passed() {
        let mut hashes = Hashes::default();
        assert_eq!(hashes.finish(), (Digest::of(b""), 0));
        for piece in [&b"large "[..], b"", b"content"] {
            hashes.update(piece);
        }
        let whole = b"large content";
        assert_eq!(hashes.finish(), (Digest::of(whole), crc32fast::hash(whole)));
    }

    #[test]
    fn publishing_is_sync_rename_sync_of_the_directory() {
        let disk = MemoryDisk::prepared();
        let file = staged(&disk, &[b"large ", b"content"]);
        let digest = Digest::of(b"large content");
        disk.take_log();

        let published = file.publish(&digest).unwrap();

        let (from, to) = (staging_path(ID), blob_path(&digest, ID));
        let expected =
            [format!("sync {from}"), format!("rename {from} {to}"), "sync_dir blobs".to_owned()];
        assert_eq!(disk.take_log(), expected);
        assert_eq!(published.id(), ID);
        published.keep();
        assert_eq!(disk.paths(), [to.as_str()]);
        assert_eq!(disk.content(&to), b"large content");
    }

    #[test]
    fn long_contents_are_synced_on_the_way() {
        let disk = MemoryDisk::prepared();
        let piece = vec![1; 1 << 20];
        let pieces = vec![piece.as_slice(); 17];
        let _file = staged(&disk, &pieces);
        let log = disk.take_log();
        let syncs = log.iter().filter(|line| line.starts_with("sync "));
        assert_eq!(syncs.count(), 2);
    }

    #[test]
    fn an_error_at_any_step_of_publishing_leaves_no_file() {
        for step in ["sync staging", "rename", "sync_dir"] {
            let disk = MemoryDisk::prepared();
            let file = staged(&disk, &[b"content"]);
            disk.fail_on(step);
            assert!(file.publish(&Digest::of(b"content")).is_err(), "{step}");
            assert_eq!(disk.paths(), [""; 0], "{step}");
        }
    }

    #[test]
    fn what_is_dropped_before_or_after_publishing_is_gone() {
        let disk = MemoryDisk::prepared();
        drop(staged(&disk, &[b"content"]));
        assert_eq!(disk.paths(), [""; 0]);
        drop(staged(&disk, &[b"content"]).publish(&Digest::of(b"content")).unwrap());
        assert_eq!(disk.paths(), [""; 0]);
    }
}

//! Archives of whole datasets: on the side of the store, a lease in and bytes out.
//!
//! An archive describes one committed state (I8): its files are listed beforehand, and the lease
//! that it is given keeps their contents until the last byte is sent. [`PreparedArchive`] knows
//! length and tag and has read no content yet; [`Archive`] is one on its way out, whole or a
//! range of it. It runs on the blocking pool at the pace of whoever reads it, holds a few chunks
//! in memory whatever is sent, and ends quietly when nobody reads any longer. Contents are checked
//! while they pass (I9); a file that cannot be read cuts the archive, and its reader is told.
//!
//! [`intake`] is the way back: reading the archives of others, who may be hostile.

use std::any::Any;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::disk::Disk;
use crate::error::ReadError;
use crate::limits::{ARCHIVE_CHUNKS_MAX, ARCHIVE_STALL_MAX};
use crate::model::{Dataset, Digest};
use crate::turns::Turns;

pub(crate) mod contents;

mod dos_time;

mod gzip;

pub(crate) mod intake;

pub(crate) mod kept;

mod layout;

pub(crate) mod manifest;

mod output;

pub(crate) mod press;

mod tar_gz;

mod zip;

mod zip_deflated;

use contents::OpenContent;
pub use gzip::ArchiveLevel;
use manifest::Manifest;
use output::{Outlet, Output, Part, Stop};
use press::Press;

/// Kinds of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// Stored zip; its length is known before its first byte, and any range of it can be made.
    Zip,
    /// Zip that is compressed on its way; how long it will be is not known.
    ZipDeflated,
    /// Tar inside one gzip member; how long it will be is not known.
    TarGz,
}

/// What archives are made with.
#[derive(Debug, Clone)]
pub(crate) struct Workshop {
    pub(crate) press: Press,
    pub(crate) disk: Arc<dyn Disk>,
    /// At being built and sent.
    pub(crate) turns: Turns,
}

/// One committed state of a dataset, ready to be sent as an archive.
pub struct PreparedArchive {
    dataset: Dataset,
    format: ArchiveFormat,
    manifest: Arc<Manifest>,
    contents: Box<OpenContent>,
    lease: Box<dyn Any + Send>,
    workshop: Workshop,
}

impl fmt::Debug for PreparedArchive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PreparedArchive")
            .field("dataset", &self.dataset.id)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl PreparedArchive {
    /// Puts together what an archive needs. The lease is dropped when the last content has been
    /// read or nobody reads any longer.
    pub(crate) fn new(
        dataset: Dataset,
        format: ArchiveFormat,
        manifest: Arc<Manifest>,
        contents: Box<OpenContent>,
        lease: Box<dyn Any + Send>,
        workshop: Workshop,
    ) -> Self {
        Self { dataset, format, manifest, contents, lease, workshop }
    }

    /// The dataset that it describes.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Bytes of the whole archive, if known before its end.
    pub fn length(&self) -> Option<u64> {
        match self.format {
            ArchiveFormat::Zip => Some(self.manifest.layout().length()),
            ArchiveFormat::ZipDeflated | ArchiveFormat::TarGz => None,
        }
    }

    /// Names the state. Of stored zips equal tags are equal bytes; what is compressed is equal
    /// once unpacked.
    pub fn tag(&self) -> Digest {
        self.manifest.digest()
    }

    /// Begins to send the archive, or a range of it if its length is known; what lies beyond the
    /// end is left out. Waits for a turn.
    ///
    /// # Errors
    /// [`ReadError::Busy`]: too many archives are under way and wait.
    ///
    /// # Cancellation
    /// A dropped future gives up its place in the queue.
    pub async fn start(self, range: Option<Range<u64>>) -> Result<Archive, ReadError> {
        let turn = self.workshop.turns.take().await.ok_or(ReadError::Busy)?;
        let (sender, parts) = mpsc::channel(ARCHIVE_CHUNKS_MAX);
        let whole = 0..self.length().unwrap_or(u64::MAX);
        let range = range.map_or(whole.clone(), |range| range.start..range.end.min(whole.end));
        let dataset = self.dataset.clone();
        let outlet = Outlet { sender, runtime: Handle::current(), stall_max: ARCHIVE_STALL_MAX };
        let producer = tokio::task::spawn_blocking(move || {
            self.produce(&range, outlet);
            drop(turn);
        });
        // Whether it ended well is said by its last part, not by the task.
        drop(producer);
        Ok(Archive { dataset, parts, has_ended: false })
    }

    /// Writes the archive to the outlet, and its end or the error that cut it.
    fn produce(self, range: &Range<u64>, outlet: Outlet) {
        let sender = outlet.sender.clone();
        let mut output = Output::new(outlet);
        let Workshop { press, disk, .. } = self.workshop;
        let (manifest, contents) = (&*self.manifest, &*self.contents);
        let written = match self.format {
            ArchiveFormat::Zip => zip::write(manifest, contents, range, &mut output),
            ArchiveFormat::ZipDeflated => {
                zip_deflated::write(manifest, contents, &press, disk, &mut output)
            }
            ArchiveFormat::TarGz => tar_gz::write(manifest, contents, &press, &mut output),
        };
        drop(self.lease);
        let last = match written.and_then(|()| output.finish()) {
            Ok(_sink) => Ok(Part::End),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::ReceiverGone) => return,
        };
        // Nobody may be listening by now, who would not hear this either.
        sender.blocking_send(last).ok();
    }
}

/// An archive on its way out.
pub struct Archive {
    dataset: Dataset,
    parts: mpsc::Receiver<Result<Part, ReadError>>,
    has_ended: bool,
}

impl fmt::Debug for Archive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Archive")
            .field("dataset", &self.dataset.id)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// The dataset that it describes.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The next bytes; `None` once all were sent.
    ///
    /// An error means that the archive is cut: whoever passes it on must break the connection,
    /// since what was sent must not look whole. After an error or the end there is nothing more.
    ///
    /// # Cancellation
    /// A dropped future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if self.has_ended {
            return None;
        }
        match self.parts.recv().await {
            Some(Ok(Part::Chunk(chunk))) => Some(Ok(chunk)),
            Some(Ok(Part::End)) => {
                self.has_ended = true;
                None
            }
            Some(Err(error)) => {
                self.has_ended = true;
                Some(Err(error))
            }
            None => {
                self.has_ended = true;
                Some(Err(ReadError::Io {
                    what: "the rest of an archive",
                    source: io::Error::other("its producer ended before its end"),
                }))
            }
        }
    }
}

fn unreadable_manifest(source: io::Error) -> ReadError {
    ReadError::Io { what: "an archive's list of files", source }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::contents::ContentReader;
    use super::contents::tests::{contents_of, record_of};
    use super::manifest::tests::manifest;
    use super::*;
    use crate::blobs::memory_disk::MemoryDisk;
    use crate::limits::READ_CHUNK_BYTES;

    /// Contents by name.
    pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

    /// Any few files in any directories, some of them empty.
    pub(crate) fn trees() -> impl Strategy<Value = Tree> {
        let part = "[a-zé漢][a-zé漢 .]{0,30}[a-zé漢]";
        // The ending keeps a file from being another one's directory.
        let name = prop::collection::vec(part, 1..8).prop_map(|parts| parts.join("/") + "_");
        let content = prop::collection::vec(any::<u8>(), 0..2000);
        prop::collection::btree_map(name, content, 0..10)
    }

    /// The files of a tree; every second one is said to compress.
    pub(crate) fn manifest_of(tree: &Tree) -> Manifest {
        let files = tree.iter().enumerate().map(|(number, (name, content))| {
            (name.clone(), record_of(content, number.is_multiple_of(2)))
        });
        manifest(&files.collect::<Vec<_>>())
    }

    const FORMATS: [ArchiveFormat; 3] =
        [ArchiveFormat::Zip, ArchiveFormat::ZipDeflated, ArchiveFormat::TarGz];

    fn prepared(
        manifest: Manifest,
        contents: Box<OpenContent>,
        format: ArchiveFormat,
        lease: Box<dyn Any + Send>,
    ) -> PreparedArchive {
        let workshop = Workshop {
            press: Press::new(ArchiveLevel::default(), 2),
            disk: MemoryDisk::prepared(),
            turns: Turns::new(1, 0, Duration::ZERO),
        };
        PreparedArchive::new(
            Dataset::with_stack(vec![]),
            format,
            Arc::new(manifest),
            contents,
            lease,
            workshop,
        )
    }

    async fn start(tree: &Tree, contents: Box<OpenContent>, format: ArchiveFormat) -> Archive {
        let prepared = prepared(manifest_of(tree), contents, format, Box::new(()));
        prepared.start(None).await.unwrap()
    }

    async fn collect(mut archive: Archive) -> (Vec<u8>, Option<ReadError>) {
        let mut bytes = Vec::new();
        while let Some(part) = archive.next().await {
            match part {
                Ok(chunk) => bytes.extend(chunk),
                Err(error) => return (bytes, Some(error)),
            }
        }
        (bytes, None)
    }

    #[tokio::test]
    async fn an_archive_is_sent_whole_and_as_long_as_it_said() {
        let tree = Tree::from([("a".into(), vec![1; 3 * READ_CHUNK_BYTES]), ("b".into(), vec![])]);
        let prepare = |format| {
            let contents = contents_of(tree.values().map(Vec::as_slice));
            prepared(manifest_of(&tree), contents, format, Box::new(()))
        };
        let zip = prepare(ArchiveFormat::Zip);
        let length = zip.length().unwrap();
        let (bytes, error) = collect(zip.start(None).await.unwrap()).await;
        assert!(error.is_none());
        assert_eq!(u64::try_from(bytes.len()).unwrap(), length);
        for (range, expected) in
            [(100..300_000, 100..300_000), (length - 5..u64::MAX, length - 5..length)]
        {
            let part = prepare(ArchiveFormat::Zip).start(Some(range)).await.unwrap();
            let (part, error) = collect(part).await;
            let place = |at: u64| usize::try_from(at).unwrap();
            assert!(error.is_none() && part == bytes[place(expected.start)..place(expected.end)]);
        }
        for format in [ArchiveFormat::ZipDeflated, ArchiveFormat::TarGz] {
            let archive = prepare(format);
            assert_eq!(archive.length(), None);
            let (bytes, error) = collect(archive.start(None).await.unwrap()).await;
            assert!(error.is_none() && bytes.len() < 10_000);
        }
    }

    #[tokio::test]
    async fn an_archive_without_a_turn_is_refused_and_the_turn_comes_back_with_the_end() {
        let tree = Tree::from([("a".into(), vec![1; 100])]);
        let contents = || contents_of(tree.values().map(Vec::as_slice));
        let first = prepared(manifest_of(&tree), contents(), ArchiveFormat::Zip, Box::new(()));
        let workshop = first.workshop.clone();
        let second = PreparedArchive {
            workshop: workshop.clone(),
            ..prepared(manifest_of(&tree), contents(), ArchiveFormat::Zip, Box::new(()))
        };
        let turn = workshop.turns.take().await.unwrap();
        assert!(matches!(first.start(None).await, Err(ReadError::Busy)));
        drop(turn);
        let (_, error) = collect(second.start(None).await.unwrap()).await;
        assert!(error.is_none());
    }

    /// The second of two contents is missing: what was sent ends before it, with an error.
    #[tokio::test]
    async fn an_archive_whose_content_cannot_be_read_is_cut_and_says_so() {
        let tree = Tree::from([("a".into(), vec![1; 10]), ("b".into(), vec![2; 10])]);
        for format in FORMATS {
            let first_only = contents_of(tree.values().take(1).map(Vec::as_slice));
            let mut archive = start(&tree, first_only, format).await;
            let last = loop {
                match archive.next().await.unwrap() {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert!(matches!(last, ReadError::Gone { .. }));
            assert!(archive.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_producer_that_panics_does_not_look_like_an_end() {
        let tree = Tree::from([("a".into(), vec![1; 10])]);
        for format in FORMATS {
            let contents: Box<OpenContent> = Box::new(|_| panic!("a bug of ours"));
            let (_, error) = collect(start(&tree, contents, format).await).await;
            assert!(matches!(error, Some(ReadError::Io { .. })));
        }
    }

    /// Answers any read with zeros, and counts them.
    struct Endless(Arc<AtomicUsize>);

    impl ContentReader for Endless {
        fn read_exact_at(&self, buffer: &mut [u8], _: u64) -> Result<(), ReadError> {
            buffer.fill(0);
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    /// Nobody reads beyond the first chunk of a content of 1 TiB; the lease goes all the same.
    #[tokio::test]
    async fn memory_is_bounded_and_a_reader_who_leaves_ends_the_archive() {
        struct Lease(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Lease {
            fn drop(&mut self) {
                self.0.take().unwrap().send(()).ok();
            }
        }
        for format in FORMATS {
            let reads = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&reads);
            let contents: Box<OpenContent> =
                Box::new(move |_| Ok(Box::new(Endless(Arc::clone(&counted)))));
            let mut record = record_of(b"", false);
            record.length = 1 << 40;
            let manifest = manifest(&[("endless".into(), record)]);
            let (dropped, lease_is_gone) = tokio::sync::oneshot::channel();
            let lease = Box::new(Lease(Some(dropped)));

            let mut archive =
                prepared(manifest, contents, format, lease).start(None).await.unwrap();
            assert!(!archive.next().await.unwrap().unwrap().is_empty());
            drop(archive);

            lease_is_gone.await.unwrap();
            // Zeros shrink to nothing, so what is compressed runs ahead by some pieces more.
            let ahead = if format == ArchiveFormat::Zip { 8 } else { 3000 };
            assert!(reads.load(Ordering::SeqCst) <= ARCHIVE_CHUNKS_MAX + ahead);
        }
    }
}

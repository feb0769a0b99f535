//! Archives of whole datasets: on the side of the store, a lease in and bytes out.
//!
//! An archive describes one committed state (I8): its files are listed beforehand, and the lease
//! that it is given keeps their contents until the last byte is sent. It runs on the blocking
//! pool at the pace of whoever reads it, holds a few chunks in memory whatever is sent, and ends
//! quietly when nobody reads any longer. Contents are checked while they pass (I9); a file that
//! cannot be read cuts the archive, and its reader is told.
//!
//! [`intake`] is the way back: reading the zip archives of others, who may be hostile.

use std::any::Any;
use std::fmt;
use std::io;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::error::ReadError;
use crate::limits::ARCHIVE_CHUNKS_MAX;
use crate::model::Dataset;

pub(crate) mod contents;

mod gzip;

pub(crate) mod intake;

mod layout;

pub(crate) mod manifest;

mod output;

mod tar_gz;

mod zip;

use contents::OpenContent;
use manifest::Manifest;
use output::{Output, Part, Stop};

/// Kinds of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// Stored zip; its length is known before its first byte.
    Zip,
    /// Tar inside one gzip member; how long it will be is not known.
    TarGz,
}

/// An archive on its way out.
pub struct Archive {
    dataset: Dataset,
    length: Option<u64>,
    parts: mpsc::Receiver<Result<Part, ReadError>>,
    has_ended: bool,
}

impl fmt::Debug for Archive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Archive")
            .field("dataset", &self.dataset.id)
            .field("length", &self.length)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// Begins an archive of these files. Walks the manifest, so it blocks; a tokio runtime must
    /// be there.
    ///
    /// The lease is dropped when the last content has been read or nobody reads any longer.
    ///
    /// # Errors
    /// The manifest's spool cannot be read; nothing was begun.
    pub(crate) fn start(
        dataset: Dataset,
        manifest: Manifest,
        contents: Box<OpenContent>,
        format: ArchiveFormat,
        lease: Box<dyn Any + Send>,
    ) -> Result<Self, ReadError> {
        let length = match format {
            ArchiveFormat::Zip => Some(zip::length(&manifest)?),
            ArchiveFormat::TarGz => None,
        };
        let (sender, parts) = mpsc::channel(ARCHIVE_CHUNKS_MAX);
        let producer = tokio::task::spawn_blocking(move || {
            produce(&manifest, &*contents, format, &sender);
            drop(lease);
        });
        // Whether it ended well is said by its last part, not by the task.
        drop(producer);
        Ok(Self { dataset, length, parts, has_ended: false })
    }

    /// The dataset that it describes.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Bytes of the whole archive, if known before its end.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes; `None` once the archive is whole.
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

/// Writes a whole archive to the channel, and its end or the error that cut it.
fn produce(
    manifest: &Manifest,
    contents: &OpenContent,
    format: ArchiveFormat,
    sender: &mpsc::Sender<Result<Part, ReadError>>,
) {
    let mut output = Output::new(sender.clone());
    let written = match format {
        ArchiveFormat::Zip => zip::write(manifest, contents, &mut output),
        ArchiveFormat::TarGz => tar_gz::write(manifest, contents, &mut output),
    };
    let last = match written.and_then(|()| output.finish()) {
        Ok(_sink) => Ok(Part::End),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::ReceiverGone) => return,
    };
    // Nobody may be listening by now, who would not hear this either.
    sender.blocking_send(last).ok();
}

fn unreadable_manifest(source: io::Error) -> ReadError {
    ReadError::Io { what: "an archive's list of files", source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::contents::ContentReader;
    use super::contents::tests::{contents_of, record_of};
    use super::*;
    use crate::limits::READ_CHUNK_BYTES;
    use crate::model::{DatasetId, LicenceId, ProjectId, Timestamp};

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
        Manifest::in_memory(files.collect())
    }

    fn dataset() -> Dataset {
        Dataset {
            id: DatasetId(1),
            name: "name".into(),
            description: String::new(),
            version: 1,
            previous_version: None,
            project: ProjectId(1),
            licence: LicenceId(1),
            tags: String::new(),
            is_public: false,
            creator: None,
            creation_time: Timestamp(0),
            deletion_time: None,
            file_count: 0,
            file_bytes: 0,
            revision: 0,
            stack: vec![],
        }
    }

    fn start(tree: &Tree, contents: Box<OpenContent>, format: ArchiveFormat) -> Archive {
        Archive::start(dataset(), manifest_of(tree), contents, format, Box::new(())).unwrap()
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
        let contents = || contents_of(tree.values().map(Vec::as_slice));
        let zip = start(&tree, contents(), ArchiveFormat::Zip);
        let length = zip.length().unwrap();
        let (bytes, error) = collect(zip).await;
        assert!(error.is_none());
        assert_eq!(u64::try_from(bytes.len()).unwrap(), length);

        let tar_gz = start(&tree, contents(), ArchiveFormat::TarGz);
        assert_eq!(tar_gz.length(), None);
        let (bytes, error) = collect(tar_gz).await;
        assert!(error.is_none());
        assert_eq!(bytes[..2], [0x1f, 0x8b]);
    }

    /// The second of two contents is missing: what was sent ends before it, with an error.
    #[tokio::test]
    async fn an_archive_whose_content_cannot_be_read_is_cut_and_says_so() {
        let tree = Tree::from([("a".into(), vec![1; 10]), ("b".into(), vec![2; 10])]);
        for format in [ArchiveFormat::Zip, ArchiveFormat::TarGz] {
            let first_only = contents_of(tree.values().take(1).map(Vec::as_slice));
            let mut archive = start(&tree, first_only, format);
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
        for format in [ArchiveFormat::Zip, ArchiveFormat::TarGz] {
            let contents: Box<OpenContent> = Box::new(|_| panic!("a bug of ours"));
            let (_, error) = collect(start(&tree, contents, format)).await;
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
        for format in [ArchiveFormat::Zip, ArchiveFormat::TarGz] {
            let reads = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&reads);
            let contents: Box<OpenContent> =
                Box::new(move |_| Ok(Box::new(Endless(Arc::clone(&counted)))));
            let mut record = record_of(b"", false);
            record.length = 1 << 40;
            let manifest = Manifest::in_memory(vec![("endless".into(), record)]);
            let (dropped, lease_is_gone) = tokio::sync::oneshot::channel();
            let lease = Box::new(Lease(Some(dropped)));

            let mut archive = Archive::start(dataset(), manifest, contents, format, lease).unwrap();
            assert!(!archive.next().await.unwrap().unwrap().is_empty());
            drop(archive);

            lease_is_gone.await.unwrap();
            assert!(reads.load(Ordering::SeqCst) <= ARCHIVE_CHUNKS_MAX + 8);
        }
    }
}

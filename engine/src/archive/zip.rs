//! A stored zip: the pieces of its computed layout in order, and their way out.
//!
//! [`pieces`] is the seam for byte ranges: each piece has a length, so those before a range can
//! be passed over, and a content's piece names what to read.

use std::io;

use super::contents::{OpenContent, stream_verified};
use super::layout::{Layout, central_header, local_header};
use super::manifest::{Entries, Manifest};
use super::output::{Output, Sink, Stop};
use super::unreadable_manifest;
use crate::error::ReadError;
use crate::model::FileRecord;

/// A part of the archive.
#[derive(Debug)]
pub(crate) enum Piece {
    /// What stands before a content, or an entry of the directory, or the end.
    Bytes(Vec<u8>),
    /// All of the content that this record names.
    Content(FileRecord),
}

/// Bytes of the whole archive.
///
/// # Errors
/// The manifest's spool failed.
pub(crate) fn length(manifest: &Manifest) -> Result<u64, ReadError> {
    let mut layout = Layout::default();
    for entry in manifest.entries() {
        let (filename, record) = entry.map_err(unreadable_manifest)?;
        layout.place(&filename, record.length);
    }
    Ok(layout.length())
}

/// All pieces of the archive, from its first byte to its last.
pub(crate) fn pieces(manifest: &Manifest) -> impl Iterator<Item = io::Result<Piece>> {
    let files = manifest.entries().flat_map(|entry| match entry {
        Ok((filename, record)) => {
            let header = Piece::Bytes(local_header(&filename, &record));
            vec![Ok(header), Ok(Piece::Content(record))]
        }
        Err(error) => vec![Err(error)],
    });
    let directory =
        Directory { entries: manifest.entries(), layout: Layout::default(), has_ended: false };
    files.chain(directory)
}

/// What follows the contents: an entry for each file, and the end.
struct Directory<'m> {
    entries: Entries<'m>,
    layout: Layout,
    has_ended: bool,
}

impl Iterator for Directory<'_> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let bytes = match self.entries.next() {
            Some(Ok((filename, record))) => {
                let offset = self.layout.place(&filename, record.length);
                central_header(&filename, &record, offset)
            }
            Some(Err(error)) => {
                // A directory that misses files must not look whole.
                self.has_ended = true;
                return Some(Err(error));
            }
            None => {
                self.has_ended = true;
                self.layout.end()
            }
        };
        Some(Ok(Piece::Bytes(bytes)))
    }
}

/// Writes the archive.
///
/// # Errors
/// The archive is cut where it ends; see [`Stop`].
pub(crate) fn write(
    manifest: &Manifest,
    contents: &OpenContent,
    output: &mut Output<impl Sink>,
) -> Result<(), Stop> {
    for piece in pieces(manifest) {
        match piece.map_err(unreadable_manifest)? {
            Piece::Bytes(bytes) => output.write(&bytes)?,
            Piece::Content(record) => {
                stream_verified(contents, &record, |chunk| output.write_chunk(chunk))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use proptest::prelude::*;

    use super::*;
    use crate::archive::contents::tests::contents_of;
    use crate::archive::output::tests::written;
    use crate::archive::tests::{Tree, manifest_of, trees};
    use crate::limits::READ_CHUNK_BYTES;

    fn zip_of(tree: &Tree) -> Vec<u8> {
        let manifest = manifest_of(tree);
        let contents = contents_of(tree.values().map(Vec::as_slice));
        let bytes = written(|output| write(&manifest, &contents, output));
        assert_eq!(length(&manifest).unwrap(), u64::try_from(bytes.len()).unwrap());
        bytes
    }

    fn read_back(bytes: &[u8]) -> Tree {
        let mut zip = ::zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert!(!zip.has_overlapping_entries().unwrap());
        let mut tree = Tree::new();
        for index in 0..zip.len() {
            let mut member = zip.by_index(index).unwrap();
            assert_eq!(member.unix_mode(), Some(0o100_600));
            assert_eq!(member.compression(), ::zip::CompressionMethod::Stored);
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            tree.insert(member.name().unwrap().into_owned(), content);
        }
        tree
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_tree_reads_back_and_has_the_length_that_was_computed(tree in trees()) {
            let bytes = zip_of(&tree);
            prop_assert_eq!(read_back(&bytes), tree);
        }
    }

    #[test]
    fn contents_of_several_chunks_read_back() {
        let tree = Tree::from([
            ("a".into(), vec![1; 2 * READ_CHUNK_BYTES]),
            ("b".into(), vec![2; READ_CHUNK_BYTES + 1]),
        ]);
        assert!(read_back(&zip_of(&tree)) == tree);
    }

    #[test]
    fn more_files_than_the_old_format_counts_read_back() {
        let tree: Tree = (0..65_536).map(|number| (format!("{number:05}"), vec![])).collect();
        let bytes = zip_of(&tree);
        let zip = ::zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(zip.len(), tree.len());
    }

    #[test]
    fn pieces_lie_where_the_layout_says() {
        let tree = Tree::from([("a".into(), vec![1; 10]), ("b".into(), vec![2; 3])]);
        let manifest = manifest_of(&tree);
        let lengths: Vec<u64> = pieces(&manifest)
            .map(|piece| match piece.unwrap() {
                Piece::Bytes(bytes) => u64::try_from(bytes.len()).unwrap(),
                Piece::Content(record) => record.length,
            })
            .collect();
        assert_eq!(lengths, [31, 10, 31, 3, 47, 47, 22]);
        assert_eq!(lengths.iter().sum::<u64>(), length(&manifest).unwrap());
    }
}

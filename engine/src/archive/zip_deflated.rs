//! A zip that is compressed on its way out: smaller, and of a length that nobody knows before.
//!
//! A content of up to [`INLINE_BYTES_MAX`] is compressed whole, side by side with others, and
//! stored where that gains nothing; its sizes stand in its local header. A larger one is
//! compressed in pieces, and its sizes follow it. What does not compress by the estimate made
//! when it arrived is stored. How each content was packed is kept in a spool for the directory,
//! so memory does not grow with the dataset.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use bytes::Bytes;

use super::contents::{OpenContent, read_verified, stream_verified};
use super::gzip::LAST_BLOCK;
use super::layout::{Layout, Packing, central_header, descriptor, local_header};
use super::manifest::Manifest;
use super::output::{Output, Sink, Stop};
use super::press::{Line, Press};
use super::unreadable_manifest;
use crate::disk::Disk;
use crate::limits::{DEFLATE_PIECE_BYTES, INLINE_BYTES_MAX, SPOOL_READ_BYTES};
use crate::model::FileRecord;
use crate::spool::{Spool, Spooled};

/// Writes the archive; what must be remembered for its directory goes to a spool on the disk.
///
/// # Errors
/// The archive is cut where it ends; see [`Stop`].
pub(crate) fn write(
    manifest: &Manifest,
    contents: &OpenContent,
    press: &Press,
    disk: Arc<dyn Disk>,
    output: &mut Output<impl Sink>,
) -> Result<(), Stop> {
    let mut files = Files {
        contents,
        output,
        line: Line::new(press.clone()),
        packings: Spool::for_answer(disk),
        packed_bytes: 0,
    };
    for entry in manifest.entries() {
        let (filename, record) = entry.map_err(unreadable_manifest)?;
        if record.length <= INLINE_BYTES_MAX {
            files.add_small(filename, record)?;
        } else if record.compressible {
            files.add_streamed(&filename, &record)?;
        } else {
            files.add_stored(&filename, &record)?;
        }
    }
    files.settle()?;
    let packings = files.packings.finish().map_err(unreadable_manifest)?;
    write_directory(manifest, &packings, output)
}

/// What goes through the line.
#[derive(Debug)]
enum Part {
    /// A content that was packed whole.
    File { filename: String, record: FileRecord, packing: Packing, content: Bytes },
    /// Some of a content that is streamed.
    Piece(Vec<u8>),
}

/// Headers and contents on their way out.
struct Files<'a, S> {
    contents: &'a OpenContent,
    output: &'a mut Output<S>,
    line: Line<Part>,
    packings: Spool,
    /// Of the content that is streamed, so far.
    packed_bytes: u64,
}

impl<S: Sink> Files<'_, S> {
    fn add_small(&mut self, filename: String, record: FileRecord) -> Result<(), Stop> {
        let is_worth_it = record.compressible && record.length > 0;
        let bytes =
            if record.length > 0 { read_verified(self.contents, &record)? } else { Bytes::new() };
        let stored = Packing::stored(&record);
        if !is_worth_it {
            self.line.put(Part::File { filename, record, packing: stored, content: bytes });
            return self.append_what_is_ready();
        }
        self.line.work(move |deflater| {
            let deflated = deflater.finished(&bytes)?;
            let (packing, content) = if deflated.len() < bytes.len() {
                (Packing::deflated(length(&deflated)), deflated.into())
            } else {
                (stored, bytes)
            };
            Ok(Part::File { filename, record, packing, content })
        });
        self.append_what_is_ready()
    }

    fn add_stored(&mut self, filename: &str, record: &FileRecord) -> Result<(), Stop> {
        self.settle()?;
        let packing = Packing::stored(record);
        self.output.write(&local_header(filename, record, &packing))?;
        stream_verified(self.contents, record, |chunk| self.output.write_chunk(chunk))?;
        self.remember(packing)
    }

    fn add_streamed(&mut self, filename: &str, record: &FileRecord) -> Result<(), Stop> {
        self.settle()?;
        self.output.write(&local_header(filename, record, &Packing::streamed(0)))?;
        self.packed_bytes = 0;
        let mut gathered = Vec::new();
        stream_verified(self.contents, record, |chunk| {
            gathered.extend_from_slice(&chunk);
            if gathered.len() < DEFLATE_PIECE_BYTES {
                return Ok(());
            }
            self.press_piece(std::mem::take(&mut gathered))
        })?;
        self.press_piece(gathered)?;
        self.line.put(Part::Piece(LAST_BLOCK.to_vec()));
        self.settle()?;
        let packing = Packing::streamed(self.packed_bytes);
        self.output.write(&descriptor(record, &packing))?;
        self.remember(packing)
    }

    fn press_piece(&mut self, bytes: Vec<u8>) -> Result<(), Stop> {
        self.line.work(move |deflater| Ok(Part::Piece(deflater.piece(&bytes)?.blocks)));
        self.append_what_is_ready()
    }

    fn append_what_is_ready(&mut self) -> Result<(), Stop> {
        while let Some(part) = self.line.next()? {
            self.append(part)?;
        }
        Ok(())
    }

    /// Writes all that is under way.
    fn settle(&mut self) -> Result<(), Stop> {
        while let Some(part) = self.line.next_awaited()? {
            self.append(part)?;
        }
        Ok(())
    }

    fn append(&mut self, part: Part) -> Result<(), Stop> {
        match part {
            Part::File { filename, record, packing, content } => {
                self.output.write(&local_header(&filename, &record, &packing))?;
                self.output.write_chunk(content)?;
                self.remember(packing)
            }
            Part::Piece(blocks) => {
                self.packed_bytes += length(&blocks);
                self.output.write_chunk(blocks.into())
            }
        }
    }

    fn remember(&mut self, packing: Packing) -> Result<(), Stop> {
        let written = self.packings.write_all(&packing.to_bytes());
        written.map_err(|error| unreadable_manifest(error).into())
    }
}

fn write_directory(
    manifest: &Manifest,
    packings: &Spooled,
    output: &mut Output<impl Sink>,
) -> Result<(), Stop> {
    let mut packings = BufReader::with_capacity(SPOOL_READ_BYTES, packings.reader());
    let mut layout = Layout::default();
    for entry in manifest.entries() {
        let (filename, record) = entry.map_err(unreadable_manifest)?;
        let packing = read_packing(&mut packings).map_err(unreadable_manifest)?;
        let header = central_header(&filename, &record, &packing, layout.files_bytes());
        output.write(&header)?;
        let before = length(&local_header(&filename, &record, &packing));
        let behind =
            if packing.has_descriptor() { length(&descriptor(&record, &packing)) } else { 0 };
        layout.count(before + packing.bytes() + behind, length(&header));
    }
    output.write(&layout.end())
}

fn read_packing(reader: &mut impl Read) -> io::Result<Packing> {
    let mut bytes = [0; Packing::BYTES];
    reader.read_exact(&mut bytes)?;
    Ok(Packing::from_bytes(bytes))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::archive::contents::tests::contents_of;
    use crate::archive::gzip::ArchiveLevel;
    use crate::archive::output::tests::written;
    use crate::archive::tests::{Tree, manifest_of, trees};
    use crate::blobs::memory_disk::MemoryDisk;

    fn zip_of(tree: &Tree, workers: usize) -> Vec<u8> {
        let manifest = manifest_of(tree);
        let contents = contents_of(tree.values().map(Vec::as_slice));
        let press = Press::new(ArchiveLevel::default(), workers);
        let disk = MemoryDisk::prepared();
        written(|output| write(&manifest, &contents, &press, disk, output))
    }

    fn read_back(bytes: &[u8]) -> Tree {
        let mut zip = ::zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert!(!zip.has_overlapping_entries().unwrap());
        let mut tree = Tree::new();
        for index in 0..zip.len() {
            let mut member = zip.by_index(index).unwrap();
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            tree.insert(member.name().unwrap().into_owned(), content);
        }
        tree
    }

    /// As a program reads that cannot seek: local headers and contents, one behind the other.
    fn read_as_stream(mut bytes: &[u8]) -> Tree {
        let mut tree = Tree::new();
        while let Ok(Some(mut member)) = ::zip::read::read_zipfile_from_stream(&mut bytes) {
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            tree.insert(member.name().unwrap().into_owned(), content);
        }
        tree
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_tree_reads_back_by_seeking_and_streaming(tree in trees()) {
            let bytes = zip_of(&tree, 0);
            prop_assert_eq!(&read_back(&bytes), &tree);
            prop_assert_eq!(read_as_stream(&bytes), tree);
        }
    }

    /// Names in order: every second one is said to compress, and the large ones do.
    #[tokio::test]
    async fn large_contents_are_packed_in_pieces_and_the_bytes_are_the_same_whoever_packs_them() {
        let text: Vec<u8> = b"granary ".repeat(400_000);
        let tree = Tree::from([
            ("a".into(), text.clone()),
            ("b".into(), text.clone()),
            ("c".into(), b"small ".repeat(1000)),
            ("d".into(), vec![]),
            ("e".into(), vec![7]),
        ]);
        let bytes = zip_of(&tree, 0);
        assert!(read_back(&bytes) == tree);
        assert!(bytes.len() < text.len() + 100_000);
        let beside = tokio::task::spawn_blocking(move || zip_of(&tree, 3));
        assert!(beside.await.unwrap() == bytes);
    }
}

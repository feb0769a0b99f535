//! A tar inside one gzip member, made while it is sent.
//!
//! What compresses is gathered to pieces of [`DEFLATE_PIECE_BYTES`], which are compressed side by
//! side; contents that do not compress pass as stored blocks (compressing a JPEG again costs 20
//! CPU seconds a GB and gains less than a percent), and the headers between them are packed by
//! their runs of zeros. Headers are GNU's: long names in an entry of their own, sizes beyond 8 GiB in
//! base 256; GNU tar, bsdtar and Python read both. The same files give the same bytes,
//! whoever compresses them.

use bytes::Bytes;

use super::contents::{OpenContent, stream_verified};
use super::gzip::{HEADER, Piece, RUNS_BYTES_MAX, Trailer};
use super::manifest::Manifest;
use super::output::{Output, Sink, Stop};
use super::press::{Line, Press};
use super::unreadable_manifest;
use crate::limits::{ARCHIVE_FIRST_CHUNK_BYTES, DEFLATE_PIECE_BYTES};

/// Tar counts in blocks of this size.
const BLOCK_BYTES: usize = 512;

/// Writes the archive.
///
/// # Errors
/// The archive is cut where it ends; see [`Stop`].
pub(crate) fn write(
    manifest: &Manifest,
    contents: &OpenContent,
    press: &Press,
    output: &mut Output<impl Sink>,
) -> Result<(), Stop> {
    output.write(&HEADER)?;
    let mut member = Member {
        output,
        line: Line::new(press.clone()),
        trailer: Trailer::default(),
        gathered: Vec::new(),
        piece_bytes: ARCHIVE_FIRST_CHUNK_BYTES,
    };
    for entry in manifest.entries() {
        let (filename, record) = entry.map_err(unreadable_manifest)?;
        member.compress(&header(&filename, record.length))?;
        if record.length > 0 {
            stream_verified(contents, &record, |chunk| {
                if record.compressible { member.compress(&chunk) } else { member.store(&chunk) }
            })?;
        }
        member.compress(padding(record.length))?;
    }
    // Two empty blocks are the end of a tar.
    member.compress(&[0; 2 * BLOCK_BYTES])?;
    member.finish()
}

/// The gzip member on its way out.
struct Member<'o, S> {
    output: &'o mut Output<S>,
    /// Pieces that are compressed side by side, and what waits behind them.
    line: Line<Piece>,
    trailer: Trailer,
    /// Bytes that wait for a piece to be full; at most a piece and a chunk.
    gathered: Vec<u8>,
    /// Bytes of the piece that is gathered; doubles up to [`DEFLATE_PIECE_BYTES`], so that the
    /// first byte does not wait for a large piece.
    piece_bytes: usize,
}

impl<S: Sink> Member<'_, S> {
    fn compress(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < self.piece_bytes {
            return Ok(());
        }
        self.piece_bytes = DEFLATE_PIECE_BYTES.min(self.piece_bytes * 2);
        self.flush()
    }

    fn store(&mut self, chunk: &Bytes) -> Result<(), Stop> {
        self.flush()?;
        let piece = Piece::stored(chunk);
        if self.line.is_empty() {
            return self.append(piece);
        }
        self.line.put(piece);
        self.append_what_is_ready()
    }

    fn finish(mut self) -> Result<(), Stop> {
        self.flush()?;
        while let Some(piece) = self.line.next_awaited()? {
            self.append(piece)?;
        }
        self.output.write(&self.trailer.finish())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        if self.gathered.len() <= RUNS_BYTES_MAX && self.line.is_empty() {
            let piece = Piece::runs(&self.gathered);
            self.gathered.clear();
            return self.append(piece);
        }
        if self.gathered.len() <= RUNS_BYTES_MAX {
            let piece = Piece::runs(&self.gathered);
            self.gathered.clear();
            self.line.put(piece);
        } else {
            // The next one is about as long.
            let next = Vec::with_capacity(self.gathered.len());
            let bytes = std::mem::replace(&mut self.gathered, next);
            self.line.work(move |deflater| deflater.piece(&bytes));
        }
        self.append_what_is_ready()
    }

    fn append_what_is_ready(&mut self) -> Result<(), Stop> {
        while let Some(piece) = self.line.next()? {
            self.append(piece)?;
        }
        Ok(())
    }

    fn append(&mut self, piece: Piece) -> Result<(), Stop> {
        self.trailer.add(&piece);
        self.output.write_chunk(piece.blocks.into())
    }
}

/// What stands before a file's content: one header, or three blocks and more for a long name.
fn header(filename: &str, length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut header = entry_header(tar::EntryType::Regular, length);
    let field_bytes = header.as_old().name.len();
    if filename.len() > field_bytes {
        // The name with a zero behind it is the content of an entry before the file's own.
        let name_bytes = u64::try_from(filename.len() + 1).unwrap_or(u64::MAX);
        let mut long_name = entry_header(tar::EntryType::GNULongName, name_bytes);
        set_name(&mut long_name, "././@LongLink");
        bytes.extend(long_name.as_bytes());
        bytes.extend(filename.as_bytes());
        bytes.push(0);
        bytes.extend(padding(name_bytes));
    }
    // Readers that know nothing of long names get as much as there is room for.
    let short = filename.get(..filename.floor_char_boundary(field_bytes)).unwrap_or(filename);
    set_name(&mut header, short);
    bytes.extend(header.as_bytes());
    bytes
}

fn entry_header(kind: tar::EntryType, length: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(length);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Sets a name of at most 100 bytes, and the checksum, which must come last.
///
/// Not `Header::set_path`, which takes a name for a path and refuses some that were cut short.
fn set_name(header: &mut tar::Header, name: &str) {
    let field = &mut header.as_old_mut().name;
    for (place, byte) in field.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    header.set_cksum();
}

/// Zeros from the end of a content to the end of its last block.
fn padding(length: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    let block_bytes = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
    let bytes = length.next_multiple_of(block_bytes) - length;
    usize::try_from(bytes).ok().and_then(|bytes| ZEROS.get(..bytes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::archive::contents::tests::contents_of;
    use crate::archive::gzip::ArchiveLevel;
    use crate::archive::manifest::tests::manifest;
    use crate::archive::output::tests::written;
    use crate::archive::press::tests::no_workers;
    use crate::archive::tests::{Tree, manifest_of, trees};
    use crate::limits::READ_CHUNK_BYTES;

    fn tar_gz_of(tree: &Tree) -> Vec<u8> {
        let manifest = manifest_of(tree);
        let contents = contents_of(tree.values().map(Vec::as_slice));
        written(|output| write(&manifest, &contents, &no_workers(), output))
    }

    fn read_back(bytes: &[u8]) -> Tree {
        let mut tar = tar::Archive::new(GzDecoder::new(bytes));
        let mut tree = Tree::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mode().unwrap(), 0o644);
            assert_eq!(entry.header().mtime().unwrap(), 0);
            let filename = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            tree.insert(filename, content);
        }
        tree
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_tree_reads_back(tree in trees()) {
            prop_assert_eq!(read_back(&tar_gz_of(&tree)), tree);
        }
    }

    #[test]
    fn contents_of_several_chunks_and_pieces_read_back() {
        let tree = Tree::from([
            ("a".into(), vec![1; 2 * DEFLATE_PIECE_BYTES + 1]),
            ("b".into(), vec![2; 3 * READ_CHUNK_BYTES + 511]),
            ("c".into(), vec![3; BLOCK_BYTES]),
        ]);
        assert!(read_back(&tar_gz_of(&tree)) == tree);
    }

    #[test]
    fn names_around_the_field_and_cut_inside_letters_or_dots_read_back() {
        let names = [99, 100, 101, 255, 256, 511, 512, 4096].map(|length| "n".repeat(length));
        let long_directory = format!("{}/..b/{}", "d".repeat(97), "x".repeat(200));
        let letters = "é".repeat(300);
        let shifted = format!("x{}", "é".repeat(60));
        let tree: Tree = names
            .into_iter()
            .chain([long_directory, letters, shifted])
            .map(|name| (name.clone(), name.into_bytes()))
            .collect();
        assert_eq!(read_back(&tar_gz_of(&tree)), tree);
    }

    #[test]
    fn sizes_beyond_the_octal_field_are_said_in_full() {
        for length in [(8 << 30) - 1, 8 << 30, u64::MAX >> 1] {
            let bytes = header("large", length);
            let header = tar::Header::from_byte_slice(&bytes);
            assert_eq!(header.entry_size().unwrap(), length);
        }
        assert_eq!(padding(u64::from(u32::MAX) + 2).len(), 511);
        assert_eq!(padding(512), []);
    }

    #[test]
    fn contents_that_do_not_compress_are_stored() {
        let tree = Tree::from([("zeros".into(), vec![0; 100_000])]);
        let contents = contents_of(tree.values().map(Vec::as_slice));
        let length = |compressible| {
            let mut manifest_tree =
                manifest_of(&tree).entries().map(Result::unwrap).collect::<Vec<_>>();
            manifest_tree[0].1.compressible = compressible;
            let manifest = manifest(&manifest_tree);
            written(|output| write(&manifest, &contents, &no_workers(), output)).len()
        };
        assert!(length(true) < 2000);
        assert!(length(false) > 100_000);
    }

    /// Text and noise of several pieces, so that stored pieces wait behind compressed ones.
    #[tokio::test]
    async fn the_bytes_do_not_depend_on_who_compresses() {
        let text = |seed: u32| -> Vec<u8> {
            (0..400_000).flat_map(|n: u32| (n.wrapping_mul(seed) % 97).to_le_bytes()).collect()
        };
        let tree: Tree = (1..8).map(|seed| (format!("file{seed}"), text(seed))).collect();
        let alone = tar_gz_of(&tree);
        for workers in [1, 2, 7] {
            let tree = tree.clone();
            let beside = tokio::task::spawn_blocking(move || {
                let manifest = manifest_of(&tree);
                let contents = contents_of(tree.values().map(Vec::as_slice));
                let press = Press::new(ArchiveLevel::default(), workers);
                written(|output| write(&manifest, &contents, &press, output))
            });
            assert!(beside.await.unwrap() == alone, "{workers}");
        }
        assert!(read_back(&alone) == tree);
    }
}

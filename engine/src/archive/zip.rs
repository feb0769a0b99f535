//! A stored zip, or any range of its bytes: the computed layout joined with the contents.
//!
//! A range walks the list from the mark before it and opens only the contents that it touches.

use std::ops::Range;

use super::contents::{OpenContent, stream_part};
use super::layout::{Packing, central_header, local_header};
use super::manifest::Manifest;
use super::output::{Output, Sink, Stop};
use super::unreadable_manifest;

/// Writes a range of the archive; all of it is `0..manifest.layout().length()`.
///
/// # Errors
/// The archive is cut where it ends; see [`Stop`].
pub(crate) fn write(
    manifest: &Manifest,
    contents: &OpenContent,
    range: &Range<u64>,
    output: &mut Output<impl Sink>,
) -> Result<(), Stop> {
    let files_bytes = manifest.layout().files_bytes();
    if range.start < files_bytes {
        write_files(manifest, contents, range, output)?;
    }
    if range.end > files_bytes {
        write_directory(manifest, range, output)?;
    }
    Ok(())
}

/// What of the range lies before the directory.
fn write_files(
    manifest: &Manifest,
    contents: &OpenContent,
    range: &Range<u64>,
    output: &mut Output<impl Sink>,
) -> Result<(), Stop> {
    let mark = manifest.mark_in_files(range.start);
    let mut layout = mark.layout;
    for entry in manifest.entries_from(&mark) {
        let (filename, record) = entry.map_err(unreadable_manifest)?;
        let begin = layout.place(&filename, record.length);
        if begin >= range.end {
            break;
        }
        let content_at = layout.files_bytes() - record.length;
        let part = within(range, begin..content_at);
        if !part.is_empty() {
            let header = local_header(&filename, &record, &Packing::stored(&record));
            output.write(bytes_of(&header, &part))?;
        }
        let part = within(range, content_at..layout.files_bytes());
        stream_part(contents, &record, part, |chunk| output.write_chunk(chunk))?;
    }
    Ok(())
}

/// What of the range lies in the directory or in the end behind it.
fn write_directory(
    manifest: &Manifest,
    range: &Range<u64>,
    output: &mut Output<impl Sink>,
) -> Result<(), Stop> {
    let whole = manifest.layout();
    let begin = whole.files_bytes();
    let mark = manifest.mark_in_directory(range.start.saturating_sub(begin));
    let mut layout = mark.layout;
    for entry in manifest.entries_from(&mark) {
        let (filename, record) = entry.map_err(unreadable_manifest)?;
        let at = begin + layout.directory_bytes();
        if at >= range.end {
            return Ok(());
        }
        let offset = layout.place(&filename, record.length);
        let part = within(range, at..begin + layout.directory_bytes());
        if !part.is_empty() {
            let header = central_header(&filename, &record, &Packing::stored(&record), offset);
            output.write(bytes_of(&header, &part))?;
        }
    }
    let part = within(range, begin + whole.directory_bytes()..whole.length());
    output.write(bytes_of(&whole.end(), &part))
}

/// What of a piece lies in the range, counted from the piece's start.
fn within(range: &Range<u64>, piece: Range<u64>) -> Range<u64> {
    let start = range.start.clamp(piece.start, piece.end) - piece.start;
    let end = range.end.clamp(piece.start, piece.end) - piece.start;
    start..end
}

/// A part of a header, which is some kilobytes long at most.
fn bytes_of<'h>(header: &'h [u8], part: &Range<u64>) -> &'h [u8] {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    header.get(place(part.start)..place(part.end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use proptest::prelude::*;

    use super::*;
    use crate::archive::contents::ContentReader;
    use crate::archive::contents::tests::{contents_of, record_of};
    use crate::archive::layout::Layout;
    use crate::archive::manifest::tests::manifest;
    use crate::archive::output::tests::written;
    use crate::archive::tests::{Tree, manifest_of, trees};
    use crate::error::ReadError;
    use crate::limits::READ_CHUNK_BYTES;
    use crate::model::{Digest, FileRecord};

    fn zip_of(tree: &Tree) -> Vec<u8> {
        let manifest = manifest_of(tree);
        let contents = contents_of(tree.values().map(Vec::as_slice));
        let whole = 0..manifest.layout().length();
        let bytes = written(|output| write(&manifest, &contents, &whole, output));
        assert_eq!(whole.end, u64::try_from(bytes.len()).unwrap());
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
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_tree_reads_back_and_any_range_is_that_of_the_whole(
            tree in trees(),
            places in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 8),
        ) {
            let bytes = zip_of(&tree);
            let manifest = manifest_of(&tree);
            let contents = contents_of(tree.values().map(Vec::as_slice));
            for (one, other) in places {
                let (one, other) = (one.index(bytes.len() + 1), other.index(bytes.len() + 1));
                let range = one.min(other)..one.max(other);
                let asked = range.start.try_into().unwrap()..range.end.try_into().unwrap();
                let part = written(|output| write(&manifest, &contents, &asked, output));
                prop_assert!(part == bytes[range.clone()], "{range:?} of {}", bytes.len());
            }
            prop_assert_eq!(read_back(&bytes), tree);
        }
    }

    /// Chunks, contents too large to be read whole, and every edge between two pieces.
    #[test]
    fn ranges_around_every_edge_of_large_contents_are_those_of_the_whole() {
        let noise = |length: usize, seed: u8| -> Vec<u8> {
            (0..length).map(|at| seed ^ at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect()
        };
        let tree = Tree::from([
            ("a".into(), noise(2 * READ_CHUNK_BYTES, 1)),
            ("b".into(), vec![]),
            ("c".into(), noise((1 << 20) + 3 * READ_CHUNK_BYTES + 1, 2)),
            ("d".into(), noise(1, 3)),
        ]);
        let bytes = zip_of(&tree);
        assert!(read_back(&bytes) == tree);
        let manifest = manifest_of(&tree);
        let contents = contents_of(tree.values().map(Vec::as_slice));
        let mut edges = vec![0, bytes.len()];
        for content in tree.values() {
            let at = bytes.windows(content.len().max(1)).position(|part| part == content);
            edges.extend(at.into_iter().flat_map(|at| [at, at + content.len()]));
        }
        for &edge in &edges {
            for start in edge.saturating_sub(1)..=(edge + 1).min(bytes.len()) {
                for length in [1, 31, READ_CHUNK_BYTES + 1, bytes.len()] {
                    let end = (start + length).min(bytes.len());
                    let asked = start.try_into().unwrap()..end.try_into().unwrap();
                    let part = written(|output| write(&manifest, &contents, &asked, output));
                    assert!(part == bytes[start..end], "{start}..{end}");
                }
            }
        }
    }

    #[test]
    fn more_files_than_the_old_format_counts_read_back_and_any_range_of_them_too() {
        let tree: Tree = (0..65_536).map(|number| (format!("{number:05}"), vec![])).collect();
        let bytes = zip_of(&tree);
        let zip = ::zip::ZipArchive::new(Cursor::new(&bytes)).unwrap();
        assert_eq!(zip.len(), tree.len());
        let manifest = manifest_of(&tree);
        let contents = contents_of([]);
        for start in (0..bytes.len()).step_by(bytes.len() / 97) {
            let end = (start + 5000).min(bytes.len());
            let asked = start.try_into().unwrap()..end.try_into().unwrap();
            let part = written(|output| write(&manifest, &contents, &asked, output));
            assert!(part == bytes[start..end], "{start}..{end}");
        }
    }

    /// Contents that are computed: the byte at an offset is its lowest byte but one.
    struct Computed;

    impl ContentReader for Computed {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
            for (at, byte) in (offset..).zip(buffer) {
                *byte = at.to_le_bytes()[1];
            }
            Ok(())
        }
    }

    /// Nothing of these 36 GiB is ever there; only the bytes around the edges are made.
    #[test]
    fn ranges_beyond_four_gib_join_headers_contents_and_directory() {
        let sparse = |length| FileRecord { length, ..record_of(b"", false) };
        let lengths = [5 << 30, u64::from(u32::MAX), 3, 27 << 30, 1];
        let files: Vec<(String, FileRecord)> = (0..)
            .zip(lengths)
            .map(|(number, length)| (format!("f{number}"), sparse(length)))
            .collect();
        let manifest = manifest(&files);
        let contents: Box<OpenContent> = Box::new(|_| Ok(Box::new(Computed)));
        let read =
            |range: Range<u64>| written(|output| write(&manifest, &contents, &range, output));
        let mut layout = Layout::default();
        for (filename, record) in &files {
            let begin = layout.place(filename, record.length);
            let header = local_header(filename, record, &Packing::stored(record));
            let content_at = begin + u64::try_from(header.len()).unwrap();
            assert_eq!(read(begin..content_at), header);
            // A content that is covered only in part is not checked against its digest.
            if record.length > 1 << 30 {
                let part = read(content_at + 700..content_at + 900);
                let expected: Vec<u8> = (700u64..900).map(|at| at.to_le_bytes()[1]).collect();
                assert_eq!(part, expected);
                let mut around_end = read(layout.files_bytes() - 3..layout.files_bytes() + 4);
                assert_eq!(&around_end.split_off(3)[..2], b"PK");
            }
        }
        let whole = manifest.layout();
        assert_eq!(whole, layout);
        let directory = read(whole.files_bytes()..whole.length());
        let mut expected = Vec::new();
        let mut layout = Layout::default();
        for (filename, record) in &files {
            let offset = layout.place(filename, record.length);
            expected.extend(central_header(filename, record, &Packing::stored(record), offset));
        }
        expected.extend(layout.end());
        assert_eq!(directory, expected);
    }

    /// The other contents could not even be opened.
    #[test]
    fn a_range_opens_only_the_contents_that_it_touches() {
        let tree = Tree::from([
            ("a".into(), vec![1; 100]),
            ("b".into(), vec![2; 100]),
            ("c".into(), vec![3; 100]),
        ]);
        let bytes = zip_of(&tree);
        let manifest = manifest_of(&tree);
        let only_b = contents_of([tree["b"].as_slice()]);
        let begin = bytes.windows(100).position(|part| part == tree["b"]).unwrap();
        let at = u64::try_from(begin).unwrap();
        let part = written(|output| write(&manifest, &only_b, &(at..at + 10), output));
        assert_eq!(part.len(), 10);
        let directory = manifest.layout().files_bytes()..manifest.layout().length();
        let none: Box<OpenContent> =
            Box::new(|digest: &Digest| Err(ReadError::Gone { what: digest.to_string() }));
        let part = written(|output| write(&manifest, &none, &directory, output));
        assert!(bytes.ends_with(&part) && part.len() > 150);
    }
}

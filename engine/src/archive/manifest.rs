//! The list of files that an archive holds: one committed state (I8), walked as often as needed,
//! and from wherever a range of the archive begins.
//!
//! The rows are copied out of the index once, into a spool: a short list stays in memory, a long
//! one goes to a nameless file. Every [`MARK_FILES`]th file leaves a mark of where it stands in
//! the list and in the stored zip, so a range begins with a short walk. The list's digest names
//! the state: it covers everything that an archive's bytes depend on.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::layout::Layout;
use crate::disk::Disk;
use crate::limits::SPOOL_READ_BYTES;
use crate::model::{Digest, FileRecord, Timestamp};
use crate::spool::{Spool, SpoolReader, Spooled};

/// Files between two marks. A walk from a mark reads some ten kilobytes; the marks of a million
/// files take 160.
const MARK_FILES: u64 = 256;

/// What the digest begins with; another form of archive gets another text.
const DIGEST_LABEL: &[u8] = b"granary archive, form 1\n";

/// Bytes of an entry without its name: length of the name, digest, length, CRC-32, creation time,
/// whether it compresses.
const FIXED_BYTES: usize = 2 + 32 + 8 + 4 + 8 + 1;

/// Takes the files of a manifest in order of name.
#[derive(Debug)]
pub(crate) struct ManifestWriter {
    list: Spool,
    list_bytes: u64,
    layout: Layout,
    marks: Vec<Mark>,
    hasher: Box<blake3::Hasher>,
    /// Entries that are not in the list yet: hashing and writing go faster by the block.
    gathered: Vec<u8>,
}

impl ManifestWriter {
    /// An empty list; the disk is touched only if it grows long.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        let mut hasher = Box::<blake3::Hasher>::default();
        hasher.update(DIGEST_LABEL);
        Self {
            list: Spool::for_answer(disk),
            list_bytes: 0,
            layout: Layout::default(),
            marks: Vec::new(),
            hasher,
            gathered: Vec::new(),
        }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// The spool's disk failed, or the name is longer than any archive can hold.
    pub(crate) fn push(&mut self, filename: &str, record: &FileRecord) -> io::Result<()> {
        if self.layout.entries().is_multiple_of(MARK_FILES) {
            self.marks.push(Mark { layout: self.layout, list_offset: self.list_bytes });
        }
        let before = self.gathered.len();
        encode(&mut self.gathered, filename, record)?;
        let bytes = self.gathered.len() - before;
        self.list_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.layout.place(filename, record.length);
        if self.gathered.len() < SPOOL_READ_BYTES {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hasher.update(&self.gathered);
        self.list.write_all(&self.gathered)?;
        self.gathered.clear();
        Ok(())
    }

    /// Ends the list.
    ///
    /// # Errors
    /// The spool's disk failed.
    pub(crate) fn finish(mut self) -> io::Result<Manifest> {
        self.flush()?;
        Ok(Manifest {
            list: self.list.finish()?,
            layout: self.layout,
            marks: self.marks,
            digest: Digest(*self.hasher.finalize().as_bytes()),
        })
    }
}

/// The files of one committed state of a dataset, in order of name.
#[derive(Debug)]
pub(crate) struct Manifest {
    list: Spooled,
    layout: Layout,
    /// In order; the first one is that of the first file.
    marks: Vec<Mark>,
    digest: Digest,
}

/// A place in the list, and in the stored zip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Where the files before it end.
    pub(crate) layout: Layout,
    list_offset: u64,
}

impl Manifest {
    /// The stored zip of these files.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Names the state: equal digests are equal archives.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes of the list, in memory or in a file.
    pub(crate) fn list_bytes(&self) -> u64 {
        self.list.len()
    }

    /// Every name and record, from the first one on, at every call.
    pub(crate) fn entries(&self) -> Entries {
        self.entries_from(&Mark::default())
    }

    /// The names and records from a mark on.
    pub(crate) fn entries_from(&self, mark: &Mark) -> Entries {
        let mut reader = self.list.reader();
        // Seeking in a spool forwards only remembers the place.
        let sought = reader.seek(SeekFrom::Start(mark.list_offset));
        Entries {
            reader: BufReader::with_capacity(SPOOL_READ_BYTES, reader),
            left: self.layout.entries() - mark.layout.entries(),
            failure: sought.err(),
        }
    }

    /// The last mark at or before a byte of the stored zip's local headers and contents.
    pub(crate) fn mark_in_files(&self, offset: u64) -> Mark {
        self.last_mark(|mark| mark.layout.files_bytes() <= offset)
    }

    /// The last mark at or before a byte of the stored zip's directory.
    pub(crate) fn mark_in_directory(&self, offset: u64) -> Mark {
        self.last_mark(|mark| mark.layout.directory_bytes() <= offset)
    }

    fn last_mark(&self, is_before: impl Fn(&Mark) -> bool) -> Mark {
        let behind = self.marks.partition_point(is_before);
        let last = behind.checked_sub(1).and_then(|last| self.marks.get(last));
        last.copied().unwrap_or_default()
    }
}

/// A walk over a manifest; ends after the first error.
#[derive(Debug)]
pub(crate) struct Entries {
    reader: BufReader<SpoolReader>,
    left: u64,
    failure: Option<io::Error>,
}

impl Iterator for Entries {
    type Item = io::Result<(String, FileRecord)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let entry = match self.failure.take() {
            Some(error) => Err(error),
            None => read_entry(&mut self.reader),
        };
        if entry.is_err() {
            self.left = 0;
        }
        Some(entry)
    }
}

fn encode(bytes: &mut Vec<u8>, filename: &str, record: &FileRecord) -> io::Result<()> {
    let FileRecord { digest, length, crc32, creation_time: Timestamp(creation_time), compressible } =
        record;
    let name_length = u16::try_from(filename.len())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    bytes.extend(name_length.to_le_bytes());
    bytes.extend(digest.as_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32.to_le_bytes());
    bytes.extend(creation_time.to_le_bytes());
    bytes.push(u8::from(*compressible));
    bytes.extend(filename.as_bytes());
    Ok(())
}

fn read_entry(reader: &mut impl Read) -> io::Result<(String, FileRecord)> {
    let mut fixed = [0; FIXED_BYTES];
    reader.read_exact(&mut fixed)?;
    let mut fields = fixed.as_slice();
    let name_length = u16::from_le_bytes(read_array(&mut fields)?);
    let record = FileRecord {
        digest: Digest(read_array(&mut fields)?),
        length: u64::from_le_bytes(read_array(&mut fields)?),
        crc32: u32::from_le_bytes(read_array(&mut fields)?),
        creation_time: Timestamp(i64::from_le_bytes(read_array(&mut fields)?)),
        compressible: read_array(&mut fields)? != [0],
    };
    let mut name = vec![0; usize::from(name_length)];
    reader.read_exact(&mut name)?;
    let filename = String::from_utf8(name)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((filename, record))
}

fn read_array<const BYTES: usize>(reader: &mut &[u8]) -> io::Result<[u8; BYTES]> {
    let mut array = [0; BYTES];
    reader.read_exact(&mut array)?;
    Ok(array)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::blobs::memory_disk::MemoryDisk;

    /// The manifest of these files.
    pub(crate) fn manifest(files: &[(String, FileRecord)]) -> Manifest {
        let mut writer = ManifestWriter::new(MemoryDisk::prepared());
        for (filename, record) in files {
            writer.push(filename, record).unwrap();
        }
        writer.finish().unwrap()
    }

    fn record(number: u64) -> FileRecord {
        FileRecord {
            digest: Digest::of(&number.to_le_bytes()),
            length: number * 7919,
            crc32: 0x8000_0001,
            creation_time: Timestamp(-5),
            compressible: number.is_multiple_of(2),
        }
    }

    fn numbered(count: u64) -> Vec<(String, FileRecord)> {
        (0..count).map(|number| (format!("é/{number:08}"), record(number))).collect()
    }

    #[test]
    fn lists_in_memory_and_in_a_file_read_back_twice_and_from_every_mark() {
        for count in [0, 1, MARK_FILES, MARK_FILES + 1, 20_000] {
            let files = numbered(count);
            let manifest = manifest(&files);
            for _ in 0..2 {
                let walked: Vec<_> = manifest.entries().collect::<io::Result<_>>().unwrap();
                assert_eq!(walked, files);
            }
            for mark in &manifest.marks {
                let rest: Vec<_> = manifest.entries_from(mark).collect::<io::Result<_>>().unwrap();
                let before = usize::try_from(mark.layout.entries()).unwrap();
                assert_eq!(rest, files[before..]);
            }
        }
    }

    #[test]
    fn a_mark_is_the_last_one_at_or_before_a_place() {
        let manifest = manifest(&numbered(10 * MARK_FILES));
        assert_eq!(manifest.marks.len(), 10);
        for (number, mark) in manifest.marks.iter().enumerate() {
            let at = mark.layout.files_bytes();
            assert_eq!(manifest.mark_in_files(at), *mark);
            assert_eq!(manifest.mark_in_directory(mark.layout.directory_bytes()), *mark);
            if let Some(before) = number.checked_sub(1) {
                assert_eq!(manifest.mark_in_files(at - 1), manifest.marks[before]);
            }
        }
        assert_eq!(manifest.mark_in_files(u64::MAX), manifest.marks[9]);
    }

    /// Whatever an archive's bytes depend on is in the digest, and nothing else.
    #[test]
    fn the_digest_changes_with_the_state_and_only_then() {
        let files = numbered(3);
        let digest = manifest(&files).digest();
        assert_eq!(manifest(&numbered(3)).digest(), digest);
        let changes: [fn(&mut (String, FileRecord)); 5] = [
            |file| file.0.push('x'),
            |file| file.1.length += 1,
            |file| file.1.crc32 += 1,
            |file| file.1.digest = Digest::of(b"other"),
            |file| file.1.creation_time = Timestamp(0),
        ];
        for change in changes {
            let mut files = files.clone();
            change(&mut files[1]);
            assert_ne!(manifest(&files).digest(), digest);
        }
        assert_ne!(manifest(&files[..2]).digest(), digest);
    }

    #[test]
    fn a_cut_entry_is_an_error_and_a_name_too_long_is_refused() {
        let mut bytes = Vec::new();
        encode(&mut bytes, "name", &record(1)).unwrap();
        assert_eq!(read_entry(&mut &bytes[..]).unwrap(), ("name".into(), record(1)));
        for length in 0..bytes.len() {
            assert!(read_entry(&mut &bytes[..length]).is_err(), "cut at {length}");
        }
        let mut writer = ManifestWriter::new(MemoryDisk::prepared());
        assert!(writer.push(&"x".repeat(65_536), &record(1)).is_err());
    }
}

//! The list of files that an archive holds: one committed state (I8), walked as often as needed.
//!
//! A zip is walked three times (its length, its contents, its directory), so the rows are copied
//! out of the index once. A short list stays in memory, a long one goes through a spool; memory
//! does not grow with the dataset.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use crate::disk::Disk;
use crate::limits::MANIFEST_FILES_IN_MEMORY_MAX;
use crate::model::{Digest, FileRecord, Timestamp};
use crate::spool::{Spool, Spooled};

/// Bytes of a spooled entry without its name: length of the name, digest, length, CRC-32,
/// creation time, whether it compresses.
const FIXED_BYTES: usize = 2 + 32 + 8 + 4 + 8 + 1;

/// Takes the files of a manifest in order of name.
#[derive(Debug)]
pub(crate) struct ManifestWriter {
    disk: Arc<dyn Disk>,
    in_memory: Vec<(String, FileRecord)>,
    spool: Option<Spool>,
    count: u64,
}

impl ManifestWriter {
    /// An empty list; the disk is touched only if it grows long.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, in_memory: Vec::new(), spool: None, count: 0 }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// The spool's disk failed, or the name is longer than any archive can hold.
    pub(crate) fn push(&mut self, filename: &str, record: &FileRecord) -> io::Result<()> {
        name_length(filename)?;
        self.count += 1;
        if let Some(spool) = &mut self.spool {
            return write_entry(spool, filename, record);
        }
        self.in_memory.push((filename.to_owned(), *record));
        if self.in_memory.len() > MANIFEST_FILES_IN_MEMORY_MAX {
            let mut spool = Spool::new(Arc::clone(&self.disk));
            for (filename, record) in self.in_memory.drain(..) {
                write_entry(&mut spool, &filename, &record)?;
            }
            self.spool = Some(spool);
        }
        Ok(())
    }

    /// Ends the list.
    ///
    /// # Errors
    /// The spool's disk failed.
    pub(crate) fn finish(self) -> io::Result<Manifest> {
        let files = match self.spool {
            None => Files::InMemory(self.in_memory),
            Some(spool) => Files::Spooled { spooled: spool.finish()?, count: self.count },
        };
        Ok(Manifest { files })
    }
}

/// The files of one committed state of a dataset, in order of name.
#[derive(Debug)]
pub(crate) struct Manifest {
    files: Files,
}

#[derive(Debug)]
enum Files {
    InMemory(Vec<(String, FileRecord)>),
    Spooled { spooled: Spooled, count: u64 },
}

impl Manifest {
    /// A list that is in memory already.
    #[cfg(test)]
    pub(crate) fn in_memory(files: Vec<(String, FileRecord)>) -> Self {
        Self { files: Files::InMemory(files) }
    }

    /// Every name and record, from the first one on, at every call.
    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries(match &self.files {
            Files::InMemory(files) => Source::InMemory(files.iter()),
            Files::Spooled { spooled, count } => {
                Source::Spooled { reader: BufReader::new(Box::new(spooled.reader())), left: *count }
            }
        })
    }
}

/// A walk over a manifest; ends after the first error.
pub(crate) struct Entries<'m>(Source<'m>);

enum Source<'m> {
    InMemory(std::slice::Iter<'m, (String, FileRecord)>),
    Spooled { reader: BufReader<Box<dyn Read + Send + 'm>>, left: u64 },
}

impl Iterator for Entries<'_> {
    type Item = io::Result<(String, FileRecord)>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::InMemory(files) => files.next().cloned().map(Ok),
            Source::Spooled { left: 0, .. } => None,
            Source::Spooled { reader, left } => {
                let entry = read_entry(reader);
                *left = if entry.is_ok() { *left - 1 } else { 0 };
                Some(entry)
            }
        }
    }
}

fn name_length(filename: &str) -> io::Result<u16> {
    u16::try_from(filename.len())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn write_entry(spool: &mut impl Write, filename: &str, record: &FileRecord) -> io::Result<()> {
    let FileRecord { digest, length, crc32, creation_time: Timestamp(creation_time), compressible } =
        record;
    let mut bytes = Vec::with_capacity(FIXED_BYTES + filename.len());
    bytes.extend(name_length(filename)?.to_le_bytes());
    bytes.extend(digest.as_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32.to_le_bytes());
    bytes.extend(creation_time.to_le_bytes());
    bytes.push(u8::from(*compressible));
    bytes.extend(filename.as_bytes());
    spool.write_all(&bytes)
}

fn read_entry(reader: &mut impl Read) -> io::Result<(String, FileRecord)> {
    let name_length = u16::from_le_bytes(read_array(reader)?);
    let record = FileRecord {
        digest: Digest(read_array(reader)?),
        length: u64::from_le_bytes(read_array(reader)?),
        crc32: u32::from_le_bytes(read_array(reader)?),
        creation_time: Timestamp(i64::from_le_bytes(read_array(reader)?)),
        compressible: read_array(reader)? != [0],
    };
    let mut name = vec![0; usize::from(name_length)];
    reader.read_exact(&mut name)?;
    let filename = String::from_utf8(name)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((filename, record))
}

fn read_array<const BYTES: usize>(reader: &mut impl Read) -> io::Result<[u8; BYTES]> {
    let mut array = [0; BYTES];
    reader.read_exact(&mut array)?;
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskFile, OpenMode, Space};

    /// A disk that fails at whatever is asked of it.
    #[derive(Debug)]
    struct NoDisk;

    fn no_disk<T>() -> io::Result<T> {
        Err(io::ErrorKind::Unsupported.into())
    }

    impl Disk for NoDisk {
        fn open(&self, _: &str, _: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
            no_disk()
        }
        fn list(&self, _: &str) -> io::Result<Vec<String>> {
            no_disk()
        }
        fn create_dir(&self, _: &str) -> io::Result<()> {
            no_disk()
        }
        fn rename(&self, _: &str, _: &str) -> io::Result<()> {
            no_disk()
        }
        fn remove(&self, _: &str) -> io::Result<()> {
            no_disk()
        }
        fn sync_dir(&self, _: &str) -> io::Result<()> {
            no_disk()
        }
        fn space(&self) -> io::Result<Space> {
            no_disk()
        }
        fn lock(&self) -> io::Result<Box<dyn std::fmt::Debug + Send + Sync>> {
            no_disk()
        }
        fn display(&self) -> String {
            "no disk".into()
        }
    }

    fn record(number: usize) -> FileRecord {
        FileRecord {
            digest: Digest::of(&number.to_le_bytes()),
            length: u64::MAX - 7,
            crc32: 0x8000_0001,
            creation_time: Timestamp(-5),
            compressible: number.is_multiple_of(2),
        }
    }

    #[test]
    fn short_and_long_lists_read_back_twice() {
        // The long list takes less memory than a spool may, hence no disk.
        let long = MANIFEST_FILES_IN_MEMORY_MAX + 2;
        for count in [0, 1, MANIFEST_FILES_IN_MEMORY_MAX, long] {
            let files: Vec<(String, FileRecord)> =
                (0..count).map(|number| (format!("é/{number:08}"), record(number))).collect();
            let mut writer = ManifestWriter::new(Arc::new(NoDisk));
            for (filename, record) in &files {
                writer.push(filename, record).unwrap();
            }
            let manifest = writer.finish().unwrap();
            for _ in 0..2 {
                let walked: Vec<_> = manifest.entries().collect::<io::Result<_>>().unwrap();
                assert_eq!(walked, files);
            }
        }
    }

    #[test]
    fn a_cut_entry_is_an_error_and_a_name_too_long_is_refused() {
        let mut bytes = Vec::new();
        write_entry(&mut bytes, "name", &record(1)).unwrap();
        assert_eq!(read_entry(&mut &bytes[..]).unwrap(), ("name".into(), record(1)));
        for length in 0..bytes.len() {
            assert!(read_entry(&mut &bytes[..length]).is_err(), "cut at {length}");
        }
        let mut writer = ManifestWriter::new(Arc::new(NoDisk));
        assert!(writer.push(&"x".repeat(65_536), &record(1)).is_err());
    }
}

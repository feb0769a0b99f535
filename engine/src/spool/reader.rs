//! A spool's content for blocking code that reads and seeks, as readers of archives do.

use std::io::{self, Read, Seek, SeekFrom};

use crate::blobs::{byte_count, capped};
use crate::disk::DiskFile;
use crate::limits::SPOOL_READ_BYTES;

use super::{Content, Spooled};

/// Reads a spool's content; see [`Spooled::reader`].
#[derive(Debug)]
pub(crate) struct SpoolReader {
    spooled: Spooled,
    position: u64,
    /// Bytes of the file that were read last. Seeking within them reads nothing again, since
    /// readers of archives seek a few bytes back and forth all the time.
    window: Vec<u8>,
    /// Where in the file the window begins.
    window_start: u64,
}

impl SpoolReader {
    /// Begins at the content's start.
    pub(super) fn new(spooled: Spooled) -> Self {
        Self { spooled, position: 0, window: Vec::new(), window_start: 0 }
    }

    /// Bytes from the position on that the window holds.
    fn in_window(&self) -> &[u8] {
        let start = self.position.checked_sub(self.window_start);
        let start = start.map_or(usize::MAX, |start| capped(start, usize::MAX));
        self.window.get(start..).unwrap_or_default()
    }

    fn fill_window(&mut self, file: &dyn DiskFile, length: usize) -> io::Result<()> {
        self.window.resize(length, 0);
        let read = file.read_exact_at(&mut self.window, self.position);
        if read.is_err() {
            self.window.clear();
        }
        self.window_start = self.position;
        read
    }
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.spooled.len().saturating_sub(self.position);
        let wanted = capped(left, buffer.len());
        let (target, _) = buffer.split_at_mut(wanted);
        let read = match self.spooled.content.clone() {
            _ if wanted == 0 => 0,
            // A read from a slice copies what fits and cannot fail.
            Content::Memory(pieces) => pieces.rest_of_piece(self.position).read(target)?,
            Content::File { file, .. } => {
                if self.in_window().is_empty() {
                    if wanted >= SPOOL_READ_BYTES {
                        file.read_exact_at(target, self.position)?;
                        self.position += byte_count(wanted);
                        return Ok(wanted);
                    }
                    self.fill_window(&*file, capped(left, SPOOL_READ_BYTES))?;
                }
                self.in_window().read(target)?
            }
        };
        self.position += byte_count(read);
        Ok(read)
    }
}

impl Seek for SpoolReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.spooled.len().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        let message = "a seek to before the start";
        self.position =
            position.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, message))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::super::Spool;
    use super::*;
    use crate::blobs::memory_disk::MemoryDisk;

    fn content(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    fn spooled(disk: &Arc<MemoryDisk>, content: &[u8]) -> Spooled {
        let mut spool = Spool::new(disk.clone());
        spool.write_all(content).unwrap();
        spool.finish().unwrap()
    }

    #[test]
    fn a_reader_seeks_anywhere_and_reads_its_window_once() {
        let disk = MemoryDisk::prepared();
        let content = content(3_000_000);
        let mut reader = spooled(&disk, &content).reader();
        let mut read_at = |to: SeekFrom, length: usize| {
            let mut bytes = vec![0; length];
            let position = reader.seek(to).unwrap();
            reader.read_exact(&mut bytes).unwrap();
            let start = usize::try_from(position).unwrap();
            assert_eq!(bytes, content[start..start + length]);
        };
        disk.take_log();
        for _ in 0..10 {
            read_at(SeekFrom::End(-22), 22);
            read_at(SeekFrom::Current(-20), 4);
        }
        assert_eq!(disk.take_log().len(), 1);
        read_at(SeekFrom::Start(65_530), 12);
        read_at(SeekFrom::Start(65_000), 300_000);
        read_at(SeekFrom::Start(0), 3_000_000);
        read_at(SeekFrom::Current(-1), 1);

        let mut byte = [0];
        assert_eq!(reader.read(&mut byte).unwrap(), 0);
        reader.seek(SeekFrom::Start(9_000_000)).unwrap();
        assert_eq!(reader.read(&mut byte).unwrap(), 0);
        assert!(reader.seek(SeekFrom::End(-3_000_001)).is_err());
    }

    #[test]
    fn a_reader_of_pieces_seeks_anywhere_and_stops_at_no_piece_for_good() {
        let content = content(1000);
        for piece_bytes in [1, 7, 999, 1000, 1001] {
            let mut reader = Spooled::in_pieces(&content, piece_bytes).reader();
            for start in [0, 6, 7, 8, 998, 999, 1000, 1001] {
                reader.seek(SeekFrom::Start(byte_count(start))).unwrap();
                let mut read = Vec::new();
                reader.read_to_end(&mut read).unwrap();
                assert_eq!(read, content[start.min(1000)..], "{piece_bytes}");
            }
            assert!(reader.seek(SeekFrom::End(-1001)).is_err());
        }
    }

    #[test]
    fn a_zip_archive_is_read_through_a_spool() {
        let disk = MemoryDisk::prepared();
        let content = content(2_500_000);
        let mut writer = zip::ZipWriter::new_stream(Spool::new(disk.clone()));
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for name in ["a", "b/c"] {
            writer.start_file(name, options).unwrap();
            writer.write_all(&content).unwrap();
        }
        let spooled = writer.finish().unwrap().into_inner().finish().unwrap();

        let mut archive = zip::ZipArchive::new(spooled.reader()).unwrap();
        let mut bytes = Vec::new();
        archive.by_name("b/c").unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, content);
        assert_eq!(archive.len(), 2);
    }
}

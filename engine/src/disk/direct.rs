//! Writing whole pages past the page cache (`O_DIRECT`, open(2)).
//!
//! Through the page cache each byte is copied to memory that is cold, and on a virtual machine often
//! not there yet, and another thread writes it from there. What is synced at once gains nothing by
//! that. It is read from the disk the first time, and from the page cache from then on: the kernel
//! keeps both ways to a file coherent.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::blobs::byte_count;
use crate::limits::DIRECT_WRITE_BYTES_MAX;

/// Bytes of which addresses, offsets and lengths are multiples: a page, and so of every disk's block.
const ALIGNMENT: usize = 4096;

/// The way past the page cache, to one file at a time.
#[derive(Debug, Default)]
pub(super) struct Direct(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The file that was written last.
    file: Option<(PathBuf, File)>,
    /// Pieces put together at aligned addresses.
    buffer: Vec<u8>,
    /// The file system does not have this way.
    is_refused: bool,
}

impl Direct {
    /// Writes the pieces, one after the other; `false` if that is not possible, after which the
    /// range is to be written in the usual way.
    pub(super) fn write(
        &self,
        path: &Path,
        pieces: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<bool> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        if !length.is_multiple_of(ALIGNMENT) || !start.is_multiple_of(ALIGNMENT) {
            return Ok(false);
        }
        // Whatever a panic left in the buffer is written over.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_refused {
            return Ok(false);
        }
        match state.write(path, pieces, offset) {
            Ok(()) => Ok(true),
            Err(error) if is_refusal(&error) => {
                tracing::debug!(%error, "the file system has no writes past the page cache");
                *state = State { is_refused: true, ..State::default() };
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets the file of this name, which may come to be another's.
    pub(super) fn forget(&self, path: &Path) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.file.take_if(|(of, _)| of == path);
    }
}

impl State {
    fn write(&mut self, path: &Path, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let file = match self.file.take() {
            Some(known) if known.0 == path => known,
            Some(_) | None => (path.to_owned(), open(path)?),
        };
        let (_, file) = self.file.insert(file);
        if self.buffer.is_empty() {
            // Zeros that the system gives when they are touched: small groups use little of it.
            self.buffer = vec![0; DIRECT_WRITE_BYTES_MAX + ALIGNMENT];
        }
        let start = self.buffer.as_ptr().align_offset(ALIGNMENT);
        let aligned = self.buffer.get_mut(start..start + DIRECT_WRITE_BYTES_MAX);
        let aligned = aligned.ok_or(io::ErrorKind::InvalidInput)?;
        let (mut filled, mut offset) = (0, offset);
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() {
                let free = aligned.get_mut(filled..).unwrap_or_default();
                let (now, later) = rest.split_at(rest.len().min(free.len()));
                let (place, _) = free.split_at_mut(now.len());
                place.copy_from_slice(now);
                (filled, rest) = (filled + now.len(), later);
                if filled == DIRECT_WRITE_BYTES_MAX {
                    file.write_all_at(aligned, offset)?;
                    (filled, offset) = (0, offset + byte_count(DIRECT_WRITE_BYTES_MAX));
                }
            }
        }
        file.write_all_at(aligned.get(..filled).unwrap_or_default(), offset)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).map_err(io::Error::other)?;
    OpenOptions::new().write(true).custom_flags(flags).open(path)
}

/// Whether the file system cannot do it, at all or so (open(2), notes on `O_DIRECT`).
fn is_refusal(error: &io::Error) -> bool {
    let codes = [Errno::INVAL, Errno::OPNOTSUPP].map(Errno::raw_os_error);
    error.kind() == io::ErrorKind::InvalidInput
        || error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// A new file of so many zeros.
    fn zeros(path: &Path, length: u64) -> File {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(length).unwrap();
        file
    }

    #[test]
    fn pages_are_there_for_who_reads_through_the_page_cache() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = zeros(&path, 64 << 10);
        let mut found = vec![0; 64 << 10];
        file.read_exact_at(&mut found, 0).unwrap();
        let direct = Direct::default();
        let noise: Vec<u8> = (0..=250u8).cycle().take(3 * ALIGNMENT).collect();
        let pieces = [&noise[..5], &[], &noise[5..]].map(IoSlice::new);
        for offset in [4096, 32768] {
            // Where the file system does not have it, nothing is to be seen here.
            if !direct.write(&path, &pieces, offset).unwrap() {
                return;
            }
            let start = usize::try_from(offset).unwrap();
            file.read_exact_at(&mut found, 0).unwrap();
            assert!(found[start..start + noise.len()] == noise);
        }
        assert!(found[..4096].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_no_whole_page_goes_the_usual_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        zeros(&path, 8192);
        let direct = Direct::default();
        let page = [1; ALIGNMENT];
        assert!(!direct.write(&path, &[IoSlice::new(&page)], 1).unwrap());
        assert!(!direct.write(&path, &[IoSlice::new(&page[1..])], 0).unwrap());
        assert!(std::fs::read(&path).unwrap() == [0; 8192]);
    }

    #[test]
    fn what_is_longer_than_one_write_is_there_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let noise: Vec<u8> =
            (0..=250u8).cycle().take(2 * DIRECT_WRITE_BYTES_MAX + 3 * ALIGNMENT).collect();
        zeros(&path, byte_count(noise.len()));
        let cut = DIRECT_WRITE_BYTES_MAX + 5;
        let pieces = [&noise[..9], &noise[9..cut], &noise[cut..]].map(IoSlice::new);
        if Direct::default().write(&path, &pieces, 0).unwrap() {
            assert!(std::fs::read(&path).unwrap() == noise);
        }
    }

    #[test]
    fn each_file_gets_its_own_pages() {
        let directory = tempfile::tempdir().unwrap();
        let direct = Direct::default();
        let paths = ["a", "b"].map(|name| directory.path().join(name));
        for (number, path) in (0u8..).zip(paths.iter().cycle().take(4)) {
            if number < 2 {
                zeros(path, 4096);
            }
            if !direct.write(path, &[IoSlice::new(&[number; ALIGNMENT])], 0).unwrap() {
                return;
            }
        }
        assert!(std::fs::read(&paths[0]).unwrap() == [2; ALIGNMENT]);
        assert!(std::fs::read(&paths[1]).unwrap() == [3; ALIGNMENT]);
    }
}

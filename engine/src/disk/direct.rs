//! Writing whole pages past the page cache (`O_DIRECT`, open(2)).
//!
//! Through the page cache each byte is copied to memory that is cold, and on a virtual machine often
//! not there yet, and another thread writes it from there. What is synced at once gains nothing by
//! that. It is read from the disk the first time, and from the page cache from then on: the kernel
//! keeps both ways to a file coherent.
//!
//! Groups of the journal are put together in a buffer, one after the other. What lies at pages'
//! beginnings in memory, as large contents do, is written from where it is, beside them and beside
//! each other.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::PAGE_BYTES;
use crate::blobs::byte_count;
use crate::limits::DIRECT_WRITE_BYTES_MAX;

/// The way past the page cache.
#[derive(Debug, Default)]
pub(super) struct Direct {
    gathered: Mutex<Gathered>,
    /// The file system does not have this way for what lies in place.
    is_refused_in_place: AtomicBool,
}

/// Pieces of one file at a time, put together.
#[derive(Debug, Default)]
struct Gathered {
    /// The file that was written last.
    file: Option<(PathBuf, File)>,
    /// Memory at aligned addresses, and a page.
    buffer: Vec<u8>,
    /// The file system does not have this way.
    is_refused: bool,
}

impl Direct {
    /// Writes the pieces, one after the other; `false` if that is not possible, after which the
    /// range is to be written in the usual way. `file` has been opened by the path.
    pub(super) fn write(
        &self,
        file: &File,
        path: &Path,
        pieces: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<bool> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        if !length.is_multiple_of(PAGE_BYTES) || !start.is_multiple_of(PAGE_BYTES) {
            return Ok(false);
        }
        if pieces.iter().all(|piece| is_in_place(piece)) {
            return self.write_in_place(file, path, pieces, offset);
        }
        // Whatever a panic left in the buffer is written over.
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.is_refused {
            return Ok(false);
        }
        match gathered.write(path, pieces, offset) {
            Err(error) if is_refusal(&error) => {
                tracing::debug!(%error, "the file system has no writes past the page cache");
                *gathered = Gathered { is_refused: true, ..Gathered::default() };
                Ok(false)
            }
            written => written,
        }
    }

    fn write_in_place(
        &self,
        file: &File,
        path: &Path,
        pieces: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<bool> {
        if self.is_refused_in_place.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match write_in_place(file, path, pieces, offset) {
            Err(error) if is_refusal(&error) => {
                tracing::debug!(%error, "large contents go through the page cache");
                self.is_refused_in_place.store(true, Ordering::Relaxed);
                Ok(false)
            }
            written => written,
        }
    }

    /// Forgets the file of this name, which may come to be another's.
    pub(super) fn forget(&self, path: &Path) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.file.take_if(|(of, _)| of == path);
    }
}

/// Whether bytes are whole pages at pages' addresses.
fn is_in_place(piece: &[u8]) -> bool {
    piece.as_ptr().align_offset(PAGE_BYTES) == 0 && piece.len().is_multiple_of(PAGE_BYTES)
}

/// Writes pieces from where they are; `false` if the file cannot be opened so now.
///
/// It is opened for each write, which takes some microseconds: there is none too many open then,
/// whatever number of contents arrive at a time.
fn write_in_place(
    file: &File,
    path: &Path,
    pieces: &[IoSlice<'_>],
    offset: u64,
) -> io::Result<bool> {
    let direct = match open(path) {
        Ok(direct) => direct,
        Err(error) if is_refusal(&error) => return Err(error),
        // Too many files are open, or the name is gone. The file that is open works all the same.
        Err(_) => return Ok(false),
    };
    let (here, there) = (file.metadata()?, direct.metadata()?);
    if (here.dev(), here.ino()) != (there.dev(), there.ino()) {
        return Ok(false);
    }
    let mut offset = offset;
    for piece in pieces {
        let mut rest: &[u8] = piece;
        while !rest.is_empty() {
            let written = match direct.write_at(rest, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            offset += byte_count(written);
            rest = rest.get(written..).unwrap_or_default();
            if !is_in_place(rest) {
                // It stopped within a page.
                return Ok(false);
            }
        }
    }
    Ok(true)
}

impl Gathered {
    /// `false` if the file cannot be opened so now.
    fn write(&mut self, path: &Path, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<bool> {
        let file = match self.file.take() {
            Some(known) if known.0 == path => known,
            Some(_) | None => match open(path) {
                Ok(file) => (path.to_owned(), file),
                Err(error) if is_refusal(&error) => return Err(error),
                // Too many files are open: the one that is open works all the same.
                Err(_) => return Ok(false),
            },
        };
        let (_, file) = self.file.insert(file);
        if self.buffer.is_empty() {
            // Zeros that the system gives when they are touched: small groups use little of it.
            self.buffer = vec![0; DIRECT_WRITE_BYTES_MAX + PAGE_BYTES];
        }
        let start = self.buffer.as_ptr().align_offset(PAGE_BYTES);
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
        file.write_all_at(aligned.get(..filled).unwrap_or_default(), offset)?;
        Ok(true)
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
        let noise: Vec<u8> = (0..=250u8).cycle().take(3 * PAGE_BYTES).collect();
        let pieces = [&noise[..5], &[], &noise[5..]].map(IoSlice::new);
        for offset in [4096, 32768] {
            // Where the file system does not have it, nothing is to be seen here.
            if !direct.write(&file, &path, &pieces, offset).unwrap() {
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
        let file = zeros(&path, 8192);
        let direct = Direct::default();
        let page = [1; PAGE_BYTES];
        assert!(!direct.write(&file, &path, &[IoSlice::new(&page)], 1).unwrap());
        assert!(!direct.write(&file, &path, &[IoSlice::new(&page[1..])], 0).unwrap());
        assert!(std::fs::read(&path).unwrap() == [0; 8192]);
    }

    #[test]
    fn what_is_longer_than_one_write_is_there_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let noise: Vec<u8> =
            (0..=250u8).cycle().take(2 * DIRECT_WRITE_BYTES_MAX + 3 * PAGE_BYTES).collect();
        let file = zeros(&path, byte_count(noise.len()));
        let cut = DIRECT_WRITE_BYTES_MAX + 5;
        let pieces = [&noise[..9], &noise[9..cut], &noise[cut..]].map(IoSlice::new);
        if Direct::default().write(&file, &path, &pieces, 0).unwrap() {
            assert!(std::fs::read(&path).unwrap() == noise);
        }
    }

    #[test]
    fn each_file_gets_its_own_pages() {
        let directory = tempfile::tempdir().unwrap();
        let direct = Direct::default();
        let paths = ["a", "b"].map(|name| directory.path().join(name));
        let files = paths.clone().map(|path| zeros(&path, 4096));
        let each = paths.iter().zip(&files);
        for (number, (path, file)) in (0u8..).zip(each.cycle().take(4)) {
            if !direct.write(file, path, &[IoSlice::new(&[number; PAGE_BYTES])], 0).unwrap() {
                return;
            }
        }
        assert!(std::fs::read(&paths[0]).unwrap() == [2; PAGE_BYTES]);
        assert!(std::fs::read(&paths[1]).unwrap() == [3; PAGE_BYTES]);
    }

    /// So many bytes of noise in memory, at a page's beginning.
    fn in_place(memory: &mut Vec<u8>, length: usize) -> &[u8] {
        *memory = vec![0; length + PAGE_BYTES];
        let start = memory.as_ptr().align_offset(PAGE_BYTES);
        for (place, byte) in (0..=250u8).cycle().zip(&mut memory[start..]) {
            *byte = place;
        }
        &memory[start..start + length]
    }

    #[test]
    fn pages_that_lie_in_place_wait_for_no_other_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = zeros(&path, 0);
        let direct = Direct::default();
        let mut memory = Vec::new();
        let pages = in_place(&mut memory, 5 * PAGE_BYTES);
        let _journal = direct.gathered.lock().unwrap();
        if !direct.write(&file, &path, &[IoSlice::new(pages)], 8192).unwrap() {
            return;
        }
        let found = std::fs::read(&path).unwrap();
        assert!(found[..8192].iter().all(|byte| *byte == 0));
        assert!(found[8192..] == *pages);
    }

    #[test]
    fn what_has_another_name_by_now_or_none_goes_the_usual_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = zeros(&path, 4096);
        let direct = Direct::default();
        let mut memory = Vec::new();
        let pages = in_place(&mut memory, PAGE_BYTES);
        std::fs::rename(&path, directory.path().join("renamed")).unwrap();
        assert!(!direct.write(&file, &path, &[IoSlice::new(pages)], 0).unwrap());
        zeros(&path, 4096);
        assert!(!direct.write(&file, &path, &[IoSlice::new(pages)], 0).unwrap());
        assert!(std::fs::read(&path).unwrap() == [0; 4096], "it is another file");
    }
}

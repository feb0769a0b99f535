//! The index's file with all that is written to it in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::disk::DiskFile;

/// Bytes of a page of [`MemoryBackend`].
const PAGE_BYTES: u64 = 4096;

/// The index's file as it is on disk, with everything that is written to it in memory only: what
/// readers get after a failure (I7).
#[derive(Debug)]
pub(crate) struct MemoryBackend {
    file: Arc<dyn DiskFile>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// Bytes of the file beyond which nothing of it counts.
    file_length: u64,
    /// Page number to the page's bytes.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Written {
    /// Whether the file alone says what this range holds, as it does of nearly all.
    fn is_of_file(&self, offset: u64, length: usize) -> bool {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let end = offset.saturating_add(length);
        let pages = offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES);
        end <= self.file_length && self.pages.range(pages).next().is_none()
    }
}

impl MemoryBackend {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let length = file.len()?;
        let written = Written { length, file_length: length, pages: BTreeMap::new() };
        Ok(Self { file, written: Mutex::new(written) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as the file has it.
    fn page_of_file(&self, page: u64, file_length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(PAGE_BYTES).map_err(io::Error::other)?];
        let start = page * PAGE_BYTES;
        let there = file_length.saturating_sub(start).min(PAGE_BYTES);
        let there = usize::try_from(there).map_err(io::Error::other)?;
        if let Some(part) = bytes.get_mut(..there).filter(|part| !part.is_empty()) {
            self.file.read_exact_at(part, start)?;
        }
        Ok(bytes)
    }

    /// Hands each piece of a range to `copy`, with the page that holds it.
    fn each_page(
        &self,
        written: &mut Written,
        offset: u64,
        length: usize,
        keep: bool,
        mut copy: impl FnMut(&mut [u8], std::ops::Range<usize>),
    ) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let at = offset + u64::try_from(done).map_err(io::Error::other)?;
            let page = at / PAGE_BYTES;
            let within = usize::try_from(at % PAGE_BYTES).map_err(io::Error::other)?;
            let page_bytes = usize::try_from(PAGE_BYTES).map_err(io::Error::other)?;
            let count = (length - done).min(page_bytes - within);
            let mut fresh;
            let bytes = if keep || written.pages.contains_key(&page) {
                if !written.pages.contains_key(&page) {
                    let found = self.page_of_file(page, written.file_length)?;
                    written.pages.insert(page, found);
                }
                written.pages.get_mut(&page).map(Vec::as_mut_slice)
            } else {
                fresh = self.page_of_file(page, written.file_length)?;
                Some(fresh.as_mut_slice())
            };
            if let Some(part) = bytes.and_then(|bytes| bytes.get_mut(within..within + count)) {
                copy(part, done..done + count);
            }
            done += count;
        }
        Ok(())
    }
}

impl StorageBackend for MemoryBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut written = self.written();
        let length = out.len();
        if written.is_of_file(offset, length) {
            drop(written);
            return self.file.read_exact_at(out, offset);
        }
        self.each_page(&mut written, offset, length, false, |page, range| {
            if let Some(out) = out.get_mut(range) {
                out.copy_from_slice(page);
            }
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        written.length = length;
        written.file_length = written.file_length.min(length);
        written.pages.retain(|page, _| page * PAGE_BYTES < length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        self.each_page(&mut written, offset, data.len(), true, |page, range| {
            if let Some(data) = data.get(range) {
                page.copy_from_slice(data);
            }
        })
    }
}

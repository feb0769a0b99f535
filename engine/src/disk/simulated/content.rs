//! The bytes of one simulated file: as they are seen, as they last, and what lies between.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blocks::Blocks;
use super::choice::Choice;

/// Bytes that a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A file's content; gives its space back when the last holder lets go.
pub(super) struct Content {
    bytes: Mutex<Bytes>,
    available: Arc<AtomicU64>,
}

struct Bytes {
    seen: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// What leads from `durable` to `seen`.
    pending: Vec<Pending>,
    /// Of what is seen.
    blocks: Blocks,
}

enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    SetLength(usize),
    Extend(usize),
}

impl Content {
    pub(super) fn new(available: Arc<AtomicU64>) -> Self {
        Self::with_bytes(Arc::new(Vec::new()), available)
    }

    fn with_bytes(bytes: Arc<Vec<u8>>, available: Arc<AtomicU64>) -> Self {
        let blocks = Blocks::without_holes(bytes.len());
        let bytes = Bytes { seen: Arc::clone(&bytes), durable: bytes, pending: Vec::new(), blocks };
        Self { bytes: Mutex::new(bytes), available }
    }

    fn bytes(&self) -> MutexGuard<'_, Bytes> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.bytes().seen.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes();
        let found = usize::try_from(offset)
            .ok()
            .and_then(|offset| bytes.seen.get(offset..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    /// Writes at most so many bytes of the pieces.
    pub(super) fn write(
        &self,
        pieces: &[IoSlice<'_>],
        offset: u64,
        bytes_max: usize,
    ) -> io::Result<()> {
        let mut written = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        for piece in pieces {
            written.extend_from_slice(piece);
        }
        written.truncate(bytes_max);
        self.make(Pending::Write { offset: in_memory(offset)?, bytes: written })
    }

    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        self.make(Pending::SetLength(in_memory(length)?))
    }

    pub(super) fn extend(&self, end: u64) -> io::Result<()> {
        self.make(Pending::Extend(in_memory(end)?))
    }

    /// Shows a change and remembers it, if there is space for what grows.
    fn make(&self, change: Pending) -> io::Result<()> {
        let mut bytes = self.bytes();
        let Bytes { seen, blocks, .. } = &mut *bytes;
        let taken = change.takes(seen.len());
        self.take_space(blocks.wanted_for(taken.clone()))?;
        blocks.take(taken);
        let before = blocks.bytes();
        change.apply(Arc::make_mut(seen));
        blocks.cut(seen.len());
        self.give_space(before - blocks.bytes());
        bytes.pending.push(change);
        Ok(())
    }

    fn take_space(&self, wanted: u64) -> io::Result<()> {
        self.available
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |available| {
                available.checked_sub(wanted)
            })
            .map_err(|_available| io::ErrorKind::StorageFull)?;
        Ok(())
    }

    fn give_space(&self, freed: u64) {
        self.available
            .update(Ordering::Relaxed, Ordering::Relaxed, |space| space.saturating_add(freed));
    }

    pub(super) fn sync(&self) {
        let mut bytes = self.bytes();
        let Bytes { durable, pending, .. } = &mut *bytes;
        for change in pending.drain(..) {
            change.apply(Arc::make_mut(durable));
        }
    }

    /// Bytes that were pending have reached the platter by choice, and no later sync brings the
    /// rest; lengths go on waiting.
    pub(super) fn fail_sync(&self, choice: &mut Choice) {
        let mut bytes = self.bytes();
        let Bytes { durable, pending, .. } = &mut *bytes;
        for change in pending {
            change.apply_partly(durable, choice);
            if let Pending::Write { offset, bytes } = change {
                let end = if bytes.is_empty() { 0 } else { offset.saturating_add(bytes.len()) };
                *change = Pending::Extend(end);
            }
        }
    }

    /// The content as a power loss leaves it.
    pub(super) fn image(&self, choice: &mut Choice, available: &Arc<AtomicU64>) -> Self {
        let bytes = self.bytes();
        let mut found = Arc::clone(&bytes.durable);
        for change in &bytes.pending {
            change.apply_partly(&mut found, choice);
        }
        let image = Self::with_bytes(found, Arc::clone(available));
        let used = image.bytes().blocks.bytes();
        available.update(Ordering::Relaxed, Ordering::Relaxed, |space| space.saturating_sub(used));
        image
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let freed = self.bytes().blocks.bytes();
        self.give_space(freed);
    }
}

impl Pending {
    /// Length of a file of this length once the change is made.
    fn length_after(&self, length: usize) -> usize {
        match self {
            Self::Write { bytes, .. } if bytes.is_empty() => length,
            Self::Write { offset, bytes } => length.max(offset.saturating_add(bytes.len())),
            Self::SetLength(length_after) => *length_after,
            Self::Extend(end) => length.max(*end),
        }
    }

    /// What of a file of this length it needs the disk's space for.
    fn takes(&self, length: usize) -> Range<usize> {
        match self {
            Self::Write { offset, bytes } => *offset..offset.saturating_add(bytes.len()),
            Self::SetLength(_) => 0..0,
            Self::Extend(end) => length.min(*end)..*end,
        }
    }

    fn apply(&self, content: &mut Vec<u8>) {
        content.resize(self.length_after(content.len()), 0);
        if let Self::Write { offset, bytes } = self {
            copy_into(content, *offset, bytes);
        }
    }

    /// Length and sectors each reach the platter by a choice of their own; one change in four is
    /// lost whole and one in four is there whole, since those are the cases that matter most.
    fn apply_partly(&self, found: &mut Arc<Vec<u8>>, choice: &mut Choice) {
        let share = choice.below(4);
        if share == 0 {
            return;
        }
        let content = Arc::make_mut(found);
        if share == 3 {
            self.apply(content);
            return;
        }
        if choice.coin() {
            content.resize(self.length_after(content.len()), 0);
        }
        if let Self::Write { offset, bytes } = self {
            for sector in sectors(*offset, bytes.len()) {
                let reached = sector.start + choice.of_sector(sector.len());
                if let Some(piece) = bytes.get(sector.start - offset..reached - offset) {
                    copy_into(content, sector.start, piece);
                }
            }
        }
    }
}

/// Copies as far as the content reaches.
fn copy_into(content: &mut [u8], offset: usize, bytes: &[u8]) {
    let Some(target) = content.get_mut(offset..) else {
        return;
    };
    let length = target.len().min(bytes.len());
    if let (Some(target), Some(bytes)) = (target.get_mut(..length), bytes.get(..length)) {
        target.copy_from_slice(bytes);
    }
}

/// The pieces of a range that lie in one sector each.
fn sectors(offset: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    let end = offset.saturating_add(length);
    let first = offset - offset % SECTOR_BYTES;
    (first..end)
        .step_by(SECTOR_BYTES)
        .map(move |start| start.max(offset)..(start + SECTOR_BYTES).min(end))
}

fn in_memory(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_too_large| io::ErrorKind::FileTooLarge.into())
}

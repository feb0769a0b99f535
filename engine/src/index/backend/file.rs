//! The index's file, whose syncs may be put off so that changes go on meanwhile.
//!
//! A checkpoint is a durable commit: redb writes the changed pages, syncs, writes the header that
//! names them, and syncs again. The pages are new ones that the state on the disk does not use, so
//! they may be written at any time before the first sync; the order of the rest is what a crash
//! relies on. Where syncs are [put off](IndexFile::put_off), pages are kept in memory, so far as there
//! is room, and everything from the first sync on is kept in order; a thread
//! [carries it out](IndexFile::carry_out). Until that is done nothing else may change the file: redb
//! takes the commit for durable and would write to pages that the state on the disk still needs.
//! What it writes meanwhile, which are pages for which its cache has no room, is kept too. The file may
//! grow, with the sync that redb makes of that; all other lengths and syncs wait.
//!
//! Pages are written a slice at a time, each with a sync of its own, and between slices the disk is left
//! to the journal, for whose syncs clients wait.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::disk::{Disk, DiskFile, Space, reserve_bytes};
use crate::limits::{INDEX_AHEAD_BYTES, INDEX_PUT_OFF_BYTES_MAX, INDEX_SLICE_BYTES};

/// The file, with space set aside.
///
/// redb doubles its file, up to 4 GiB at a time, with holes for which a full disk has no blocks. Space
/// for all of that would be most of a disk, so it is set aside some way ahead of the pages in use, of
/// which redb takes the first that is free, and never the last of the disk (I7).
#[derive(Debug)]
pub(crate) struct IndexFile {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    /// Where the last page ends that was written by this process.
    written_end: AtomicU64,
    /// Where space ends that is there or set aside; 0 before anything was written.
    set_aside_end: AtomicU64,
    phase: Mutex<Phase>,
    /// Whether readers must look whether what they read is kept back.
    keeps_back: AtomicBool,
    /// Told when the phase changes, or when somebody begins to wait for that.
    changed: Condvar,
    /// Whether somebody waits for what is carried out.
    is_awaited: AtomicBool,
    /// Held by a sync beside what is carried out.
    growing: Mutex<()>,
    /// Whether a thread carries something out; changes with the lock of `phase` held.
    is_carrying: AtomicBool,
}

/// What becomes of a call that changes the file.
#[derive(Debug)]
enum Phase {
    /// It reaches the file at once.
    Direct,
    /// It is kept back.
    PuttingOff(PutOff),
    /// What was kept back is being carried out. Pages are kept meanwhile, so far as there is room, and
    /// written behind it; the file may grow; all else waits.
    CarryingOut { off: Arc<PutOff>, late: PutOff },
    /// That failed, which is final (I7).
    Failed(io::ErrorKind, String),
}

/// What is kept back.
#[derive(Debug, Default)]
struct PutOff {
    /// What was written before the first sync, by offset; what found no room is in the file.
    pages: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    /// The first sync and all behind it, in order.
    rest: Vec<Held>,
    /// The file grew, and the sync that redb makes of that at once did not come yet: it stands before
    /// all that is put off.
    has_grown: bool,
}

impl PutOff {
    /// Keeps a page that may be written at any time before the next sync, if there is room.
    fn keep_page(&mut self, offset: u64, data: &[u8]) -> bool {
        // What was written to the same place before must not come behind this.
        while let Some(start) = self.page_over(offset, data.len()).map(|(start, _)| start) {
            self.bytes -= self.pages.remove(&start).map_or(0, |before| before.len());
        }
        let has_room = self.bytes < INDEX_PUT_OFF_BYTES_MAX;
        if has_room {
            self.bytes += data.len();
            self.pages.insert(offset, data.to_vec());
        }
        has_room
    }

    fn page_over(&self, offset: u64, length: usize) -> Option<(u64, &[u8])> {
        let (start, data) = self.pages.range(..end_of(offset, length)).next_back()?;
        (offset < end_of(*start, data.len())).then_some((*start, data))
    }

    /// What overlaps a range, if anything does; of several the one that was written last.
    fn overlapping(&self, offset: u64, length: usize) -> Option<(u64, &[u8])> {
        let end = end_of(offset, length);
        let late = self.rest.iter().rev().find_map(|held| match held {
            Held::Write(start, data) => {
                (*start < end && offset < end_of(*start, data.len())).then_some((*start, &**data))
            }
            Held::SetLen(_) | Held::Sync => None,
        });
        late.or_else(|| self.page_over(offset, length))
    }
}

/// A call that was kept back.
#[derive(Debug)]
enum Held {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl IndexFile {
    pub(super) fn new(disk: Arc<dyn Disk>, file: Arc<dyn DiskFile>) -> Self {
        Self {
            disk,
            file,
            written_end: AtomicU64::new(0),
            set_aside_end: AtomicU64::new(0),
            phase: Mutex::new(Phase::Direct),
            keeps_back: AtomicBool::new(false),
            changed: Condvar::new(),
            is_awaited: AtomicBool::new(false),
            growing: Mutex::default(),
            is_carrying: AtomicBool::new(false),
        }
    }

    /// From now on until [`IndexFile::carry_out`] calls that change the file are kept back.
    ///
    /// # Errors
    /// What was put off before failed.
    pub(crate) fn put_off(&self) -> io::Result<()> {
        let mut phase = self.settled()?;
        // First: whoever finds something kept back must look for it.
        self.keeps_back.store(true, Ordering::Release);
        self.is_awaited.store(false, Ordering::Relaxed);
        *phase = Phase::PuttingOff(PutOff::default());
        drop(phase);
        Ok(())
    }

    /// Carries out what was kept back, on a thread of its own; [`IndexFile::is_settled`] and
    /// [`IndexFile::settle`] tell when that is done.
    pub(crate) fn carry_out(self: &Arc<Self>) {
        let mut phase = self.phase();
        let Phase::PuttingOff(off) = &mut *phase else { return };
        let off = Arc::new(std::mem::take(off));
        *phase = Phase::CarryingOut { off: Arc::clone(&off), late: PutOff::default() };
        self.is_carrying.store(true, Ordering::Relaxed);
        drop(phase);
        let (file, theirs) = (Arc::clone(self), Arc::clone(&off));
        let thread = std::thread::Builder::new().name("granary-settle".into());
        // Interleavings are chosen between calls of the index, not within.
        let is_alone =
            cfg!(feature = "interleavings") || thread.spawn(move || file.finish(theirs)).is_err();
        if is_alone {
            self.finish(off);
        }
    }

    fn finish(&self, off: Arc<PutOff>) {
        let carried = catch_unwind(AssertUnwindSafe(|| {
            self.carry(&off)?;
            drop(off);
            self.follow()
        }));
        match carried {
            Ok(Ok(())) => return,
            Ok(Err(error)) => self.fail(error.kind(), error.to_string()),
            Err(_panic) => self.fail(io::ErrorKind::Other, "a panic".to_owned()),
        }
        let phase = self.phase();
        self.is_carrying.store(false, Ordering::Relaxed);
        drop(phase);
        self.changed.notify_all();
    }

    fn carry(&self, off: &PutOff) -> io::Result<()> {
        self.write_slices(&off.pages)?;
        off.rest.iter().try_for_each(|held| match held {
            Held::Write(offset, data) => self.write_now(&[(*offset, data)]),
            Held::SetLen(length) => self.set_len_now(*length),
            Held::Sync => {
                self.sync_now()?;
                self.expect_none_failed_beside()
            }
        })
    }

    /// The kernel tells one sync only that a page could not be written. Where one that began meanwhile was
    /// told, what comes behind must not name pages that are lost.
    fn expect_none_failed_beside(&self) -> io::Result<()> {
        drop(self.growing());
        match &*self.phase() {
            Phase::Failed(kind, text) => Err(io::Error::new(*kind, text.clone())),
            Phase::Direct | Phase::PuttingOff(_) | Phase::CarryingOut { .. } => Ok(()),
        }
    }

    fn growing(&self) -> MutexGuard<'_, ()> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what came meanwhile, which the next commit syncs, until nothing more does.
    fn follow(&self) -> io::Result<()> {
        loop {
            let mut phase = self.phase();
            let Phase::CarryingOut { off, late } = &mut *phase else {
                drop(phase);
                return self.expect_none_failed_beside();
            };
            if late.pages.is_empty() {
                self.keeps_back.store(false, Ordering::Release);
                self.is_carrying.store(false, Ordering::Relaxed);
                *phase = Phase::Direct;
                drop(phase);
                self.changed.notify_all();
                return Ok(());
            }
            let following = Arc::new(std::mem::take(late));
            *off = Arc::clone(&following);
            drop(phase);
            for (offset, data) in &following.pages {
                self.write_now(&[(*offset, data)])?;
            }
        }
    }

    /// Has what is kept back carried out without rests.
    pub(crate) fn hurry(&self) {
        // Under the lock, or whoever begins to rest might not hear of it.
        let _phase = self.phase();
        self.hurry_locked();
    }

    fn hurry_locked(&self) {
        if !self.is_awaited.swap(true, Ordering::Relaxed) {
            self.changed.notify_all();
        }
    }

    /// Writes pages in order of place, and syncs each slice but the last, whose sync comes behind.
    fn write_slices(&self, pages: &BTreeMap<u64, Vec<u8>>) -> io::Result<()> {
        let mut run: Vec<(u64, &[u8])> = Vec::new();
        let (mut slice, mut began) = (0, Instant::now());
        for (offset, data) in pages {
            let follows =
                run.last().is_some_and(|(start, last)| end_of(*start, last.len()) == *offset);
            if !follows {
                self.write_now(&run)?;
                run.clear();
            }
            if slice >= INDEX_SLICE_BYTES {
                self.write_now(&run)?;
                run.clear();
                self.sync_now()?;
                self.expect_none_failed_beside()?;
                self.rest(began.elapsed());
                (slice, began) = (0, Instant::now());
            }
            run.push((*offset, data));
            slice += data.len();
        }
        self.write_now(&run)
    }

    /// Leaves the disk to the journal for as long as it was taken from it, unless somebody waits.
    fn rest(&self, taken: Duration) {
        let is_awaited = |_: &mut Phase| !self.is_awaited.load(Ordering::Relaxed);
        drop(self.changed.wait_timeout_while(self.phase(), taken, is_awaited));
    }

    /// Writes pieces that follow each other.
    fn write_now(&self, run: &[(u64, &[u8])]) -> io::Result<()> {
        let Some((offset, _)) = run.first() else { return Ok(()) };
        let pieces: Vec<IoSlice<'_>> = run.iter().map(|(_, data)| IoSlice::new(data)).collect();
        self.write_to_file(&pieces, *offset)
    }

    fn write_to_file(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.file.write_all_at(pieces, offset)?;
        let length = pieces.iter().map(|piece| piece.len()).sum();
        self.written_end.fetch_max(end_of(offset, length), Ordering::Relaxed);
        Ok(())
    }

    /// Whether all that was kept back has been carried out.
    ///
    /// # Errors
    /// It failed.
    pub(crate) fn is_settled(&self) -> io::Result<bool> {
        match &*self.phase() {
            Phase::Failed(kind, text) => Err(io::Error::new(*kind, text.clone())),
            Phase::CarryingOut { .. } => Ok(false),
            Phase::Direct | Phase::PuttingOff(_) => Ok(true),
        }
    }

    /// From now on nothing is written; what asks for it fails.
    pub(crate) fn give_up(&self) {
        self.fail(io::ErrorKind::Other, "the index was given up".to_owned());
    }

    /// Waits until all that was kept back has been carried out.
    ///
    /// # Errors
    /// It failed.
    pub(crate) fn settle(&self) -> io::Result<()> {
        self.settled().map(drop)
    }

    fn settled(&self) -> io::Result<MutexGuard<'_, Phase>> {
        let mut phase = self.phase();
        loop {
            match &*phase {
                Phase::Failed(kind, text) if !self.is_carrying.load(Ordering::Relaxed) => {
                    return Err(io::Error::new(*kind, text.clone()));
                }
                // What failed beside it writes on until its own thread has heard of that.
                Phase::Failed(..) | Phase::CarryingOut { .. } => {
                    self.hurry_locked();
                    phase = self.changed.wait(phase).unwrap_or_else(PoisonError::into_inner);
                }
                Phase::Direct | Phase::PuttingOff(_) => return Ok(phase),
            }
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        if !self.may_grow() {
            self.settle()?;
        }
        self.file.len()
    }

    /// Whether the file may be made longer while something is carried out: no order is broken by that, or
    /// by the sync that follows it, unless its length is what is kept back.
    fn may_grow(&self) -> bool {
        match &*self.phase() {
            Phase::CarryingOut { off, .. } => {
                !off.rest.iter().any(|held| matches!(held, Held::SetLen(_)))
            }
            Phase::Direct | Phase::PuttingOff(_) | Phase::Failed(..) => false,
        }
    }

    /// Whether the file grew and the sync that redb makes of that at once has not come.
    fn take_growth(&self) -> bool {
        match &mut *self.phase() {
            Phase::PuttingOff(off) => std::mem::take(&mut off.has_grown),
            Phase::CarryingOut { late, .. } => std::mem::take(&mut late.has_grown),
            Phase::Direct | Phase::Failed(..) => false,
        }
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.keeps_back.load(Ordering::Acquire) && self.read_held(offset, out)? {
            return Ok(());
        }
        self.file.read_exact_at(out, offset)
    }

    /// Reads what is kept back; `false` if it is in the file.
    fn read_held(&self, offset: u64, out: &mut [u8]) -> io::Result<bool> {
        let phase = self.phase();
        let found = match &*phase {
            Phase::Direct => None,
            Phase::PuttingOff(off) => off.overlapping(offset, out.len()),
            Phase::CarryingOut { off, late } => {
                let late = late.overlapping(offset, out.len());
                late.or_else(|| off.overlapping(offset, out.len()))
            }
            Phase::Failed(kind, text) => return Err(io::Error::new(*kind, text.clone())),
        };
        match found {
            None => Ok(false),
            Some((start, data)) if start == offset && data.len() == out.len() => {
                out.copy_from_slice(data);
                Ok(true)
            }
            // redb reads as it wrote, so this is nothing that it does.
            Some(_) => Err(io::Error::other("a page that is kept back was read in part")),
        }
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let is_kept = match &mut *self.phase() {
            Phase::PuttingOff(off) if !off.rest.is_empty() => {
                off.rest.push(Held::Write(offset, data.to_vec()));
                true
            }
            Phase::PuttingOff(off) => off.keep_page(offset, data),
            Phase::CarryingOut { late, .. } => late.keep_page(offset, data),
            Phase::Direct | Phase::Failed(..) => false,
        };
        if is_kept {
            return Ok(());
        }
        self.settle()?;
        self.write_to_file(&[IoSlice::new(data)], offset)
    }

    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        if self.may_grow() && length >= self.file.len()? {
            if let Phase::CarryingOut { late, .. } = &mut *self.phase() {
                late.has_grown = true;
            }
            return self.set_len_now(length);
        }
        if let Phase::PuttingOff(off) = &mut *self.settled()? {
            if !off.rest.is_empty() {
                off.rest.push(Held::SetLen(length));
                return Ok(());
            }
            // A file that is cut is not synced for that: the next sync is the commit's own.
            off.has_grown = length > self.file.len()?;
        }
        self.set_len_now(length)
    }

    fn set_len_now(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        // What lay behind a file that is cut is the disk's again.
        self.written_end.fetch_min(length, Ordering::Relaxed);
        self.set_aside_end.fetch_min(length, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        if self.take_growth() {
            let _growing = self.growing();
            return self.sync_now();
        }
        if let Phase::PuttingOff(off) = &mut *self.settled()? {
            off.rest.push(Held::Sync);
            return Ok(());
        }
        self.sync_now()
    }

    /// A sync that fails is final (I7).
    fn sync_now(&self) -> io::Result<()> {
        self.set_aside();
        self.file.sync_data().inspect_err(|error| self.fail(error.kind(), error.to_string()))
    }

    fn fail(&self, kind: io::ErrorKind, text: String) {
        *self.phase() = Phase::Failed(kind, text);
        self.changed.notify_all();
    }

    /// Sets aside space behind the last page, once half of what was is used, as far as the disk can spare
    /// it. Without it pages find their space when they are written, so an error is no failure.
    fn set_aside(&self) {
        let written = self.written_end.load(Ordering::Relaxed);
        // With the gaps that pages of several sizes leave; what lies further back was there before.
        let near = written.saturating_sub(INDEX_AHEAD_BYTES * 4);
        let begin = self.set_aside_end.load(Ordering::Relaxed).max(near);
        if begin >= written.saturating_add(INDEX_AHEAD_BYTES / 2) {
            return;
        }
        let wanted = written.saturating_add(INDEX_AHEAD_BYTES).saturating_sub(begin);
        let can_spare =
            |space: Space| space.available >= (reserve_bytes(space) / 2).saturating_add(wanted);
        if self.disk.space().is_ok_and(can_spare) && self.file.set_aside(begin, wanted).is_ok() {
            self.set_aside_end.store(begin + wanted, Ordering::Relaxed);
        }
    }
}

fn end_of(offset: u64, length: usize) -> u64 {
    offset.saturating_add(u64::try_from(length).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;

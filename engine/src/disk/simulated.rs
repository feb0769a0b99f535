//! The disk port in memory: deterministic, with a volatile cache that a power loss empties.
//!
//! What was written, sized, named or removed is seen at once, but lasts only after the sync of
//! its file or directory. Operations are numbered from 1; the disk can stop at one of them for
//! good, fail it ([`Fault`]) or hold it up ([`Stall`]). [`SimulatedDisk::image`] is what a machine
//! finds that starts again: what lasts, and as much of the rest as [`Reached`] says. The same
//! operations with the same seeds end in the same bytes.
//!
//! A file renamed from one directory to another may be found under both names until both
//! directories are synced, but never under none.

use std::fmt::{self, Debug};
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod blocks;

mod choice;
mod content;
mod faults;
mod names;

use self::choice::Choice;
use self::content::Content;
pub use self::faults::{At, Fault, Stall};
use self::faults::{Counts, Gate, Kind, Met, Ordered};
use self::names::{Entry, Names};
use super::{Disk, DiskFile, OpenMode, PAGE_BYTES, Space};

/// Bytes of a disk on which no other space was set.
const SPACE_BYTES: u64 = 1 << 40;

/// How much of what was not synced a power loss leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// None of it.
    Nothing,
    /// All of it.
    Everything,
    /// What a generator with this seed says: sector by sector for contents; of the changes of
    /// each directory's names the first few, or any of them.
    Random(u64),
    /// As [`Reached::Random`], and some sectors are torn: new bytes up to some byte of them, old
    /// ones behind.
    Torn(u64),
}

/// A disk in memory; clones are handles of one process to the same one.
#[derive(Clone)]
pub struct SimulatedDisk {
    process: Process,
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Debug for SimulatedDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("operations: {}", self.operations());
        formatter.debug_tuple("SimulatedDisk").field(&text).finish()
    }
}

impl SimulatedDisk {
    /// Makes an empty disk.
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// Makes an empty disk; the seed says what of the pending writes reaches the platter where a
    /// sync fails.
    pub fn with_seed(seed: u64) -> Self {
        let available = Arc::new(AtomicU64::new(SPACE_BYTES));
        Self::with_names(Names::new(), available, Choice::of(Reached::Torn(seed)))
    }

    fn with_names(names: Names, available: Arc<AtomicU64>, choice: Choice) -> Self {
        let state = State {
            names,
            counts: Counts::default(),
            stop_at: u64::MAX,
            stop_at_sync: u64::MAX,
            ordered: Ordered::default(),
            choice,
            total: SPACE_BYTES,
            locked: false,
            page_writes: 0,
            process: 0,
        };
        let is_slow_to_free = AtomicBool::new(false);
        let shared = Arc::new(Shared { state: Mutex::new(state), available, is_slow_to_free });
        Self { process: Process { shared, number: 0 } }
    }

    /// Number of operations so far that changed something or would have, syncs included.
    pub fn operations(&self) -> u64 {
        self.process.shared.state().counts.operations
    }

    /// Number of writes of bytes so far.
    pub fn writes(&self) -> u64 {
        self.process.shared.state().counts.writes
    }

    /// Number of those that could go past a page cache.
    pub fn page_writes(&self) -> u64 {
        self.process.shared.state().page_writes
    }

    /// Number of reads of bytes so far.
    pub fn reads(&self) -> u64 {
        self.process.shared.state().counts.reads
    }

    /// Number of syncs so far, of files and of directories.
    pub fn syncs(&self) -> u64 {
        self.process.shared.state().counts.syncs
    }

    /// Stops the disk at the operation with this number, the first being 1: this one and all
    /// later calls, reads too, are errors. What it would have changed is pending like the rest.
    pub fn stop_at(&self, operation: u64) {
        self.process.shared.state().stop_at = operation;
    }

    /// As [`SimulatedDisk::stop_at`], at the sync with this number, the first being 1.
    pub fn stop_at_sync(&self, sync: u64) {
        self.process.shared.state().stop_at_sync = sync;
    }

    /// Fails one operation; later ones work.
    pub fn fail(&self, at: At, fault: Fault) {
        self.process.shared.state().ordered.faults.insert(at, fault);
    }

    /// Holds one operation up until the result is dropped.
    pub fn stall(&self, at: At) -> Stall {
        let gate = Arc::new(Gate::default());
        self.process.shared.state().ordered.stalls.insert(at, Arc::clone(&gate));
        Stall::new(&gate)
    }

    /// The disk for a process that starts again on a machine that kept running: not stopped, not
    /// locked, without what was ordered to go wrong; all that was written is seen, and what was not
    /// synced is pending. All that the process before it still asks of the disk is an error.
    #[must_use]
    pub fn restart(&self) -> Self {
        let mut state = self.process.shared.state();
        (state.stop_at, state.stop_at_sync) = (u64::MAX, u64::MAX);
        state.ordered = Ordered::default();
        state.locked = false;
        state.process += 1;
        let number = state.process;
        Self { process: Process { shared: Arc::clone(&self.process.shared), number } }
    }

    /// Has removed files take for ever to give back their bytes, as far as the disk says, or no time.
    pub fn set_slow_to_free(&self, is_slow: bool) {
        self.process.shared.is_slow_to_free.store(is_slow, Ordering::Relaxed);
    }

    /// Sets the size of the disk and what of it is free, in bytes.
    pub fn set_space(&self, total: u64, available: u64) {
        self.process.shared.state().total = total;
        self.process.shared.available.store(available, Ordering::Relaxed);
    }

    /// What is found after a power loss now, as a disk of its own: not stopped, not locked, with
    /// space enough.
    #[must_use]
    pub fn image(&self, reached: Reached) -> Self {
        let mut choice = Choice::of(reached);
        let available = Arc::new(AtomicU64::new(SPACE_BYTES));
        let names = self.process.shared.state().names.image(&mut choice, &available);
        let seed = match reached {
            Reached::Nothing | Reached::Everything => 0,
            Reached::Random(seed) | Reached::Torn(seed) => seed,
        };
        Self::with_names(names, available, Choice::of(Reached::Torn(seed)))
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let content = match mode {
            OpenMode::Existing | OpenMode::ReadOnly => self.process.running()?.names.file(path)?,
            OpenMode::CreateNew => {
                let available = Arc::clone(&self.process.shared.available);
                let content = Arc::new(Content::new(available));
                let entry = Entry::File(Arc::clone(&content));
                self.process.change(|names| names.create(path, entry))?;
                content
            }
        };
        Ok(Arc::new(SimulatedFile { process: self.process.clone(), content }))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.process.running()?.names.list(directory)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        match self.process.change(|names| names.create(directory, Entry::Directory)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.process.shared.state().names.list(directory).map(|_names| ())
            }
            made => made,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.process.change(|names| names.rename(from, to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.process.change(|names| names.remove(path))
    }

    fn is_freeing(&self) -> bool {
        self.process.shared.is_slow_to_free.load(Ordering::Relaxed)
    }

    fn freeing_room(&self) -> usize {
        if self.is_freeing() { 0 } else { usize::MAX }
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        let (mut state, step) = self.process.begin(Kind::Sync)?;
        if let Some(fault) = step.fault {
            return Err(fault.to_error());
        }
        step.go()?;
        state.names.sync(directory)
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.process.running()?;
        let available = self.process.shared.available.load(Ordering::Relaxed);
        Ok(Space { total: state.total, available })
    }

    fn lock(&self) -> io::Result<Box<dyn Debug + Send + Sync>> {
        let mut state = self.process.running()?;
        if state.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.locked = true;
        Ok(Box::new(Lock { process: self.process.clone() }))
    }

    fn display(&self) -> String {
        "simulated disk".into()
    }
}

/// An open file; the content lives as long as a name or an open file holds it.
struct SimulatedFile {
    process: Process,
    content: Arc<Content>,
}

impl Debug for SimulatedFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimulatedFile").finish_non_exhaustive()
    }
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let _state = self.process.running()?;
        Ok(self.content.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (_state, step) = self.process.begin(Kind::Read)?;
        match step.fault {
            None => self.content.read(buffer, offset),
            Some(fault) => Err(fault.to_error()),
        }
    }

    fn read_exact_at_nowait(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_exact_at(buffer, offset)?;
        Ok(true)
    }

    fn write_all_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let (_state, step) = self.process.begin(Kind::Write)?;
        if let Some(fault) = step.fault {
            if let Fault::Short { bytes } = fault {
                self.content.write(pieces, offset, bytes)?;
            }
            return Err(fault.to_error());
        }
        self.content.write(pieces, offset, usize::MAX)?;
        step.go()
    }

    /// Pages lie in the file at once as all other bytes do, and are pending as they are: what goes past
    /// a page cache is in the disk's own, which a sync empties.
    fn write_pages_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let is_whole = length.is_multiple_of(PAGE_BYTES)
            && usize::try_from(offset).is_ok_and(|offset| offset.is_multiple_of(PAGE_BYTES));
        assert!(is_whole, "{length} bytes at {offset} are no whole pages");
        self.process.shared.state().page_writes += 1;
        self.write_all_at(pieces, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.process.change(|_names| self.content.set_len(length))
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        let end = offset.saturating_add(length);
        self.process.change(|_names| self.content.extend(end))
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut state, step) = self.process.begin(Kind::Sync)?;
        if let Some(fault) = step.fault {
            self.content.fail_sync(&mut state.choice);
            return Err(fault.to_error());
        }
        step.go()?;
        self.content.sync();
        Ok(())
    }
}

/// Holds the disk's lock while it lives.
struct Lock {
    process: Process,
}

impl Debug for Lock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lock").finish_non_exhaustive()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that has ended unlocks nothing for the next one.
        let mut state = self.process.shared.state();
        if state.process == self.process.number {
            state.locked = false;
        }
    }
}

struct Shared {
    /// Taken before a content's own lock, always, so that operations have one order.
    state: Mutex<State>,
    /// Bytes that are free; each content takes from it as it grows.
    available: Arc<AtomicU64>,
    is_slow_to_free: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of a test's thread must not hide what the disk holds.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one process asks of the disk with.
#[derive(Clone)]
struct Process {
    shared: Arc<Shared>,
    number: u64,
}

impl Process {
    /// The state, if the disk has not stopped for this process.
    fn running(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.shared.state();
        state.check_running(self.number)?;
        Ok(state)
    }

    /// Numbers an operation and lets it begin, after its stall if it has one.
    fn begin(&self, kind: Kind) -> io::Result<(MutexGuard<'_, State>, Step)> {
        let mut state = self.running()?;
        let (step, stall) = state.begin(kind);
        if let Some(gate) = stall {
            drop(state);
            gate.pass();
            state = self.running()?;
        }
        Ok((state, step))
    }

    /// Makes a change of names or lengths, which is pending even if the disk stops at it.
    fn change(&self, make: impl FnOnce(&mut Names) -> io::Result<()>) -> io::Result<()> {
        let (mut state, step) = self.begin(Kind::Other)?;
        if let Some(fault) = step.fault {
            if fault == Fault::Made {
                make(&mut state.names)?;
            }
            return Err(fault.to_error());
        }
        make(&mut state.names)?;
        step.go()
    }
}

struct State {
    names: Names,
    counts: Counts,
    stop_at: u64,
    stop_at_sync: u64,
    ordered: Ordered,
    /// Asked where a sync fails.
    choice: Choice,
    total: u64,
    locked: bool,
    /// Writes of whole pages so far.
    page_writes: u64,
    /// The process that runs; those with lower numbers have ended.
    process: u64,
}

impl State {
    fn check_running(&self, process: u64) -> io::Result<()> {
        let stops = self.counts.operations >= self.stop_at || process != self.process;
        Step { stops, fault: None }.go()
    }

    fn begin(&mut self, kind: Kind) -> (Step, Option<Arc<Gate>>) {
        let Met { fault, stall } = self.ordered.meet(self.counts.note(kind));
        if kind == Kind::Sync && self.counts.syncs == self.stop_at_sync {
            self.stop_at = self.counts.operations;
        }
        let stops = kind != Kind::Read && self.counts.operations >= self.stop_at;
        (Step { stops, fault }, stall)
    }
}

/// An operation that has its number.
struct Step {
    stops: bool,
    fault: Option<Fault>,
}

impl Step {
    fn go(self) -> io::Result<()> {
        if self.stops {
            return Err(io::Error::other("the simulated disk stopped"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

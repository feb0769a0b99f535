//! The disk port in memory: deterministic, with a volatile cache that a power loss empties.
//!
//! What was written, sized, named or removed is seen at once, but lasts only after the sync of
//! its file or directory. Operations that change something are numbered from 1; the disk can stop
//! at one of them for good, or fail one of them. [`SimulatedDisk::image`] is what a machine finds
//! that starts again: what lasts, and as much of the rest as [`Reached`] says.
//!
//! A file renamed from one directory to another may be found under both names until both
//! directories are synced, but never under none.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod content;
mod names;

use self::content::Content;
use self::names::{Entry, Names};
use super::{Disk, DiskFile, OpenMode, Space};

/// Bytes of a disk on which no other space was set.
const SPACE_BYTES: u64 = 1 << 40;

/// How much of what was not synced a power loss leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// None of it.
    Nothing,
    /// All of it.
    Everything,
    /// What a generator with this seed says: sector by sector for contents, a number of the
    /// first operations for the names of each directory.
    Random(u64),
}

/// A disk in memory; clones are handles to the same one.
#[derive(Clone)]
pub struct SimulatedDisk {
    shared: Arc<Shared>,
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
        Self::with_names(Names::new(), Arc::new(AtomicU64::new(SPACE_BYTES)))
    }

    fn with_names(names: Names, available: Arc<AtomicU64>) -> Self {
        let state = State {
            names,
            operations: 0,
            syncs: 0,
            stop_at: u64::MAX,
            stop_at_sync: u64::MAX,
            failures: BTreeMap::new(),
            total: SPACE_BYTES,
            locked: false,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), available }) }
    }

    /// Number of operations so far that changed something or would have, syncs included.
    pub fn operations(&self) -> u64 {
        self.shared.state().operations
    }

    /// Number of syncs so far, of files and of directories.
    pub fn syncs(&self) -> u64 {
        self.shared.state().syncs
    }

    /// Stops the disk at the operation with this number, the first being 1: this one and all
    /// later calls, reads too, are errors. What it would have changed is pending like the rest.
    pub fn stop_at(&self, operation: u64) {
        self.shared.state().stop_at = operation;
    }

    /// As [`SimulatedDisk::stop_at`], at the sync with this number, the first being 1.
    pub fn stop_at_sync(&self, sync: u64) {
        self.shared.state().stop_at_sync = sync;
    }

    /// Fails the operation with this number, which then has no effect; later ones work.
    pub fn fail_once(&self, operation: u64, kind: io::ErrorKind) {
        self.shared.state().failures.insert(operation, kind);
    }

    /// Sets the size of the disk and what of it is free, in bytes.
    pub fn set_space(&self, total: u64, available: u64) {
        self.shared.state().total = total;
        self.shared.available.store(available, Ordering::Relaxed);
    }

    /// What is found after a power loss now, as a disk of its own: not stopped, not locked, with
    /// space enough.
    #[must_use]
    pub fn image(&self, reached: Reached) -> Self {
        let mut choice = match reached {
            Reached::Nothing => Choice::Nothing,
            Reached::Everything => Choice::Everything,
            Reached::Random(seed) => Choice::Random(SplitMix64(seed)),
        };
        let available = Arc::new(AtomicU64::new(SPACE_BYTES));
        let names = self.shared.state().names.image(&mut choice, &available);
        Self::with_names(names, available)
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.shared.state();
        let content = match mode {
            OpenMode::Existing => {
                state.check_running()?;
                state.names.file(path)?
            }
            OpenMode::CreateNew => {
                let content = Arc::new(Content::new(Arc::clone(&self.shared.available)));
                let entry = Entry::File(Arc::clone(&content));
                state.change(|names| names.create(path, entry))?;
                content
            }
        };
        Ok(Arc::new(SimulatedFile { shared: Arc::clone(&self.shared), content }))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let state = self.shared.state();
        state.check_running()?;
        state.names.list(directory)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        let mut state = self.shared.state();
        match state.change(|names| names.create(directory, Entry::Directory)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                state.names.list(directory).map(|_names| ())
            }
            made => made,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.shared.state().change(|names| names.rename(from, to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.shared.state().change(|names| names.remove(path))
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        let mut state = self.shared.state();
        state.begin_sync()?.go()?;
        state.names.sync(directory)
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.shared.state();
        state.check_running()?;
        let available = self.shared.available.load(Ordering::Relaxed);
        Ok(Space { total: state.total, available })
    }

    fn lock(&self) -> io::Result<Box<dyn Debug + Send + Sync>> {
        let mut state = self.shared.state();
        state.check_running()?;
        if state.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.locked = true;
        Ok(Box::new(Lock { shared: Arc::clone(&self.shared) }))
    }

    fn display(&self) -> String {
        "simulated disk".into()
    }
}

/// An open file; the content lives as long as a name or an open file holds it.
struct SimulatedFile {
    shared: Arc<Shared>,
    content: Arc<Content>,
}

impl Debug for SimulatedFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimulatedFile").finish_non_exhaustive()
    }
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        self.shared.state().check_running()?;
        Ok(self.content.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.shared.state().check_running()?;
        self.content.read(buffer, offset)
    }

    fn read_exact_at_nowait(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_exact_at(buffer, offset)?;
        Ok(true)
    }

    fn write_all_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.shared.state().change(|_names| self.content.write(pieces, offset))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.shared.state().change(|_names| self.content.set_len(length))
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        let end = offset.saturating_add(length);
        self.shared.state().change(|_names| self.content.extend(end))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.shared.state();
        state.begin_sync()?.go()?;
        self.content.sync();
        Ok(())
    }
}

/// Holds the disk's lock while it lives.
struct Lock {
    shared: Arc<Shared>,
}

impl Debug for Lock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lock").finish_non_exhaustive()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.shared.state().locked = false;
    }
}

struct Shared {
    /// Taken before a content's own lock, always, so that operations have one order.
    state: Mutex<State>,
    /// Bytes that are free; each content takes from it as it grows.
    available: Arc<AtomicU64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of a test's thread must not hide what the disk holds.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct State {
    names: Names,
    operations: u64,
    syncs: u64,
    stop_at: u64,
    stop_at_sync: u64,
    failures: BTreeMap<u64, io::ErrorKind>,
    total: u64,
    locked: bool,
}

impl State {
    fn check_running(&self) -> io::Result<()> {
        Step { stops: self.operations >= self.stop_at }.go()
    }

    /// Numbers an operation that is about to change something.
    fn begin(&mut self) -> io::Result<Step> {
        self.check_running()?;
        self.operations += 1;
        match self.failures.remove(&self.operations) {
            Some(kind) => Err(io::Error::new(kind, "the simulated disk failed once")),
            None => Ok(Step { stops: self.operations >= self.stop_at }),
        }
    }

    /// Numbers a sync, as an operation and as a sync.
    fn begin_sync(&mut self) -> io::Result<Step> {
        self.check_running()?;
        self.syncs += 1;
        if self.syncs == self.stop_at_sync {
            self.stop_at = self.operations + 1;
        }
        self.begin()
    }

    /// Makes a change, which is pending even if the disk stops at it.
    fn change(&mut self, make: impl FnOnce(&mut Names) -> io::Result<()>) -> io::Result<()> {
        let step = self.begin()?;
        make(&mut self.names)?;
        step.go()
    }
}

/// An operation that has its number.
struct Step {
    stops: bool,
}

impl Step {
    fn go(self) -> io::Result<()> {
        if self.stops {
            return Err(io::Error::other("the simulated disk stopped"));
        }
        Ok(())
    }
}

/// Decides what reached the platter.
enum Choice {
    Nothing,
    Everything,
    Random(SplitMix64),
}

impl Choice {
    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// A number of 0 to `bound - 1`: 0 for nothing, `bound - 1` for everything.
    fn below(&mut self, bound: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Everything => bound.saturating_sub(1),
            Self::Random(generator) => {
                let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
                usize::try_from(generator.next() % bound).unwrap_or(0)
            }
        }
    }
}

/// Steele, Lea and Flood's generator: one word of state, and good enough for coins.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests;

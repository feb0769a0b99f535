//! What goes wrong at one operation, and when.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Which operation is meant; the first of each kind has number 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// The n-th that changes something or would, writes and syncs included.
    Operation(u64),
    /// The n-th write of bytes.
    Write(u64),
    /// The n-th sync, of a file or a directory.
    Sync(u64),
    /// The n-th read of bytes.
    Read(u64),
}

/// An error of the disk at one operation; the next ones work.
///
/// A sync of a file that fails is as Linux has it: the bytes that waited for it may have reached
/// the platter or not, are still seen until a power loss, and no later sync makes them last. Names
/// and lengths, which file systems keep in a journal, go on waiting for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`; the operation has no other effect.
    Io,
    /// `ENOSPC`; the operation has no other effect.
    Full,
    /// `ENOMEM`, which is the machine's matter and not the disk's; the operation has no other effect.
    Memory,
    /// `EIO`, though a change of a name or a length was made, as where the disk is another machine's and
    /// its answer was lost; elsewhere as [`Fault::Io`].
    Made,
    /// `EIO` after the first so many bytes of a write; elsewhere as [`Fault::Io`].
    Short {
        /// Bytes that are written.
        bytes: usize,
    },
}

impl Fault {
    pub(super) fn to_error(self) -> io::Error {
        match self {
            Self::Io | Self::Made | Self::Short { .. } => rustix::io::Errno::IO.into(),
            Self::Full => rustix::io::Errno::NOSPC.into(),
            Self::Memory => rustix::io::Errno::NOMEM.into(),
        }
    }
}

/// Holds one operation up until it is dropped; others go on meanwhile.
#[derive(Debug)]
#[must_use = "the operation goes on as soon as the stall is dropped"]
pub struct Stall {
    gate: Arc<Gate>,
}

impl Stall {
    pub(super) fn new(gate: &Arc<Gate>) -> Self {
        Self { gate: Arc::clone(gate) }
    }

    /// Whether the operation has come and waits.
    pub fn is_reached(&self) -> bool {
        self.gate.state.lock().unwrap_or_else(PoisonError::into_inner).reached
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.gate.state.lock().unwrap_or_else(PoisonError::into_inner).open = true;
        self.gate.opened.notify_all();
    }
}

/// Where a stalled operation waits.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    reached: bool,
    open: bool,
}

impl Gate {
    pub(super) fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reached = true;
        while !state.open {
            state = self.opened.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What an operation is, as far as faults tell operations apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    Sync,
    /// A change of a name or a length.
    Other,
    Read,
}

/// Operations so far.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) operations: u64,
    pub(super) writes: u64,
    pub(super) syncs: u64,
    pub(super) reads: u64,
}

impl Counts {
    /// Counts an operation; gives all the names that it goes by.
    pub(super) fn note(&mut self, kind: Kind) -> impl Iterator<Item = At> + use<> {
        let next = |count: &mut u64| {
            *count += 1;
            *count
        };
        let special = match kind {
            Kind::Write => Some(At::Write(next(&mut self.writes))),
            Kind::Sync => Some(At::Sync(next(&mut self.syncs))),
            Kind::Read => Some(At::Read(next(&mut self.reads))),
            Kind::Other => None,
        };
        let change = (kind != Kind::Read).then(|| At::Operation(next(&mut self.operations)));
        special.into_iter().chain(change)
    }
}

/// What was ordered to go wrong.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    pub(super) faults: BTreeMap<At, Fault>,
    pub(super) stalls: BTreeMap<At, Arc<Gate>>,
}

/// What an operation meets.
#[derive(Debug, Default)]
pub(super) struct Met {
    pub(super) fault: Option<Fault>,
    pub(super) stall: Option<Arc<Gate>>,
}

impl Ordered {
    /// What the operation of these names meets; each order is carried out once.
    pub(super) fn meet(&mut self, names: impl Iterator<Item = At>) -> Met {
        let mut met = Met::default();
        for at in names {
            met.fault = self.faults.remove(&at).or(met.fault);
            met.stall = self.stalls.remove(&at).or(met.stall);
        }
        met
    }
}

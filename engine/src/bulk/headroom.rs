//! Room for deletions of many files on a full disk.
//!
//! A deletion takes some of the disk before it gives any back: its record in the journal says what goes,
//! and what it hid is let go of in the background. So where the disk is full, the next one first lets
//! what those before it freed come back: there would be only the reserve for all of them (I7).

use std::sync::{Mutex, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::committer::{Committer, Left};
use crate::compaction::{Compactor, Thrift};
use crate::disk::{Disk, reserve_bytes};
use crate::error::MutationError;
use crate::limits::{READERS_WAIT_MAX, SPACE_WAIT_MAX};

/// Steps of the background, each of some hundred rows, between two looks at the disk.
const STEPS_BEFORE_CHECKPOINT: usize = 32;

/// How often it is looked whether others have ended: readers that keep the background from its work, and
/// compaction.
const OTHERS_PERIOD: Duration = Duration::from_millis(5);

/// Waits while the disk is full and something is on its way to be given back, but not for ever: who
/// deletes goes on with what is left. Blocks.
///
/// # Errors
/// The store takes no changes.
pub(super) fn let_space_come_back(
    disk: &dyn Disk,
    committer: &Committer,
    compactor: &Mutex<Compactor>,
) -> Result<(), MutationError> {
    let began = Instant::now();
    let is_late = || began.elapsed() >= SPACE_WAIT_MAX;
    // What is promised to rows on their way may be more than it comes to.
    if is_full(disk) {
        committer.give_back_blocking(disk, &is_late)?;
    }
    let mut kept_since = None;
    while is_full(disk) && !is_late() {
        let left = some_steps(committer, &is_late)?;
        if left == Left::Kept {
            if kept_since.get_or_insert_with(Instant::now).elapsed() >= READERS_WAIT_MAX {
                break;
            }
            thread::sleep(OTHERS_PERIOD);
            continue;
        }
        kept_since = None;
        committer.give_back_blocking(disk, &is_late)?;
        let is_done = left == Left::Nothing && is_full(disk);
        if is_done && !compacts_some(compactor, &is_late)? {
            break;
        }
    }
    Ok(())
}

/// Has the background do so much that a checkpoint may give something back; tells what is left.
fn some_steps(
    committer: &Committer,
    is_stopping: &dyn Fn() -> bool,
) -> Result<Left, MutationError> {
    let mut left = Left::More;
    for _ in 0..STEPS_BEFORE_CHECKPOINT {
        left = committer.step_blocking()?;
        if left != Left::More || is_stopping() {
            break;
        }
    }
    Ok(left)
}

/// Whether what grows the store is refused. A disk that does not say is not full.
fn is_full(disk: &dyn Disk) -> bool {
    disk.space().is_ok_and(|space| space.available < reserve_bytes(space))
}

/// Moves what lives in one mostly dead segment; the next checkpoint lets go of the segment.
fn compacts_some(
    compactor: &Mutex<Compactor>,
    is_stopping: &dyn Fn() -> bool,
) -> Result<bool, MutationError> {
    let mut compactor = match compactor.try_lock() {
        Ok(compactor) => compactor,
        Err(TryLockError::Poisoned(compactor)) => compactor.into_inner(),
        // Somebody moves them already.
        Err(TryLockError::WouldBlock) => {
            thread::sleep(OTHERS_PERIOD);
            return Ok(true);
        }
    };
    match compactor.compact(Thrift::Usual, is_stopping, &|_| {}) {
        Ok(moved_bytes) => Ok(moved_bytes > 0),
        Err(error @ (MutationError::ReadOnly { .. } | MutationError::Stopping)) => Err(error),
        Err(error) => {
            tracing::debug!(%error, "nothing is moved for a deletion on a full disk");
            Ok(false)
        }
    }
}

//! Which contents of a state no pack holds: found in windows, so that memory is bounded however
//! many contents there are.

use super::error::BackupError;
use super::pack::Pack;
use super::state::ContentRow;
use super::state_file::StateFile;
use crate::blobs::byte_count;
use crate::disk::Disk;

/// What is known of the next contents of a state.
pub(super) struct Window {
    /// Those that no pack holds.
    pub(super) missing: Vec<ContentRow>,
    /// How many were looked at.
    pub(super) looked_at: u64,
    /// How many of them packs hold, and their bytes.
    pub(super) present: (u64, u64),
}

/// Looks which of the next contents of a state no pack holds. Visits that part of every pack's
/// table.
pub(super) fn look(
    disk: &dyn Disk,
    packs: &[Pack],
    state: &StateFile,
    first: u64,
    window: usize,
) -> Result<Window, BackupError> {
    let rows = state.contents_from(first, window)?;
    let looked_at = byte_count(rows.len());
    let (Some(lowest), Some(highest)) = (rows.first(), rows.last()) else {
        return Ok(Window { missing: Vec::new(), looked_at, present: (0, 0) });
    };
    let mut found = vec![false; rows.len()];
    for pack in packs {
        pack.reader(disk)?.visit(&lowest.digest, &highest.digest, |packed| {
            if let Ok(at) = rows.binary_search_by_key(&packed.digest, |row| row.digest)
                && let Some(found) = found.get_mut(at)
            {
                *found = true;
            }
            Ok(())
        })?;
    }
    let (mut missing, mut present) = (Vec::new(), (0, 0));
    for (row, found) in rows.into_iter().zip(found) {
        if found {
            present = (present.0 + 1, present.1 + row.length);
        } else {
            missing.push(row);
        }
    }
    Ok(Window { missing, looked_at, present })
}

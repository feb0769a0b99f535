//! Who gets how many of the files that the process may have open.
//!
//! A store that cannot open a file would take it for a failure of the disk, and no changes any more
//! (I7), so everybody has a share.

use granary_engine::limits::RESUMABLE_UPLOADS_MAX;
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

use super::listener::REFUSED_AT_ONCE_FEW;

/// Files that have no other share here: the index, spools, archives under way, and a second one of each
/// large content while a piece of it is written (as many as upload memory holds pieces).
const OTHERS: usize = 384;

/// Segments that are open at a time where the system grants files enough: 2 TiB of them, for some
/// 25 MiB of the kernel's memory.
const SEGMENTS_MAX: usize = 16_384;

/// Segments that are open at a time in any case: 16 GiB of them.
const SEGMENTS_MIN: usize = 128;

/// The files that the system grants; `None` if there is no limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenFiles(Option<u64>);

impl OpenFiles {
    /// Takes as many as the system grants: the usual 1,024 end at a few hundred clients.
    pub(super) fn granted() -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            warn!(%error, "cannot raise the number of open files");
        }
        Self(getrlimit(Resource::Nofile).current)
    }

    /// Whether so many may be open at a time.
    pub(super) fn hold(self, files: u64) -> bool {
        self.0.is_none_or(|granted| granted >= files)
    }

    /// Segments of the journal that may be open, beside the one that is written.
    pub(super) fn segments(self) -> usize {
        self.eighth().clamp(SEGMENTS_MIN, SEGMENTS_MAX)
    }

    /// Uploads that may go on over restarts, a file each.
    pub(super) fn resumable_uploads(self) -> usize {
        self.eighth().clamp(1, RESUMABLE_UPLOADS_MAX)
    }

    fn eighth(self) -> usize {
        let eighth = self.0.map(|files| usize::try_from(files / 8).unwrap_or(usize::MAX));
        eighth.unwrap_or(usize::MAX)
    }

    /// Connections for which there are files, as many as are wanted at most: each has one, and its
    /// upload, or the segment that it reads from, may have another.
    pub(super) fn connections(self, wanted: usize) -> usize {
        let others = OTHERS + REFUSED_AT_ONCE_FEW + self.segments() + self.resumable_uploads();
        let files = self.0.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        // Beside every four with two files each, one is being refused.
        let granted = (files.saturating_sub(others) / 9 * 4).max(1);
        if granted < wanted {
            let text = "the system grants few open files, so there are fewer connections";
            warn!(granted, wanted, "{text}");
        }
        wanted.min(granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_store_its_files() {
        assert_eq!(OpenFiles(None).connections(10), 10);
        assert_eq!(OpenFiles(Some(1_024)).connections(10_000), 112);
        assert_eq!(OpenFiles(Some(100_000)).connections(10_000), 10_000);
        assert_eq!(OpenFiles(Some(100)).connections(10_000), 1);
    }

    #[test]
    fn segments_and_uploads_that_go_on_have_a_share_each() {
        let files = [None, Some(100), Some(1_024), Some(20_000), Some(1 << 20)].map(OpenFiles);
        assert_eq!(files.map(OpenFiles::segments), [16_384, 128, 128, 2_500, 16_384]);
        assert_eq!(files.map(OpenFiles::resumable_uploads), [1_024, 12, 128, 1_024, 1_024]);
    }
}

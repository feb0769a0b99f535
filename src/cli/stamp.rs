//! What a file system says of a file without reading it, as evidence that it has not changed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// How much older than the reading of a file its times must be, for a later change to be sure to
/// give it other ones. The coarsest file system in use (FAT) counts in steps of two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// Length, times and number of a file.
///
/// The time of the inode's change is among them: programs may set the time of modification to
/// what they like, and cannot set this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Bytes.
    pub(crate) length: u64,
    inode: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// What the file system said.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether whoever changed the file after `moment` must have given it another stamp.
    ///
    /// A file that was changed just before may be changed again within the same step of the file
    /// system's clock, and times in the future tell of a clock that does not go right.
    pub(crate) fn is_settled_at(&self, moment: SystemTime) -> bool {
        self.is_modified_before(moment) && is_before(self.changed, moment)
    }

    /// The same, for a file that got its time of modification from us and whose inode was changed
    /// by us just now: writing to it gives it the present time, which is another one.
    pub(crate) fn is_modified_before(&self, moment: SystemTime) -> bool {
        is_before(self.modified, moment)
    }

    /// The stamp as bytes, the same on every machine.
    pub(crate) fn to_bytes(self) -> [u8; 48] {
        let (modified, changed) = (self.modified, self.changed);
        let words = [
            self.length.to_le_bytes(),
            self.inode.to_le_bytes(),
            modified.0.to_le_bytes(),
            modified.1.to_le_bytes(),
            changed.0.to_le_bytes(),
            changed.1.to_le_bytes(),
        ];
        let mut bytes = [0; 48];
        for (place, byte) in bytes.iter_mut().zip(words.into_iter().flatten()) {
            *place = byte;
        }
        bytes
    }
}

/// A moment long enough ago to be told from the present by every file system.
pub(crate) fn settled_past() -> SystemTime {
    SystemTime::now() - SETTLED - Duration::from_secs(1)
}

fn is_before((seconds, nanoseconds): (i64, i64), moment: SystemTime) -> bool {
    let Ok(moment) = moment.duration_since(SystemTime::UNIX_EPOCH) else {
        return false;
    };
    let Some(latest) = moment.checked_sub(SETTLED) else {
        return false;
    };
    let latest_seconds = i64::try_from(latest.as_secs()).unwrap_or(i64::MAX);
    (seconds, nanoseconds) <= (latest_seconds, i64::from(latest.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(modified: i64, changed: i64) -> Stamp {
        Stamp { length: 1, inode: 2, modified: (modified, 0), changed: (changed, 0) }
    }

    #[test]
    fn what_was_changed_just_now_or_in_the_future_is_not_settled() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert!(stamp(900, 997).is_settled_at(now));
        assert!(stamp(-5, 997).is_settled_at(now));
        assert!(!stamp(900, 998).is_settled_at(now));
        assert!(!stamp(998, 900).is_settled_at(now));
        assert!(!stamp(2000, 900).is_settled_at(now));
        assert!(stamp(900, 1000).is_modified_before(now));
        assert!(!stamp(2000, 1000).is_modified_before(now));
    }

    #[test]
    fn every_part_of_a_stamp_is_in_its_bytes() {
        let one = stamp(1, 2);
        let others = [
            Stamp { length: 9, ..one },
            Stamp { inode: 9, ..one },
            Stamp { modified: (9, 0), ..one },
            Stamp { modified: (1, 9), ..one },
            Stamp { changed: (9, 0), ..one },
            Stamp { changed: (2, 9), ..one },
        ];
        assert!(others.iter().all(|other| other.to_bytes() != one.to_bytes()));
    }
}

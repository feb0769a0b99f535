//! The write-ahead journal: every change, and every small content, in the order of their groups.
//!
//! A journal is the directory `journal/` of files `{segment:016x}.seg`, one after the other. A
//! *group* is appended and synced at once ([`Journal::append`]); only then may anybody be
//! answered (I1), and only then is the next group written. So at most one group is ever half on
//! disk, and it is the last. Positions are ends of groups: a checkpoint names one, and
//! [`Journal::open`] replays what follows it.
//!
//! One thread owns the [`Journal`]; [`Segments`] is shared with everybody who reads contents.
//! Nothing here knows what a change says.
//!
//! # What opening does
//!
//! | crash | on disk | opening |
//! |---|---|---|
//! | while the first segment is made | a file without a group | [`Journal::create`] starts over |
//! | while a group is written or synced | some sectors of a last group | replays it if it is whole, otherwise zeroes it; it was not answered |
//! | after a group's sync | the group | replays it |
//! | while the next segment is made | a last file without a valid header | removes the file |
//! | between that segment's syncs and its first group | a last file with a header only | appends there |
//! | while the tail is zeroed | less of the torn group | zeroes the rest |
//!
//! Anything else is damage: opening stops, names the segment and the byte, and has changed
//! nothing in the journal. Damage is a bad group with a valid group start after it, a gap in the
//! sequences, a sealed segment that ends before the next one's first sequence, a missing segment,
//! and a header that fails its check, from the checkpoint on: a segment from before it is there for its
//! contents, which need no header, so damage of that is told and costs none of them. What [`Journal::open`] handed on before it met the damage is
//! to be dropped by the caller. A last group whose bytes rotted after its answer looks like a torn
//! one; a checkpoint behind it is what guards against that.
//!
//! Before anything is appended, opening writes the last group once more as it was read, and syncs
//! it: after a failed sync the system may show bytes that the disk does not hold, and would not
//! write them again by itself.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::change::{LargeFileId, NewBlob, SegmentId};
use crate::model::{Digest, Sequence};

mod frame;

mod open_files;

mod record;

mod reader;

mod replay;

mod segment;

mod writer;

#[cfg(feature = "simulation")]
pub(crate) mod fuzzing;

#[cfg(test)]
mod crash_tests;

#[cfg(test)]
mod test_store;

pub(crate) use replay::{read_groups, segments_for_reading};
pub(crate) use segment::Segments;
pub(crate) use writer::Journal;

/// How a journal lays out its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalOptions {
    /// Bytes at which a segment ends. A group that is larger has a segment for itself.
    pub(crate) segment_bytes: u64,
    /// Bytes that are reserved on disk at a time, ahead of the groups.
    pub(crate) allocate_bytes: u64,
    /// Segments that are open for reading at a time.
    pub(crate) segments_open_max: usize,
}

/// The end of a group, where the next one starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) segment: SegmentId,
    /// Generation of the segment's file, so that another file under its name is noticed.
    pub(crate) generation: u64,
    /// Byte of the segment's file; a multiple of 4 KiB.
    pub(crate) offset: u64,
}

/// A content that a new record names.
#[derive(Debug, Clone)]
pub(crate) enum RecordBlob {
    /// Its bytes are written with the record (I2).
    Payload { digest: Digest, crc32: u32, bytes: Bytes },
    /// Its bytes are in a file that is published already (I2).
    Large {
        digest: Digest,
        /// Bytes.
        length: u64,
        crc32: u32,
        file: LargeFileId,
    },
}

/// A record on its way to the journal.
#[derive(Debug, Clone)]
pub(crate) struct NewRecord {
    /// The one after the record before, in this group or the last.
    pub(crate) sequence: Sequence,
    /// The encoded change; opaque here.
    pub(crate) change: Vec<u8>,
    pub(crate) blobs: Vec<RecordBlob>,
}

/// A record that was read back; its contents are checked against their digests (I9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplayedRecord {
    pub(crate) sequence: Sequence,
    pub(crate) change: Vec<u8>,
    pub(crate) blobs: Vec<NewBlob>,
}

/// A group that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplayedGroup {
    pub(crate) records: Vec<ReplayedRecord>,
    /// What a checkpoint that contains this group names.
    pub(crate) end: Position,
}

/// A group that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Appended {
    /// For each record the contents it named, with their places.
    pub(crate) blobs: Vec<Vec<NewBlob>>,
    /// What a checkpoint that contains this group names.
    pub(crate) end: Position,
    /// Bytes that the group takes in its segment.
    pub(crate) bytes: u64,
}

/// Why a group was not appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Nothing of the group was written, and the journal goes on.
    #[error("there is no space left for the journal")]
    OutOfSpace,
    /// The journal takes nothing more until it is opened again, which decides about this group
    /// (I7).
    #[error("the journal cannot be written")]
    Failed(#[source] io::Error),
}

/// Why a journal did not open. Nothing in it was changed, except that after `Io` its torn end may
/// be cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalOpenError<E> {
    #[error("the journal cannot be read or repaired")]
    Io(#[source] io::Error),
    #[error("segment {} is damaged at byte {offset}: {reason}", segment.0)]
    Damaged { segment: SegmentId, offset: u64, reason: String },
    #[error("the journal has format version {found}, and this program knows version {known}")]
    NewerFormat { found: u32, known: u32 },
    /// The caller's own error, from applying a group.
    #[error("a group of the journal cannot be applied")]
    Apply(#[source] E),
}

//! Zips of others.
//!
//! [`read_directory`] takes an archive's list of members and checks all of it;
//! [`super::open_member`] then reads one member, never beyond the size that was declared, and the
//! bytes count only once their CRC-32 is right. Memory grows with the number of members alone.
//!
//! The list is read here and not by a library, because a library reads all of it into memory
//! before it can be counted, and forgets the first of two members that have one name.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::zip_directory::{self, Entry, Place};
use super::zip_member::{self, Method};
use super::{
    Names, Room, bad_member, filename_of, not_an_archive, our_failure, within, within_ratio,
};
use crate::blobs::byte_count;
use crate::error::IntakeError;
use crate::limits::{FILE_BYTES_MAX, INTAKE_BYTES_MAX, INTAKE_FILES_MAX};
use crate::model::Filename;

/// Bytes of a local header without name and extra fields.
pub(super) const LOCAL_HEADER_BYTES: u64 = 30;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IntakeMember {
    /// Its name, in normal form.
    pub(crate) filename: Filename,
    /// Bytes of its content, as declared; reading fails where that is not true.
    pub(crate) length: u64,
    pub(super) method: Method,
    pub(super) crc32: u32,
    /// Bytes of its content inside the archive.
    pub(super) packed_length: u64,
    /// Where its local header begins, in bytes from the start of what was sent.
    pub(super) header_offset: u64,
    /// Bytes from there to the next member or to the directory.
    pub(super) room: u64,
}

impl IntakeMember {
    /// Whether reading it may wait for others whatever its length, since only its content tells how much memory
    /// that takes.
    pub(crate) fn may_wait_for_memory(&self) -> bool {
        match self.method {
            Method::Stored | Method::Deflate | Method::Bzip2 | Method::Lzma => false,
            #[cfg(feature = "zstd")]
            Method::Zstd => true,
        }
    }

    /// What an error while reading this member means: its fault, or that of our own disk.
    pub(crate) fn unreadable(&self, error: io::Error) -> IntakeError {
        match zip_member::failure_of_source(error) {
            Ok(cause) => our_failure(cause),
            Err(error) => bad_member(self.filename.as_str(), error.to_string()),
        }
    }
}

/// The files of an archive in its own order; directories are left out. `room` is for their names.
///
/// # Errors
/// Nothing of the archive should be taken in; the error names the member where there is one.
pub(crate) fn read_directory<R: Read + Seek>(
    reader: &mut R,
    room: &mut Room,
) -> Result<Vec<IntakeMember>, IntakeError> {
    let place = zip_directory::find(reader)?;
    let files_max = u64::try_from(INTAKE_FILES_MAX).unwrap_or(u64::MAX);
    within("the number of its members", place.entries, files_max)?;

    reader.seek(SeekFrom::Start(place.offset)).map_err(our_failure)?;
    let mut rows = BufReader::new(reader.take(place.bytes));
    let mut members = Vec::new();
    let mut bytes_total: u64 = 0;
    for _ in 0..place.entries {
        let entry = zip_directory::read_entry(&mut rows)?;
        let Some(member) = member_of(&entry, &place)? else {
            continue;
        };
        bytes_total = bytes_total.saturating_add(member.length);
        within("the size of its files", bytes_total, INTAKE_BYTES_MAX)?;
        // Not what the directory has: of a name in another code page three times as much is kept.
        room.grow(1, byte_count(member.filename.as_str().len()))?;
        members.push(member);
    }
    if !rows.fill_buf().map_err(our_failure)?.is_empty() {
        return Err(not_an_archive("its directory holds more than it says"));
    }
    within_ratio(bytes_total, place.archive_bytes)?;
    Names::check(members.iter().map(|member| &member.filename))?;
    measure_rooms(&mut members, place.offset)?;
    Ok(members)
}

/// The file that an entry declares, or `None` if it is a directory.
fn member_of(entry: &Entry, place: &Place) -> Result<Option<IntakeMember>, IntakeError> {
    let name = entry.name()?;
    let refused = |reason: &str| bad_member(&name, reason);
    if name.ends_with('/') {
        return if entry.length == 0 {
            Ok(None)
        } else {
            Err(refused("it is a directory and has a content"))
        };
    }
    let filename = filename_of(&name)?;
    if entry.is_encrypted() {
        return Err(refused("it is encrypted; pack it without a password"));
    }
    if !entry.is_regular() {
        return Err(refused("it is not a regular file"));
    }
    let method = Method::of(entry.method).ok_or_else(|| {
        let reason = format!(
            "compression method {} is not supported; use deflate or store",
            zip_member::method_name(entry.method)
        );
        bad_member(&name, reason)
    })?;
    if method == Method::Stored && entry.packed_length != entry.length {
        return Err(refused("it is stored, and its two sizes differ"));
    }
    within("the size of a file", entry.length, FILE_BYTES_MAX)?;
    let header_offset = entry
        .header_offset
        .checked_add(place.bytes_before)
        .filter(|offset| {
            let end = offset.checked_add(entry.packed_length);
            end.is_some_and(|end| end <= place.offset)
        })
        .ok_or_else(|| refused("its content lies outside of the archive"))?;
    Ok(Some(IntakeMember {
        filename,
        length: entry.length,
        method,
        crc32: entry.crc32,
        packed_length: entry.packed_length,
        header_offset,
        room: 0,
    }))
}

/// Finds how far each member may reach, and refuses members that lie upon each other: that is how
/// a few kilobytes can be made to unpack to anything.
fn measure_rooms(members: &mut [IntakeMember], directory_offset: u64) -> Result<(), IntakeError> {
    let mut offsets: Vec<u64> = members.iter().map(|member| member.header_offset).collect();
    offsets.sort_unstable();
    for member in members {
        let behind = offsets.partition_point(|offset| *offset <= member.header_offset);
        let is_shared = behind
            .checked_sub(2)
            .and_then(|before| offsets.get(before))
            .is_some_and(|offset| *offset == member.header_offset);
        let end = offsets.get(behind).copied().unwrap_or(directory_offset);
        member.room = end.saturating_sub(member.header_offset);
        let needed = LOCAL_HEADER_BYTES.saturating_add(member.packed_length);
        if is_shared || needed > member.room {
            let reason = "its content lies upon that of another member";
            return Err(bad_member(member.filename.as_str(), reason));
        }
    }
    Ok(())
}

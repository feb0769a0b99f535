//! Zip archives of others: what they hold, checked before anything of it is believed.
//!
//! [`read_directory`] takes an archive's list of members and refuses the whole archive for one
//! bad member: names that leave the dataset, two files of one name, files below files, encrypted
//! or special members, more than the bounds allow. [`open_member`] then reads one member, never
//! beyond the size that was declared, and the bytes count only once their CRC-32 is right. Memory
//! grows with the number of members alone. No member is ever written to a path.
//!
//! The list is read here and not by a library, because a library reads all of it into memory
//! before it can be counted, and forgets the first of two members that have one name.

mod directory;

mod member;

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::error::{IntakeError, MutationError};
use crate::limits::{
    FILE_BYTES_MAX, INTAKE_BYTES_MAX, INTAKE_FILES_MAX, INTAKE_RATIO_FREE_BYTES, INTAKE_RATIO_MAX,
};
use crate::model::{Filename, RequestedFilename};

use directory::{Entry, Place};
use member::Method;
pub(crate) use member::open_member;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IntakeMember {
    /// Its name, in normal form.
    pub(crate) filename: Filename,
    /// Bytes of its content, as declared; reading fails where that is not true.
    pub(crate) length: u64,
    method: Method,
    crc32: u32,
    /// Bytes of its content inside the archive.
    packed_length: u64,
    /// Where its local header begins, in bytes from the start of what was sent.
    header_offset: u64,
}

impl IntakeMember {
    /// What an error while reading this member means: its fault, or that of our own disk.
    pub(crate) fn unreadable(&self, error: io::Error) -> IntakeError {
        match member::failure_of_source(error) {
            Ok(cause) => our_failure(cause),
            Err(error) => bad_member(self.filename.as_str(), error.to_string()),
        }
    }
}

/// The files of an archive in its own order; directories are left out.
///
/// # Errors
/// Nothing of the archive should be taken in; the error names the member where there is one.
pub(crate) fn read_directory<R: Read + Seek>(
    reader: &mut R,
) -> Result<Vec<IntakeMember>, IntakeError> {
    let place = directory::find(reader)?;
    let files_max = u64::try_from(INTAKE_FILES_MAX).unwrap_or(u64::MAX);
    within("the number of its members", place.entries, files_max)?;

    reader.seek(SeekFrom::Start(place.offset)).map_err(our_failure)?;
    let mut rows = BufReader::new(reader.take(place.bytes));
    let mut members = Vec::new();
    let mut bytes_total: u64 = 0;
    for _ in 0..place.entries {
        let entry = directory::read_entry(&mut rows)?;
        let Some(member) = member_of(&entry, &place)? else {
            continue;
        };
        bytes_total = bytes_total.saturating_add(member.length);
        within("the size of its files", bytes_total, INTAKE_BYTES_MAX)?;
        members.push(member);
    }
    if !rows.fill_buf().map_err(our_failure)?.is_empty() {
        return Err(not_an_archive("its directory holds more than it says"));
    }
    if bytes_total > INTAKE_RATIO_FREE_BYTES {
        let believable = place.archive_bytes.saturating_mul(INTAKE_RATIO_MAX);
        within("the size of its files, for so few bytes,", bytes_total, believable)?;
    }
    check_names(&members)?;
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
    let filename = match RequestedFilename::parse(&name) {
        Ok(RequestedFilename::Named(filename) | RequestedFilename::Numbered(filename)) => filename,
        Err(reason) => {
            return Err(IntakeError::BadFilename { filename: name, reason });
        }
    };
    if entry.is_encrypted() {
        return Err(refused("it is encrypted"));
    }
    if !entry.is_regular() {
        return Err(refused("it is not a regular file"));
    }
    let method = Method::of(entry.method).ok_or_else(|| {
        let reason = format!("compression method {} is not supported", entry.method);
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
    }))
}

/// Refuses two files of one name and files below files.
fn check_names(members: &[IntakeMember]) -> Result<(), IntakeError> {
    let mut names: Vec<&str> = members.iter().map(|member| member.filename.as_str()).collect();
    names.sort_unstable();
    let mut following = names.iter().skip(1);
    if let Some(twice) = names.iter().find(|name| following.next() == Some(name)) {
        return Err(IntakeError::DuplicateFilename { filename: (*twice).to_owned() });
    }
    let directories = members.iter().flat_map(|member| member.filename.directories());
    for directory in directories {
        if names.binary_search(&directory).is_ok() {
            return Err(IntakeError::FileAndDirectory { filename: directory.to_owned() });
        }
    }
    Ok(())
}

fn within(what: &'static str, actual: u64, limit: u64) -> Result<(), IntakeError> {
    if actual <= limit {
        return Ok(());
    }
    Err(IntakeError::TooLarge { what, actual, limit })
}

fn not_an_archive(reason: &str) -> IntakeError {
    IntakeError::NotAnArchive { reason: reason.to_owned() }
}

fn bad_member(member: &str, reason: impl Into<String>) -> IntakeError {
    IntakeError::BadMember { member: member.to_owned(), reason: reason.into() }
}

/// The archive could not be read from where we had put it ourselves.
fn our_failure(cause: io::Error) -> IntakeError {
    IntakeError::Mutation(MutationError::Staging { cause: Arc::new(cause) })
}

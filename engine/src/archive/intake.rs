//! Archives of others: what they hold, checked before anything of it is believed.
//!
//! A whole archive is refused for one bad member: names that leave the dataset, two files of one
//! name, files below files, encrypted or special members, more than the bounds allow. [`zip`]s are
//! read from their end, once they are there; [`tar`]s while they arrive. No member is ever written
//! to a path.

use std::io;
use std::sync::Arc;

use crate::error::{IntakeError, MutationError};
use crate::limits::{INTAKE_RATIO_FREE_BYTES, INTAKE_RATIO_MAX};
use crate::model::{Filename, FilenameError, RequestedFilename};

mod names;

mod room;

mod sniff;

pub(crate) mod tar;

mod unpacking;

mod zip;

mod zip_directory;

mod zip_member;

#[cfg(test)]
mod zip_tests;

pub(crate) use names::Names;
#[cfg(test)]
pub(crate) use room::Pool;
pub(crate) use room::{Room, Rooms};
pub use sniff::IntakeKind;
pub(crate) use sniff::{SNIFF_BYTES, sniff};
pub(crate) use unpacking::Unpacking;
pub(crate) use zip::{IntakeMember, read_directory};
pub(crate) use zip_member::open_member;

/// The name of a file in an archive.
///
/// A backslash is a letter like any other, but some programs unpack it as a slash: where a name
/// read so would leave the directory that it is unpacked to, it is refused.
fn filename_of(name: &str) -> Result<Filename, IntakeError> {
    let refused = |reason| IntakeError::BadFilename { filename: name.to_owned(), reason };
    if name.contains('\\') {
        let leaves = name.split(['/', '\\']).any(|part| part == "..");
        let is_absolute = name.starts_with('\\') || name.get(1..3) == Some(":\\");
        if leaves || is_absolute {
            return Err(refused(FilenameError::BeyondTop));
        }
    }
    match RequestedFilename::parse(name) {
        Ok(RequestedFilename::Named(filename) | RequestedFilename::Numbered(filename)) => {
            Ok(filename)
        }
        Err(reason) => Err(refused(reason)),
    }
}

fn within(what: &'static str, actual: u64, limit: u64) -> Result<(), IntakeError> {
    if actual <= limit {
        return Ok(());
    }
    Err(IntakeError::TooLarge { what, actual, limit })
}

/// Refuses contents that are too large for the bytes that they were unpacked from.
fn within_ratio(unpacked_bytes: u64, archive_bytes: u64) -> Result<(), IntakeError> {
    if unpacked_bytes <= INTAKE_RATIO_FREE_BYTES {
        return Ok(());
    }
    let believable = archive_bytes.saturating_mul(INTAKE_RATIO_MAX);
    within("the size of its files, for so few bytes,", unpacked_bytes, believable)
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

/// Reads an archive of any kind to its end: names and lengths of its files. For fuzzing, which
/// wants everything that reads a stranger's bytes, and nothing that stores them.
///
/// # Errors
/// As the intake of these bytes.
#[cfg(feature = "simulation")]
pub fn read_archive(bytes: &[u8]) -> Result<Vec<(String, u64)>, IntakeError> {
    let length = u64::try_from(bytes.len()).ok();
    match sniff(bytes, None) {
        IntakeKind::Zip => read_zip(bytes),
        IntakeKind::Tar => read_tar(bytes),
        IntakeKind::TarGz => read_tar(Unpacking::new(bytes, length)),
    }
}

#[cfg(feature = "simulation")]
fn read_zip(bytes: &[u8]) -> Result<Vec<(String, u64)>, IntakeError> {
    let mut reader = io::Cursor::new(bytes);
    let members = read_directory(&mut reader, &mut Rooms::default().whole.begin())?;
    let lengths = members.iter().map(|member| {
        let mut content = open_member(&mut reader, member)?;
        let copied = io::copy(&mut content, &mut io::sink());
        let length = copied.map_err(|error| member.unreadable(error))?;
        Ok((member.filename.to_string(), length))
    });
    lengths.collect()
}

#[cfg(feature = "simulation")]
fn read_tar(source: impl io::Read) -> Result<Vec<(String, u64)>, IntakeError> {
    let mut reader = tar::TarReader::new(source);
    let mut files = Vec::new();
    while let Some(member) = reader.next()? {
        let copied = io::copy(&mut reader, &mut io::sink());
        let length =
            copied.map_err(|error| tar::TarReader::<&[u8]>::unreadable(&member, &error))?;
        files.push((member.filename.to_string(), length));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslashes_are_letters_unless_they_would_lead_out() {
        for name in ["a\\b", "a\\b/c", "x..\\y"] {
            assert_eq!(filename_of(name).unwrap().as_str(), name);
        }
        for name in ["..\\x", "a\\..\\..\\x", "a/..\\x", "\\x", "\\\\host\\x", "C:\\x"] {
            assert!(matches!(filename_of(name), Err(IntakeError::BadFilename { .. })), "{name}");
        }
    }
}

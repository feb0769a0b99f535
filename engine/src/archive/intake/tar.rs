//! Tars of others, read as they come.
//!
//! [`TarReader`] gives the files one by one, with their contents behind them. It understands what
//! common programs write (old, ustar, GNU and PAX headers, long names, sizes beyond 8 GiB) and is
//! strict where two readers could see two different archives: every header has its checksum, the
//! end is marked, nothing but zeros follows. Links, devices, sparse files and whatever else is no
//! plain file are refused by name; directories are left out. Of headers at most
//! [`INTAKE_TAR_HEADER_BYTES_MAX`] bytes are in memory.

#[cfg(test)]
mod tests;

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::sniff::is_tar_header;
use super::unpacking::refusal;
use super::{Names, bad_member, filename_of, not_an_archive, within};
use crate::error::IntakeError;
use crate::limits::{
    FILE_BYTES_MAX, INTAKE_BYTES_MAX, INTAKE_FILES_MAX, INTAKE_TAR_DESCRIPTIONS_MAX,
    INTAKE_TAR_HEADER_BYTES_MAX, INTAKE_TAR_TAIL_BYTES_MAX,
};
use crate::model::Filename;

const BLOCK_BYTES: usize = 512;

/// A file of the archive; its content is what the reader gives next.
#[derive(Debug)]
pub(crate) struct TarMember {
    /// Its name, in normal form.
    pub(crate) filename: Filename,
    /// Bytes of its content.
    pub(crate) length: u64,
}

/// Reads a tar; as a [`Read`] it gives the content of the file that was told last.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    source: R,
    /// Bytes of the content that are still to come.
    left: u64,
    /// Zeros behind the content.
    padding: u64,
    names: Names,
    /// Files and directories so far.
    members: u64,
    files_bytes: u64,
}

/// What headers before a file's own say of it.
#[derive(Debug, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    length: Option<u64>,
    is_sparse: bool,
}

impl<R: Read> TarReader<R> {
    /// Begins to read.
    pub(crate) fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0, names: Names::default(), members: 0, files_bytes: 0 }
    }

    /// The next file; `None` once the archive has ended, in order and with all its names checked.
    ///
    /// # Errors
    /// Nothing of the archive should be taken in.
    pub(crate) fn next(&mut self) -> Result<Option<TarMember>, IntakeError> {
        self.skip_to_header()?;
        let mut extended = Extended::default();
        let mut descriptions = 0;
        while let Some(header) = self.header()? {
            let size = header.entry_size();
            let size = size.map_err(|_unread| not_an_archive("a size in it cannot be read"))?;
            if self.is_description(&header, size, &mut extended)? {
                descriptions += 1;
                let descriptions_max = count(INTAKE_TAR_DESCRIPTIONS_MAX);
                within("the number of headers before a member", descriptions, descriptions_max)?;
                continue;
            }
            descriptions = 0;
            let extended = std::mem::take(&mut extended);
            if let Some(member) = self.member(&header, size, extended)? {
                return Ok(Some(member));
            }
        }
        self.expect_end()?;
        self.names.finish()?;
        Ok(None)
    }

    /// Whether an entry describes the one behind it, or all of them; if so, it is read.
    fn is_description(
        &mut self,
        header: &Header,
        size: u64,
        extended: &mut Extended,
    ) -> Result<bool, IntakeError> {
        let kind = header.entry_type();
        if kind.is_gnu_longname() {
            let mut name = self.header_content(size)?;
            while name.pop_if(|last| *last == 0).is_some() {}
            extended.name.get_or_insert(name);
        } else if kind.is_gnu_longlink() {
            // The target of a link, which is refused when it comes.
            drop(self.header_content(size)?);
        } else if kind.is_pax_local_extensions() {
            apply_records(&self.header_content(size)?, extended)
                .ok_or_else(|| not_an_archive("an extended header in it is damaged"))?;
        } else if kind.is_pax_global_extensions() {
            let mut of_all = Extended::default();
            apply_records(&self.header_content(size)?, &mut of_all)
                .ok_or_else(|| not_an_archive("a global header in it is damaged"))?;
            if of_all.name.is_some() || of_all.length.is_some() || of_all.is_sparse {
                return Err(not_an_archive("a global header in it names files"));
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// What an error while reading a member's content means.
    pub(crate) fn unreadable(member: &TarMember, error: &io::Error) -> IntakeError {
        let unreadable = || bad_member(member.filename.as_str(), error.to_string());
        refusal(error).unwrap_or_else(unreadable)
    }

    /// The file of a header, or `None` if it is a directory.
    fn member(
        &mut self,
        header: &Header,
        size: u64,
        extended: Extended,
    ) -> Result<Option<TarMember>, IntakeError> {
        self.members += 1;
        within("the number of its members", self.members, count(INTAKE_FILES_MAX))?;
        let kind = header.entry_type();
        let raw_name = extended.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&raw_name).into_owned();
        let refused = |reason: &str| bad_member(&shown, reason);
        let Ok(name) = String::from_utf8(raw_name) else {
            return Err(refused("its name is not UTF-8"));
        };
        let length = extended.length.unwrap_or(size);
        // Before there was a kind for directories, a slash at the end made one.
        let is_plain = kind.is_file() || kind.is_contiguous();
        if kind.is_dir() || (is_plain && name.ends_with('/')) {
            return if length == 0 {
                Ok(None)
            } else {
                Err(refused("it is a directory and has a content"))
            };
        }
        if let Some(reason) = why_not_plain(kind, extended.is_sparse) {
            return Err(refused(reason));
        }
        let filename = filename_of(&name)?;
        self.names.add(&filename)?;
        within("the size of a file", length, FILE_BYTES_MAX)?;
        self.files_bytes = self.files_bytes.saturating_add(length);
        within("the size of its files", self.files_bytes, INTAKE_BYTES_MAX)?;
        self.left = length;
        self.padding = padding(length);
        Ok(Some(TarMember { filename, length }))
    }

    /// The next header; `None` at the first of the two empty blocks that mark the end.
    fn header(&mut self) -> Result<Option<Header>, IntakeError> {
        let mut header = Header::new_old();
        self.source.read_exact(header.as_mut_bytes()).map_err(|error| damaged(&error))?;
        let block = header.as_bytes();
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !is_tar_header(block) {
            return Err(not_an_archive("a header in it has a wrong checksum"));
        }
        Ok(Some(header))
    }

    /// The content of an entry that describes the next one.
    fn header_content(&mut self, bytes: u64) -> Result<Vec<u8>, IntakeError> {
        within("the size of a header", bytes, count(INTAKE_TAR_HEADER_BYTES_MAX))?;
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(INTAKE_TAR_HEADER_BYTES_MAX)];
        self.source.read_exact(&mut content).map_err(|error| damaged(&error))?;
        self.skip(padding(bytes))?;
        Ok(content)
    }

    /// Passes over what is left of the file before.
    fn skip_to_header(&mut self) -> Result<(), IntakeError> {
        let bytes = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        self.skip(bytes)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), IntakeError> {
        let skipped = io::copy(&mut self.source.by_ref().take(bytes), &mut io::sink());
        match skipped {
            Ok(skipped) if skipped == bytes => Ok(()),
            Ok(_) => Err(not_an_archive("it is cut")),
            Err(error) => Err(damaged(&error)),
        }
    }

    /// Reads the second empty block and what fills the last record, to the end of the body.
    fn expect_end(&mut self) -> Result<(), IntakeError> {
        if self.header()?.is_some() {
            return Err(not_an_archive("an empty block stands within it"));
        }
        let mut rest = [0; 16 * BLOCK_BYTES];
        let mut bytes_behind = 0;
        loop {
            let count = match self.source.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(damaged(&error)),
            };
            bytes_behind += count;
            let is_empty = rest.iter().take(count).all(|byte| *byte == 0);
            if !is_empty || bytes_behind > INTAKE_TAR_TAIL_BYTES_MAX {
                return Err(not_an_archive("something follows its end"));
            }
        }
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..room).filter(|room| !room.is_empty()) else {
            return Ok(0);
        };
        let count = self.source.read(room)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut here"));
        }
        self.left -= u64::try_from(count).unwrap_or(self.left);
        Ok(count)
    }
}

/// Why an entry of this kind is not taken in; `None` if it is a plain file.
fn why_not_plain(kind: EntryType, is_sparse: bool) -> Option<&'static str> {
    if is_sparse || kind.is_gnu_sparse() {
        Some("it is a sparse file; pack it without that option")
    } else if kind.is_hard_link() || kind.is_symlink() {
        Some("it is a link, not a regular file")
    } else if kind.is_character_special() || kind.is_block_special() || kind.is_fifo() {
        Some("it is a device or a pipe, not a regular file")
    } else if kind.is_file() || kind.is_contiguous() {
        None
    } else {
        Some("it is not a regular file")
    }
}

/// Takes over what records of the form `LENGTH KEY=VALUE` say; `None` if they are damaged.
fn apply_records(mut records: &[u8], extended: &mut Extended) -> Option<()> {
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(records.get(..space)?).ok()?.parse().ok()?;
        let (record, rest) = records.split_at_checked(length)?;
        records = rest;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
        match key {
            b"path" => extended.name = Some(value.to_vec()),
            b"size" => extended.length = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
            _ if key.starts_with(b"GNU.sparse.") => extended.is_sparse = true,
            _ => {}
        }
    }
    Some(())
}

fn damaged(error: &io::Error) -> IntakeError {
    if let Some(refused) = refusal(error) {
        return refused;
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return not_an_archive("it is cut");
    }
    not_an_archive(&format!("it cannot be unpacked ({error})"))
}

/// Zeros from the end of a content to the end of its last block.
fn padding(length: u64) -> u64 {
    length.wrapping_neg() % count(BLOCK_BYTES)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

//! A zip's central directory as it was sent: where it is, and its entries.
//!
//! Strict where leniency could make two readers see two different archives (the directory must
//! end where its end record begins, and hold just as many entries as it says), lenient about
//! what does no harm: bytes before the archive, and bytes behind it.

use std::io::{self, Read, Seek, SeekFrom};

use super::{bad_member, not_an_archive, our_failure};
use crate::error::IntakeError;

const END_BYTES: usize = 22;
const ENTRY_BYTES: usize = 46;
const ZIP64_END_BYTES: u64 = 56;
const ZIP64_LOCATOR_BYTES: u64 = 20;

const ENTRY_MAGIC: u32 = 0x0201_4b50;
const END_MAGIC: u32 = 0x0605_4b50;
const ZIP64_END_MAGIC: u32 = 0x0606_4b50;
const ZIP64_LOCATOR_MAGIC: u32 = 0x0706_4b50;

/// Where a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Of the first entry, in bytes from the start of what was sent.
    pub(super) offset: u64,
    /// Bytes of all entries.
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// Bytes in front of the archive (a program that unpacks it, say); offsets do not count them.
    pub(super) bytes_before: u64,
    /// Bytes of all that was sent.
    pub(super) archive_bytes: u64,
}

/// Finds the directory from the end.
pub(super) fn find<R: Read + Seek>(reader: &mut R) -> Result<Place, IntakeError> {
    let archive_bytes = reader.seek(SeekFrom::End(0)).map_err(our_failure)?;
    // The end record and the longest comment that may follow it.
    let tail_bytes = archive_bytes.min(22 + 65_535);
    let tail_offset = archive_bytes - tail_bytes;
    let tail = read_at(reader, tail_offset, tail_bytes)?;
    let (end_in_tail, mut end) =
        end_record(&tail).ok_or_else(|| not_an_archive("it has no end record"))?;
    let end_offset = tail_offset + end_in_tail;

    let mut directory_end = end_offset;
    if let Some((offset, zip64_end)) = zip64_end_record(reader, end_offset)? {
        (directory_end, end) = (offset, zip64_end);
    }
    if end.is_split {
        return Err(not_an_archive("it is one of several parts"));
    }
    let offset = directory_end.checked_sub(end.directory_bytes);
    let bytes_before = offset.and_then(|offset| offset.checked_sub(end.directory_offset));
    let (Some(offset), Some(bytes_before)) = (offset, bytes_before) else {
        return Err(not_an_archive("its directory is not where it should be"));
    };
    Ok(Place {
        offset,
        bytes: end.directory_bytes,
        entries: end.entries,
        bytes_before,
        archive_bytes,
    })
}

/// What an end record says, old or ZIP64.
#[derive(Debug, Clone, Copy)]
struct End {
    is_split: bool,
    entries: u64,
    directory_bytes: u64,
    directory_offset: u64,
}

/// The last end record whose comment ends with the tail, or else the last one at all.
fn end_record(tail: &[u8]) -> Option<(u64, End)> {
    let last_start = tail.len().checked_sub(END_BYTES)?;
    let mut behind_junk = None;
    for start in (0..=last_start).rev() {
        let record = tail.get(start..)?;
        if let Some((end, comment_bytes)) = parse_end(record) {
            let found = Some((u64::try_from(start).ok()?, end));
            if record.len() == END_BYTES + usize::from(comment_bytes) {
                return found;
            }
            behind_junk = behind_junk.or(found);
        }
    }
    behind_junk
}

fn parse_end(record: &[u8]) -> Option<(End, u16)> {
    let mut fields = Fields(record);
    fields.magic(END_MAGIC)?;
    let (disk, directory_disk) = (fields.u16()?, fields.u16()?);
    let (entries_here, entries) = (fields.u16()?, fields.u16()?);
    let end = End {
        is_split: disk != directory_disk || entries_here != entries,
        entries: entries.into(),
        directory_bytes: fields.u32()?.into(),
        directory_offset: fields.u32()?.into(),
    };
    let comment_bytes = fields.u16()?;
    Some((end, comment_bytes))
}

/// The ZIP64 end record and its offset, if a locator before the end record points at one.
fn zip64_end_record<R: Read + Seek>(
    reader: &mut R,
    end_offset: u64,
) -> Result<Option<(u64, End)>, IntakeError> {
    let Some(locator_offset) = end_offset.checked_sub(ZIP64_LOCATOR_BYTES) else {
        return Ok(None);
    };
    let locator = read_at(reader, locator_offset, ZIP64_LOCATOR_BYTES)?;
    let Some(said) = parse_locator(&locator) else {
        return Ok(None);
    };
    // Where it is said to be, or right before the locator if something stands before the archive.
    let usual = locator_offset.checked_sub(ZIP64_END_BYTES);
    for offset in [Some(said), usual].into_iter().flatten() {
        let is_inside =
            offset.checked_add(ZIP64_END_BYTES).is_some_and(|end| end <= locator_offset);
        if is_inside && let Some(end) = parse_zip64_end(&read_at(reader, offset, ZIP64_END_BYTES)?)
        {
            return Ok(Some((offset, end)));
        }
    }
    Err(not_an_archive("its ZIP64 end record is not where it should be"))
}

fn parse_locator(record: &[u8]) -> Option<u64> {
    let mut fields = Fields(record);
    fields.magic(ZIP64_LOCATOR_MAGIC)?;
    let _disk = fields.u32()?;
    fields.u64()
}

fn parse_zip64_end(record: &[u8]) -> Option<End> {
    let mut fields = Fields(record);
    fields.magic(ZIP64_END_MAGIC)?;
    let _record_bytes = fields.u64()?;
    let _versions = fields.u32()?;
    let (disk, directory_disk) = (fields.u32()?, fields.u32()?);
    let (entries_here, entries) = (fields.u64()?, fields.u64()?);
    Some(End {
        is_split: disk != directory_disk || entries_here != entries,
        entries,
        directory_bytes: fields.u64()?,
        directory_offset: fields.u64()?,
    })
}

/// One entry of a directory, believed in nothing.
#[derive(Debug)]
pub(super) struct Entry {
    made_by: u16,
    flags: u16,
    pub(super) method: u16,
    pub(super) crc32: u32,
    pub(super) packed_length: u64,
    pub(super) length: u64,
    external_attributes: u32,
    /// Without the bytes before the archive.
    pub(super) header_offset: u64,
    raw_name: Vec<u8>,
    /// The name as an Info-ZIP field gives it, for archives that are not in UTF-8 as a whole.
    unicode_name: Option<String>,
}

impl Entry {
    /// The name as text, not normalised.
    ///
    /// Without a word about its letters, a name is in code page 437; but programs on Unix (the
    /// common `zip` above all) write the bytes of the file system, which are UTF-8.
    pub(super) fn name(&self) -> Result<String, IntakeError> {
        if let Some(name) = &self.unicode_name {
            return Ok(name.clone());
        }
        let says_utf8 = self.flags & (1 << 11) != 0;
        match std::str::from_utf8(&self.raw_name) {
            Ok(name) if says_utf8 || self.is_from_unix() => Ok(name.to_owned()),
            Err(_not_utf8) if says_utf8 => {
                let name = String::from_utf8_lossy(&self.raw_name);
                Err(bad_member(&name, "its name says that it is UTF-8, and is not"))
            }
            Ok(_) | Err(_) => Ok(self.raw_name.iter().copied().map(from_cp437).collect()),
        }
    }

    /// Whether it is encrypted in any way, or a patch.
    pub(super) fn is_encrypted(&self) -> bool {
        let encrypted_patched_strong_masked = 1 | 1 << 5 | 1 << 6 | 1 << 13;
        self.flags & encrypted_patched_strong_masked != 0
    }

    /// Whether it is a plain file: no link, no device, no directory in disguise.
    pub(super) fn is_regular(&self) -> bool {
        let kind = self.external_attributes >> 16 & 0o170_000;
        // Many programs leave the kind out.
        !self.is_from_unix() || matches!(kind, 0 | 0o100_000)
    }

    /// Whether names and attributes are those of Unix, macOS included.
    fn is_from_unix(&self) -> bool {
        let [_, system] = self.made_by.to_le_bytes();
        matches!(system, 3 | 19)
    }
}

/// Reads the next entry, to its end.
pub(super) fn read_entry(reader: &mut impl Read) -> Result<Entry, IntakeError> {
    let mut fixed = [0; ENTRY_BYTES];
    reader.read_exact(&mut fixed).map_err(cut)?;
    let (mut entry, lengths) =
        parse_entry(&fixed).ok_or_else(|| not_an_archive("its directory is damaged"))?;
    let [name_bytes, extra_bytes, comment_bytes] = lengths.map(usize::from);
    entry.raw_name = read_bytes(reader, name_bytes)?;
    let extra = read_bytes(reader, extra_bytes)?;
    read_bytes(reader, comment_bytes)?;
    entry.apply_extra(&extra).ok_or_else(|| {
        let name = String::from_utf8_lossy(&entry.raw_name);
        bad_member(&name, "its extra fields are damaged")
    })?;
    Ok(entry)
}

/// The fixed part of an entry, and the lengths of name, extra fields and comment.
fn parse_entry(fixed: &[u8]) -> Option<(Entry, [u16; 3])> {
    let mut fields = Fields(fixed);
    fields.magic(ENTRY_MAGIC)?;
    let made_by = fields.u16()?;
    let _version_needed = fields.u16()?;
    let flags = fields.u16()?;
    let method = fields.u16()?;
    let _date_and_time = fields.u32()?;
    let crc32 = fields.u32()?;
    let packed_length = fields.u32()?.into();
    let length = fields.u32()?.into();
    let lengths = [fields.u16()?, fields.u16()?, fields.u16()?];
    let _disk = fields.u16()?;
    let _internal_attributes = fields.u16()?;
    let entry = Entry {
        made_by,
        flags,
        method,
        crc32,
        packed_length,
        length,
        external_attributes: fields.u32()?,
        header_offset: fields.u32()?.into(),
        raw_name: Vec::new(),
        unicode_name: None,
    };
    Some((entry, lengths))
}

impl Entry {
    /// Takes over ZIP64 sizes and the Unicode name; `None` if a field that is needed is missing.
    fn apply_extra(&mut self, extra: &[u8]) -> Option<()> {
        let wide = u64::from(u32::MAX);
        let mut is_wide_done = [self.length, self.packed_length, self.header_offset]
            .iter()
            .all(|&value| value != wide);
        let mut fields = Fields(extra);
        // Padding that is shorter than a field's head is not ours to judge.
        while let (Some(kind), Some(bytes)) = (fields.u16(), fields.u16()) {
            let mut values = Fields(fields.bytes(bytes.into())?);
            match kind {
                0x0001 if !is_wide_done => {
                    // The values stand in this order, those that are not wide left out.
                    for value in
                        [&mut self.length, &mut self.packed_length, &mut self.header_offset]
                    {
                        if *value == wide {
                            *value = values.u64()?;
                        }
                    }
                    is_wide_done = true;
                }
                0x7075 => self.unicode_name = self.unicode_name_in(values),
                _ => {}
            }
        }
        is_wide_done.then_some(())
    }

    /// The name in an Info-ZIP Unicode path field, if it belongs to this very name.
    fn unicode_name_in(&self, mut values: Fields<'_>) -> Option<String> {
        let version = values.bytes(1)?;
        let crc32 = values.u32()?;
        if version != [1] || crc32 != crc32fast::hash(&self.raw_name) {
            return None;
        }
        String::from_utf8(values.0.to_vec()).ok()
    }
}

/// Little-endian fields, read one behind the other; `None` at the end.
#[derive(Debug)]
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl<'b> Fields<'b> {
    fn array<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn magic(&mut self, expected: u32) -> Option<()> {
        (self.u32()? == expected).then_some(())
    }
}

fn read_at<R: Read + Seek>(
    reader: &mut R,
    offset: u64,
    bytes: u64,
) -> Result<Vec<u8>, IntakeError> {
    reader.seek(SeekFrom::Start(offset)).map_err(our_failure)?;
    let mut read = Vec::new();
    reader.take(bytes).read_to_end(&mut read).map_err(our_failure)?;
    Ok(read)
}

/// At most 65,535 bytes, which is what the lengths of an entry can say.
fn read_bytes(reader: &mut impl Read, count: usize) -> Result<Vec<u8>, IntakeError> {
    let mut bytes = vec![0; count];
    reader.read_exact(&mut bytes).map_err(cut)?;
    Ok(bytes)
}

fn cut(error: io::Error) -> IntakeError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        not_an_archive("its directory is cut")
    } else {
        our_failure(error)
    }
}

/// A letter of the code page that zip names are in unless they say otherwise.
fn from_cp437(byte: u8) -> char {
    const UPPER_HALF: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
        └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
    match byte.checked_sub(128) {
        None => char::from(byte),
        Some(place) => UPPER_HALF.chars().nth(place.into()).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

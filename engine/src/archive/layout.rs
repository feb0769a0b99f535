//! A stored zip as a computed layout: every byte but the contents', and where each one stands.
//!
//! Names, lengths and CRC-32s decide the whole archive: its length is known, and any part of it
//! can be made, without reading a content. One committed state gives the same bytes every time.
//! Pure rules; [`super::zip`] joins them with the contents. The zip that is compressed on its way
//! out ([`super::zip_deflated`]) has the same headers, and sizes that are known only afterwards.
//!
//! In the stored zip sizes and CRC-32 stand in the local headers (no data descriptors), so readers
//! that stream can take the archive too. ZIP64 fields appear exactly where the older ones are too
//! narrow, whose largest values are the marks for that.

use super::dos_time::dos_date_time;
use crate::model::FileRecord;

const LOCAL_HEADER_BYTES: u64 = 30;
const CENTRAL_HEADER_BYTES: u64 = 46;
const END_BYTES: u64 = 22;
const ZIP64_END_BYTES: u64 = 56;
const ZIP64_LOCATOR_BYTES: u64 = 20;

/// Bytes of a ZIP64 extra field before its values.
const ZIP64_EXTRA_BYTES: u64 = 4;

/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;

/// Sizes and CRC-32 stand behind the content.
const FLAG_DESCRIPTOR: u16 = 1 << 3;

/// Version of the format that ordinary files ask of a reader, and the one that knows ZIP64.
const VERSION: u16 = 20;
const VERSION_ZIP64: u16 = 45;

/// Made on Unix, which is what the external attributes are.
const MADE_BY: u16 = (3 << 8) | VERSION_ZIP64;

/// A regular file that its owner may read and write.
const EXTERNAL_ATTRIBUTES: u32 = 0o100_600 << 16;

/// Where the parts of an archive stand, as far as its files are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    entries: u64,
    /// Bytes of all local headers and contents; the offset of the next file or the directory.
    files_bytes: u64,
    /// Bytes of all central headers.
    directory_bytes: u64,
}

impl Layout {
    /// Places a stored file behind the ones before it, and returns the offset of its local header.
    pub(crate) fn place(&mut self, filename: &str, length: u64) -> u64 {
        let offset = self.files_bytes;
        let name_bytes = u64::from(field16(filename.len()));
        self.entries += 1;
        self.files_bytes +=
            LOCAL_HEADER_BYTES + name_bytes + local_extra_bytes(is_wide(length)) + length;
        self.directory_bytes +=
            CENTRAL_HEADER_BYTES + name_bytes + central_extra_bytes(is_wide(length), offset);
        offset
    }

    /// Counts a file whose parts were written behind the ones before it.
    pub(crate) fn count(&mut self, file_bytes: u64, central_header_bytes: u64) {
        self.entries += 1;
        self.files_bytes += file_bytes;
        self.directory_bytes += central_header_bytes;
    }

    /// Number of files.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes of all local headers and contents.
    pub(crate) fn files_bytes(&self) -> u64 {
        self.files_bytes
    }

    /// Bytes of the files' entries in the directory.
    pub(crate) fn directory_bytes(&self) -> u64 {
        self.directory_bytes
    }

    /// Bytes of the whole archive, if no further file is placed.
    pub(crate) fn length(&self) -> u64 {
        let zip64_bytes = if self.is_zip64() { ZIP64_END_BYTES + ZIP64_LOCATOR_BYTES } else { 0 };
        self.files_bytes + self.directory_bytes + zip64_bytes + END_BYTES
    }

    /// What follows the central headers.
    pub(crate) fn end(&self) -> Vec<u8> {
        let mut fields = Fields::default();
        if self.is_zip64() {
            fields.u32(0x0606_4b50);
            fields.u64(ZIP64_END_BYTES - 12); // what follows this field
            fields.u16(MADE_BY);
            fields.u16(VERSION_ZIP64);
            fields.u32(0); // this disk
            fields.u32(0); // the directory's disk
            fields.u64(self.entries);
            fields.u64(self.entries);
            fields.u64(self.directory_bytes);
            fields.u64(self.files_bytes);

            fields.u32(0x0706_4b50);
            fields.u32(0); // disk of the record above
            fields.u64(self.files_bytes + self.directory_bytes);
            fields.u32(1); // disks
        }
        fields.u32(0x0605_4b50);
        fields.u16(0); // this disk
        fields.u16(0); // the directory's disk
        let entries = u16::try_from(self.entries).unwrap_or(u16::MAX);
        fields.u16(entries);
        fields.u16(entries);
        fields.u32(field32(self.directory_bytes));
        fields.u32(field32(self.files_bytes));
        fields.u16(0); // comment
        fields.0
    }

    fn is_zip64(&self) -> bool {
        self.entries >= u64::from(u16::MAX)
            || is_wide(self.directory_bytes)
            || is_wide(self.files_bytes)
    }
}

/// How a content stands in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packing {
    is_deflated: bool,
    /// Bytes of the content in the archive.
    bytes: u64,
    /// Whether that number was not known when the local header was written.
    has_descriptor: bool,
}

impl Packing {
    /// As it is.
    pub(crate) fn stored(record: &FileRecord) -> Self {
        Self { is_deflated: false, bytes: record.length, has_descriptor: false }
    }

    /// Deflated to so many bytes.
    pub(crate) fn deflated(bytes: u64) -> Self {
        Self { is_deflated: true, bytes, has_descriptor: false }
    }

    /// Deflated while it is written; the number of bytes is told behind the content.
    pub(crate) fn streamed(bytes: u64) -> Self {
        Self { is_deflated: true, bytes, has_descriptor: true }
    }

    /// Bytes of the content in the archive.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the sizes follow the content.
    pub(crate) fn has_descriptor(&self) -> bool {
        self.has_descriptor
    }

    /// Bytes of a packing that is kept for the directory.
    pub(crate) const BYTES: usize = 9;

    /// For keeping it until the directory is written.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [u8::from(self.is_deflated) | u8::from(self.has_descriptor) << 1; 9];
        if let Some(number) = bytes.last_chunk_mut() {
            *number = self.bytes.to_le_bytes();
        }
        bytes
    }

    /// What was kept.
    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [kind, number @ ..] = bytes;
        Self {
            is_deflated: kind & 1 != 0,
            bytes: u64::from_le_bytes(number),
            has_descriptor: kind & 2 != 0,
        }
    }

    /// Whether the sizes are in ZIP64 fields. What is streamed cannot know, so it decides by its
    /// length alone, with much room for contents that grow.
    fn has_wide_sizes(&self, record: &FileRecord) -> bool {
        let may_grow_wide = self.has_descriptor && record.length >= 1 << 31;
        is_wide(record.length) || is_wide(self.bytes) || may_grow_wide
    }
}

/// What stands before a file's content.
pub(crate) fn local_header(filename: &str, record: &FileRecord, packing: &Packing) -> Vec<u8> {
    let has_wide_sizes = packing.has_wide_sizes(record);
    let mut fields = Fields::default();
    fields.u32(0x0403_4b50);
    fields.kind(record, packing, has_wide_sizes);
    if packing.has_descriptor {
        fields.u32(0); // CRC-32
        fields.u32(if has_wide_sizes { u32::MAX } else { 0 });
        fields.u32(if has_wide_sizes { u32::MAX } else { 0 });
    } else {
        fields.sizes(record, packing, has_wide_sizes);
    }
    fields.u16(field16(filename.len()));
    fields.u16(extra_length(local_extra_bytes(has_wide_sizes)));
    fields.bytes(filename);
    if has_wide_sizes {
        let is_known = !packing.has_descriptor;
        fields.u16(1); // ZIP64
        fields.u16(16);
        fields.u64(if is_known { record.length } else { 0 });
        fields.u64(if is_known { packing.bytes } else { 0 });
    }
    fields.0
}

/// What stands behind a content whose sizes its local header did not know.
pub(crate) fn descriptor(record: &FileRecord, packing: &Packing) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.u32(0x0807_4b50);
    fields.u32(record.crc32);
    if packing.has_wide_sizes(record) {
        fields.u64(packing.bytes);
        fields.u64(record.length);
    } else {
        fields.u32(field32(packing.bytes));
        fields.u32(field32(record.length));
    }
    fields.0
}

/// A file's entry in the directory; `offset` is that of its local header.
pub(crate) fn central_header(
    filename: &str,
    record: &FileRecord,
    packing: &Packing,
    offset: u64,
) -> Vec<u8> {
    let has_wide_sizes = packing.has_wide_sizes(record);
    let extra_bytes = central_extra_bytes(has_wide_sizes, offset);
    let mut fields = Fields::default();
    fields.u32(0x0201_4b50);
    fields.u16(MADE_BY);
    fields.kind(record, packing, extra_bytes > 0);
    fields.sizes(record, packing, has_wide_sizes);
    fields.u16(field16(filename.len()));
    fields.u16(extra_length(extra_bytes));
    fields.u16(0); // comment
    fields.u16(0); // disk
    fields.u16(0); // internal attributes
    fields.u32(EXTERNAL_ATTRIBUTES);
    fields.u32(field32(offset));
    fields.bytes(filename);
    if extra_bytes > 0 {
        fields.u16(1); // ZIP64
        fields.u16(extra_length(extra_bytes - ZIP64_EXTRA_BYTES));
        if has_wide_sizes {
            fields.u64(record.length);
            fields.u64(packing.bytes);
        }
        if is_wide(offset) {
            fields.u64(offset);
        }
    }
    fields.0
}

/// Whether a value needs a ZIP64 field; the largest value of the older one says so.
fn is_wide(value: u64) -> bool {
    value >= u64::from(u32::MAX)
}

fn local_extra_bytes(has_wide_sizes: bool) -> u64 {
    // Both sizes, always, where there is a ZIP64 field in a local header.
    if has_wide_sizes { ZIP64_EXTRA_BYTES + 16 } else { 0 }
}

fn central_extra_bytes(has_wide_sizes: bool, offset: u64) -> u64 {
    let sizes = if has_wide_sizes { 16 } else { 0 };
    let place = if is_wide(offset) { 8 } else { 0 };
    let values = sizes + place;
    if values > 0 { ZIP64_EXTRA_BYTES + values } else { 0 }
}

fn extra_length(bytes: u64) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// Names are shorter than this field can say: [`super::manifest`] refuses others.
fn field16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// The value, or the mark that a ZIP64 field holds it.
fn field32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Little-endian fields, one behind the other.
#[derive(Debug, Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, text: &str) {
        self.0.extend(text.as_bytes());
    }

    /// What local and central headers have in common, from the version to the time.
    fn kind(&mut self, record: &FileRecord, packing: &Packing, zip64: bool) {
        let (date, time) = dos_date_time(record.creation_time);
        self.u16(if zip64 { VERSION_ZIP64 } else { VERSION });
        self.u16(if packing.has_descriptor { FLAGS | FLAG_DESCRIPTOR } else { FLAGS });
        self.u16(if packing.is_deflated { 8 } else { 0 });
        self.u16(time);
        self.u16(date);
    }

    /// CRC-32 and sizes, or the marks that ZIP64 fields hold them.
    fn sizes(&mut self, record: &FileRecord, packing: &Packing, has_wide_sizes: bool) {
        self.u32(record.crc32);
        for size in [packing.bytes, record.length] {
            self.u32(if has_wide_sizes { u32::MAX } else { field32(size) });
        }
    }
}

#[cfg(test)]
mod tests;

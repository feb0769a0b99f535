//! A stored zip as a computed layout: every byte but the contents', and where each one stands.
//!
//! Names, lengths and CRC-32s decide the whole archive: its length is known, and any part of it
//! can be made, without reading a content. One committed state gives the same bytes every time.
//! Pure rules; [`super::zip`] joins them with the contents. The zip that is compressed on its way
//! out ([`super::zip_deflated`]) has the same headers, and sizes that are known only afterwards.
//!
//! In the stored zip sizes and CRC-32 stand in the local headers (no data descriptors), so readers
//! that stream can take the archive too. ZIP64 fields appear exactly where the older ones are too narrow, whose
//! largest values are the marks for that.

use crate::model::{FileRecord, Timestamp};

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

/// A time as DOS wrote it, in UTC and steps of two seconds: (date, time).
///
/// The first and last moments that it can say stand for all before and after.
fn dos_date_time(at: Timestamp) -> (u16, u16) {
    const FIRST: i64 = 315_532_800; // 1980-01-01T00:00:00Z
    const LAST: i64 = 4_354_819_199; // 2107-12-31T23:59:59Z
    let seconds = at.0.div_euclid(1_000_000).clamp(FIRST, LAST);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days);
    let date = ((year - 1980) << 9) | (month << 5) | day;
    let time = ((second / 3600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2);
    let field = |value: i64| u16::try_from(value).unwrap_or(0);
    (field(date), field(time))
}

/// Year, month and day of a day since 1970-01-01, which must not lie before it.
///
/// Counts in years that begin in March, so that the leap day is the last one of its year.
fn civil_date(days: i64) -> (i64, i64, i64) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let since_march_0000 = days + 719_468;
    let era = since_march_0000 / DAYS_OF_400_YEARS;
    let day_of_era = since_march_0000 % DAYS_OF_400_YEARS;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    fn record(length: u64) -> FileRecord {
        FileRecord {
            digest: Digest::of(b""),
            length,
            crc32: 0x1234_5678,
            creation_time: Timestamp(0),
            compressible: false,
        }
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    fn length_of(bytes: &[u8]) -> u64 {
        u64::try_from(bytes.len()).unwrap()
    }

    #[test]
    fn an_empty_archive_is_the_end_record_alone() {
        let layout = Layout::default();
        assert_eq!(layout.end().len(), 22);
        assert_eq!(layout.length(), 22);
    }

    /// Sizes and offsets around 4 GiB, in an order that puts each before and behind the bound.
    #[test]
    fn wide_sizes_and_offsets_go_to_zip64_fields_and_nothing_else_does() {
        const MARK: u64 = 0xffff_ffff;
        for lengths in [
            vec![1, 2],
            vec![MARK - 1, 5],
            vec![MARK, 5],
            vec![5, MARK + 1, 5, 0],
            vec![MARK - 100, 100 - 68, 7],
            vec![10 << 30, 20 << 30, 1],
        ] {
            let mut layout = Layout::default();
            let (mut at, mut directory_bytes) = (0, 0);
            for &length in &lengths {
                let record = record(length);
                let offset = layout.place("name", length);
                assert_eq!(offset, at, "{lengths:?}");
                let local = local_header("name", &record, &Packing::stored(&record));
                at += length_of(&local) + length;
                if length >= MARK {
                    assert_eq!(local.len(), 34 + 20);
                    assert_eq!((u32_at(&local, 18), u32_at(&local, 22)), (u32::MAX, u32::MAX));
                    assert_eq!((u64_at(&local, 38), u64_at(&local, 46)), (length, length));
                } else {
                    assert_eq!(local.len(), 34);
                    assert_eq!(u64::from(u32_at(&local, 18)), length);
                }
                let central = central_header("name", &record, &Packing::stored(&record), offset);
                directory_bytes += length_of(&central);
                let wide_values = usize::from(length >= MARK) * 2 + usize::from(offset >= MARK);
                let extra = if wide_values == 0 { 0 } else { 4 + 8 * wide_values };
                assert_eq!(central.len(), 50 + extra, "{lengths:?}");
                if offset >= MARK {
                    assert_eq!(u32_at(&central, 42), u32::MAX);
                    assert_eq!(u64_at(&central, central.len() - 8), offset);
                } else {
                    assert_eq!(u64::from(u32_at(&central, 42)), offset);
                }
            }
            let end = layout.end();
            assert_eq!(layout.length(), at + directory_bytes + length_of(&end), "{lengths:?}");
            assert_eq!(end.len(), if at >= MARK { 98 } else { 22 }, "{lengths:?}");
            if at >= MARK {
                assert_eq!((u64_at(&end, 40), u64_at(&end, 48)), (directory_bytes, at));
                assert_eq!(u64_at(&end, 64), at + directory_bytes);
            }
        }
    }

    #[test]
    fn the_count_alone_can_ask_for_zip64() {
        let mut layout = Layout::default();
        for _ in 0..65_534 {
            layout.place("", 0);
        }
        assert_eq!(layout.end().len(), 22);
        layout.place("", 0);
        let end = layout.end();
        assert_eq!(end.len(), 98);
        assert_eq!((u64_at(&end, 24), u64_at(&end, 32)), (65_535, 65_535));
        assert_eq!(end[76 + 8..76 + 12], [0xff; 4]);
    }

    #[test]
    fn times_are_utc_and_clamped_to_what_dos_knows() {
        let fields = |seconds: i64| {
            let (date, time) = dos_date_time(Timestamp(seconds * 1_000_000 + 999_999));
            let day = (1980 + (date >> 9), date >> 5 & 15, date & 31);
            (day, (time >> 11, time >> 5 & 63, (time & 31) * 2))
        };
        assert_eq!(fields(1_709_210_096), ((2024, 2, 29), (12, 34, 56)));
        assert_eq!(fields(951_868_799), ((2000, 2, 29), (23, 59, 58)));
        assert_eq!(fields(951_868_800), ((2000, 3, 1), (0, 0, 0)));
        for before in [i64::MIN / 1_000_000, -1, 0, 315_532_799, 315_532_800] {
            assert_eq!(fields(before), ((1980, 1, 1), (0, 0, 0)));
        }
        for after in [4_354_819_199, i64::MAX / 1_000_000 - 1] {
            assert_eq!(fields(after), ((2107, 12, 31), (23, 59, 58)));
        }
    }

    #[test]
    fn a_content_that_is_streamed_has_its_sizes_behind_it_in_the_width_that_its_header_says() {
        for (length, is_wide) in
            [(5, false), ((1 << 31) - 1, false), (1 << 31, true), (9 << 30, true)]
        {
            let record = record(length);
            let packing = Packing::streamed(length / 2);
            assert_eq!(Packing::from_bytes(packing.to_bytes()), packing);
            let local = local_header("name", &record, &packing);
            assert_eq!(local[6], 8);
            assert_eq!(u32_at(&local, 14), 0, "no CRC-32 yet");
            assert_eq!(local.len(), if is_wide { 54 } else { 34 });
            let behind = descriptor(&record, &packing);
            let central = central_header("name", &record, &packing, 0);
            if is_wide {
                assert_eq!((u64_at(&behind, 8), u64_at(&behind, 16)), (length / 2, length));
                assert_eq!((u64_at(&central, 54), u64_at(&central, 62)), (length, length / 2));
            } else {
                assert_eq!(behind.len(), 16);
                assert_eq!(u64::from(u32_at(&behind, 8)), length / 2);
                assert_eq!(u64::from(u32_at(&central, 20)), length / 2);
                assert_eq!(u64::from(u32_at(&central, 24)), length);
            }
            assert_eq!(u32_at(&central, 16), record.crc32);
        }
    }
}

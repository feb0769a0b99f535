//! The fixed headers of segments and groups, byte by byte. Integers are little-endian.
//!
//! A segment starts with a page of 4 KiB:
//!
//! | byte | length | |
//! |---|---|---|
//! | 0 | 8 | magic `granaryS` |
//! | 8 | 4 | format version |
//! | 12 | 4 | zero |
//! | 16 | 8 | segment id |
//! | 24 | 8 | generation, random, one for each file ever made |
//! | 32 | 8 | sequence of the first record that this segment will hold |
//! | 40 | 32 | BLAKE3 of bytes 0 to 39, keyed with the store's key |
//! | 72 | 4,024 | zero |
//!
//! Groups follow, each from a multiple of 4 KiB on: this header, the records (see `record`), the
//! payloads back to back, and zeros up to the next multiple.
//!
//! | byte | length | |
//! |---|---|---|
//! | 0 | 8 | magic `granaryG` |
//! | 8 | 4 | format version |
//! | 12 | 4 | number of records |
//! | 16 | 8 | segment id |
//! | 24 | 8 | generation of the segment |
//! | 32 | 8 | offset of this header in the file |
//! | 40 | 8 | sequence of the first record |
//! | 48 | 8 | bytes of the records |
//! | 56 | 8 | bytes of the payloads |
//! | 64 | 32 | BLAKE3 of the records, keyed |
//! | 96 | 32 | BLAKE3 of bytes 0 to 95, keyed |
//!
//! The key is the store's own secret, so uploaded bytes cannot forge a header; segment, generation
//! and offset make a copied or stale one unmistakable. A group's start can be told alone.

use crate::model::Sequence;
use crate::model::change::SegmentId;

use super::Position;

/// Version of the journal's format.
pub(super) const FORMAT_VERSION: u32 = 1;

/// Bytes of a page: groups start on multiples of it, and a torn header is one page at most.
pub(super) const PAGE_BYTES: u64 = 4096;

/// A page of zeros, for padding and for comparing.
pub(super) static ZERO_PAGE: [u8; 4096] = [0; 4096];

/// Bytes of a segment's header that say something.
pub(super) const SEGMENT_HEADER_BYTES: usize = 72;

/// Bytes of a group's header.
pub(super) const GROUP_HEADER_BYTES: usize = 128;

const SEGMENT_MAGIC: [u8; 8] = *b"granaryS";
const GROUP_MAGIC: [u8; 8] = *b"granaryG";
const HASH_BYTES: usize = 32;

/// The store's key for checksums; never shown.
#[derive(Clone, Copy)]
pub(super) struct StoreKey(pub(super) [u8; 32]);

impl std::fmt::Debug for StoreKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StoreKey")
    }
}

impl StoreKey {
    pub(super) fn hash(&self, bytes: &[u8]) -> [u8; HASH_BYTES] {
        *blake3::keyed_hash(&self.0, bytes).as_bytes()
    }

    /// Puts the checksum of all bytes so far behind them.
    fn seal(&self, bytes: &mut Vec<u8>) {
        let checksum = self.hash(bytes);
        bytes.extend(checksum);
    }

    /// Checks and takes off what [`StoreKey::seal`] added.
    fn open<'a>(&self, bytes: &'a [u8]) -> Option<Fields<'a>> {
        let (fields, checksum) = bytes.split_last_chunk::<HASH_BYTES>()?;
        (self.hash(fields) == *checksum).then_some(Fields(fields))
    }
}

/// What is found where a header may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header<T> {
    Valid(T),
    /// Intact, but of a format version that this program does not know.
    Newer(u32),
    Absent,
}

/// The first page of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) segment: SegmentId,
    pub(super) generation: u64,
    pub(super) first_sequence: Sequence,
}

impl SegmentHeader {
    pub(super) fn encode(&self, key: &StoreKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.extend(SEGMENT_MAGIC);
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.segment.0.to_le_bytes());
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.first_sequence.0.to_le_bytes());
        key.seal(&mut bytes);
        bytes
    }

    pub(super) fn decode(bytes: &[u8], key: &StoreKey, segment: SegmentId) -> Header<Self> {
        let read = || {
            let mut fields = key.open(bytes.get(..SEGMENT_HEADER_BYTES)?)?;
            if fields.take()? != SEGMENT_MAGIC {
                return None;
            }
            let version = fields.u32()?;
            if version != FORMAT_VERSION {
                return Some(Header::Newer(version));
            }
            fields.u32()?;
            let header = Self {
                segment: SegmentId(fields.u64()?),
                generation: fields.u64()?,
                first_sequence: Sequence(fields.u64()?),
            };
            (header.segment == segment).then_some(Header::Valid(header))
        };
        read().unwrap_or(Header::Absent)
    }
}

/// The start of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// Where the group starts.
    pub(super) start: Position,
    pub(super) first_sequence: Sequence,
    pub(super) record_count: u32,
    pub(super) records_bytes: u64,
    pub(super) payload_bytes: u64,
    pub(super) records_hash: [u8; HASH_BYTES],
}

impl GroupHeader {
    pub(super) fn encode(&self, key: &StoreKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(GROUP_HEADER_BYTES);
        bytes.extend(GROUP_MAGIC);
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend(self.record_count.to_le_bytes());
        bytes.extend(self.start.segment.0.to_le_bytes());
        bytes.extend(self.start.generation.to_le_bytes());
        bytes.extend(self.start.offset.to_le_bytes());
        bytes.extend(self.first_sequence.0.to_le_bytes());
        bytes.extend(self.records_bytes.to_le_bytes());
        bytes.extend(self.payload_bytes.to_le_bytes());
        bytes.extend(self.records_hash);
        key.seal(&mut bytes);
        bytes
    }

    /// Reads the header of a group that starts at `offset` of a segment; of any generation if
    /// `generation` is `None`.
    pub(super) fn decode(
        bytes: &[u8],
        key: &StoreKey,
        segment: SegmentId,
        generation: Option<u64>,
        offset: u64,
    ) -> Header<Self> {
        let read = || {
            // Looked at before the checksum, which costs more: most pages are no headers.
            if !bytes.starts_with(&GROUP_MAGIC) {
                return None;
            }
            let mut fields = key.open(bytes.get(..GROUP_HEADER_BYTES)?)?;
            fields.u64()?;
            let version = fields.u32()?;
            if version != FORMAT_VERSION {
                return Some(Header::Newer(version));
            }
            let record_count = fields.u32()?;
            let header = Self {
                start: Position {
                    segment: SegmentId(fields.u64()?),
                    generation: fields.u64()?,
                    offset: fields.u64()?,
                },
                first_sequence: Sequence(fields.u64()?),
                record_count,
                records_bytes: fields.u64()?,
                payload_bytes: fields.u64()?,
                records_hash: fields.take()?,
            };
            let Position { segment: found_segment, generation: found_generation, offset: found } =
                header.start;
            let is_own = found_segment == segment
                && generation.is_none_or(|generation| generation == found_generation)
                && found == offset;
            // A sum that overflows is none of ours either; later ones need not check.
            let end = u128::from(offset)
                + u128::from(header.records_bytes)
                + u128::from(header.payload_bytes);
            (is_own && end < u128::from(u64::MAX / 2)).then_some(Header::Valid(header))
        };
        read().unwrap_or(Header::Absent)
    }

    /// Offset of the records in the file.
    pub(super) fn records_offset(&self) -> u64 {
        self.start.offset + group_header_bytes()
    }

    /// Offset of the first payload in the file.
    pub(super) fn payload_offset(&self) -> u64 {
        self.records_offset() + self.records_bytes
    }

    /// Where the last byte of the group ends, before the zeros that follow.
    pub(super) fn content_end(&self) -> u64 {
        self.payload_offset() + self.payload_bytes
    }

    /// Where the next group starts.
    pub(super) fn end(&self) -> Position {
        Position { offset: page_end(self.content_end()), ..self.start }
    }
}

/// [`GROUP_HEADER_BYTES`] as file offsets are counted.
pub(super) fn group_header_bytes() -> u64 {
    u64::try_from(GROUP_HEADER_BYTES).unwrap_or(u64::MAX)
}

/// The next multiple of a page.
pub(super) fn page_end(offset: u64) -> u64 {
    offset.next_multiple_of(PAGE_BYTES)
}

/// Integers read one after the other; `None` where the bytes end.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: StoreKey = StoreKey([7; 32]);

    fn group() -> GroupHeader {
        GroupHeader {
            start: Position { segment: SegmentId(3), generation: 5, offset: 8192 },
            first_sequence: Sequence(11),
            record_count: 2,
            records_bytes: 300,
            payload_bytes: 4000,
            records_hash: [9; 32],
        }
    }

    fn decode(bytes: &[u8], offset: u64) -> Header<GroupHeader> {
        GroupHeader::decode(bytes, &KEY, SegmentId(3), Some(5), offset)
    }

    #[test]
    fn headers_have_the_documented_length_and_read_back() {
        let bytes = group().encode(&KEY);
        assert_eq!(bytes.len(), GROUP_HEADER_BYTES);
        assert_eq!(decode(&bytes, 8192), Header::Valid(group()));
        assert_eq!(group().end().offset, 16384);

        let segment =
            SegmentHeader { segment: SegmentId(3), generation: 5, first_sequence: Sequence(11) };
        let bytes = segment.encode(&KEY);
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&bytes, &KEY, SegmentId(3)), Header::Valid(segment));
        assert_eq!(SegmentHeader::decode(&bytes, &KEY, SegmentId(4)), Header::Absent);
    }

    #[test]
    fn a_group_of_another_place_or_key_is_none() {
        let bytes = group().encode(&KEY);
        let other_key = StoreKey([8; 32]);
        let absent = [
            decode(&bytes, 4096),
            GroupHeader::decode(&bytes, &KEY, SegmentId(4), Some(5), 8192),
            GroupHeader::decode(&bytes, &KEY, SegmentId(3), Some(6), 8192),
            GroupHeader::decode(&bytes, &other_key, SegmentId(3), Some(5), 8192),
        ];
        assert!(absent.iter().all(|header| *header == Header::Absent), "{absent:?}");
    }

    #[test]
    fn a_header_with_any_byte_changed_or_missing_is_none() {
        let bytes = group().encode(&KEY);
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert_eq!(decode(&changed, 8192), Header::Absent, "byte {index}");
            assert_eq!(decode(&bytes[..index], 8192), Header::Absent, "{index} bytes");
        }
    }

    #[test]
    fn an_intact_header_of_another_version_is_told_apart() {
        let mut bytes = group().encode(&KEY);
        bytes.truncate(GROUP_HEADER_BYTES - HASH_BYTES);
        bytes[8] = 2;
        KEY.seal(&mut bytes);
        assert_eq!(decode(&bytes, 8192), Header::Newer(2));
    }
}

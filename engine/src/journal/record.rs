//! The records part of a group, byte by byte. Integers are little-endian.
//!
//! Records follow one another without a gap:
//!
//! | byte | length | |
//! |---|---|---|
//! | 0 | 4 | bytes of this record, these included |
//! | 4 | 4 | bytes of the change |
//! | 8 | 8 | sequence |
//! | 16 | 4 | number of contents |
//! | 20 | 4 | zero |
//! | 24 | | the change, then 64 bytes for each content |
//!
//! A content:
//!
//! | byte | length | |
//! |---|---|---|
//! | 0 | 32 | BLAKE3 digest |
//! | 32 | 8 | bytes |
//! | 40 | 4 | CRC-32 |
//! | 44 | 4 | 0: its bytes are a payload of this group; 1: in a file of its own |
//! | 48 | 8 | 0: offset of the payload in the segment's file; 1: start number of the file's name |
//! | 56 | 8 | 0: zero; 1: number of the file's name |
//!
//! The payloads of a group follow its records in the order of their contents, without a gap.

use std::io;

use crate::model::change::{BlobPlace, LargeFileId, NewBlob, SegmentId};
use crate::model::{Digest, Sequence};

use super::frame::{Fields, GROUP_HEADER_BYTES, GroupHeader};
use super::{NewRecord, Position, RecordBlob, ReplayedRecord};

const RECORD_HEADER_BYTES: usize = 24;
const BLOB_BYTES: usize = 64;
const PLACE_PAYLOAD: u32 = 0;
const PLACE_LARGE: u32 = 1;

/// Bytes that a group's parts will take.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupSize {
    pub(super) records_bytes: usize,
    pub(super) payload_bytes: usize,
}

impl GroupSize {
    pub(super) fn of(records: &[NewRecord]) -> Self {
        let record = |record: &NewRecord| {
            RECORD_HEADER_BYTES + record.change.len() + BLOB_BYTES * record.blobs.len()
        };
        Self {
            records_bytes: records.iter().map(record).sum(),
            payload_bytes: payloads(records).map(<[u8]>::len).sum(),
        }
    }

    /// Bytes of header, records and payloads.
    pub(super) fn content_bytes(self) -> usize {
        GROUP_HEADER_BYTES + self.records_bytes + self.payload_bytes
    }
}

/// The payloads of a group in their order.
pub(super) fn payloads(records: &[NewRecord]) -> impl Iterator<Item = &[u8]> {
    records.iter().flat_map(|record| &record.blobs).filter_map(|blob| match blob {
        RecordBlob::Payload { bytes, .. } => Some(bytes.as_ref()),
        RecordBlob::Large { .. } => None,
    })
}

/// Gives every content of a group that starts there its place.
pub(super) fn place_blobs(
    records: &[NewRecord],
    size: GroupSize,
    start: Position,
) -> io::Result<Vec<Vec<NewBlob>>> {
    let header = GROUP_HEADER_BYTES + size.records_bytes;
    let mut offset = start.offset + wide(header)?;
    let mut place = |blob: &RecordBlob| match blob {
        RecordBlob::Payload { digest, crc32, bytes } => {
            let length = wide(bytes.len())?;
            let place = BlobPlace::Segment { segment: start.segment, offset };
            offset += length;
            Ok(NewBlob { digest: *digest, length, crc32: *crc32, place })
        }
        RecordBlob::Large { digest, length, crc32, file } => Ok(NewBlob {
            digest: *digest,
            length: *length,
            crc32: *crc32,
            place: BlobPlace::Large(*file),
        }),
    };
    let of_record = |record: &NewRecord| record.blobs.iter().map(&mut place).collect();
    records.iter().map(of_record).collect()
}

/// Appends a record to the records part of a group.
pub(super) fn encode_record(
    record: &NewRecord,
    blobs: &[NewBlob],
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    let length = RECORD_HEADER_BYTES + record.change.len() + BLOB_BYTES * blobs.len();
    bytes.extend(narrow(length)?.to_le_bytes());
    bytes.extend(narrow(record.change.len())?.to_le_bytes());
    bytes.extend(record.sequence.0.to_le_bytes());
    bytes.extend(narrow(blobs.len())?.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(&record.change);
    for blob in blobs {
        let (kind, first, second) = match blob.place {
            BlobPlace::Segment { offset, .. } => (PLACE_PAYLOAD, offset, 0),
            BlobPlace::Large(LargeFileId { start, number }) => (PLACE_LARGE, start, number),
        };
        bytes.extend(blob.digest.as_bytes());
        bytes.extend(blob.length.to_le_bytes());
        bytes.extend(blob.crc32.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(first.to_le_bytes());
        bytes.extend(second.to_le_bytes());
    }
    Ok(())
}

/// Reads the records part of a group whose hash fits; `None` if it is not what its header says.
pub(super) fn decode_records(bytes: &[u8], header: &GroupHeader) -> Option<Vec<ReplayedRecord>> {
    let mut fields = Fields(bytes);
    let mut records = Vec::new();
    let mut sequence = header.first_sequence;
    let mut payload_offset = header.payload_offset();
    for _record in 0..header.record_count {
        let record = decode_record(&mut fields, header.start.segment, &mut payload_offset)?;
        if record.sequence != sequence {
            return None;
        }
        sequence = Sequence(sequence.0.checked_add(1)?);
        records.push(record);
    }
    let whole = fields.0.is_empty() && payload_offset == header.content_end();
    (whole && !records.is_empty()).then_some(records)
}

fn decode_record(
    fields: &mut Fields<'_>,
    segment: SegmentId,
    payload_offset: &mut u64,
) -> Option<ReplayedRecord> {
    let length = usize::try_from(fields.u32()?).ok()?;
    let mut fields = Fields(fields.bytes(length.checked_sub(4)?)?);
    let change_bytes = usize::try_from(fields.u32()?).ok()?;
    let sequence = Sequence(fields.u64()?);
    let blob_count = fields.u32()?;
    fields.u32()?;
    let change = fields.bytes(change_bytes)?.to_vec();
    let blobs = (0..blob_count)
        .map(|_blob| decode_blob(&mut fields, segment, payload_offset))
        .collect::<Option<_>>()?;
    fields.0.is_empty().then_some(ReplayedRecord { sequence, change, blobs })
}

fn decode_blob(
    fields: &mut Fields<'_>,
    segment: SegmentId,
    payload_offset: &mut u64,
) -> Option<NewBlob> {
    let digest = Digest(fields.take()?);
    let length = fields.u64()?;
    let crc32 = fields.u32()?;
    let (kind, first, second) = (fields.u32()?, fields.u64()?, fields.u64()?);
    let place = match kind {
        PLACE_PAYLOAD if first == *payload_offset => {
            *payload_offset = first.checked_add(length)?;
            BlobPlace::Segment { segment, offset: first }
        }
        PLACE_LARGE => BlobPlace::Large(LargeFileId { start: first, number: second }),
        _ => return None,
    };
    Some(NewBlob { digest, length, crc32, place })
}

fn wide(bytes: usize) -> io::Result<u64> {
    u64::try_from(bytes).map_err(io::Error::other)
}

fn narrow(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(io::Error::other)
}

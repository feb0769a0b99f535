//! Reads one segment's file: headers, groups, and what lies behind the last group.
//!
//! Tells what is there and judges nothing: whether a bad group is torn or damaged depends on what
//! follows it, which `replay` knows.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::model::Digest;
use crate::model::change::{BlobPlace, NewBlob, SegmentId};

use super::ReplayedRecord;
use super::frame::{
    GROUP_HEADER_BYTES, GroupHeader, Header, PAGE_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader,
    StoreKey, ZERO_PAGE,
};
use super::record::decode_records;

/// Bytes that are read at a time while looking for group starts; a multiple of a page.
const SCAN_BYTES: u64 = 1 << 20;

/// A segment's file with what is needed to check it.
#[derive(Debug)]
pub(super) struct SegmentReader {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) key: StoreKey,
    pub(super) segment: SegmentId,
    /// Generation that groups must have; `None` where the segment's header is not known.
    pub(super) generation: Option<u64>,
    /// Bytes of the file.
    pub(super) length: u64,
}

/// What is found where a group may start.
#[derive(Debug)]
pub(super) enum Found {
    /// A whole group; its payloads fit their digests.
    Group(GroupHeader, Vec<ReplayedRecord>),
    Newer(u32),
    /// Why it is none.
    Bad(&'static str),
}

/// What lies behind the place where no group was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// A group starts here, which makes the place before it damaged.
    pub(super) group_start: Option<u64>,
    /// End of the last page that is not zero, or where the tail starts if all are.
    pub(super) nonzero_end: u64,
}

impl SegmentReader {
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        key: StoreKey,
        segment: SegmentId,
    ) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Self { file, key, segment, generation: None, length })
    }

    pub(super) fn segment_header(&self) -> io::Result<Header<SegmentHeader>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        if !self.read(&mut bytes, 0)? {
            return Ok(Header::Absent);
        }
        Ok(SegmentHeader::decode(&bytes, &self.key, self.segment))
    }

    pub(super) fn group_header(&self, offset: u64) -> io::Result<Header<GroupHeader>> {
        let mut bytes = [0; GROUP_HEADER_BYTES];
        if !self.read(&mut bytes, offset)? {
            return Ok(Header::Absent);
        }
        Ok(self.decode_group_header(&bytes, offset))
    }

    fn decode_group_header(&self, bytes: &[u8], offset: u64) -> Header<GroupHeader> {
        GroupHeader::decode(bytes, &self.key, self.segment, self.generation, offset)
    }

    /// Reads the records of a group and not its payloads; `None` if they fail their check.
    pub(super) fn records(&self, header: &GroupHeader) -> io::Result<Option<Vec<ReplayedRecord>>> {
        if header.payload_offset() > self.length {
            return Ok(None);
        }
        let mut bytes = vec![0; in_memory(header.records_bytes)?];
        self.file.read_exact_at(&mut bytes, header.records_offset())?;
        Ok(self.checked_records(&bytes, header))
    }

    fn checked_records(&self, bytes: &[u8], header: &GroupHeader) -> Option<Vec<ReplayedRecord>> {
        if self.key.hash(bytes) != header.records_hash {
            return None;
        }
        decode_records(bytes, header)
    }

    /// Reads a whole group and checks all of it.
    pub(super) fn group(&self, offset: u64) -> io::Result<Found> {
        let header = match self.group_header(offset)? {
            Header::Valid(header) => header,
            Header::Newer(version) => return Ok(Found::Newer(version)),
            Header::Absent => return Ok(Found::Bad("no group starts there")),
        };
        // Compared before memory is taken for it.
        if header.content_end() > self.length {
            return Ok(Found::Bad("its group reaches beyond the end of the file"));
        }
        let mut bytes = vec![0; in_memory(header.records_bytes + header.payload_bytes)?];
        self.file.read_exact_at(&mut bytes, header.records_offset())?;
        let (records, payloads) =
            bytes.split_at_checked(in_memory(header.records_bytes)?).unwrap_or((&bytes, &[]));
        let Some(records) = self.checked_records(records, &header) else {
            return Ok(Found::Bad("the records of its group fail their checksum"));
        };
        let blobs = records.iter().flat_map(|record| &record.blobs);
        if !payloads_fit(blobs, payloads) {
            return Ok(Found::Bad("a content of its group fails its digest"));
        }
        Ok(Found::Group(header, records))
    }

    /// Looks at everything from a page on; a group that starts in that page itself is not told.
    pub(super) fn tail(&self, start: u64) -> io::Result<Tail> {
        let mut tail = Tail { group_start: None, nonzero_end: start };
        let mut chunk_start = start;
        while chunk_start < self.length {
            let chunk_bytes = SCAN_BYTES.min(self.length - chunk_start);
            let mut chunk = vec![0; in_memory(chunk_bytes)?];
            self.file.read_exact_at(&mut chunk, chunk_start)?;
            let mut offset = chunk_start;
            for page in chunk.chunks(ZERO_PAGE.len()) {
                if ZERO_PAGE.get(..page.len()) != Some(page) {
                    tail.nonzero_end = (offset + PAGE_BYTES).min(self.length);
                    let header = self.decode_group_header(page, offset);
                    if offset > start && header != Header::Absent {
                        tail.group_start = Some(offset);
                        return Ok(tail);
                    }
                }
                offset += PAGE_BYTES;
            }
            chunk_start += chunk_bytes;
        }
        Ok(tail)
    }

    /// Fills the buffer; `false` if the file ends before.
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether the payloads, one after the other, are the contents that the blobs name.
fn payloads_fit<'a>(blobs: impl Iterator<Item = &'a NewBlob>, payloads: &[u8]) -> bool {
    let mut rest = payloads;
    for blob in blobs {
        if let BlobPlace::Large(_) = blob.place {
            continue;
        }
        let payload = usize::try_from(blob.length).ok().and_then(|length| rest.split_off(..length));
        if payload.is_none_or(|payload| Digest::of(payload) != blob.digest) {
            return false;
        }
    }
    rest.is_empty()
}

fn in_memory(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}

//! A journal on a simulated disk, and what was answered from it; for the tests of this module.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Reached, SimulatedDisk};
use crate::model::change::{BlobPlace, LargeFileId, NewBlob};
use crate::model::{Digest, Sequence};

use super::{
    Appended, Journal, JournalOpenError, JournalOptions, NewRecord, Position, RecordBlob,
    ReplayedRecord,
};

pub(super) const KEY: [u8; 32] = [42; 32];

/// Segments so small that a few groups fill them.
pub(super) const OPTIONS: JournalOptions =
    JournalOptions { segment_bytes: 32 << 10, allocate_bytes: 12 << 10, segments_open_max: 2 };

pub(super) type Opened = Result<(Journal, Vec<ReplayedRecord>), JournalOpenError<Infallible>>;

/// A journal and the records that were answered.
#[derive(Debug)]
pub(super) struct TestStore {
    pub(super) disk: SimulatedDisk,
    pub(super) journal: Journal,
    pub(super) start: Position,
    pub(super) answered: Vec<ReplayedRecord>,
}

impl TestStore {
    pub(super) fn new() -> Self {
        let disk = SimulatedDisk::new();
        let (journal, start) = Journal::create(Arc::new(disk.clone()), KEY, OPTIONS).unwrap();
        Self { disk, journal, start, answered: Vec::new() }
    }

    /// Appends a group of one to five records.
    pub(super) fn append_group(&mut self) {
        let first = self.journal.last_sequence().next();
        self.append(&group(first, 1 + first.0 % 5));
    }

    pub(super) fn append(&mut self, records: &[NewRecord]) {
        let appended = self.journal.append(records).unwrap();
        self.note(records, &appended);
    }

    pub(super) fn note(&mut self, records: &[NewRecord], appended: &Appended) {
        self.answered.extend(answered(records, appended));
    }

    /// Opens the journal as it is seen, as after the end of the process.
    pub(super) fn reopen(&self) -> (Journal, Vec<ReplayedRecord>) {
        open(&self.disk, self.start, Sequence::ZERO).unwrap()
    }

    /// Opens the journal as a power loss leaves it.
    pub(super) fn open_image(&self, reached: Reached) -> Opened {
        open(&self.disk.image(reached), self.start, Sequence::ZERO)
    }
}

/// Opens a journal and collects what it replays.
pub(super) fn open(disk: &SimulatedDisk, checkpoint: Position, applied: Sequence) -> Opened {
    let mut replayed = Vec::new();
    let journal =
        Journal::open(Arc::new(disk.clone()), KEY, OPTIONS, checkpoint, applied, |group| {
            replayed.extend(group.records);
            Ok(())
        })?;
    Ok((journal, replayed))
}

/// What a replay must give for a group that was answered.
pub(super) fn answered(records: &[NewRecord], appended: &Appended) -> Vec<ReplayedRecord> {
    let pairs = records.iter().zip(&appended.blobs);
    let replayed = |(record, blobs): (&NewRecord, &Vec<NewBlob>)| ReplayedRecord {
        sequence: record.sequence,
        change: record.change.clone(),
        blobs: blobs.clone(),
    };
    pairs.map(replayed).collect()
}

/// Records from this sequence on: with no, one and two contents, small and large ones.
pub(super) fn group(first: Sequence, count: u64) -> Vec<NewRecord> {
    (first.0..first.0 + count).map(record).collect()
}

fn record(number: u64) -> NewRecord {
    let length = usize::try_from(number * 389 % 1500).unwrap();
    let bytes: Vec<u8> = number.to_le_bytes().map(|byte| byte | 1).repeat(length.div_ceil(8));
    let payload = RecordBlob::Payload {
        digest: Digest::of(&bytes),
        crc32: crc32fast::hash(&bytes),
        bytes: Bytes::from(bytes),
    };
    let large = RecordBlob::Large {
        digest: Digest::of(&number.to_le_bytes()),
        length: number << 20,
        crc32: 7,
        file: LargeFileId { start: 3, number },
    };
    let blobs = match number % 4 {
        0 => vec![],
        1 => vec![large, payload],
        _ => vec![payload],
    };
    let change = format!("change {number}").into_bytes();
    NewRecord { sequence: Sequence(number), change, blobs }
}

/// Reads a content where its place says and checks it.
pub(super) fn read_back(journal: &Journal, blob: &NewBlob) {
    let BlobPlace::Segment { segment, offset } = blob.place else {
        return;
    };
    let file = journal.segments().get(segment).unwrap().unwrap();
    let mut bytes = vec![0; usize::try_from(blob.length).unwrap()];
    file.read_exact_at(&mut bytes, offset).unwrap();
    assert_eq!(Digest::of(&bytes), blob.digest);
    assert_eq!(crc32fast::hash(&bytes), blob.crc32);
}

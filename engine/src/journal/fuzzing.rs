//! A journal that is written, altered behind its back, and opened: for the fuzz target `journal`.
//!
//! Alterations may be sealed, which nobody without the store's key can do: then whatever they say
//! is believed as far as checksums go, so that the readers behind them meet it too.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, OpenMode, SimulatedDisk};
use crate::model::Digest;
use crate::model::Sequence;
use crate::model::change::SegmentId;

use super::frame::{PAGE_BYTES, StoreKey};
use super::segment::{DIRECTORY, path};
use super::{
    Journal, JournalOpenError, JournalOptions, NewRecord, Position, RecordBlob, ReplayedRecord,
    read_groups,
};

const KEY: [u8; 32] = [42; 32];

/// Segments so small that a few groups fill them.
const OPTIONS: JournalOptions =
    JournalOptions { segment_bytes: 32 << 10, allocate_bytes: 12 << 10, segments_open_max: 2 };

/// A record: the bytes of its change, and contents that travel with it.
pub type Record = (Vec<u8>, Vec<Vec<u8>>);

/// What somebody does to the files of a journal that is closed. Files are counted from the oldest,
/// in a circle; places beyond a file's end are its end.
#[expect(missing_docs, reason = "the variants say what their fields are")]
#[derive(Debug, Clone)]
pub enum Alteration {
    /// Writes bytes.
    Overwrite { file: usize, offset: u64, bytes: Vec<u8> },
    /// Writes the bytes of one place to another.
    Copy { from: (usize, u64), to: (usize, u64), length: u64 },
    /// Cuts a file, or lengthens it with zeros up to a mebibyte.
    Resize { file: usize, length: u64 },
    /// Removes a file.
    Remove { file: usize },
    /// Gives a file the name of another segment.
    Rename { file: usize, segment: u64 },
    /// Makes the checksums of a file's headers and records fit what they say.
    Seal { file: usize },
}

/// Writes groups of records, makes the alterations, and opens the journal from the end of the
/// group with this number, or from its start.
///
/// # Errors
/// Which promise is broken.
pub fn alter_and_open(
    groups: &[Vec<Record>],
    alterations: &[Alteration],
    applied_groups: usize,
) -> Result<(), String> {
    let sound = |error: io::Error| format!("the simulated disk failed: {error}");
    let disk = SimulatedDisk::new();
    let written = Written::write(&disk, groups)?;
    for alteration in alterations {
        alter(&disk, alteration).map_err(sound)?;
    }
    let before = files(&disk).map_err(sound)?;
    let checkpoint = written.checkpoint(applied_groups);
    let read = read(&disk, checkpoint);
    if files(&disk).map_err(sound)? != before {
        return Err("reading changed a file".into());
    }
    let (journal, replayed) = match open(&disk, checkpoint) {
        Ok(opened) => opened,
        Err(JournalOpenError::Io(error)) => return Err(sound(error)),
        Err(refused) if files(&disk).map_err(sound)? == before => {
            return match (read, alterations) {
                (Ok(_), _) => Err(format!("read, but not opened: {refused}")),
                (Err(_), []) => Err(format!("a sound journal is refused: {refused}")),
                (Err(_), _) => Ok(()),
            };
        }
        Err(refused) => return Err(format!("refused, and yet changed: {refused}")),
    };
    let is_sealed = alterations.iter().any(|one| matches!(one, Alteration::Seal { .. }));
    if !is_sealed {
        written.expect_prefix(&replayed, checkpoint.1, alterations.is_empty())?;
    }
    match read {
        Ok(records) if records == replayed => goes_on(&disk, journal, checkpoint, replayed),
        other => Err(format!("opened with {replayed:?}, read as {other:?}")),
    }
}

/// An opened journal takes another record, and shows all of them when it is opened again.
fn goes_on(
    disk: &SimulatedDisk,
    mut journal: Journal,
    checkpoint: (Position, Sequence),
    mut replayed: Vec<ReplayedRecord>,
) -> Result<(), String> {
    let segments = journal.segments();
    for id in segments.ids() {
        // What lies before the checkpoint was not looked at so far, and may be damaged.
        segments.blobs_of(id, |_| true).ok();
    }
    if journal.last_sequence().0 > u64::MAX / 2 {
        return Ok(());
    }
    let record =
        NewRecord { sequence: journal.last_sequence().next(), change: vec![7], blobs: vec![] };
    journal.append(std::slice::from_ref(&record)).map_err(|error| format!("closed: {error}"))?;
    drop(journal);
    let NewRecord { sequence, change, .. } = record;
    replayed.push(ReplayedRecord { sequence, change, blobs: Vec::new() });
    match open(disk, checkpoint) {
        Ok((_, again)) if again == replayed => Ok(()),
        other => Err(format!("{replayed:?} opened again is {other:?}")),
    }
}

/// What was appended before the alterations.
struct Written {
    start: Position,
    /// Where each group ends, with its last sequence.
    ends: Vec<(Position, Sequence)>,
    records: Vec<ReplayedRecord>,
}

impl Written {
    fn write(disk: &SimulatedDisk, groups: &[Vec<Record>]) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| format!("not written: {error}");
        let made = Journal::create(Arc::new(disk.clone()), KEY, OPTIONS);
        let (mut journal, start) = made.map_err(|error| text(&error))?;
        let mut written = Self { start, ends: Vec::new(), records: Vec::new() };
        for group in groups.iter().filter(|group| !group.is_empty()) {
            let mut sequence = journal.last_sequence();
            let records: Vec<NewRecord> = group
                .iter()
                .map(|record| {
                    sequence = sequence.next();
                    new_record(sequence, record)
                })
                .collect();
            let appended = journal.append(&records).map_err(|error| text(&error))?;
            written.ends.push((appended.end, sequence));
            for (record, blobs) in records.into_iter().zip(appended.blobs) {
                let NewRecord { sequence, change, .. } = record;
                written.records.push(ReplayedRecord { sequence, change, blobs });
            }
        }
        Ok(written)
    }

    fn checkpoint(&self, groups: usize) -> (Position, Sequence) {
        let end = groups.checked_sub(1).and_then(|last| self.ends.get(last));
        end.copied().unwrap_or((self.start, Sequence::ZERO))
    }

    /// What is replayed was written, in this order and without a gap.
    fn expect_prefix(
        &self,
        replayed: &[ReplayedRecord],
        applied: Sequence,
        whole: bool,
    ) -> Result<(), String> {
        let unapplied = self.records.iter().filter(|record| record.sequence > applied);
        let unapplied: Vec<ReplayedRecord> = unapplied.cloned().collect();
        if unapplied.starts_with(replayed) && (!whole || unapplied.len() == replayed.len()) {
            return Ok(());
        }
        Err(format!("of {unapplied:?} came {replayed:?}"))
    }
}

fn new_record(sequence: Sequence, (change, contents): &Record) -> NewRecord {
    let payload = |bytes: &Vec<u8>| RecordBlob::Payload {
        digest: Digest::of(bytes),
        crc32: crc32fast::hash(bytes),
        bytes: Bytes::copy_from_slice(bytes),
    };
    NewRecord { sequence, change: change.clone(), blobs: contents.iter().map(payload).collect() }
}

type Opened<T> = Result<T, JournalOpenError<Infallible>>;

fn open(
    disk: &SimulatedDisk,
    (position, applied): (Position, Sequence),
) -> Opened<(Journal, Vec<ReplayedRecord>)> {
    let mut replayed = Vec::new();
    let disk = Arc::new(disk.clone());
    let journal = Journal::open(disk, KEY, OPTIONS, position, applied, |group| {
        replayed.extend(group.records);
        Ok(())
    })?;
    Ok((journal, replayed))
}

fn read(
    disk: &SimulatedDisk,
    (position, applied): (Position, Sequence),
) -> Opened<Vec<ReplayedRecord>> {
    let mut replayed = Vec::new();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    read_groups(&disk, KEY, position, applied, |group| {
        replayed.extend(group.records);
        Ok(())
    })?;
    Ok(replayed)
}

/// All files of the journal with their bytes, in order of name.
fn files(disk: &SimulatedDisk) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = disk.list(DIRECTORY)?;
    names.sort_unstable();
    let with_bytes = |name: String| {
        let bytes = content(disk, &format!("{DIRECTORY}/{name}"))?;
        Ok((name, bytes))
    };
    names.into_iter().map(with_bytes).collect()
}

fn content(disk: &SimulatedDisk, path: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Existing)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The path of a file, counted in a circle; `None` if there is none.
fn nth(disk: &SimulatedDisk, file: usize) -> io::Result<Option<String>> {
    let mut names = disk.list(DIRECTORY)?;
    names.sort_unstable();
    let name = file.checked_rem(names.len()).and_then(|at| names.get(at));
    Ok(name.map(|name| format!("{DIRECTORY}/{name}")))
}

fn alter(disk: &SimulatedDisk, alteration: &Alteration) -> io::Result<()> {
    let file = match alteration {
        Alteration::Copy { to: (file, _), .. }
        | Alteration::Overwrite { file, .. }
        | Alteration::Resize { file, .. }
        | Alteration::Remove { file }
        | Alteration::Rename { file, .. }
        | Alteration::Seal { file } => *file,
    };
    let Some(own) = nth(disk, file)? else {
        return Ok(());
    };
    match alteration {
        Alteration::Overwrite { offset, bytes, .. } => write(disk, &own, *offset, bytes),
        Alteration::Copy { from, to, length } => {
            let Some(other) = nth(disk, from.0)? else {
                return Ok(());
            };
            let source = content(disk, &other)?;
            let start = usize::try_from(from.1).unwrap_or(usize::MAX).min(source.len());
            let length = usize::try_from(*length).unwrap_or(usize::MAX);
            let bytes = source.get(start..).unwrap_or_default();
            write(disk, &own, to.1, bytes.get(..length).unwrap_or(bytes))
        }
        Alteration::Resize { length, .. } => {
            disk.open(&own, OpenMode::Existing)?.set_len((*length).min(1 << 20))
        }
        Alteration::Remove { .. } => disk.remove(&own),
        Alteration::Rename { segment, .. } => disk.rename(&own, &path(SegmentId(*segment))),
        Alteration::Seal { .. } => {
            let mut bytes = content(disk, &own)?;
            seal(&mut bytes);
            write(disk, &own, 0, &bytes)
        }
    }
}

fn write(disk: &SimulatedDisk, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Existing)?;
    let offset = offset.min(file.len()?);
    file.write_all_at(&[IoSlice::new(bytes)], offset)
}

/// Makes all checksums fit: those of the segment's header, of groups' headers and records.
fn seal(file: &mut [u8]) {
    let page_bytes = usize::try_from(PAGE_BYTES).unwrap_or(usize::MAX);
    let key = StoreKey(KEY);
    for start in (0..file.len()).step_by(page_bytes) {
        let Some(page) = file.get_mut(start..) else {
            continue;
        };
        if page.starts_with(b"granaryS") {
            seal_at(page, 40, 0..40, &key);
        } else if page.starts_with(b"granaryG") {
            let records_bytes = page.get(48..56).and_then(|field| field.try_into().ok());
            let records_bytes = records_bytes.map_or(u64::MAX, u64::from_le_bytes);
            let end = usize::try_from(records_bytes).unwrap_or(usize::MAX).saturating_add(128);
            seal_at(page, 64, 128..end, &key);
            seal_at(page, 96, 0..96, &key);
        }
    }
}

/// Writes the checksum of a range at a place, if both are there.
fn seal_at(bytes: &mut [u8], at: usize, range: std::ops::Range<usize>, key: &StoreKey) {
    let checksum = bytes.get(range).map(|range| key.hash(range));
    if let (Some(checksum), Some(place)) = (checksum, bytes.get_mut(at..at.saturating_add(32))) {
        place.copy_from_slice(&checksum);
    }
}

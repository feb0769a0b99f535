//! Layers: who names them, and how many rows they have (I4).

use std::collections::BTreeMap;

use redb::{AccessGuard, ReadableTable, ReadableTableMetadata};

use super::Halt;
use super::findings::Findings;
use super::progress::{CheckProgress, Stage};
use super::tally::{Tally, Told};
use crate::codec;
use crate::error::ReadError;
use crate::index::rows::{FileRow, LayerRow, SetRow};
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::limits::{CHECK_FINDINGS_MAX, CHECK_LAYERS_AT_ONCE};
use crate::model::Filename;

/// Rows between two looks at whether the check is to stop.
const ROWS_A_LOOK: u64 = 4096;

/// Compares how many stacks a layer counts with how many name it, so many layers at a time.
pub(super) fn check_stacks(snapshot: &Snapshot, findings: &mut Findings) -> Result<(), ReadError> {
    let table = snapshot.table(tables::LAYERS)?;
    let mut from = 0;
    loop {
        let mut window: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for entry in table.range(from..).map_err(IndexError::from)?.take(CHECK_LAYERS_AT_ONCE) {
            let (id, row) = entry.map_err(IndexError::from)?;
            let row: LayerRow = codec::decode(row.value()).map_err(IndexError::from)?;
            window.insert(id.value(), (row.stacks, 0));
        }
        let is_last = window.len() < CHECK_LAYERS_AT_ONCE;
        let last = window.last_key_value().map_or(u64::MAX, |(last, _)| *last);
        let upto = if is_last { u64::MAX } else { last };
        each_named(snapshot, &mut |layer| match window.get_mut(&layer) {
            Some((_, found)) => *found += 1,
            None if (from..=upto).contains(&layer) => {
                findings.rows("I4", format!("layer {layer} is named and has no row"));
            }
            None => {}
        })?;
        for (layer, (counted, found)) in window {
            if counted != found {
                findings
                    .rows("I4", format!("layer {layer} counts {counted} stacks, {found} name it"));
            }
        }
        if is_last {
            return Ok(());
        }
        from = upto + 1;
    }
}

/// Visits every layer that a stack, a set or the background names, as often as it is named.
fn each_named(snapshot: &Snapshot, visit: &mut dyn FnMut(u64)) -> Result<(), ReadError> {
    for dataset in snapshot.datasets()? {
        for entry in dataset?.stack {
            visit(entry.layer.0);
        }
    }
    for entry in snapshot.table(tables::SETS)?.iter().map_err(IndexError::from)? {
        let (_, row) = entry.map_err(IndexError::from)?;
        let row: SetRow = codec::decode(row.value()).map_err(IndexError::from)?;
        visit(row.layer.0);
    }
    Ok(())
}

/// Compares the rows that a layer counts with those that it has; gives what the rows of files say
/// of contents.
pub(super) fn check_layers(
    snapshot: &Snapshot,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<Tally, Halt> {
    let files = snapshot.table(tables::FILES)?;
    let metadata = snapshot.table(tables::METADATA)?;
    let dropped = snapshot.table(tables::DROPPED_LAYERS)?;
    let rows = files.len().map_err(IndexError::from)?;
    progress.begin(Stage::Rows, rows + metadata.len().map_err(IndexError::from)?);
    let mut tally = Tally::new();
    let (mut unreadable, mut unreadable_count) = (Vec::new(), 0usize);
    let mut files = ByLayer::over(files.iter().map_err(IndexError::from)?, |name, bytes| {
        progress.note_file();
        if let Err(what) = read_file_row(name, bytes, &mut tally) {
            unreadable_count += 1;
            if unreadable.len() < CHECK_FINDINGS_MAX {
                unreadable.push(what);
            }
        }
    });
    let mut metadata = ByLayer::over(metadata.iter().map_err(IndexError::from)?, |_, _| {});
    for entry in snapshot.table(tables::LAYERS)?.iter().map_err(IndexError::from)? {
        let (id, row) = entry.map_err(IndexError::from)?;
        let (layer, row) = (id.value(), row.value());
        let row: LayerRow = codec::decode(row).map_err(IndexError::from)?;
        let counted = (
            files.count(Some(layer), progress, findings)?,
            metadata.count(Some(layer), progress, findings)?,
        );
        // Its rows are being removed, and its counts stay.
        let is_dropped = dropped.get(layer).map_err(IndexError::from)?.is_some();
        if !is_dropped && counted != (row.rows, row.metadata_rows) {
            let what = format!(
                "layer {layer} counts {} rows of files and {} of metadata, has {} and {}",
                row.rows, row.metadata_rows, counted.0, counted.1
            );
            findings.rows("I4", what);
        }
    }
    files.count(None, progress, findings)?;
    metadata.count(None, progress, findings)?;
    drop(files);
    let unlisted = unreadable_count - unreadable.len();
    findings.unlisted(u64::try_from(unlisted).unwrap_or(u64::MAX));
    for what in unreadable {
        findings.rows("I4", what);
    }
    Ok(tally)
}

/// Takes what a file's row says of its content; an error says what is wrong with the row.
fn read_file_row(name: &str, bytes: &[u8], tally: &mut Tally) -> Result<(), String> {
    let row =
        FileRow::decode(bytes).map_err(|error| format!("the row of file {name:?}: {error}"))?;
    if let FileRow::File(record) = row {
        tally.name(&Told { digest: record.digest, length: record.length, crc32: record.crc32 });
    }
    match Filename::exact(name) {
        Some(_) => Ok(()),
        None => Err(format!("a row has the file name {name:?}, which is not in normal form")),
    }
}

type NameKey = (u64, &'static str);

/// Rows in order of layer, counted layer by layer beside the layers' own rows.
struct ByLayer<'a, Visit> {
    rows: redb::Range<'a, NameKey, &'static [u8]>,
    /// Layer of the row that was read last and not counted.
    next: Option<u64>,
    visit: Visit,
}

impl<'a, Visit: FnMut(&str, &[u8])> ByLayer<'a, Visit> {
    fn over(rows: redb::Range<'a, NameKey, &'static [u8]>, visit: Visit) -> Self {
        Self { rows, next: None, visit }
    }

    fn read(&mut self) -> Result<Option<u64>, ReadError> {
        let Some(entry) = self.rows.next() else { return Ok(None) };
        let (key, row): (AccessGuard<'_, NameKey>, _) = entry.map_err(IndexError::from)?;
        let (layer, name) = key.value();
        (self.visit)(name, row.value());
        Ok(Some(layer))
    }

    /// Counts the rows of a layer; those of layers before it, or of all that follow for `None`,
    /// belong to no known layer.
    fn count(
        &mut self,
        layer: Option<u64>,
        progress: &CheckProgress,
        findings: &mut Findings,
    ) -> Result<u64, Halt> {
        let (mut count, mut read, mut unknown) = (0, 0, None);
        loop {
            let found = match self.next.take() {
                Some(found) => Some(found),
                None => self.read()?,
            };
            let Some(found) = found else { break };
            if layer.is_some_and(|layer| found > layer) {
                self.next = Some(found);
                break;
            }
            if Some(found) == layer {
                count += 1;
            } else if unknown != Some(found) {
                findings.rows("I4", format!("layer {found} has rows and is not known"));
                unknown = Some(found);
            }
            read += 1;
            if read == ROWS_A_LOOK {
                progress.advance(read)?;
                read = 0;
            }
        }
        progress.advance(read)?;
        Ok(count)
    }
}

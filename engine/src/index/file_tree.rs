//! Layers as one tree of files: the nearest layer's row wins. Nobody else knows layers.
//!
//! Works over the tables of a snapshot and over those of the transaction that applies a group.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::Bound;

use redb::{Range, ReadableTable};

use crate::codec;
use crate::index::IndexError;
use crate::index::rows::FileRow;
use crate::model::dataset::StackEntry;
use crate::model::{FileRecord, LayerId};

/// A layer and a name.
pub(crate) type Key = (u64, &'static str);
/// What a layer says of a name, encoded.
pub(crate) type Value = &'static [u8];

/// The files of one dataset, or of a part of its stack.
#[derive(Debug)]
pub(crate) struct FileTree<'a, F, M> {
    files: &'a F,
    metadata: &'a M,
    stack: &'a [StackEntry],
}

impl<'a, F, M> FileTree<'a, F, M>
where
    F: ReadableTable<Key, Value>,
    M: ReadableTable<Key, Value>,
{
    /// The tree of a stack, the top layer first.
    pub(crate) fn new(files: &'a F, metadata: &'a M, stack: &'a [StackEntry]) -> Self {
        Self { files, metadata, stack }
    }

    /// The nearest row of a name and how many layers lie above it.
    pub(crate) fn nearest(&self, name: &str) -> Result<Option<(usize, FileRow)>, IndexError> {
        for (depth, entry) in self.stack.iter().enumerate() {
            #[cfg(test)]
            visits::note();
            if let Some(row) = self.files.get((entry.layer.0, name))? {
                return Ok(Some((depth, FileRow::decode(row.value())?)));
            }
        }
        Ok(None)
    }

    /// The file of a name.
    pub(crate) fn get(&self, name: &str) -> Result<Option<FileRecord>, IndexError> {
        Ok(match self.nearest(name)? {
            Some((_, FileRow::File(record))) => Some(record),
            Some((_, FileRow::Tombstone)) | None => None,
        })
    }

    /// A file's metadata; `None` if there is no such file.
    pub(crate) fn metadata(&self, name: &str) -> Result<Option<String>, IndexError> {
        Ok(match self.nearest(name)? {
            Some((depth, FileRow::File(_))) => {
                Some(self.metadata_down_to(depth, name)?.unwrap_or_default())
            }
            Some((_, FileRow::Tombstone)) | None => None,
        })
    }

    /// The nearest metadata row of a name in the layers from the top to `depth`.
    fn metadata_down_to(&self, depth: usize, name: &str) -> Result<Option<String>, IndexError> {
        for entry in self.stack.iter().take(depth + 1) {
            if entry.metadata_void {
                break;
            }
            if let Some(row) = self.metadata.get((entry.layer.0, name))? {
                return Ok(Some(codec::decode(row.value())?));
            }
        }
        Ok(None)
    }

    /// Files whose names come at or after `from`, in order of name.
    pub(crate) fn files_from(&self, from: Bound<&str>) -> Result<Files<'a>, IndexError> {
        Ok(Files { rows: self.rows_from(from)? })
    }

    /// The nearest rows of names at or after `from`, tombstones included.
    pub(crate) fn rows_from(&self, from: Bound<&str>) -> Result<Rows<'a>, IndexError> {
        let mut layers = Vec::with_capacity(self.stack.len());
        for entry in self.stack {
            let range = self.files.range::<(u64, &str)>(bounds(entry.layer, from))?;
            layers.push(LayerCursor { range, head: None, started: false });
        }
        Ok(Rows { layers })
    }

    /// The first name from this one on of which any layer has a row.
    pub(crate) fn next_name(&self, from: &str) -> Result<Option<String>, IndexError> {
        let mut next: Option<String> = None;
        for entry in self.stack {
            #[cfg(test)]
            visits::note();
            let keys = bounds(entry.layer, Bound::Included(from));
            let Some(row) = self.files.range::<(u64, &str)>(keys)?.next() else { continue };
            let (key, _) = row?;
            let name = key.value().1;
            if next.as_deref().is_none_or(|next| name < next) {
                next = Some(name.to_owned());
            }
        }
        Ok(next)
    }

    /// Whether any layer has a row of this name, or of one that begins with it.
    pub(crate) fn has_row_near(&self, name: &str) -> Result<bool, IndexError> {
        for entry in self.stack {
            #[cfg(test)]
            visits::note();
            let keys = bounds(entry.layer, Bound::Included(name));
            let Some(row) = self.files.range::<(u64, &str)>(keys)?.next() else { continue };
            if row?.0.value().1.starts_with(name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first names after one, so many at most, of which any layer has metadata.
    pub(crate) fn described_after(
        &self,
        after: Option<&str>,
        names_max: usize,
    ) -> Result<BTreeSet<String>, IndexError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut names = BTreeSet::new();
        for entry in self.stack {
            let range = self.metadata.range::<(u64, &str)>(bounds(entry.layer, from))?;
            for row in range.take(names_max) {
                names.insert(row?.0.value().1.to_owned());
            }
        }
        while names.len() > names_max {
            names.pop_last();
        }
        Ok(names)
    }

    /// The first file from `from` whose name starts with `prefix`, if there are looks enough to find it:
    /// deletions may have left any number of tombstones there.
    pub(crate) fn first_below(
        &self,
        prefix: &str,
        from: Bound<&str>,
        looks: &Looks,
    ) -> Result<Below, IndexError> {
        let mut rows = self.rows_from(from)?;
        loop {
            if !looks.take() {
                return Ok(Below::Unknown);
            }
            let Some(NearestRow { name, row, .. }) = rows.next().transpose()? else { break };
            if !name.starts_with(prefix) {
                break;
            }
            match row {
                FileRow::File(_) => return Ok(Below::File(name)),
                FileRow::Tombstone => {}
            }
        }
        Ok(Below::Nothing)
    }

    /// Metadata of the row that [`Rows`] found at `depth`.
    pub(crate) fn metadata_at(
        &self,
        depth: usize,
        name: &str,
    ) -> Result<Option<String>, IndexError> {
        self.metadata_down_to(depth, name)
    }
}

/// A range of keys.
type Keys<'a> = (Bound<(u64, &'a str)>, Bound<(u64, &'a str)>);

/// The keys of a layer from a name on.
fn bounds(layer: LayerId, from: Bound<&str>) -> Keys<'_> {
    let lower = match from {
        Bound::Included(name) => Bound::Included((layer.0, name)),
        Bound::Excluded(name) => Bound::Excluded((layer.0, name)),
        Bound::Unbounded => Bound::Included((layer.0, "")),
    };
    (lower, Bound::Excluded((layer.0 + 1, "")))
}

/// How many more rows may be looked for, over all that whoever looks wants to know.
#[derive(Debug)]
pub(crate) struct Looks(Cell<usize>);

impl Looks {
    pub(crate) fn at_most(rows: usize) -> Self {
        Self(Cell::new(rows))
    }

    /// As many as it takes.
    pub(crate) fn any_number() -> Self {
        Self::at_most(usize::MAX)
    }

    /// Takes one; `false` if there are none left.
    pub(crate) fn take(&self) -> bool {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.unwrap_or_default());
        left.is_some()
    }
}

/// What [`FileTree::first_below`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Below {
    /// The file of this name.
    File(String),
    /// No file.
    Nothing,
    /// So many tombstones that it stopped looking.
    Unknown,
}

#[derive(Debug)]
struct Head {
    name: String,
    row: FileRow,
}

struct LayerCursor<'a> {
    range: Range<'a, Key, Value>,
    head: Option<Head>,
    started: bool,
}

impl LayerCursor<'_> {
    fn advance(&mut self) -> Result<(), IndexError> {
        #[cfg(test)]
        visits::note();
        self.started = true;
        self.head = match self.range.next() {
            None => None,
            Some(entry) => {
                let (key, value) = entry?;
                let name = key.value().1.to_owned();
                Some(Head { name, row: FileRow::decode(value.value())? })
            }
        };
        Ok(())
    }
}

/// The nearest rows of a stack in order of name, with their depth.
pub(crate) struct Rows<'a> {
    layers: Vec<LayerCursor<'a>>,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Rows").field("layers", &self.layers.len()).finish_non_exhaustive()
    }
}

/// One step of [`Rows`].
#[derive(Debug)]
pub(crate) struct NearestRow {
    pub(crate) name: String,
    pub(crate) row: FileRow,
    /// Layers above the one that holds the row.
    pub(crate) depth: usize,
}

impl Rows<'_> {
    fn step(&mut self) -> Result<Option<NearestRow>, IndexError> {
        for layer in &mut self.layers {
            if !layer.started {
                layer.advance()?;
            }
        }
        let heads = self.layers.iter().enumerate();
        let heads = heads.filter_map(|(depth, layer)| Some((depth, layer.head.as_ref()?)));
        // The first of equals is the nearest.
        let Some((depth, _)) = heads.min_by(|(_, a), (_, b)| a.name.cmp(&b.name)) else {
            return Ok(None);
        };
        let Some(head) = self.layers.get_mut(depth).and_then(|layer| layer.head.take()) else {
            return Ok(None);
        };
        for (at, layer) in self.layers.iter_mut().enumerate() {
            if at == depth || layer.head.as_ref().is_some_and(|other| other.name == head.name) {
                layer.advance()?;
            }
        }
        Ok(Some(NearestRow { name: head.name, row: head.row, depth }))
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<NearestRow, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The files of a stack in order of name.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    rows: Rows<'a>,
}

impl Iterator for Files<'_> {
    type Item = Result<(String, FileRecord), IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.next()? {
                Err(error) => return Some(Err(error)),
                Ok(NearestRow { name, row: FileRow::File(record), .. }) => {
                    return Some(Ok((name, record)));
                }
                Ok(NearestRow { row: FileRow::Tombstone, .. }) => {}
            }
        }
    }
}

/// Rows of files that a thread looked for, for tests that bound them.
#[cfg(test)]
pub(crate) mod visits {
    use std::cell::Cell;

    thread_local! {
        static VISITS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn note() {
        VISITS.set(VISITS.get() + 1);
    }

    /// How many some work takes.
    pub(crate) fn during<T>(work: impl FnOnce() -> T) -> (T, u64) {
        let before = VISITS.get();
        let done = work();
        (done, VISITS.get() - before)
    }
}

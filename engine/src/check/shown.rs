//! What stacks of layers show, counted once for all datasets that share layers.
//!
//! Versions of a dataset name the same layers below a few of their own, so counting each one's
//! files by itself takes as long as versions times files. Here a stack is counted from its lowest
//! layer up: each row of the next layer shows its file and hides what the layers below it show
//! under this name. What a lower part shows whose top layer is shared is kept for the next stack
//! that has it.

use std::collections::HashMap;
use std::ops::Bound;

use redb::ReadOnlyTable;

use super::Halt;
use super::progress::CheckProgress;
use crate::codec;
use crate::index::file_tree::{FileTree, NearestRow};
use crate::index::rows::{FileRow, LayerRow};
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::limits::CHECK_PARTS_KEPT_MAX;
use crate::model::dataset::StackEntry;
use crate::model::{FileRecord, LayerId, Usage};

/// Rows between two looks at whether the check is to stop.
const ROWS_A_LOOK: u64 = 4096;

type Names = ReadOnlyTable<(u64, &'static str), &'static [u8]>;

/// Counts what stacks show, within one state.
pub(super) struct Shown<'a> {
    progress: &'a CheckProgress,
    layers: ReadOnlyTable<u64, &'static [u8]>,
    files: Names,
    metadata: Names,
    /// What lower parts of stacks show, by their layers.
    kept: HashMap<Vec<LayerId>, Usage>,
}

impl<'a> Shown<'a> {
    pub(super) fn within(
        snapshot: &Snapshot,
        progress: &'a CheckProgress,
    ) -> Result<Self, IndexError> {
        let (layers, files) = (snapshot.table(tables::LAYERS)?, snapshot.table(tables::FILES)?);
        let metadata = snapshot.table(tables::METADATA)?;
        Ok(Self { progress, layers, files, metadata, kept: HashMap::new() })
    }

    /// The files and bytes that a stack shows, its top layer first.
    pub(super) fn by(&mut self, stack: &[StackEntry]) -> Result<Usage, Halt> {
        let ids: Vec<LayerId> = stack.iter().map(|entry| entry.layer).collect();
        let (mut above, mut shown) = self.known(&ids);
        while let Some(top) = above.checked_sub(1) {
            let (layer, below) = stack.get(top..).unwrap_or_default().split_at(1);
            shown = self.over(shown, layer, below)?;
            let part = ids.get(top..).unwrap_or_default();
            if self.is_shared(part)? {
                self.keep(part, shown);
            }
            above = top;
        }
        Ok(shown)
    }

    /// The largest lower part of a stack that is known: how many layers lie above it, and what it
    /// shows.
    fn known(&self, ids: &[LayerId]) -> (usize, Usage) {
        let known = |above| Some((above, *self.kept.get(ids.get(above..)?)?));
        (0..ids.len()).find_map(known).unwrap_or((ids.len(), Usage::default()))
    }

    /// What a layer and those below it show, of which the latter show `shown`.
    fn over(
        &self,
        shown: Usage,
        layer: &[StackEntry],
        below: &[StackEntry],
    ) -> Result<Usage, Halt> {
        let below = FileTree::new(&self.files, &self.metadata, below);
        let (mut added, mut hidden) = (Usage::default(), Usage::default());
        let rows = FileTree::new(&self.files, &self.metadata, layer).rows_from(Bound::Unbounded)?;
        for (row, number) in rows.zip(1u64..) {
            let NearestRow { name, row, .. } = row?;
            hidden = hidden.plus(usage_of(below.get(&name)?));
            if let FileRow::File(record) = row {
                added = added.plus(usage_of(Some(record)));
            }
            if number.is_multiple_of(ROWS_A_LOOK) {
                self.progress.advance(0)?;
            }
        }
        Ok(shown.plus(added).minus(hidden))
    }

    /// Whether other stacks have the top layer of this part too. That a layer lacks its row is told
    /// where layers are compared with stacks.
    fn is_shared(&self, part: &[LayerId]) -> Result<bool, IndexError> {
        let Some(top) = part.first() else { return Ok(false) };
        let Some(row) = self.layers.get(top.0)? else { return Ok(false) };
        Ok(codec::decode::<LayerRow>(row.value())?.stacks > 1)
    }

    fn keep(&mut self, part: &[LayerId], shown: Usage) {
        // What is dropped here is merely counted again.
        if self.kept.len() >= CHECK_PARTS_KEPT_MAX {
            self.kept.clear();
        }
        self.kept.insert(part.to_vec(), shown);
    }
}

fn usage_of(file: Option<FileRecord>) -> Usage {
    file.map_or_else(Usage::default, |record| Usage { files: 1, bytes: record.length })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;
    use crate::blobs::memory_disk::MemoryDisk;
    use crate::disk::{Disk, OpenMode};
    use crate::index::{Index, create_tables};
    use crate::model::{Digest, Timestamp};

    /// Rows of a layer: the length of a file, or its deletion.
    type Layer = std::collections::BTreeMap<String, Option<u64>>;

    fn stack(layers: &[u64]) -> Vec<StackEntry> {
        let entry = |id: &u64| StackEntry { layer: LayerId(*id), metadata_void: false };
        layers.iter().map(entry).collect()
    }

    fn snapshot(layers: &[Layer], stacks: &[Vec<u64>]) -> (Index, Snapshot) {
        let disk: Arc<dyn Disk> = MemoryDisk::prepared();
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        let written = index.apply(|txn| {
            create_tables(txn)?;
            let mut files = txn.open_table(tables::FILES)?;
            let mut rows = txn.open_table(tables::LAYERS)?;
            for (id, layer) in (0u64..).zip(layers) {
                for (name, length) in layer {
                    let row = length.map_or(FileRow::Tombstone, |length| {
                        let (digest, creation_time) = (Digest::of(b""), Timestamp(0));
                        let compressible = false;
                        FileRow::File(FileRecord {
                            digest,
                            length,
                            crc32: 0,
                            creation_time,
                            compressible,
                        })
                    });
                    files.insert((id, name.as_str()), codec::encode(&row)?.as_slice())?;
                }
                // Nobody asks here how many rows a layer has.
                let mut row = LayerRow { stacks: 0, rows: 0, metadata_rows: 0 };
                for _ in stacks.iter().filter(|stack| stack.contains(&id)) {
                    row.stacks += 1;
                }
                rows.insert(id, codec::encode(&row)?.as_slice())?;
            }
            Ok(())
        });
        written.unwrap();
        let snapshot = Snapshot::take(&index, &Arc::default(), &Arc::default()).unwrap();
        (index, snapshot)
    }

    proptest! {
        #[test]
        fn stacks_that_share_layers_show_what_each_of_them_shows_by_itself(
            layers in vec(btree_map("[a-f]", proptest::option::of(0u64..9), 0..5), 5),
            stacks in vec(subsequence(vec![4, 3, 2, 1, 0], 0..=5), 1..8),
        ) {
            let (_index, snapshot) = snapshot(&layers, &stacks);
            let (files, metadata) =
                (snapshot.table(tables::FILES).unwrap(), snapshot.table(tables::METADATA).unwrap());
            let progress = CheckProgress::default();
            let mut shown = Shown::within(&snapshot, &progress).unwrap();
            for stack in stacks.iter().map(|layers| stack(layers)) {
                let tree = FileTree::new(&files, &metadata, &stack);
                let records = tree.files_from(Bound::Unbounded).unwrap();
                let listed = records.fold(Usage::default(), |sum, file| {
                    sum.plus(usage_of(Some(file.unwrap().1)))
                });
                prop_assert_eq!(shown.by(&stack).unwrap(), listed);
            }
        }
    }

    #[test]
    fn what_versions_share_is_counted_for_the_first_one_only() {
        let layer = |names: &[&str]| names.iter().map(|name| ((*name).into(), Some(1))).collect();
        let layers = [layer(&["a", "b", "c"]), layer(&["d"]), layer(&["e"]), layer(&["a", "f"])];
        let stacks = [vec![1, 0], vec![2, 1, 0], vec![3, 1, 0]];
        let (_index, snapshot) = snapshot(&layers, &stacks);
        let progress = CheckProgress::default();
        let mut shown = Shown::within(&snapshot, &progress).unwrap();
        assert_eq!(shown.by(&stack(&[2, 1, 0])).unwrap(), Usage { files: 5, bytes: 5 });
        let (above, below) = shown.known(&[LayerId(3), LayerId(1), LayerId(0)]);
        assert_eq!((above, below), (1, Usage { files: 4, bytes: 4 }));
        assert_eq!(shown.by(&stack(&[3, 1, 0])).unwrap(), Usage { files: 5, bytes: 5 });
        assert_eq!(shown.by(&stack(&[1, 0])).unwrap(), Usage { files: 4, bytes: 4 });
        assert_eq!(shown.kept.len(), 2, "none is kept for a layer that is in one stack only");
    }
}

//! Many names that are free, told so with few looks.
//!
//! Names that come together mostly lie together, where no other file lies between. So what comes next in
//! the dataset after one of them answers for its neighbours too, and a directory that is no file for all
//! that lie in it.

use redb::ReadableTable;

use crate::index::IndexError;
use crate::index::file_tree::{FileTree, Key, Value};
use crate::model::Filename;

/// A look at names of one dataset in one state.
#[derive(Debug)]
pub(crate) struct FreeNames<'a, F, M> {
    tree: FileTree<'a, F, M>,
    /// From a name on, the next one of which any layer has a row.
    next: Option<(String, Option<String>)>,
    /// A directory that is no file, nor are those above it.
    directory: String,
}

impl<'a, F, M> FreeNames<'a, F, M>
where
    F: ReadableTable<Key, Value>,
    M: ReadableTable<Key, Value>,
{
    pub(crate) fn of(tree: FileTree<'a, F, M>) -> Self {
        Self { tree, next: None, directory: String::new() }
    }

    /// Whether a name is plainly free: neither a file nor a directory, and below no file. `false` where that
    /// takes another look.
    pub(crate) fn has(&mut self, filename: &Filename) -> Result<bool, IndexError> {
        let name = filename.as_str();
        // What lies in a directory of this name begins with it.
        let is_next = self.next_from(name)?.is_some_and(|next| next.starts_with(name));
        if is_next {
            return Ok(false);
        }
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        if directory != self.directory {
            for directory in filename.directories() {
                if self.tree.get(directory)?.is_some() {
                    return Ok(false);
                }
            }
            directory.clone_into(&mut self.directory);
        }
        Ok(true)
    }

    fn next_from(&mut self, name: &str) -> Result<Option<&str>, IndexError> {
        let is_known = self.next.as_ref().is_some_and(|(from, next)| {
            from.as_str() <= name && next.as_deref().is_none_or(|next| name <= next)
        });
        if !is_known {
            self.next = Some((name.to_owned(), self.tree.next_name(name)?));
        }
        Ok(self.next.as_ref().and_then(|(_, next)| next.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::codec;
    use crate::disk::{Disk, OpenMode, SimulatedDisk};
    use crate::index::rows::FileRow;
    use crate::index::{Index, create_tables, tables};
    use crate::model::dataset::StackEntry;
    use crate::model::{Digest, FileRecord, LayerId, Timestamp};

    /// By layer and name whether it is a file there or none.
    type Rows = BTreeMap<(u64, String), bool>;

    fn name() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "a", "a-", "a.b", "a/b", "a/b/c", "a/c", "a0", "b", "b/a", "c/d/e",
        ])
        .prop_map(str::to_owned)
    }

    fn index_with(rows: &Rows) -> Index {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        let record = FileRecord {
            digest: Digest([1; 32]),
            length: 1,
            crc32: 0,
            creation_time: Timestamp(0),
            compressible: true,
        };
        let written = index.apply(|txn| {
            create_tables(txn)?;
            let mut files = txn.open_table(tables::FILES)?;
            for ((layer, name), is_file) in rows {
                let row = if *is_file { FileRow::File(record) } else { FileRow::Tombstone };
                files.insert((*layer, name.as_str()), codec::encode(&row)?.as_slice())?;
            }
            Ok(())
        });
        written.unwrap();
        index
    }

    proptest! {
        #[test]
        fn a_name_is_plainly_free_where_nothing_is_near(
            rows in prop::collection::btree_map((1..3u64, name()), any::<bool>(), 0..6),
            asked in prop::collection::vec(name(), 1..12),
        ) {
            let index = index_with(&rows);
            let txn = index.read().unwrap();
            let files = txn.open_table(tables::FILES).unwrap();
            let texts = txn.open_table(tables::METADATA).unwrap();
            let entry = |layer| StackEntry { layer: LayerId(layer), metadata_void: false };
            let stack = [entry(1), entry(2)];
            let tree = || FileTree::new(&files, &texts, &stack);
            let mut free = FreeNames::of(tree());
            for name in asked {
                let filename = Filename::exact(&name).unwrap();
                let is_near = rows.keys().any(|(_, row)| row.starts_with(&name));
                let is_file = |directory| tree().get(directory).unwrap().is_some();
                let expected = !is_near && !filename.directories().any(is_file);
                prop_assert_eq!(free.has(&filename).unwrap(), expected, "{}", name);
            }
        }
    }
}

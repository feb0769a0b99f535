//! Many names, and what a dataset has of each, told with few looks.
//!
//! Names that come together mostly lie together, where no other file lies between. So what comes next in
//! the dataset after one of them answers for its neighbours too, a directory that is no file for all
//! that lie in it, and a stretch of tombstones that hides no file for every directory within it.

use std::ops::Bound;

use redb::ReadableTable;

use crate::error::MutationError;
use crate::index::IndexError;
use crate::index::file_tree::{Below, FileTree, Key, Value};
use crate::model::{FileRecord, Filename};

/// A look at names of one dataset in one state.
///
/// Any order will do. In that of [`Filename::tree_order`] no row is visited for two of them.
#[derive(Debug)]
pub(crate) struct FreeNames<'a, F, M> {
    tree: FileTree<'a, F, M>,
    /// From a name on, the next one of which any layer has a row.
    next: Option<(String, Option<String>)>,
    /// A directory that is no file, nor are those above it.
    directory: String,
    /// Where the last search for a file below a name found none.
    bare: Bare,
}

/// What a dataset has of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A file may have it.
    Free,
    /// This file has it.
    File(FileRecord),
    /// Files lie below it.
    Directory,
    /// It lies below a file.
    BelowFile,
}

impl Standing {
    /// Refuses a name that no further file may have.
    pub(crate) fn expect_free(self, name: &Filename) -> Result<(), MutationError> {
        let filename = || name.to_string();
        match self {
            Self::Free => Ok(()),
            Self::File(_) => Err(MutationError::FilenameTaken { filename: filename() }),
            Self::Directory => Err(MutationError::FilenameIsDirectory { filename: filename() }),
            Self::BelowFile => Err(MutationError::DirectoryIsFile { filename: filename() }),
        }
    }
}

/// Names of which none is a file's, however many tombstones lie there.
#[derive(Debug, Default)]
struct Bare {
    from: String,
    /// The first that is not among them: a file's, or what comes behind a directory without files.
    until: String,
}

impl<'a, F, M> FreeNames<'a, F, M>
where
    F: ReadableTable<Key, Value>,
    M: ReadableTable<Key, Value>,
{
    pub(crate) fn of(tree: FileTree<'a, F, M>) -> Self {
        Self { tree, next: None, directory: String::new(), bare: Bare::default() }
    }

    /// Whether a name is plainly free: neither a file nor a directory, and below no file. `false` where that
    /// takes another look.
    pub(crate) fn has(&mut self, filename: &Filename) -> Result<bool, IndexError> {
        Ok(!self.is_near(filename.as_str())? && !self.is_below_file(filename)?)
    }

    /// What the dataset has of a name.
    pub(crate) fn look(&mut self, filename: &Filename) -> Result<Standing, IndexError> {
        let name = filename.as_str();
        if self.is_near(name)? {
            if let Some(record) = self.tree.get(name)? {
                return Ok(Standing::File(record));
            }
            if self.is_directory(name)? {
                return Ok(Standing::Directory);
            }
        }
        Ok(if self.is_below_file(filename)? { Standing::BelowFile } else { Standing::Free })
    }

    /// Whether any layer has a row of this name, or of one that begins with it, as those in a directory of
    /// this name do.
    fn is_near(&mut self, name: &str) -> Result<bool, IndexError> {
        Ok(self.next_from(name)?.is_some_and(|next| next.starts_with(name)))
    }

    fn is_below_file(&mut self, filename: &Filename) -> Result<bool, IndexError> {
        let directory = filename.as_str().rsplit_once('/').map_or("", |(directory, _)| directory);
        if directory != self.directory {
            for directory in filename.directories() {
                if self.tree.get(directory)?.is_some() {
                    return Ok(true);
                }
            }
            directory.clone_into(&mut self.directory);
        }
        Ok(false)
    }

    /// Whether any file lies below a name.
    fn is_directory(&mut self, name: &str) -> Result<bool, IndexError> {
        let from = format!("{name}/");
        let is_known = self.bare.from <= from && from < self.bare.until;
        if !is_known {
            let until = match self.tree.first_below(&from, Bound::Included(&from), usize::MAX)? {
                Below::File(file) => file,
                // `0` follows the slash: nothing that begins with `from` comes here or later.
                Below::Nothing | Below::Unknown => format!("{name}0"),
            };
            self.bare = Bare { from: from.clone(), until };
        }
        Ok(self.bare.until.starts_with(&from))
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

    /// What a tree that is asked for each anew has of a name.
    fn standing<F, M>(tree: &FileTree<'_, F, M>, filename: &Filename) -> Standing
    where
        F: ReadableTable<Key, Value>,
        M: ReadableTable<Key, Value>,
    {
        let file = |name: &str| tree.get(name).unwrap();
        if let Some(record) = file(filename.as_str()) {
            return Standing::File(record);
        }
        if tree.has_directory(filename.as_str()).unwrap() {
            return Standing::Directory;
        }
        let is_below = filename.directories().any(|directory| file(directory).is_some());
        if is_below { Standing::BelowFile } else { Standing::Free }
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
                prop_assert_eq!(free.look(&filename).unwrap(), standing(&tree(), &filename), "{}", name);
            }
        }
    }
}

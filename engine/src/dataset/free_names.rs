//! Many names, and what a dataset has of each, told with few looks.
//!
//! Names that come together mostly lie together, where no other file lies between. So what comes next in
//! the dataset after one of them answers for its neighbours too, a directory that is no file for all
//! that lie in it, and a stretch of tombstones that hides no file for every directory within it.

use std::ops::Bound;

use redb::ReadableTable;

use crate::error::MutationError;
use crate::index::IndexError;
use crate::index::file_tree::{Below, FileTree, Key, Looks, Value};
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

/// What [`FreeNames::file_above`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Above<'n> {
    /// This directory is a file.
    File(&'n str),
    /// None is.
    Nothing,
    /// So many rows that it stopped looking.
    Unknown,
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
        let name = filename.as_str();
        let from = behind_shared_directory(name, &self.directory);
        let (cleared, is_below) = match self.file_above(name, from, &Looks::any_number())? {
            Above::File(directory) => (directory, true),
            Above::Nothing | Above::Unknown => (name, false),
        };
        let directory = cleared.rsplit_once('/').map_or("", |(directory, _)| directory);
        directory.clone_into(&mut self.directory);
        Ok(is_below)
    }

    /// The nearest to the top of a name's directories that is a file, of those that have at least so many
    /// bytes, if there are looks enough to find it.
    pub(super) fn file_above<'n>(
        &mut self,
        name: &'n str,
        mut from: usize,
        looks: &Looks,
    ) -> Result<Above<'n>, IndexError> {
        // From one row to the next: of directories that lie between none is a file.
        while let Some(directory) = directory_from(name, from) {
            if !looks.take() {
                return Ok(Above::Unknown);
            }
            let Some(next) = self.next_from(directory)?.filter(|next| *next < name) else { break };
            if next == directory {
                if self.tree.get(directory)?.is_some() {
                    return Ok(Above::File(directory));
                }
                from = directory.len() + 1;
            } else {
                let shared = shared_bytes(next, name);
                // A name that goes on otherwise than the row does is no longer before it.
                from = if shared == next.len() { shared } else { shared + 1 };
            }
        }
        Ok(Above::Nothing)
    }

    /// Whether any file lies below a name.
    fn is_directory(&mut self, name: &str) -> Result<bool, IndexError> {
        let from = format!("{name}/");
        let is_known = self.bare.from <= from && from < self.bare.until;
        if !is_known {
            let until =
                match self.tree.first_below(&from, Bound::Included(&from), &Looks::any_number())? {
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

/// The nearest to the top of a name's directories that have so many bytes.
fn directory_from(name: &str, bytes: usize) -> Option<&str> {
    let slash = name.as_bytes().get(bytes..)?.iter().position(|byte| *byte == b'/')?;
    name.get(..bytes + slash)
}

/// Where the part of a name begins that neither is this directory nor one above it.
fn behind_shared_directory(name: &str, directory: &str) -> usize {
    let shared = shared_bytes(name, directory);
    let rest = name.as_bytes().get(shared..).unwrap_or_default();
    if shared == directory.len() && rest.starts_with(b"/") {
        return shared + 1;
    }
    let start = name.as_bytes().get(..shared).unwrap_or_default();
    start.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)
}

fn shared_bytes(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::codec;
    use crate::disk::{Disk, OpenMode, SimulatedDisk};
    use crate::index::file_tree::visits;
    use crate::index::rows::FileRow;
    use crate::index::{Index, create_tables, tables};
    use crate::model::dataset::StackEntry;
    use crate::model::{Digest, FileRecord, LayerId, Timestamp};

    /// By layer and name whether it is a file there or none.
    type Rows = BTreeMap<(u64, String), bool>;

    fn name() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "a", "a-", "a-/c", "a.b", "a/b", "a/b/c", "a/b-/d", "a/b/c/d", "a/c", "a0", "b", "b/a",
            "c/d/e", "c/é/e", "c/è/e",
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
        let below = format!("{filename}/");
        let first =
            tree.first_below(&below, Bound::Included(&below), &Looks::any_number()).unwrap();
        if matches!(first, Below::File(_)) {
            return Standing::Directory;
        }
        let is_below = filename.directories().any(|directory| file(directory).is_some());
        if is_below { Standing::BelowFile } else { Standing::Free }
    }

    proptest! {
        #[test]
        fn names_that_are_asked_for_together_stand_as_each_does_alone(
            rows in prop::collection::btree_map((1..3u64, name()), any::<bool>(), 0..9),
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
                prop_assert_eq!(free.look(&filename).unwrap(), standing(&tree(), &filename), "{}", name);
            }
        }
    }

    #[test]
    fn deep_names_cost_what_differs_between_them() {
        let top = "a/".repeat(2040);
        let mut rows: Rows =
            (1..2040).map(|depth| ((1, format!("{}!", &top[..2 * depth])), true)).collect();
        let names: Vec<Filename> =
            (0..256).map(|n| Filename::exact(&format!("{top}{n:03}/f")).unwrap()).collect();
        for is_below_file in [false, true] {
            if is_below_file {
                rows.insert((2, top[..top.len() - 1].to_owned()), true);
            }
            let index = index_with(&rows);
            let txn = index.read().unwrap();
            let files = txn.open_table(tables::FILES).unwrap();
            let texts = txn.open_table(tables::METADATA).unwrap();
            let entry = |layer| StackEntry { layer: LayerId(layer), metadata_void: false };
            let stack = [entry(1), entry(2)];
            let mut free = FreeNames::of(FileTree::new(&files, &texts, &stack));
            let (standings, visits) = visits::during(|| {
                names.iter().map(|name| free.look(name).unwrap()).collect::<Vec<_>>()
            });
            let expected = if is_below_file { Standing::BelowFile } else { Standing::Free };
            assert!(standings.iter().all(|standing| *standing == expected));
            assert!(visits < 2 * 2040 + 8 * 256, "{visits}");
        }
    }
}

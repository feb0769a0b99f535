//! A dataset's files page by page: each page begins where it is asked to and visits a bounded
//! number of rows, however many files or traces of deleted ones lie before, behind or between.

use std::ops::Bound;

use super::IndexError;
use super::file_tree::{NearestRow, Rows};
use super::rows::FileRow;
use super::snapshot::{Snapshot, Tree};
use crate::error::ReadError;
use crate::limits::{LISTING_BYTES_MAX, LISTING_ROWS_MAX};
use crate::model::{Dataset, FileRecord};

/// Which files a page shows.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// Their names begin with this text.
    pub prefix: String,
    /// Their names come after this one, compared byte by byte.
    pub after: Option<String>,
    /// How many there are at most.
    pub limit: usize,
    /// Whether their metadata is read.
    pub with_metadata: bool,
}

/// A file of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Its name.
    pub name: String,
    /// What the dataset knows of it.
    pub record: FileRecord,
    /// Empty if none was set; `None` if it was not asked for.
    pub metadata: Option<String>,
}

/// The files of a page in order of name.
///
/// It ends before its limit where many rows of deleted files or many bytes of metadata were met.
#[derive(Debug)]
pub struct FilePage<'a> {
    tree: Tree<'a>,
    rows: Rows<'a>,
    prefix: String,
    with_metadata: bool,
    left: Left,
    /// The last name that was visited, while the page goes on.
    last: Option<String>,
    next: Option<String>,
}

/// What a page may still take.
#[derive(Debug)]
struct Left {
    files: usize,
    rows: usize,
    bytes: usize,
}

impl Snapshot {
    /// A page of a dataset's files.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn file_page<'a>(
        &'a self,
        dataset: &'a Dataset,
        request: &PageRequest,
    ) -> Result<FilePage<'a>, ReadError> {
        let tree = self.tree(dataset)?;
        let prefix = request.prefix.clone();
        let from = match request.after.as_deref() {
            Some(after) if after >= prefix.as_str() => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix.as_str()),
        };
        let rows = tree.rows_from(from)?;
        let left = Left { files: request.limit, rows: LISTING_ROWS_MAX, bytes: LISTING_BYTES_MAX };
        let with_metadata = request.with_metadata;
        Ok(FilePage { tree, rows, prefix, with_metadata, left, last: None, next: None })
    }
}

impl FilePage<'_> {
    /// Where the next page begins: after this name. `None` if there is nothing more, and before
    /// this page has ended.
    pub fn next_after(&self) -> Option<&str> {
        self.next.as_deref()
    }

    fn step(&mut self) -> Result<Option<ListedFile>, IndexError> {
        while let Some(row) = self.rows.next().transpose()? {
            let NearestRow { name, row, depth } = row;
            if !name.starts_with(&self.prefix) {
                break;
            }
            let exhausted = self.left.rows == 0 || self.left.bytes == 0;
            match row {
                FileRow::File(record) if !exhausted && self.left.files > 0 => {
                    return self.take(name, record, depth).map(Some);
                }
                FileRow::Tombstone if !exhausted => {
                    self.left.rows -= 1;
                    // A page that is full looks on for one more file, and its next page begins
                    // behind what it looked at.
                    self.last = Some(name);
                }
                FileRow::File(_) | FileRow::Tombstone => {
                    self.next = self.last.take();
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn take(
        &mut self,
        name: String,
        record: FileRecord,
        depth: usize,
    ) -> Result<ListedFile, IndexError> {
        let metadata = if self.with_metadata {
            Some(self.tree.metadata_at(depth, &name)?.unwrap_or_default())
        } else {
            None
        };
        let bytes = name.len() + metadata.as_ref().map_or(0, String::len);
        self.left.files -= 1;
        self.left.rows -= 1;
        self.left.bytes = self.left.bytes.saturating_sub(bytes);
        self.last = Some(name.clone());
        Ok(ListedFile { name, record, metadata })
    }
}

impl Iterator for FilePage<'_> {
    type Item = Result<ListedFile, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next.is_some() {
            return None;
        }
        self.step().map_err(ReadError::from).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::blobs::memory_disk::MemoryDisk;
    use crate::codec;
    use crate::disk::{Disk, OpenMode};
    use crate::index::{Index, create_tables, tables};
    use crate::model::dataset::StackEntry;
    use crate::model::{Digest, LayerId, Timestamp};

    const LAYER: u64 = 1;

    /// A state with one layer of these rows, each with its metadata, and its index.
    fn snapshot(rows: impl Iterator<Item = (String, FileRow, String)>) -> (Index, Snapshot) {
        let disk: Arc<dyn Disk> = MemoryDisk::prepared();
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        let filled = index.apply(|txn| {
            create_tables(txn)?;
            let mut files = txn.open_table(tables::FILES)?;
            let mut texts = txn.open_table(tables::METADATA)?;
            for (name, row, text) in rows {
                files.insert((LAYER, name.as_str()), codec::encode(&row)?.as_slice())?;
                texts.insert((LAYER, name.as_str()), codec::encode(&text)?.as_slice())?;
            }
            Ok(())
        });
        filled.unwrap();
        let snapshot = Snapshot::take(&index, &Arc::default(), &Arc::default()).unwrap();
        (index, snapshot)
    }

    fn dataset() -> Dataset {
        Dataset::with_stack(vec![StackEntry { layer: LayerId(LAYER), metadata_void: false }])
    }

    fn file() -> FileRow {
        let (digest, creation_time) = (Digest([0; 32]), Timestamp(0));
        let (length, crc32, compressible) = (0, 0, false);
        FileRow::File(FileRecord { digest, length, crc32, creation_time, compressible })
    }

    /// Names and the next beginning of each page, page by page.
    fn pages(snapshot: &Snapshot, mut request: PageRequest) -> Vec<(Vec<String>, Option<String>)> {
        let dataset = dataset();
        let mut pages = Vec::new();
        loop {
            let mut page = snapshot.file_page(&dataset, &request).unwrap();
            let names = page.by_ref().map(|file| file.unwrap().name).collect();
            let next = page.next_after().map(str::to_owned);
            pages.push((names, next.clone()));
            match next {
                Some(after) => request.after = Some(after),
                None => return pages,
            }
        }
    }

    fn request(limit: usize, with_metadata: bool) -> PageRequest {
        PageRequest { prefix: String::new(), after: None, limit, with_metadata }
    }

    #[test]
    fn a_page_ends_early_among_the_traces_of_many_deleted_files() {
        let deleted = 2 * LISTING_ROWS_MAX + 10;
        let names = (0..deleted).map(|number| (format!("d{number:06}"), FileRow::Tombstone));
        let names = names.chain([("a".to_owned(), file()), ("z".to_owned(), file())]);
        let (_index, snapshot) = snapshot(names.map(|(name, row)| (name, row, String::new())));
        let found = pages(&snapshot, request(100, false));
        let end_of = |rows: usize| Some(format!("d{:06}", rows - 1));
        assert_eq!(
            found,
            [
                (vec!["a".to_owned()], end_of(LISTING_ROWS_MAX - 1)),
                (vec![], end_of(2 * LISTING_ROWS_MAX - 1)),
                (vec!["z".to_owned()], None),
            ]
        );
        let full = pages(&snapshot, request(1, false));
        assert_eq!(full.iter().map(|(names, _)| names.len()).collect::<Vec<_>>(), [1, 0, 1]);
    }

    #[test]
    fn a_page_ends_early_where_metadata_is_long() {
        let long = "x".repeat(LISTING_BYTES_MAX / 4);
        let (_index, snapshot) =
            snapshot((0..10).map(|name| (name.to_string(), file(), long.clone())));
        let sizes = |with_metadata| -> Vec<usize> {
            let found = pages(&snapshot, request(100, with_metadata));
            found.iter().map(|(names, _)| names.len()).collect()
        };
        assert_eq!(sizes(true), [4, 4, 2]);
        assert_eq!(sizes(false), [10]);
    }
}

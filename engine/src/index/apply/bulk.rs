//! Many files in one change, and a file's new name: rows of the top layer, all of them or none.

use super::files::top_layer;
use super::{Applied, Group, Stop};
use crate::error::MutationError;
use crate::index::rows::FileRow;
use crate::model::change::{FileMetadata, NewFile};
use crate::model::{Dataset, DatasetId, Digest, FileRecord, Filename};

impl Group<'_> {
    pub(super) fn delete_files(
        &mut self,
        dataset: DatasetId,
        revision: u64,
        filenames: &[Filename],
    ) -> Result<Applied, Stop> {
        let mut header = self.expect_revision(dataset, revision)?;
        let mut found = Vec::with_capacity(filenames.len());
        for filename in filenames {
            found.push(self.expect_any_file(&header, filename.as_str())?);
        }
        for (filename, (depth, record)) in filenames.iter().zip(found) {
            self.remove_file(&mut header, filename.as_str(), depth, &record)?;
        }
        self.put_header(header);
        Ok(Applied::Done)
    }

    pub(super) fn set_many_metadata(
        &mut self,
        dataset: DatasetId,
        revision: u64,
        entries: &[FileMetadata],
    ) -> Result<Applied, Stop> {
        let header = self.expect_revision(dataset, revision)?;
        for entry in entries {
            self.expect_any_file(&header, entry.filename.as_str())?;
        }
        let top = top_layer(&header)?;
        for entry in entries {
            self.put_metadata(top, entry.filename.as_str(), &entry.metadata)?;
        }
        self.put_header(header);
        Ok(Applied::Done)
    }

    /// Moves a file's row and its metadata; content and time of creation stay.
    pub(super) fn rename_file(
        &mut self,
        dataset: DatasetId,
        from: &str,
        to: &Filename,
        expects: &Digest,
    ) -> Result<Applied, Stop> {
        let mut header = self.header(dataset)?;
        let (depth, record) = self.expect_file(&header, from, expects)?;
        let metadata = self.tree(&header.stack).metadata(from)?.unwrap_or_default();
        let files = [NewFile { filename: to.clone(), record, metadata }];
        self.expect_free(&header, &files)?;
        // First the new row, so that the content is named all the while.
        header = self.put_files(header, &files)?;
        self.remove_file(&mut header, from, depth, &record)?;
        self.put_header(header);
        Ok(Applied::Done)
    }

    /// A file and how many layers lie above its row.
    fn expect_any_file(&self, header: &Dataset, name: &str) -> Result<(usize, FileRecord), Stop> {
        match self.tree(&header.stack).nearest(name)? {
            Some((depth, FileRow::File(record))) => Ok((depth, record)),
            Some((_, FileRow::Tombstone)) | None => {
                let filename = name.to_owned();
                Err(MutationError::FileNotFound { dataset: header.id, filename }.into())
            }
        }
    }
}

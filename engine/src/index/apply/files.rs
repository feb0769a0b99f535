//! Rows of files and their metadata.

use super::{Applied, Group, Stop};
use crate::codec;
use crate::error::MutationError;
use crate::index::IndexError;
use crate::index::rows::FileRow;
use crate::limits::HIDDEN_ROWS_FEW;
use crate::model::change::NewFile;
use crate::model::{
    Dataset, DatasetId, Digest, FileCondition, FileRecord, LayerId, Sequence, Usage,
};

/// Rows of a top layer at which the background looks whether deletions have hidden too much: it
/// reads a few rows for that, however large the dataset is.
const TOMBSTONES_NOTICED: u64 = HIDDEN_ROWS_FEW;

impl Group<'_> {
    pub(super) fn add_files(
        &mut self,
        dataset: DatasetId,
        files: &[NewFile],
    ) -> Result<Applied, Stop> {
        self.load_header(dataset)?;
        let header = self.loaded_header(dataset)?;
        let (project, top) = (header.project, top_layer(header)?);
        // In a single layer the rows are in each other's place, and `put_file` meets them.
        if !self.is_promised || header.stack.len() > 1 {
            self.expect_free(header, files)?;
        }
        let added = usage_of(files);
        self.expect_room(project, added)?;
        for file in files {
            self.put_file(top, file)?;
        }
        self.count_files(dataset, added)?;
        Ok(Applied::Done)
    }

    /// Refuses files whose names are in use.
    pub(super) fn expect_free(&self, header: &Dataset, files: &[NewFile]) -> Result<(), Stop> {
        let tree = self.tree(&header.stack);
        for file in files {
            if tree.get(file.filename.as_str())?.is_some() {
                let filename = file.filename.to_string();
                return Err(MutationError::FilenameTaken { filename }.into());
            }
        }
        Ok(())
    }

    /// Writes files, whose names are free, to the top layer and counts them in the header.
    pub(super) fn put_files(
        &mut self,
        mut header: Dataset,
        files: &[NewFile],
    ) -> Result<Dataset, IndexError> {
        let top = top_layer(&header)?;
        for file in files {
            self.put_file(top, file)?;
            header.file_count += 1;
            header.file_bytes += file.record.length;
        }
        Ok(header)
    }

    /// Writes one file row, whose layer holds no file of that name, and counts its content.
    pub(super) fn put_file(&mut self, layer: LayerId, file: &NewFile) -> Result<(), IndexError> {
        let key = (layer.0, file.filename.as_str());
        self.count_up(&file.record.digest, layer, file.filename.as_str())?;
        let row = codec::encode(&FileRow::File(file.record))?;
        let replaces_tombstone = match self.files.insert(key, row.as_slice())? {
            None => false,
            Some(before) => {
                if self.is_promised && matches!(FileRow::decode(before.value())?, FileRow::File(_))
                {
                    return Err(promise_broken(self.sequence, file));
                }
                true
            }
        };
        if !replaces_tombstone {
            self.layer_mut(layer)?.rows += 1;
        }
        if !file.metadata.is_empty() {
            self.put_metadata(layer, file.filename.as_str(), &file.metadata)?;
        }
        Ok(())
    }

    pub(super) fn put_metadata(
        &mut self,
        layer: LayerId,
        name: &str,
        text: &str,
    ) -> Result<(), IndexError> {
        self.put_text(layer, name, &codec::encode(&text)?)
    }

    pub(super) fn delete_file(
        &mut self,
        dataset: DatasetId,
        name: &str,
        expects: &Digest,
    ) -> Result<Applied, Stop> {
        let mut header = self.header(dataset)?;
        let (depth, record) = self.expect_file(&header, name, expects)?;
        self.remove_file(&mut header, name, depth, &record)?;
        self.put_header(header);
        Ok(Applied::Done)
    }

    /// Puts a file in another's place. Its metadata starts empty, as that of any file does: what
    /// was said of one content is not true of another.
    pub(super) fn replace_file(
        &mut self,
        dataset: DatasetId,
        expects: &Digest,
        file: &NewFile,
    ) -> Result<Applied, Stop> {
        let mut header = self.header(dataset)?;
        let name = file.filename.as_str();
        let (depth, record) = self.expect_file(&header, name, expects)?;
        // Whoever sends the same once more, since no answer came, undoes nothing.
        if record.digest != file.record.digest {
            let (old, new) = (record.length, file.record.length);
            let added = Usage { files: 0, bytes: new.saturating_sub(old) };
            self.expect_room(header.project, added)?;
            self.remove_file(&mut header, name, depth, &record)?;
            let header = self.put_files(header, std::slice::from_ref(file))?;
            self.put_header(header);
        }
        Ok(Applied::Done)
    }

    /// Refuses a change of metadata that is for another state of it.
    pub(super) fn expect_condition(
        &mut self,
        dataset: DatasetId,
        name: &str,
        expects: &Digest,
        condition: &FileCondition,
    ) -> Result<(), Stop> {
        let header = self.header(dataset)?;
        self.expect_file(&header, name, expects)?;
        let metadata = self.tree(&header.stack).metadata(name)?.unwrap_or_default();
        if condition.holds_of_metadata(expects, &metadata) {
            return Ok(());
        }
        Err(MutationError::ConditionFailed { filename: name.to_owned() }.into())
    }

    /// Takes a file that is there, `depth` layers below the top, out of rows and counts.
    pub(super) fn remove_file(
        &mut self,
        header: &mut Dataset,
        name: &str,
        depth: usize,
        record: &FileRecord,
    ) -> Result<(), IndexError> {
        let top = top_layer(header)?;
        let below = header.stack.get(1..).unwrap_or_default();
        let shows_through = depth > 0 || self.tree(below).get(name)?.is_some();
        if depth == 0 {
            self.files.remove((top.0, name))?;
            self.layer_mut(top)?.rows -= 1;
            self.count_down(&record.digest, top, name)?;
        }
        if shows_through {
            self.put_tombstone(top, name)?;
            if self.layer_mut(top)?.rows.is_multiple_of(TOMBSTONES_NOTICED) {
                self.restacked.push(header.id);
            }
        }
        if self.metadata.remove((top.0, name))?.is_some() {
            self.layer_mut(top)?.metadata_rows -= 1;
        }
        header.file_count -= 1;
        header.file_bytes -= record.length;
        Ok(())
    }

    /// Hides a name in a layer that says nothing of it.
    pub(super) fn put_tombstone(&mut self, layer: LayerId, name: &str) -> Result<(), IndexError> {
        let row = codec::encode(&FileRow::Tombstone)?;
        self.files.insert((layer.0, name), row.as_slice())?;
        self.layer_mut(layer)?.rows += 1;
        Ok(())
    }

    pub(super) fn set_metadata(
        &mut self,
        dataset: DatasetId,
        name: &str,
        expects: &Digest,
        metadata: &str,
    ) -> Result<Applied, Stop> {
        let header = self.header(dataset)?;
        self.expect_file(&header, name, expects)?;
        self.put_metadata(top_layer(&header)?, name, metadata)?;
        self.put_header(header);
        Ok(Applied::Done)
    }

    /// The file that a change was planned on, and how many layers lie above it.
    ///
    /// # Errors
    /// There is none, or another one, because what the plan stood on was refused meanwhile.
    pub(super) fn expect_file(
        &self,
        header: &Dataset,
        name: &str,
        expects: &Digest,
    ) -> Result<(usize, FileRecord), Stop> {
        match self.tree(&header.stack).nearest(name)? {
            Some((depth, FileRow::File(record))) if record.digest == *expects => {
                Ok((depth, record))
            }
            Some((_, FileRow::File(_))) => Err(MutationError::Moved { dataset: header.id }.into()),
            Some((_, FileRow::Tombstone)) | None => {
                let filename = name.to_owned();
                Err(MutationError::FileNotFound { dataset: header.id, filename }.into())
            }
        }
    }

    pub(super) fn clear_dataset(&mut self, dataset: DatasetId) -> Result<Applied, Stop> {
        let mut header = self.header(dataset)?;
        self.freeze(&mut header)?;
        for entry in header.stack.iter_mut().skip(1) {
            entry.metadata_void = true;
        }
        Ok(Applied::Dataset(Box::new(self.put_header(header))))
    }
}

/// Of a file that was answered as added under the name of another one.
fn promise_broken(sequence: Sequence, file: &NewFile) -> IndexError {
    let refusal = MutationError::FilenameTaken { filename: file.filename.to_string() };
    IndexError::PromiseBroken { sequence: sequence.0, refusal: Box::new(refusal) }
}

/// What files hold together.
pub(super) fn usage_of(files: &[NewFile]) -> Usage {
    let of = |file: &NewFile| Usage { files: 1, bytes: file.record.length };
    files.iter().map(of).fold(Usage::default(), Usage::plus)
}

/// The layer of a dataset's own, which alone may change.
pub(super) fn top_layer(header: &Dataset) -> Result<LayerId, IndexError> {
    let top = header.stack.first().map(|entry| entry.layer);
    top.ok_or_else(|| IndexError::Contradiction(format!("dataset {} has no layer", header.id)))
}

#[cfg(test)]
mod tests;

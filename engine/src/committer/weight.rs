//! What a change weighs while it waits: the memory that it takes, and what it adds to a group.

use crate::blobs::{StagedBlob, StagedBody, byte_count};
use crate::codec;
use crate::limits::ENCODED_BYTES_MAX;
use crate::model::Filename;
use crate::model::change::{Change, FileMetadata, NewFile};

use super::debt::Debt;
use super::submission::Submission;

/// Bytes of the contents that a submission adds to the journal.
pub(super) fn payload_bytes(submission: &Submission) -> u64 {
    let in_memory =
        submission.contents.iter().filter(|it| matches!(it.body(), StagedBody::Memory(_)));
    in_memory.map(StagedBlob::length).sum()
}

/// Bytes that a submission with so many bytes of texts adds to a group, and to what is in memory until that
/// is applied: also those of the header that it reads.
pub(super) fn group_bytes(submission: &Submission, text_bytes: u64) -> u64 {
    let texts = text_bytes.saturating_add(submission.follows.change_bytes);
    payload_bytes(submission).saturating_add(texts)
}

/// What the index gets of a submission beside what its change says. Who removes a dataset for good reads
/// its header, and writes nothing.
pub(super) fn following(submission: &Submission) -> Debt {
    let removes =
        matches!(submission.change, Change::HardDeleteDataset { .. } | Change::PurgeDataset { .. });
    if removes { Debt::default() } else { submission.follows }
}

/// Bytes of the texts in a change: names, metadata, descriptions.
pub(super) fn text_bytes(change: &Change) -> u64 {
    let name = |filename: &Filename| byte_count(filename.as_str().len());
    match change {
        Change::AddFiles { files, .. }
        | Change::CopyFiles { files, .. }
        | Change::MergeFiles { files, .. }
        | Change::StageFiles { files, .. } => files.iter().map(of_file).sum(),
        Change::ReplaceFile { file, .. } => of_file(file),
        Change::SetMetadata { filename, metadata, .. }
        | Change::SetMetadataIf { filename, metadata, .. } => {
            name(filename) + byte_count(metadata.len())
        }
        Change::SetManyMetadata { entries, .. } | Change::StageMetadata { entries, .. } => {
            entries.iter().map(of_entry).sum()
        }
        Change::DeleteFiles { filenames, .. } => filenames.iter().map(name).sum(),
        Change::StageDeletions { files, .. } => files.iter().map(|file| name(&file.filename)).sum(),
        Change::DeleteFile { filename, .. } => name(filename),
        Change::RenameFile { from, to, .. } => name(from) + name(to),
        Change::ClearDataset { .. }
        | Change::DestroyDataset { .. }
        | Change::ReinstateDataset { .. }
        | Change::HardDeleteDataset { .. }
        | Change::PurgeDataset { .. }
        | Change::MergeShared { .. }
        | Change::MergeLayers { .. }
        | Change::AbortSet { .. }
        | Change::Relocate { .. } => 0,
        // Seldom, and with texts in many places.
        Change::CreateDataset { .. }
        | Change::UpdateDataset { .. }
        | Change::CopyDataset { .. }
        | Change::CommitSet { .. }
        | Change::Catalogue(_)
        | Change::Witness { .. } => {
            byte_count(codec::encode(change).map_or(ENCODED_BYTES_MAX, |bytes| bytes.len()))
        }
    }
}

fn of_file(file: &NewFile) -> u64 {
    byte_count(file.filename.as_str().len() + file.metadata.len())
}

fn of_entry(entry: &FileMetadata) -> u64 {
    byte_count(entry.filename.as_str().len() + entry.metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DatasetId, DatasetPatch, Digest};

    #[test]
    fn texts_count_wherever_they_are() {
        let (dataset, expects) = (DatasetId(1), Digest([0; 32]));
        let text = "x".repeat(1000);
        let filename = Filename::exact("name").unwrap();
        let metadata = text.clone();
        let entries = vec![FileMetadata { filename: filename.clone(), metadata: text.clone() }; 3];
        let patch = DatasetPatch { description: Some(text), ..DatasetPatch::default() };
        for (change, wanted) in [
            (Change::SetMetadata { dataset, filename, expects, metadata }, 1000..1100),
            (Change::SetManyMetadata { dataset, revision: 1, entries }, 3012..3100),
            (Change::UpdateDataset { dataset, patch }, 1000..1100),
            (Change::ClearDataset { dataset }, 0..1),
        ] {
            assert!(wanted.contains(&text_bytes(&change)), "{change:?}");
        }
    }
}

//! What has come of an archive on its way into a dataset.

use super::super::merge::expected;
use super::super::{Bulk, LargeSet, again_if_moved, header};
use crate::archive::intake::Room;
use crate::blobs::StagedBlob;
use crate::committer::{Reply, Submission};
use crate::dataset::plan_free_names;
use crate::error::MutationError;
use crate::limits::CHANGE_FILES_MAX;
use crate::model::change::{Change, NewFile, SetPurpose};
use crate::model::{DatasetId, FileRecord, Filename, StoredFile, Timestamp};

/// Files that one record may hold, and their contents.
#[derive(Debug, Default)]
pub(in crate::bulk) struct Part {
    pub(in crate::bulk) stored: Vec<StoredFile>,
    pub(in crate::bulk) files: Vec<NewFile>,
    pub(in crate::bulk) contents: Vec<StagedBlob>,
}

impl Part {
    /// Adds a file.
    pub(in crate::bulk) fn push(&mut self, filename: Filename, content: StagedBlob) {
        let record = FileRecord {
            digest: content.digest(),
            length: content.length(),
            crc32: content.crc32(),
            creation_time: Timestamp::now(),
            compressible: content.compressible(),
        };
        self.stored.push(StoredFile { filename: filename.clone(), digest: record.digest });
        self.files.push(NewFile { filename, record, metadata: String::new() });
        self.contents.push(content);
    }

    /// The part as all there is.
    pub(in crate::bulk) fn whole(self, room: Room) -> Staged {
        let place = Place::Whole { files: self.files, contents: self.contents };
        Staged { stored: self.stored, place, _room: room }
    }
}

/// All files of an archive, and where their contents wait. Dropped, nothing of it remains.
#[derive(Debug)]
pub(crate) struct Staged {
    stored: Vec<StoredFile>,
    place: Place,
    /// That of their names.
    _room: Room,
}

#[derive(Debug)]
enum Place {
    /// Small: one change will bring everything.
    Whole { files: Vec<NewFile>, contents: Vec<StagedBlob> },
    /// Large: the parts are in the journal.
    Parts(LargeSet),
}

impl Staged {
    /// Files whose parts are in the journal.
    pub(in crate::bulk) fn of_parts(stored: Vec<StoredFile>, set: LargeSet, room: Room) -> Self {
        Self { stored, place: Place::Parts(set), _room: room }
    }

    /// Makes the files visible. The dataset stands still.
    pub(super) fn commit(
        self,
        bulk: &Bulk,
        dataset: DatasetId,
    ) -> Result<Vec<StoredFile>, MutationError> {
        let names: Vec<&Filename> = self.stored.iter().map(|file| &file.filename).collect();
        match self.place {
            Place::Whole { files, contents } => {
                expect_free(bulk, dataset, &names)?;
                let (reply, ticket) = Reply::to(bulk.origin.clone());
                let change = Change::AddFiles { dataset, files };
                let submission = Submission { contents, ..Submission::of(change, reply) };
                bulk.committer.submit(submission)?;
                ticket.redeem_blocking()?;
            }
            Place::Parts(mut set) => again_if_moved(|| {
                let revision = expect_free(bulk, dataset, &names)?;
                set.commit(SetPurpose::AddFiles { dataset, revision }).map(drop)
            })?,
        }
        Ok(self.stored)
    }
}

/// Whether all these names may be added as things stand, in short snapshots, so that who sends much
/// for nothing hears of it early. The dataset may move meanwhile: it is asked again at the end.
pub(in crate::bulk) fn expect_free_so_far(
    bulk: &Bulk,
    dataset: DatasetId,
    names: &[&Filename],
) -> Result<(), MutationError> {
    header(&bulk.store.snapshot()?, dataset)?;
    for names in names.chunks(CHANGE_FILES_MAX) {
        let snapshot = bulk.store.snapshot()?;
        plan_free_names(&snapshot, &header(&snapshot, dataset)?, names)?;
    }
    Ok(())
}

/// Whether all these names may be added, in short snapshots of one and the same revision, which it
/// gives. The dataset stands still.
fn expect_free(bulk: &Bulk, dataset: DatasetId, names: &[&Filename]) -> Result<u64, MutationError> {
    let (few, more) = names.split_at(names.len().min(CHANGE_FILES_MAX));
    let snapshot = bulk.store.snapshot()?;
    let found = header(&snapshot, dataset)?;
    // A merge that takes the dataset away does not wait for it: few names are not told apart from
    // that, and one change brings them before it or after it.
    plan_free_names(&snapshot, &found, few)?;
    drop(snapshot);
    for names in more.chunks(CHANGE_FILES_MAX) {
        let snapshot = bulk.store.snapshot()?;
        plan_free_names(&snapshot, &expected(&snapshot, dataset, found.revision)?, names)?;
    }
    Ok(found.revision)
}

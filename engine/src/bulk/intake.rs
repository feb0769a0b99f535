//! Archives as files: all members of a zip are added, or none.
//!
//! Names are checked before a byte is stored, and once more, with the dataset standing still,
//! before the change is made visible. A large archive's contents go to the journal while later
//! members are still read; nothing of them is visible until the last one has come.

use super::merge::expected;
use super::{Bulk, LargeSet, header, on_blocking_pool};
use crate::archive::intake::{IntakeMember, open_member, read_directory};
use crate::blobs::{StageError, StagedBlob};
use crate::committer::{Reply, Submission};
use crate::dataset::plan_free_names;
use crate::error::{IntakeError, MutationError};
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_FILES_MAX};
use crate::model::change::{Change, NewFile, SetPurpose};
use crate::model::{DatasetId, FileRecord, Filename, StoredFile, Timestamp};
use crate::spool::Spooled;

/// Adds the members of a zip archive.
pub(crate) async fn add_files(
    bulk: &Bulk,
    dataset: DatasetId,
    archive: Spooled,
) -> Result<Vec<StoredFile>, IntakeError> {
    let staging = bulk.clone();
    let staged = on_blocking_pool(move || stage(&staging, dataset, &archive)).await?;
    let hold = bulk.supervisor.hold(dataset).await?;
    let committing = bulk.clone();
    let stored = on_blocking_pool(move || {
        let _hold = hold;
        staged.commit(&committing, dataset)
    });
    Ok(stored.await?)
}

/// What has come of an archive: its files, and where their contents wait.
#[derive(Debug)]
struct Staged {
    stored: Vec<StoredFile>,
    place: StagedPlace,
}

#[derive(Debug)]
enum StagedPlace {
    /// Small: one change will bring everything.
    Whole { files: Vec<NewFile>, contents: Vec<StagedBlob> },
    /// Large: the parts are in the journal.
    Parts(LargeSet),
}

fn stage(bulk: &Bulk, dataset: DatasetId, archive: &Spooled) -> Result<Staged, IntakeError> {
    let members = read_directory(&mut archive.reader())?;
    let names: Vec<&Filename> = members.iter().map(|member| &member.filename).collect();
    expect_free(bulk, dataset, &names)?;
    let bytes: u64 = members.iter().map(|member| member.length).sum();
    if members.len() <= CHANGE_FILES_MAX && bytes <= CHANGE_BYTES_MAX {
        let part = stage_part(bulk, archive, &members)?;
        let place = StagedPlace::Whole { files: part.files, contents: part.contents };
        return Ok(Staged { stored: part.stored, place });
    }
    let mut set = LargeSet::begin(bulk);
    let mut stored = Vec::with_capacity(members.len());
    for part in parts(&members) {
        let part = stage_part(bulk, archive, part)?;
        stored.extend(part.stored);
        set.stage(part.files, part.contents)?;
    }
    Ok(Staged { stored, place: StagedPlace::Parts(set) })
}

/// Whether all these names may be added, in short snapshots of one and the same revision, which it
/// gives.
fn expect_free(bulk: &Bulk, dataset: DatasetId, names: &[&Filename]) -> Result<u64, MutationError> {
    let revision = header(&bulk.store.snapshot()?, dataset)?.revision;
    for names in names.chunks(CHANGE_FILES_MAX) {
        let snapshot = bulk.store.snapshot()?;
        plan_free_names(&snapshot, &expected(&snapshot, dataset, revision)?, names)?;
    }
    Ok(revision)
}

/// Members in runs that one record holds.
fn parts(members: &[IntakeMember]) -> impl Iterator<Item = &[IntakeMember]> {
    let mut rest = members;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(CHANGE_FILES_MAX).take_while(|member| {
            bytes += member.length;
            bytes <= CHANGE_BYTES_MAX
        });
        let count = fitting.count().max(1).min(rest.len());
        let (part, left) = rest.split_at_checked(count)?;
        rest = left;
        (!part.is_empty()).then_some(part)
    })
}

#[derive(Debug, Default)]
struct Part {
    stored: Vec<StoredFile>,
    files: Vec<NewFile>,
    contents: Vec<StagedBlob>,
}

fn stage_part(
    bulk: &Bulk,
    archive: &Spooled,
    members: &[IntakeMember],
) -> Result<Part, IntakeError> {
    let mut reader = archive.reader();
    let mut part = Part::default();
    for member in members {
        let mut content = open_member(&mut reader, member)?;
        let known = |digest: &crate::model::Digest| bulk.store.knows(digest);
        let staged = bulk.store.blobs.stage_reader(&mut content, member.length, &known);
        let content = staged.map_err(|error| match error {
            StageError::Reader(error) => member.unreadable(error),
            StageError::TooLong { limit } => IntakeError::BadMember {
                member: member.filename.to_string(),
                reason: format!("it holds more than the {limit} bytes that it declares"),
            },
            StageError::Mutation(error) => error.into(),
        })?;
        let filename = member.filename.clone();
        let record = FileRecord {
            digest: content.digest(),
            length: content.length(),
            crc32: content.crc32(),
            creation_time: Timestamp::now(),
            compressible: content.compressible(),
        };
        part.stored.push(StoredFile { filename: filename.clone(), digest: record.digest });
        part.files.push(NewFile { filename, record, metadata: String::new() });
        part.contents.push(content);
    }
    Ok(part)
}

impl Staged {
    /// Makes the files visible. The dataset stands still.
    fn commit(self, bulk: &Bulk, dataset: DatasetId) -> Result<Vec<StoredFile>, MutationError> {
        let names: Vec<&Filename> = self.stored.iter().map(|file| &file.filename).collect();
        let revision = expect_free(bulk, dataset, &names)?;
        match self.place {
            StagedPlace::Whole { files, contents } => {
                let (reply, ticket) = Reply::new(None);
                let change = Change::AddFiles { dataset, files };
                bulk.committer.submit(Submission { change, contents, reply })?;
                ticket.redeem_blocking()?;
            }
            StagedPlace::Parts(set) => {
                set.commit(SetPurpose::AddFiles { dataset, revision })?;
            }
        }
        Ok(self.stored)
    }
}

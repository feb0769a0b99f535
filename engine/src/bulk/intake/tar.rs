//! A tar on its way in: each file is stored as it comes, in parts of a set that nobody sees.

use std::io::Read;

use super::super::{Bulk, LargeSet};
use super::parts::{Part, Staged, expect_free_so_far};
use crate::archive::intake::tar::TarReader;
use crate::archive::intake::{IntakeKind, Room, Unpacking};
use crate::blobs::{StageError, StagedBlob};
use crate::error::IntakeError;
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_FILES_MAX};
use crate::model::{DatasetId, Digest, Filename, StoredFile};

/// Reads a tar or tar.gz, of so many bytes if that is known or announced, to its end and stages its files.
/// Blocks as long as its sender takes.
///
/// # Errors
/// Nothing of it was or will be added.
pub(crate) fn stage_tar(
    bulk: &Bulk,
    dataset: DatasetId,
    kind: IntakeKind,
    length: Option<u64>,
    source: impl Read,
    room: Room,
) -> Result<Staged, IntakeError> {
    match kind {
        IntakeKind::TarGz => stage_files(bulk, dataset, Unpacking::new(source, length), room),
        IntakeKind::Tar | IntakeKind::Zip => stage_files(bulk, dataset, source, room),
    }
}

fn stage_files(
    bulk: &Bulk,
    dataset: DatasetId,
    source: impl Read,
    room: Room,
) -> Result<Staged, IntakeError> {
    let mut tar = TarReader::new(source);
    let mut staging = Staging {
        bulk,
        dataset,
        part: Part::default(),
        part_bytes: 0,
        set: None,
        stored: Vec::new(),
        room,
    };
    // A dataset that is not there, or a store that takes nothing, is told before bytes are asked
    // for.
    expect_free_so_far(bulk, dataset, &[])?;
    while let Some(member) = tar.next()? {
        let name_bytes = u64::try_from(member.filename.as_str().len()).unwrap_or(u64::MAX);
        staging.room.grow(1, name_bytes)?;
        let known = |digest: &Digest| bulk.store.knows(digest);
        let staged = bulk.store.blobs.stage_reader(&mut tar, member.length, &known);
        let content = staged.map_err(|error| match error {
            StageError::Reader(error) => TarReader::<&[u8]>::unreadable(&member, &error),
            StageError::TooLong { limit } => IntakeError::BadMember {
                member: member.filename.to_string(),
                reason: format!("it holds more than the {limit} bytes that it declares"),
            },
            StageError::Mutation(error) => error.into(),
        })?;
        staging.add(member.filename, content)?;
    }
    staging.finish()
}

/// Gathers files to parts.
struct Staging<'b> {
    bulk: &'b Bulk,
    dataset: DatasetId,
    part: Part,
    part_bytes: u64,
    /// Begun with the second part.
    set: Option<LargeSet>,
    /// Files of the parts that were staged.
    stored: Vec<StoredFile>,
    room: Room,
}

impl Staging<'_> {
    fn add(&mut self, filename: Filename, content: StagedBlob) -> Result<(), IntakeError> {
        let bytes = self.part_bytes.saturating_add(content.length());
        let is_full = self.part.files.len() >= CHANGE_FILES_MAX || bytes > CHANGE_BYTES_MAX;
        if is_full && !self.part.files.is_empty() {
            self.flush()?;
        }
        self.part_bytes = self.part_bytes.saturating_add(content.length());
        self.part.push(filename, content);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IntakeError> {
        let part = std::mem::take(&mut self.part);
        self.part_bytes = 0;
        // Checked again at the end; the sender of much hears early that it is for nothing.
        let names: Vec<&Filename> = part.files.iter().map(|file| &file.filename).collect();
        expect_free_so_far(self.bulk, self.dataset, &names)?;
        self.stored.extend(part.stored);
        let set = self.set.get_or_insert_with(|| LargeSet::begin(self.bulk, None));
        set.stage(part.files, part.contents)?;
        Ok(())
    }

    fn finish(mut self) -> Result<Staged, IntakeError> {
        if self.set.is_some() && !self.part.files.is_empty() {
            self.flush()?;
        }
        Ok(match self.set {
            Some(set) => Staged::of_parts(self.stored, set, self.room),
            None => self.part.whole(self.room),
        })
    }
}

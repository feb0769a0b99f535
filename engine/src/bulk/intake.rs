//! Archives as files: all members of a zip or tar are added, or none.
//!
//! Names are checked before their bytes are stored, and once more, with the dataset standing
//! still, before the change is made visible. A large archive's contents go to the journal while
//! later members are still read; nothing of them is visible until the last one has come. A zip is
//! there whole, so its parts are unpacked and hashed side by side; a [`tar`] comes in its own time.

mod parts;

mod tar;

use std::collections::VecDeque;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Bulk, LargeSet, on_blocking_pool};
use crate::archive::intake::{IntakeKind, IntakeMember, open_member, read_directory};
use crate::blobs::StageError;
use crate::engine::cores;
use crate::error::{IntakeError, MutationError};
use crate::limits::{
    CHANGE_BYTES_MAX, CHANGE_FILES_MAX, INTAKE_PARTS_AT_ONCE_MAX, INTAKE_WAITING_BYTES_MAX,
};
use crate::model::{DatasetId, Digest, Filename, StoredFile};
use crate::spool::Spooled;

pub(crate) use parts::Staged;
pub(super) use parts::{Part, expect_free_so_far};
pub(crate) use tar::stage_tar;

/// Stages the members of a zip archive.
pub(crate) async fn stage_zip(
    bulk: &Bulk,
    dataset: DatasetId,
    archive: Spooled,
) -> Result<Staged, IntakeError> {
    let staging = bulk.clone();
    let staged = on_blocking_pool(move || {
        let staged = stage_members(&staging, dataset, &archive)?;
        Ok::<_, IntakeError>((staged, archive))
    });
    let (staged, archive) = staged.await?;
    close_beside(archive);
    Ok(staged)
}

/// Stages the files of a tar or tar.gz that is there whole.
pub(crate) async fn stage_whole_tar(
    bulk: &Bulk,
    dataset: DatasetId,
    kind: IntakeKind,
    archive: Spooled,
) -> Result<Staged, IntakeError> {
    let staging = bulk.clone();
    let room = staging.rooms.whole.begin();
    let staged = on_blocking_pool(move || {
        let length = Some(archive.len());
        let staged = stage_tar(&staging, dataset, kind, length, archive.reader(), room)?;
        Ok::<_, IntakeError>((staged, archive))
    });
    let (staged, archive) = staged.await?;
    close_beside(archive);
    Ok(staged)
}

/// Lets go of an archive that was read, without a wait: to free all its pages takes milliseconds.
fn close_beside(archive: Spooled) {
    drop(tokio::task::spawn_blocking(move || drop(archive)));
}

/// Makes staged files visible, with the dataset standing still.
pub(crate) async fn commit(
    bulk: &Bulk,
    dataset: DatasetId,
    staged: Staged,
) -> Result<Vec<StoredFile>, IntakeError> {
    let hold = bulk.supervisor.hold(dataset).await?;
    let committing = bulk.clone();
    let stored = on_blocking_pool(move || {
        let _hold = hold;
        staged.commit(&committing, dataset)
    });
    Ok(stored.await?)
}

fn stage_members(
    bulk: &Bulk,
    dataset: DatasetId,
    archive: &Spooled,
) -> Result<Staged, IntakeError> {
    let mut room = bulk.rooms.whole.begin();
    let members = read_directory(&mut archive.reader(), &mut room)?;
    let names: Vec<&Filename> = members.iter().map(|member| &member.filename).collect();
    expect_free_so_far(bulk, dataset, &names)?;
    let bytes: u64 = members.iter().map(|member| member.length).sum();
    if members.len() <= CHANGE_FILES_MAX && bytes <= CHANGE_BYTES_MAX {
        return Ok(stage_part(bulk, archive, &members)?.whole(room));
    }
    let mut set = LargeSet::begin(bulk, None);
    let mut stored = Vec::with_capacity(members.len());
    let mut under_way = VecDeque::new();
    let at_once = cores().min(INTAKE_PARTS_AT_ONCE_MAX);
    for part in parts(&members) {
        let weight = Weight::of(part);
        while under_way.len() >= at_once
            || would_wait_with_much(under_way.iter().map(|(weight, _)| *weight), weight)
        {
            stage_first(&mut under_way, &mut set, &mut stored)?;
        }
        under_way.push_back((weight, begin_part(bulk, archive, part.to_vec())));
    }
    while !under_way.is_empty() {
        stage_first(&mut under_way, &mut set, &mut stored)?;
    }
    Ok(Staged::of_parts(stored, set, room))
}

/// What a part means for those behind it.
#[derive(Debug, Clone, Copy)]
struct Weight {
    /// Bytes of upload memory that it keeps until it is in the journal.
    in_memory: u64,
    /// Whether it may take long, for its length or since it waits for others.
    is_slow: bool,
}

impl Weight {
    fn of(part: &[IntakeMember]) -> Self {
        let bytes: u64 = part.iter().map(|member| member.length).sum();
        // A large member, which is a part by itself, goes to a file.
        let is_large = bytes > CHANGE_BYTES_MAX;
        let is_slow = is_large || part.iter().any(IntakeMember::may_wait_for_memory);
        Self { in_memory: if is_large { 0 } else { bytes }, is_slow }
    }
}

/// Whether a part would, with those under way, keep much upload memory while a slow one before it is unpacked:
/// parts go to the journal in order.
fn would_wait_with_much(under_way: impl Iterator<Item = Weight>, next: Weight) -> bool {
    let mut waiting = under_way.skip_while(|before| !before.is_slow);
    if next.in_memory == 0 || waiting.next().is_none() {
        return false;
    }
    let in_memory: u64 = waiting.map(|before| before.in_memory).sum();
    in_memory + next.in_memory > INTAKE_WAITING_BYTES_MAX
}

/// A part that is unpacked and hashed on the blocking pool.
type PartUnderWay = oneshot::Receiver<Result<Part, IntakeError>>;

fn begin_part(bulk: &Bulk, archive: &Spooled, members: Vec<IntakeMember>) -> PartUnderWay {
    let (done, part) = oneshot::channel();
    let (bulk, archive) = (bulk.clone(), archive.clone());
    let work = move || {
        // An earlier part may have been refused meanwhile.
        done.send(stage_part(&bulk, &archive, &members)).ok();
    };
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_no_runtime) => work(),
    }
    part
}

/// Waits for the first part and leaves it to the journal.
fn stage_first(
    under_way: &mut VecDeque<(Weight, PartUnderWay)>,
    set: &mut LargeSet,
    stored: &mut Vec<StoredFile>,
) -> Result<(), IntakeError> {
    let Some((_, part)) = under_way.pop_front() else {
        return Ok(());
    };
    let part = part.blocking_recv().map_err(|_broke_off| MutationError::Panicked)??;
    stored.extend(part.stored);
    set.stage(part.files, part.contents)?;
    Ok(())
}

/// Members in runs that one record holds.
fn parts(members: &[IntakeMember]) -> impl Iterator<Item = &[IntakeMember]> {
    let mut rest = members;
    std::iter::from_fn(move || {
        let mut bytes: u64 = 0;
        let fitting = rest.iter().take(CHANGE_FILES_MAX).take_while(|member| {
            bytes = bytes.saturating_add(member.length);
            bytes <= CHANGE_BYTES_MAX
        });
        let count = fitting.count().max(1).min(rest.len());
        let (part, left) = rest.split_at_checked(count)?;
        rest = left;
        (!part.is_empty()).then_some(part)
    })
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
        let known = |digest: &Digest| bulk.store.knows(digest);
        let staged = bulk.store.blobs.stage_reader(&mut content, member.length, &known);
        let content = staged.map_err(|error| match error {
            StageError::Reader(error) => member.unreadable(error),
            StageError::TooLong { limit } => IntakeError::BadMember {
                member: member.filename.to_string(),
                reason: format!("it holds more than the {limit} bytes that it declares"),
            },
            StageError::Mutation(error) => error.into(),
        })?;
        part.push(member.filename.clone(), content);
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;
    use crate::bulk::rig;

    /// A zip of 3 MB whose files are called so.
    fn zip_of_files(names: [&str; 3]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for name in names {
            zip.start_file(name, options).unwrap();
            let content = name.bytes().cycle().take(1_000_000).collect::<Vec<_>>();
            zip.write_all(&content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// Whatever becomes of an archive, nothing of it stays in memory.
    #[test]
    fn memory_for_archives_comes_back_from_those_that_are_added_refused_or_given_up() {
        rig::run(async |engine, dataset| {
            let blobs = std::sync::Arc::clone(&engine.bulk().store.blobs);
            let came = async |names, length| {
                let mut intake = engine.begin_intake(dataset, None, length);
                for chunk in zip_of_files(names).chunks(100_000) {
                    intake.write(chunk).await.unwrap();
                }
                intake
            };
            let free = async || {
                while blobs.archive_memory() > 0 {
                    tokio::task::yield_now().await;
                }
            };
            let names = ["a", "b", "c"];
            let intake = came(names, None).await;
            assert_eq!(blobs.archive_memory(), 2 << 20);
            let stored = intake.finish().await.unwrap();
            assert_eq!(stored.iter().map(|file| file.filename.as_str()).collect::<Vec<_>>(), names);
            assert_eq!(stored[1].digest, Digest::of(&b"b".repeat(1_000_000)));
            free().await;

            let refused = came(["d", "e", "a"], Some(3 << 20)).await;
            assert_eq!(blobs.archive_memory(), 2 << 20);
            refused.finish().await.unwrap_err();
            free().await;

            let given_up = came(["d", "e", "f"], None).await;
            assert_eq!(blobs.archive_memory(), 2 << 20);
            drop(given_up);
            assert_eq!(blobs.archive_memory(), 0);

            let long = came(["d", "e", "f"], Some(u64::MAX)).await;
            assert_eq!(blobs.archive_memory(), 0);
            long.finish().await.unwrap();
        });
    }

    #[test]
    fn no_more_than_a_little_waits_in_memory_behind_a_slow_part() {
        const LARGE: Weight = Weight { in_memory: 0, is_slow: true };
        const FULL: Weight = Weight { in_memory: CHANGE_BYTES_MAX, is_slow: false };
        const SLOW: Weight = Weight { is_slow: true, ..FULL };
        const LITTLE: Weight = Weight { in_memory: INTAKE_WAITING_BYTES_MAX / 2, is_slow: false };
        const MORE: Weight = Weight { in_memory: LITTLE.in_memory + 1, ..LITTLE };
        let waits =
            |under_way: &[Weight], next| would_wait_with_much(under_way.iter().copied(), next);
        for (under_way, next) in [
            ([LARGE].as_slice(), FULL),
            (&[FULL, LARGE], FULL),
            (&[LARGE, LITTLE], MORE),
            (&[LARGE, LITTLE, LARGE], MORE),
            (&[SLOW], FULL),
            (&[SLOW], SLOW),
        ] {
            assert!(waits(under_way, next), "{next:?} behind {under_way:?}");
        }
        for (under_way, next) in [
            ([].as_slice(), FULL),
            (&[FULL, FULL, FULL], FULL),
            (&[FULL, FULL], LARGE),
            (&[LARGE, LARGE], LARGE),
            // As where each picture has its label.
            (&[LARGE, LITTLE, LARGE], LITTLE),
            (&[FULL, FULL, LARGE], LITTLE),
            (&[SLOW], LITTLE),
            (&[FULL], SLOW),
        ] {
            assert!(!waits(under_way, next), "{next:?} behind {under_way:?}");
        }
    }
}

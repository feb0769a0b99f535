//! What there is room for on a disk that is full or nearly so (I7): what grows the store is refused, and
//! what frees space goes on as far as the index can spare the room.

use std::cell::Cell;
use std::collections::VecDeque;
use std::slice;
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{JournalParts, JournalThread, count_of};
use crate::blobs::byte_count;
use crate::codec;
use crate::committer::GIVEN_BACK_PERIOD;
use crate::committer::debt::Debt;
use crate::committer::index_thread::{IndexWork, MadeDurable, Until};
use crate::committer::submission::Submission;
use crate::committer::weight::{following, payload_bytes};
use crate::error::MutationError;
use crate::journal::AppendError;
use crate::limits::{READERS_WAIT_MAX, SPACE_WAIT_MAX};
use crate::model::change::{CatalogueChange, Change};
use crate::sync::receive;

/// Bytes kept allocated in the journal for changes that free space.
const SLACK_BYTES: u64 = 256 << 10;

/// Bytes set aside at least where a segment begins: no roll may leave less to what frees space.
pub(super) const SET_ASIDE_BYTES: u64 = RECORD_BYTES + SLACK_BYTES;

/// Bytes of a segment below which giving it up frees too little.
const GIVEN_UP_BYTES_MIN: u64 = 1 << 20;

/// Bytes by which few rows make the index grow.
const SMALL_BYTES: u64 = 64 << 10;

/// Bytes of a record beside its contents, generously.
const RECORD_BYTES: u64 = 64 << 10;

/// Bytes beside which no group's rows count.
const PLENTY_BYTES: u64 = 1 << 30;

/// When a wait that came to nothing ended: after it there is none for as long as one for space may take, since
/// all changes wait with it.
#[derive(Debug, Default)]
pub(super) struct InVain(Cell<Option<Instant>>);

impl InVain {
    fn note(&self) {
        self.0.set(Some(Instant::now()));
    }

    fn is_recent(&self) -> bool {
        self.0.get().is_some_and(|ended| ended.elapsed() < SPACE_WAIT_MAX)
    }
}

/// What there is for a group, and what it needs.
struct Room {
    /// Bytes that are free beside what is promised.
    space: u64,
    /// Bytes of its contents.
    bytes: u64,
    /// Bytes that the journal needs for it.
    wanted: u64,
    /// Whether all of it has room.
    is_there: bool,
}

/// What is left of a group once it is known what space there is.
pub(super) enum Admitted {
    /// All of it has room.
    Whole(Vec<Submission>),
    /// What frees space, as far as the reserve goes.
    ToTheReserve(Vec<Submission>),
}

/// What changes that free space need before they do.
#[derive(Debug, Clone, Copy)]
struct Needs {
    /// Bytes that the journal needs for their records.
    journal_bytes: u64,
    /// Bytes by which their rows may make the index grow.
    grown: u64,
}

impl Needs {
    fn of(submission: &Submission) -> Self {
        let group = slice::from_ref(submission);
        let debt = debt_of(group);
        let grown = debt.plus(following(submission)).grown();
        Self { journal_bytes: journal_bytes(group, debt), grown }
    }

    fn plus(self, more: Self) -> Self {
        Self {
            journal_bytes: self.journal_bytes.saturating_add(more.journal_bytes),
            grown: self.grown.saturating_add(more.grown),
        }
    }
}

impl JournalThread {
    /// I7: without space what grows the store is refused, and what frees space goes on. `None`
    /// ends the thread: the journal failed.
    pub(super) fn refuse_growth_without_space(
        &mut self,
        group: Vec<Submission>,
    ) -> Option<Admitted> {
        let Room { space, bytes, wanted, is_there } = self.room_for(&group);
        if is_there {
            match self.parts.journal.ensure_space(wanted) {
                Ok(()) => {
                    self.tell_of_space(space);
                    return Some(Admitted::Whole(group));
                }
                Err(AppendError::OutOfSpace) => {}
                Err(AppendError::Failed(error)) => {
                    self.refuse(group, &error);
                    return None;
                }
            }
        }
        let (growing, shrinking): (Vec<_>, Vec<_>) = group.into_iter().partition(|submission| {
            // Moving live bytes away is what frees a segment, but half of the reserve stays
            // for the index.
            let is_short = space < self.parts.reserve_bytes / 2 + bytes;
            grows(&submission.change) || (moves(&submission.change) && is_short)
        });
        if !growing.is_empty() {
            self.tell_of_no_space(space);
            if let Err(AppendError::Failed(error)) = self.give_up_segment() {
                self.refuse(growing.into_iter().chain(shrinking).collect(), &error);
                return None;
            }
        }
        self.parts.counters.refused_for_space.add(count_of(growing.len()));
        for submission in growing {
            submission.refuse(MutationError::OutOfSpace);
        }
        Some(Admitted::ToTheReserve(shrinking))
    }

    /// I7: commits what frees space as far as it finds room; the rest is refused. It may have what the
    /// journal has set aside, and of the reserve what the index can spare: without space for its pages
    /// that would fail. `Err` ends the thread.
    pub(super) fn commit_within_the_reserve(&mut self, group: Vec<Submission>) -> Result<(), ()> {
        let mut left = VecDeque::from(group);
        while let Some(first) = left.pop_front() {
            let mut needs = Needs::of(&first);
            if !self.has_room_within_the_reserve(&first, needs) {
                self.parts.counters.refused_for_space.increment();
                first.refuse(MutationError::OutOfSpace);
                continue;
            }
            let mut group = vec![first];
            while let Some(next) = left.front() {
                needs = needs.plus(Needs::of(next));
                if !self.has_room_at_once(needs) {
                    break;
                }
                group.extend(left.pop_front());
            }
            if self.commit(group).is_err() {
                let refusal = self.parts.queue.refusal().unwrap_or(MutationError::Stopping);
                for submission in left {
                    submission.refuse(refusal.clone());
                }
                return Err(());
            }
        }
        Ok(())
    }

    /// As [`JournalThread::has_room_at_once`], if need be after a checkpoint. What a set has staged is made
    /// visible or let go of whatever is left.
    fn has_room_within_the_reserve(&self, submission: &Submission, needs: Needs) -> bool {
        let ends = matches!(submission.change, Change::CommitSet { .. } | Change::AbortSet { .. });
        if ends || self.has_room_at_once(needs) {
            return true;
        }
        self.pay_debts(|| self.has_room_at_once(needs));
        self.wait_for_readers(needs);
        self.has_room_at_once(needs)
    }

    /// Waits until nobody reads an earlier state, where that is all that a change wants, but not for ever:
    /// most read for a moment only, as do the plans of large deletions.
    fn wait_for_readers(&self, needs: Needs) {
        if self.waited_for_readers.is_recent() {
            return;
        }
        let began = Instant::now();
        while !self.has_room_at_once(needs) && self.has_room_if(needs, false) {
            if began.elapsed() >= READERS_WAIT_MAX {
                return self.waited_for_readers.note();
            }
            thread::sleep(GIVEN_BACK_PERIOD);
        }
    }

    /// Whether there is room for what frees space while those read who do.
    fn has_room_at_once(&self, needs: Needs) -> bool {
        self.has_room_if(needs, self.parts.rows.get().is_read_as_before())
    }

    /// Whether what frees space leaves the index a quarter of the reserve, and enough for its rows. Few
    /// rows leave an eighth, or take what the journal has set aside. While somebody reads an earlier state,
    /// whose pages the index does not use again, all leave twice as much.
    fn has_room_if(&self, needs: Needs, is_read: bool) -> bool {
        let Needs { journal_bytes, grown } = needs;
        let is_small = grown <= SMALL_BYTES;
        if is_small && !is_read && self.parts.journal.has_room(journal_bytes) {
            return true;
        }
        let kept = match (is_small, is_read) {
            (true, false) => self.parts.reserve_bytes / 8,
            (true, true) | (false, false) => self.parts.reserve_bytes / 4,
            (false, true) => self.parts.reserve_bytes / 2,
        };
        self.space() >= journal_bytes.saturating_add(grown.max(kept))
    }

    /// Whether the disk has room for a group, in the journal now and in the index later.
    fn room_for(&self, group: &[Submission]) -> Room {
        let bytes: u64 = group.iter().map(payload_bytes).sum();
        let space = self.space();
        // Beside plenty no group's rows count, so they are not counted.
        let debt = if space < PLENTY_BYTES { debt_of(group) } else { Debt::default() };
        let journaled = bytes.saturating_add(debt.change_bytes);
        let needed = journaled.saturating_add(debt.plus(following_of(group)).space());
        let needed = self.parts.reserve_bytes.saturating_add(needed);
        // Times of logins find space or wait for the next minute, and nobody waits with them.
        let asks_for_space = |change: &Change| grows(change) && !are_times(change) || moves(change);
        let is_wanted = group.iter().any(|submission| asks_for_space(&submission.change));
        let space = if is_wanted { self.space_of(needed, space) } else { space };
        let wanted = journal_bytes(group, debt) + SET_ASIDE_BYTES;
        Room { space, bytes, wanted, is_there: space >= needed }
    }

    /// These bytes, which are free; where they are fewer than are needed, those beside what the index really
    /// took: what is promised to it may be more than it comes to.
    fn space_of(&self, needed: u64, space: u64) -> u64 {
        if space >= needed {
            return space;
        }
        self.pay_debts(|| self.space() >= needed);
        self.space()
    }

    /// Bytes that are free beside what is promised.
    fn space(&self) -> u64 {
        self.parts.disk.space().map_or(u64::MAX, |space| space.available)
    }

    /// Waits for a checkpoint that holds all groups so far, if there are any, and for what is given back until
    /// that is enough, but not for ever: all changes wait with it. After a wait in vain there is none for as long.
    fn pay_debts(&self, is_enough: impl Fn() -> bool) {
        let JournalParts { index, debts, disk, .. } = &self.parts;
        let (done, is_done) = oneshot::channel();
        let asked = MadeDurable { until: Until::Durable, done };
        if debts.is_something() && index.send(IndexWork::Checkpoint(asked)).is_ok() {
            // Without the index thread there is nothing to wait for, and nothing will be taken.
            receive(is_done).ok();
        }
        if self.waited_for_space.is_recent() {
            return;
        }
        let began = Instant::now();
        let gives_back = || debts.is_removing() || disk.is_freeing();
        while !is_enough() && gives_back() {
            if began.elapsed() >= SPACE_WAIT_MAX {
                return self.waited_for_space.note();
            }
            thread::sleep(GIVEN_BACK_PERIOD);
        }
    }

    fn tell_of_no_space(&mut self, available_bytes: u64) {
        if !self.has_told_of_no_space {
            self.has_told_of_no_space = true;
            let reserve_bytes = self.parts.reserve_bytes;
            tracing::warn!(
                available_bytes,
                reserve_bytes,
                "no space left: what grows the store is refused until there is"
            );
        }
    }

    /// Not before so much is free that the server is ready again, so that the two lines do not take
    /// turns while little is.
    fn tell_of_space(&mut self, available_bytes: u64) {
        let is_enough = available_bytes >= self.parts.reserve_bytes.saturating_mul(2);
        if self.has_told_of_no_space && is_enough {
            self.has_told_of_no_space = false;
            tracing::info!(available_bytes, "there is space again");
        }
    }

    /// Begins a new segment, once for each that fills a disk, so that what is dead in the old one
    /// can be reclaimed.
    fn give_up_segment(&mut self) -> Result<(), AppendError> {
        let head = self.parts.journal.end();
        if self.given_up != Some(head.segment) && head.offset > GIVEN_UP_BYTES_MIN {
            self.parts.journal.roll(SET_ASIDE_BYTES)?;
            self.given_up = Some(self.parts.journal.end().segment);
        }
        Ok(())
    }
}

/// What the index gets of a group beside what its changes say.
pub(super) fn following_of<'a>(group: impl IntoIterator<Item = &'a Submission>) -> Debt {
    group.into_iter().fold(Debt::default(), |all, submission| all.plus(following(submission)))
}

/// What the changes of a group will leave the index to take of what they say.
fn debt_of(group: &[Submission]) -> Debt {
    group.iter().fold(Debt::default(), |debt, submission| {
        let change = &submission.change;
        // What cannot be written is refused when it is to be.
        let change_bytes = codec::encode(change).map_or(0, |bytes| byte_count(bytes.len()));
        debt.plus(Debt { rows: change.row_count(), change_bytes })
    })
}

/// Bytes that the journal needs for these records, beside their group's head.
fn journal_bytes(group: &[Submission], debt: Debt) -> u64 {
    let contents: u64 = group.iter().map(payload_bytes).sum();
    let records = count_of(group.len()).saturating_mul(512);
    contents.saturating_add(debt.change_bytes).saturating_add(records)
}

/// Whether a change only says when somebody was seen.
fn are_times(change: &Change) -> bool {
    matches!(
        change,
        Change::Catalogue(
            CatalogueChange::Touch { .. } | CatalogueChange::TouchAccessTokens { .. }
        )
    )
}

/// Whether a change moves live bytes away, which frees what they lie in.
fn moves(change: &Change) -> bool {
    matches!(change, Change::Relocate { .. })
}

/// Whether a change makes the store larger.
fn grows(change: &Change) -> bool {
    match change {
        Change::AddFiles { .. }
        | Change::SetMetadata { .. }
        | Change::SetMetadataIf { .. }
        | Change::ReplaceFile { .. }
        | Change::CreateDataset { .. }
        | Change::UpdateDataset { .. }
        | Change::CopyDataset { .. }
        | Change::CopyFiles { .. }
        | Change::MergeShared { .. }
        | Change::MergeLayers { .. }
        | Change::MergeFiles { .. }
        | Change::StageFiles { .. }
        | Change::SetManyMetadata { .. }
        | Change::RenameFile { .. }
        | Change::StageMetadata { .. }
        | Change::Witness { .. } => true,
        // As times of logins do, which frees nothing again and again: one that says nothing is how a new
        // segment is asked for.
        Change::Catalogue(CatalogueChange::Touch { logins, nodes }) => {
            !logins.is_empty() || !nodes.is_empty()
        }
        Change::Catalogue(change) => !matches!(
            change,
            CatalogueChange::RevokeAccessToken { .. }
                | CatalogueChange::DestroyTeam { .. }
                | CatalogueChange::HardDeleteTeam { .. }
                | CatalogueChange::RemoveMember { .. }
                | CatalogueChange::DestroyProject { .. }
                | CatalogueChange::HardDeleteProject { .. }
                | CatalogueChange::DeleteLicence { .. }
                | CatalogueChange::DeleteNode { .. }
        ),
        Change::DeleteFile { .. }
        | Change::ClearDataset { .. }
        | Change::DestroyDataset { .. }
        | Change::ReinstateDataset { .. }
        | Change::HardDeleteDataset { .. }
        | Change::CommitSet { .. }
        | Change::AbortSet { .. }
        | Change::Relocate { .. }
        | Change::DeleteFiles { .. }
        | Change::PurgeDataset { .. }
        | Change::StageDeletions { .. } => false,
    }
}

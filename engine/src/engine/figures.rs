//! The state of the store in numbers, for whoever watches over it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Engine;
use crate::counters::Distribution;
use crate::disk::{OpenMode, Space};
use crate::index::{INDEX_PATH, IndexError, reclaim};
use crate::limits::{CHANGES_QUEUED_MAX, GROUPS_AHEAD_MAX, UPLOADS_WAITING_MAX};
use crate::scrub::ScrubState;
use crate::turns::Turns;

/// What the store did since it was opened, and how it is now. What could not be found out is `None`.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Changes in a group; its count is that of the groups.
    pub group_changes: Distribution,
    /// Bytes of a group in the journal.
    pub group_bytes: Distribution,
    /// Nanoseconds of writing and syncing a group.
    pub sync_time: Distribution,
    /// Nanoseconds from a group's sync until readers see it.
    pub apply_time: Distribution,
    /// Nanoseconds that changes waited for checkpoints to begin.
    pub checkpoint_time: Distribution,
    /// Checkpoints whose pages are being written and synced beside changes: one or none.
    pub checkpoints_settling: u64,
    /// Since the index was made durable last.
    pub checkpoint_age: Duration,
    /// Bytes of the journal that this did not hold yet.
    pub uncheckpointed_bytes: u64,
    /// Where something waits.
    pub queues: Vec<QueueFigures>,
    /// What only so many may do at once.
    pub works: Vec<WorkFigures>,
    /// Bytes that uploads hold in memory, and may.
    pub upload_memory: (u64, u64),
    /// Changes, uploads and answers refused for want of disk space.
    pub refused_for_space: u64,
    /// Dataset actors that are alive.
    pub actors: usize,
    /// Actors started so far.
    pub actors_started: u64,
    /// Of those, the ones that took the place of one that had panicked.
    pub actors_restarted: u64,
    /// Contents that came and were there already, and their bytes.
    pub duplicates: (u64, u64),
    /// Segments of the journal.
    pub segments: usize,
    /// Bytes of contents in segments that the index names.
    pub live_bytes: Option<u64>,
    /// All other bytes of segments: what compaction and reclaiming have before them.
    pub dead_bytes: Option<u64>,
    /// Bytes of segments and large files that were given back to the disk.
    pub reclaimed_bytes: u64,
    /// Bytes of contents that compaction moved.
    pub compacted_bytes: u64,
    /// Bytes of the index's file.
    pub index_bytes: Option<u64>,
    /// Space of the file system.
    pub space: Option<Space>,
    /// Free bytes below which nothing that grows the store is taken (I7).
    pub reserve_bytes: u64,
    /// The scrub.
    pub scrub: ScrubState,
    /// Contents that were found damaged and did not come again since.
    pub quarantined: usize,
    /// Snapshots that somebody reads.
    pub snapshots: u64,
    /// Leases that archives and backups hold.
    pub leases: usize,
    /// Contents that are pinned for uploads and changes under way.
    pub pins: usize,
}

/// A queue.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub struct QueueFigures {
    pub name: &'static str,
    pub length: u64,
    /// Beyond which the next one is refused; `None` where time alone bounds the waiting.
    pub limit: Option<u64>,
    /// Those who were refused for want of a place, or waited in vain; `None` where nobody is
    /// refused.
    pub refused: Option<u64>,
}

/// Work that only so many may do at once.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub struct WorkFigures {
    pub name: &'static str,
    pub running: u64,
    pub limit: u64,
}

impl Engine {
    /// The store's numbers. Takes some microseconds, and a file's length is asked of the disk.
    pub fn figures(&self) -> Figures {
        let inner = &self.inner;
        let (store, counters) = (&inner.store, &inner.store.counters);
        let (live_bytes, all_bytes) =
            self.segment_bytes().map_or((None, None), |(live, all)| (Some(live), Some(all)));
        let index = store.disk.open(INDEX_PATH, OpenMode::ReadOnly);
        Figures {
            group_changes: counters.group_changes.read(),
            group_bytes: counters.group_bytes.read(),
            sync_time: counters.sync_time.read(),
            apply_time: counters.apply_time.read(),
            checkpoint_time: counters.checkpoint_time.read(),
            checkpoints_settling: counters.checkpoints_settling.get(),
            checkpoint_age: counters.checkpoint_age(),
            uncheckpointed_bytes: counters.uncheckpointed_bytes.get(),
            queues: self.queues(),
            works: self.works(),
            upload_memory: store.blobs.memory(),
            refused_for_space: counters.refused_for_space.get(),
            actors: inner.supervisor.actor_count(),
            actors_started: counters.actors_started.get(),
            actors_restarted: counters.actors_restarted.get(),
            duplicates: (counters.duplicates.get(), counters.duplicate_bytes.get()),
            segments: store.segments.ids().len(),
            live_bytes,
            dead_bytes: all_bytes.zip(live_bytes).map(|(all, live)| all.saturating_sub(live)),
            reclaimed_bytes: counters.reclaimed_bytes.get(),
            compacted_bytes: counters.compacted_bytes.get(),
            index_bytes: index.and_then(|file| file.len()).ok(),
            space: store.bare_disk.space().ok(),
            reserve_bytes: inner.reserve_bytes,
            scrub: inner.scrub.state(),
            quarantined: store.quarantine.count(),
            snapshots: counters.snapshots_open.get(),
            leases: store.leases.count(),
            pins: store.blobs.pins().count(),
        }
    }

    /// How often something changed, since the store was opened, that rights follow from: users, teams,
    /// projects, access tokens, whose a dataset is. Whoever finds it as it was before they looked
    /// found what still holds.
    pub fn rights_version(&self) -> u64 {
        self.inner.store.rights_version.load(Ordering::Acquire)
    }

    /// The data directory, as a person would name it.
    pub fn directory(&self) -> String {
        self.inner.store.disk.display()
    }

    /// Space of the file system that holds the store.
    ///
    /// # Errors
    /// The disk's own.
    pub fn space(&self) -> std::io::Result<Space> {
        self.inner.store.bare_disk.space()
    }

    /// Free bytes below which nothing that grows the store is taken; uploads on their way and
    /// spools stop at twice that (I7).
    pub fn reserve_bytes(&self) -> u64 {
        self.inner.reserve_bytes
    }

    fn queues(&self) -> Vec<QueueFigures> {
        let inner = &self.inner;
        let counters = &inner.store.counters;
        let (waiting, refused) = inner.store.blobs.waiting();
        let by_dataset = inner.supervisor.in_flight_count();
        let queue = |name, length, limit: Option<usize>, refused| QueueFigures {
            name,
            length: number(length),
            limit: limit.map(number),
            refused,
        };
        let turns = |name, turns: &Turns| {
            let (length, limit) = turns.waiting();
            queue(name, length, Some(limit), Some(turns.refused()))
        };
        vec![
            queue("datasets", by_dataset, None, Some(counters.refused_by_dataset.get())),
            queue(
                "journal",
                inner.committer.queued(),
                Some(CHANGES_QUEUED_MAX),
                Some(counters.refused_by_journal.get()),
            ),
            QueueFigures {
                length: counters.groups_ahead.get(),
                ..queue("groups", 0, Some(GROUPS_AHEAD_MAX), None)
            },
            queue("upload_memory", waiting, Some(UPLOADS_WAITING_MAX), Some(refused)),
            turns("archives", &inner.workshop.turns),
            turns("archive_lists", &inner.manifest_turns),
            turns("whole_intakes", &inner.whole_intake_turns),
            turns("bulk_changes", &inner.bulk_turns),
        ]
    }

    fn works(&self) -> Vec<WorkFigures> {
        let inner = &self.inner;
        let turns = |name, turns: &Turns| {
            let (running, limit) = turns.working();
            WorkFigures { name, running: number(running), limit: number(limit) }
        };
        vec![
            turns("archives", &inner.workshop.turns),
            turns("archive_lists", &inner.manifest_turns),
            turns("streamed_intakes", &inner.intake_turns),
            turns("whole_intakes", &inner.whole_intake_turns),
            turns("bulk_changes", &inner.bulk_turns),
        ]
    }

    /// Bytes of live contents in segments, and all bytes of segments.
    fn segment_bytes(&self) -> Result<(u64, u64), IndexError> {
        let store = &self.inner.store;
        let live = reclaim::live_bytes(&store.index.get())?;
        let all = store.segments.ids().into_iter().map(|id| store.segments.length(id)).sum();
        Ok((live.values().sum(), all))
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

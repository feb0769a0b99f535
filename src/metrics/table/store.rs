//! The store: what the engine counts, and how it is.

use granary_engine::ScrubPass;

use crate::metrics::Scrape;
use crate::metrics::exposition::{Kind, Metric, Unit};

/// The conditions that `/readyz` knows while `/metrics` is served.
const CONDITIONS: [&str; 5] = ["ready", "read-only", "nearly-full", "draining", "stopping"];

fn works(scrape: &Scrape<'_>) -> impl Iterator<Item = (&'static str, u64, u64)> {
    let of_the_store = scrape.figures.works.iter();
    let of_the_store = of_the_store.map(|work| (work.name, work.running, work.limit));
    of_the_store.chain(scrape.works.iter().map(|work| (work.name, work.running, work.limit)))
}

fn scrub_pass(scrape: &Scrape<'_>) -> Option<ScrubPass> {
    scrape.figures.scrub.pass.or(scrape.figures.scrub.last)
}

pub(super) static METRICS: [Metric; 39] = [
    Metric {
        name: "granary_condition",
        kind: Kind::Gauge,
        labels: &[("condition", "`ready`, `read-only`, `nearly-full`, `draining` or `stopping`")],
        about: "Whether the server is in this condition (1) or not (0); `/readyz` says why.",
        read: |scrape, samples| {
            for condition in CONDITIONS {
                samples.labelled(&[condition], u8::from(condition == scrape.condition));
            }
        },
    },
    Metric {
        name: "granary_group_changes",
        kind: Kind::Histogram,
        labels: &[],
        about: "Changes in a group of the journal; its count is the number of groups.",
        read: |scrape, samples| samples.distribution(&[], &scrape.figures.group_changes, Unit::One),
    },
    Metric {
        name: "granary_group_size_bytes",
        kind: Kind::Histogram,
        labels: &[],
        about: "Bytes of a group in the journal, contents up to 1 MiB included.",
        read: |scrape, samples| samples.distribution(&[], &scrape.figures.group_bytes, Unit::One),
    },
    Metric {
        name: "granary_journal_sync_duration_seconds",
        kind: Kind::Histogram,
        labels: &[],
        about: "Time to write a group and make it durable: one fdatasync, after which its changes can no longer be lost.",
        read: |scrape, samples| {
            samples.distribution(&[], &scrape.figures.sync_time, Unit::Nanoseconds);
        },
    },
    Metric {
        name: "granary_group_apply_duration_seconds",
        kind: Kind::Histogram,
        labels: &[],
        about: "Time from a group's sync until readers see it, with the wait for earlier groups, and for later ones where all of the group was answered when it was synced; clients of other changes are answered then.",
        read: |scrape, samples| {
            samples.distribution(&[], &scrape.figures.apply_time, Unit::Nanoseconds);
        },
    },
    Metric {
        name: "granary_checkpoint_duration_seconds",
        kind: Kind::Histogram,
        labels: &[],
        about: "Time that changes waited for a checkpoint of the index to begin, new files excepted, which are answered meanwhile; its count is the number of checkpoints.",
        read: |scrape, samples| {
            samples.distribution(&[], &scrape.figures.checkpoint_time, Unit::Nanoseconds);
        },
    },
    Metric {
        name: "granary_checkpoint_settling",
        kind: Kind::Gauge,
        labels: &[],
        about: "1 while the pages of a checkpoint are written and synced beside changes, 0 otherwise.",
        read: |scrape, samples| samples.value(scrape.figures.checkpoints_settling),
    },
    Metric {
        name: "granary_checkpoint_age_seconds",
        kind: Kind::Gauge,
        labels: &[],
        about: "Time since the index was made durable last. An idle store has no need to do it again.",
        read: |scrape, samples| samples.time(scrape.figures.checkpoint_age),
    },
    Metric {
        name: "granary_checkpoint_journal_bytes",
        kind: Kind::Gauge,
        labels: &[],
        about: "Bytes of the journal since the last checkpoint: what opening would replay.",
        read: |scrape, samples| samples.value(scrape.figures.uncheckpointed_bytes),
    },
    Metric {
        name: "granary_queue_length",
        kind: Kind::Gauge,
        labels: &[(
            "queue",
            "`datasets` (changes queued or in flight), `journal` (changes), `groups` (synced, not yet applied), `upload_memory` (uploads), `archives`, `archive_lists`, `whole_intakes`, `bulk_changes`",
        )],
        about: "What waits in a queue.",
        read: |scrape, samples| {
            for queue in &scrape.figures.queues {
                samples.labelled(&[queue.name], queue.length);
            }
        },
    },
    Metric {
        name: "granary_queue_limit",
        kind: Kind::Gauge,
        labels: &[(
            "queue",
            "`datasets` (changes queued or in flight), `journal` (changes), `groups` (synced, not yet applied), `upload_memory` (uploads), `archives`, `archive_lists`, `whole_intakes`, `bulk_changes`",
        )],
        about: "What may wait in a queue. Absent for datasets, each of which may have 4096 changes.",
        read: |scrape, samples| {
            for queue in &scrape.figures.queues {
                if let Some(limit) = queue.limit {
                    samples.labelled(&[queue.name], limit);
                }
            }
        },
    },
    Metric {
        name: "granary_queue_refusals_total",
        kind: Kind::Counter,
        labels: &[(
            "queue",
            "`datasets` (changes queued or in flight), `journal` (changes), `groups` (synced, not yet applied), `upload_memory` (uploads), `archives`, `archive_lists`, `whole_intakes`, `bulk_changes`, `spooled_answers`, `long_answers`, `long_answers_after_changes`, `large_bodies`, `large_bodies_kept` (64 KiB of memory each), `strangers_large_bodies`, `sorted_lists`, `scrapes`, `logins`",
        )],
        about: "Those who found a queue full, or waited in it in vain, and were answered with 503; in `long_answers_after_changes` with 507, since the change is made.",
        read: |scrape, samples| {
            for queue in &scrape.figures.queues {
                if let Some(refused) = queue.refused {
                    samples.labelled(&[queue.name], refused);
                }
            }
            for work in &scrape.works {
                samples.labelled(&[work.name], work.refused);
            }
        },
    },
    Metric {
        name: "granary_work_running",
        kind: Kind::Gauge,
        labels: &[(
            "work",
            "`archives`, `archive_lists`, `streamed_intakes`, `whole_intakes`, `bulk_changes`, `spooled_answers`, `long_answers`, `long_answers_after_changes`, `large_bodies`, `large_bodies_kept` (64 KiB of memory each), `strangers_large_bodies`, `sorted_lists`, `scrapes`, `logins`",
        )],
        about: "Work under way of a kind of which only so much is done at once.",
        read: |scrape, samples| {
            for (name, running, _) in works(scrape) {
                samples.labelled(&[name], running);
            }
        },
    },
    Metric {
        name: "granary_work_limit",
        kind: Kind::Gauge,
        labels: &[(
            "work",
            "`archives`, `archive_lists`, `streamed_intakes`, `whole_intakes`, `bulk_changes`, `spooled_answers`, `long_answers`, `long_answers_after_changes`, `large_bodies`, `large_bodies_kept` (64 KiB of memory each), `strangers_large_bodies`, `sorted_lists`, `scrapes`, `logins`",
        )],
        about: "How much of such work is done at once at most.",
        read: |scrape, samples| {
            for (name, _, limit) in works(scrape) {
                samples.labelled(&[name], limit);
            }
        },
    },
    Metric {
        name: "granary_upload_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        about: "Memory that uploads under way count as; one that is kept as it came counts as all that it may be a part of.",
        read: |scrape, samples| samples.value(scrape.figures.upload_memory.0),
    },
    Metric {
        name: "granary_upload_memory_limit_bytes",
        kind: Kind::Gauge,
        labels: &[],
        about: "Memory that they may hold together; beyond it they wait.",
        read: |scrape, samples| samples.value(scrape.figures.upload_memory.1),
    },
    Metric {
        name: "granary_space_refusals_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Changes, uploads and long answers that were refused with 507 since the disk has no space for them.",
        read: |scrape, samples| samples.value(scrape.figures.refused_for_space),
    },
    Metric {
        name: "granary_actors",
        kind: Kind::Gauge,
        labels: &[],
        about: "Dataset actors that are alive: one for each dataset that was changed within a minute or so.",
        read: |scrape, samples| samples.value(scrape.figures.actors),
    },
    Metric {
        name: "granary_actors_started_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Dataset actors that were started.",
        read: |scrape, samples| samples.value(scrape.figures.actors_started),
    },
    Metric {
        name: "granary_actors_restarted_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Dataset actors that took the place of one that had panicked. Each is a fault of ours: the log has it.",
        read: |scrape, samples| samples.value(scrape.figures.actors_restarted),
    },
    Metric {
        name: "granary_duplicate_contents_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Contents that came and were there already, so that only a name was stored.",
        read: |scrape, samples| samples.value(scrape.figures.duplicates.0),
    },
    Metric {
        name: "granary_duplicate_bytes_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Bytes of such contents: what deduplication saved.",
        read: |scrape, samples| samples.value(scrape.figures.duplicates.1),
    },
    Metric {
        name: "granary_journal_segments",
        kind: Kind::Gauge,
        labels: &[],
        about: "Segments of the journal.",
        read: |scrape, samples| samples.value(scrape.figures.segments),
    },
    Metric {
        name: "granary_journal_bytes",
        kind: Kind::Gauge,
        labels: &[(
            "state",
            "`live` (contents that the index names) or `dead` (all else: what compaction has before it)",
        )],
        about: "Bytes of the journal's segments, which hold contents up to 1 MiB.",
        read: |scrape, samples| {
            let states = [("live", scrape.figures.live_bytes), ("dead", scrape.figures.dead_bytes)];
            for (state, bytes) in states {
                if let Some(bytes) = bytes {
                    samples.labelled(&[state], bytes);
                }
            }
        },
    },
    Metric {
        name: "granary_reclaimed_bytes_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Bytes of segments and of files of large contents that were given back to the disk.",
        read: |scrape, samples| samples.value(scrape.figures.reclaimed_bytes),
    },
    Metric {
        name: "granary_compacted_bytes_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Bytes of live contents that were moved so that mostly dead segments could go.",
        read: |scrape, samples| samples.value(scrape.figures.compacted_bytes),
    },
    Metric {
        name: "granary_index_bytes",
        kind: Kind::Gauge,
        labels: &[],
        about: "Size of the index's file.",
        read: |scrape, samples| samples.known(scrape.figures.index_bytes),
    },
    Metric {
        name: "granary_disk_total_bytes",
        kind: Kind::Gauge,
        labels: &[],
        about: "Size of the file system that holds the data directory.",
        read: |scrape, samples| samples.known(scrape.figures.space.map(|space| space.total)),
    },
    Metric {
        name: "granary_disk_available_bytes",
        kind: Kind::Gauge,
        labels: &[],
        about: "Bytes of it that the server may still use.",
        read: |scrape, samples| samples.known(scrape.figures.space.map(|space| space.available)),
    },
    Metric {
        name: "granary_disk_reserve_bytes",
        kind: Kind::Gauge,
        labels: &[],
        about: "Free bytes below which nothing that grows the store is taken. Large uploads stop at twice that, and `/readyz` with them.",
        read: |scrape, samples| samples.value(scrape.figures.reserve_bytes),
    },
    Metric {
        name: "granary_scrub_progress_ratio",
        kind: Kind::Gauge,
        labels: &[],
        about: "How much of all contents the pass of the scrub under way has read, from 0 to 1; absent between passes.",
        read: |scrape, samples| {
            if scrape.figures.scrub.pass.is_some() {
                samples.value(scrape.figures.scrub.share);
            }
        },
    },
    Metric {
        name: "granary_scrub_pass_contents",
        kind: Kind::Gauge,
        labels: &[],
        about: "Contents that the pass of the scrub under way, or else the last one, has read.",
        read: |scrape, samples| samples.known(scrub_pass(scrape).map(|pass| pass.contents)),
    },
    Metric {
        name: "granary_scrub_pass_bytes",
        kind: Kind::Gauge,
        labels: &[],
        about: "Bytes of them.",
        read: |scrape, samples| samples.known(scrub_pass(scrape).map(|pass| pass.bytes)),
    },
    Metric {
        name: "granary_scrub_pass_damaged",
        kind: Kind::Gauge,
        labels: &[],
        about: "Contents of them that were found damaged.",
        read: |scrape, samples| samples.known(scrub_pass(scrape).map(|pass| pass.damaged)),
    },
    Metric {
        name: "granary_scrub_finished_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        about: "When the scrub last came to the end of all contents, in seconds since 1970; absent before it did.",
        read: |scrape, samples| {
            let finished = scrape.figures.scrub.last.and_then(|pass| pass.finished);
            samples.known(finished.map(|finished| finished.0 / 1_000_000));
        },
    },
    Metric {
        name: "granary_quarantined_contents",
        kind: Kind::Gauge,
        labels: &[],
        about: "Contents that were found damaged and did not come again since.",
        read: |scrape, samples| samples.value(scrape.figures.quarantined),
    },
    Metric {
        name: "granary_open_snapshots",
        kind: Kind::Gauge,
        labels: &[],
        about: "States of the index that requests read at present. While one is held, the index cannot use its old pages again.",
        read: |scrape, samples| samples.value(scrape.figures.snapshots),
    },
    Metric {
        name: "granary_leases",
        kind: Kind::Gauge,
        labels: &[],
        about: "Archives and backups under way that keep contents from being reclaimed.",
        read: |scrape, samples| samples.value(scrape.figures.leases),
    },
    Metric {
        name: "granary_pins",
        kind: Kind::Gauge,
        labels: &[],
        about: "Contents that uploads and changes under way keep from being reclaimed.",
        read: |scrape, samples| samples.value(scrape.figures.pins),
    },
];

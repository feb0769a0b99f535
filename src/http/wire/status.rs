//! The shape of the server's status; the command line reads and shows it too.

use std::time::{Duration, SystemTime};

use granary_engine::Figures;
use granary_engine::model::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use crate::http::health::Condition;
use crate::metrics::{Metrics, ProcessFigures};

/// What the server is, how full, how busy and how well. A number that could not be found out is
/// null.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Status)]
pub struct StatusShape {
    /// The version that runs.
    #[schema(examples("0.1.0"))]
    pub version: String,
    /// As `/readyz` has it.
    #[schema(examples("ready"))]
    pub condition: String,
    /// Why it is not ready.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// When the server became ready.
    #[schema(format = DateTime)]
    pub started: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// The data directory.
    #[schema(examples("/var/lib/granary"))]
    pub data: String,
    /// Bytes of its file system.
    #[schema(required = true)]
    pub disk_total_bytes: Option<u64>,
    /// Bytes of it that are free.
    #[schema(required = true)]
    pub disk_available_bytes: Option<u64>,
    /// Free bytes below which uploads are refused.
    pub disk_wanted_bytes: u64,
    /// Bytes of live contents in the journal.
    #[schema(required = true)]
    pub journal_live_bytes: Option<u64>,
    /// All other bytes of the journal.
    #[schema(required = true)]
    pub journal_dead_bytes: Option<u64>,
    /// Bytes of the index.
    #[schema(required = true)]
    pub index_bytes: Option<u64>,
    /// Requests since the server became ready.
    pub requests: u64,
    /// Requests under way, this one included.
    pub requests_in_flight: u64,
    /// Changes and uploads that wait somewhere.
    pub waiting: u64,
    /// Those that were refused for want of a place or of space.
    pub refused: u64,
    /// Dataset actors that are alive.
    pub actors: u64,
    /// Archives that are built.
    pub archives: u64,
    /// Seconds since the index was made durable last.
    pub checkpoint_age_seconds: u64,
    /// Bytes of the journal since then.
    pub checkpoint_journal_bytes: u64,
    /// Memory of the process in bytes.
    #[schema(required = true)]
    pub resident_bytes: Option<u64>,
    /// Open files, connections included.
    #[schema(required = true)]
    pub open_files: Option<u64>,
    /// Open files that the system grants.
    #[schema(required = true)]
    pub open_files_max: Option<u64>,
    /// How much of all contents the scrub's pass has read, from 0 to 1; null between passes.
    #[schema(required = true)]
    pub scrub_progress: Option<f64>,
    /// When the scrub last came to the end of all contents.
    #[schema(required = true, format = DateTime)]
    pub scrub_finished: Option<String>,
    /// Contents that were found damaged.
    pub quarantined: u64,
}

impl StatusShape {
    /// The status as these numbers have it.
    pub(crate) fn of(
        condition: &Condition,
        data: String,
        figures: &Figures,
        metrics: &Metrics,
        process: ProcessFigures,
    ) -> Self {
        let queue = |name: &str| {
            let found = figures.queues.iter().find(|queue| queue.name == name);
            found.map_or(0, |queue| queue.length)
        };
        let refused: u64 = figures.queues.iter().filter_map(|queue| queue.refused).sum();
        let refused = refused
            .saturating_add(figures.refused_for_space)
            .saturating_add(metrics.connections.refused.get());
        let archives = figures.works.iter().find(|work| work.name == "archives");
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        let scrub = &figures.scrub;
        let finished = scrub.last.and_then(|pass| pass.finished);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            condition: condition.word().to_owned(),
            reason: condition.reason(),
            started: Time(before(metrics.uptime())).to_string(),
            uptime_seconds: metrics.uptime().as_secs(),
            data,
            disk_total_bytes: figures.space.map(|space| space.total),
            disk_available_bytes: figures.space.map(|space| space.available),
            disk_wanted_bytes: figures.reserve_bytes.saturating_mul(2),
            journal_live_bytes: figures.live_bytes,
            journal_dead_bytes: figures.dead_bytes,
            index_bytes: figures.index_bytes,
            requests: metrics.requests.count(),
            requests_in_flight: metrics.requests.in_flight.get(),
            waiting: queue("datasets").saturating_add(queue("upload_memory")),
            refused,
            actors: number(figures.actors),
            archives: archives.map_or(0, |work| work.running),
            checkpoint_age_seconds: figures.checkpoint_age.as_secs(),
            checkpoint_journal_bytes: figures.uncheckpointed_bytes,
            resident_bytes: process.resident_bytes,
            open_files: process.open_files,
            open_files_max: process.open_files_max,
            scrub_progress: scrub.pass.map(|_| scrub.share),
            scrub_finished: finished.map(|finished| Time(finished).to_string()),
            quarantined: number(figures.quarantined),
        }
    }
}

/// The point in time so long ago.
fn before(time: Duration) -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let then = now.saturating_sub(time).as_micros();
    Timestamp(i64::try_from(then).unwrap_or(i64::MAX))
}

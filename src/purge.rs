//! Removing for good what was soft-deleted long ago, where the operator asked for it.
//!
//! Nothing goes unannounced: a sweep logs every soft-deleted dataset that it meets for the first
//! time, with the time at which it is due, and removes only what an earlier sweep has announced.
//! So whoever starts a server with a setting that he did not mean has a whole period to stop it.
//! A dataset that is reinstated meanwhile stays: the engine removes it only if it is soft-deleted
//! since the very time that was announced.

use std::collections::HashMap;
use std::time::Duration;

use granary_engine::model::{Dataset, DatasetId, Origin, Timestamp};
use granary_engine::{Engine, MutationError, ReadError};
use tracing::{info, warn};

/// Longest time between two sweeps.
const PERIOD_MAX: Duration = Duration::from_hours(1);

/// Shortest time between two sweeps; each looks at every dataset.
const PERIOD_MIN: Duration = Duration::from_secs(10);

/// Announces and removes; lives as long as the server.
#[derive(Debug)]
pub struct Purge {
    engine: Engine,
    retention: Duration,
    /// What was announced, with the time of the deletion that it was announced for.
    announced: HashMap<DatasetId, Timestamp>,
}

/// What one sweep did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Datasets that were announced.
    pub announced: Vec<DatasetId>,
    /// Datasets that were removed.
    pub removed: Vec<DatasetId>,
}

impl Purge {
    /// Will remove what was soft-deleted longer ago than `retention`.
    pub fn new(engine: Engine, retention: Duration) -> Self {
        let engine = engine.on_behalf_of(Origin::of_the_server("purge"));
        Self { engine, retention, announced: HashMap::new() }
    }

    /// Logs what the setting means.
    pub fn announce_setting(&self) {
        let (retention, period) = (self.retention, self.period());
        info!(
            ?retention,
            ?period,
            "datasets that were soft-deleted longer ago than this are removed for good, each \
             one sweep or more after it was announced here; stop the server to prevent it"
        );
    }

    /// Time between two sweeps: so long passes at least from an announcement to the removal.
    pub fn period(&self) -> Duration {
        (self.retention / 10).clamp(PERIOD_MIN, PERIOD_MAX)
    }

    /// Removes what is due and was announced by an earlier sweep; announces the rest of what is
    /// soft-deleted.
    ///
    /// One that is busy is left to the next sweep.
    ///
    /// # Errors
    /// The index cannot be read, or the store takes no changes; the next sweep goes on.
    ///
    /// # Cancellation
    /// A removal that was begun is made; the next sweep goes on.
    pub async fn sweep(&mut self, now: Timestamp) -> Result<Sweep, MutationError> {
        let engine = self.engine.clone();
        let purge = async move |id, deleted_at| engine.purge_dataset(id, deleted_at).await;
        self.sweep_with(now, purge).await
    }

    async fn sweep_with(
        &mut self,
        now: Timestamp,
        purge: impl AsyncFn(DatasetId, Timestamp) -> Result<Dataset, MutationError>,
    ) -> Result<Sweep, MutationError> {
        let engine = self.engine.clone();
        let found = tokio::task::spawn_blocking(move || soft_deleted(&engine)).await;
        let found = found.map_err(|_panicked| MutationError::Panicked)??;
        let mut swept = Sweep::default();
        let mut still_announced = HashMap::with_capacity(found.len());
        let mut due = Vec::new();
        for doomed in found {
            let Doomed { id, deleted_at, .. } = doomed;
            if self.announced.get(&id) != Some(&deleted_at) {
                self.announce(&doomed);
                swept.announced.push(id);
            } else if self.due_at(deleted_at) <= now {
                due.push((id, deleted_at));
            }
            still_announced.insert(id, deleted_at);
        }
        self.announced = still_announced;
        for (dataset, deleted_at) in due {
            if is_removed(dataset, deleted_at, purge(dataset, deleted_at).await)? {
                swept.removed.push(dataset);
            }
        }
        Ok(swept)
    }

    fn due_at(&self, deleted_at: Timestamp) -> Timestamp {
        let retention = i64::try_from(self.retention.as_micros()).unwrap_or(i64::MAX);
        Timestamp(deleted_at.0.saturating_add(retention))
    }

    fn announce(&self, doomed: &Doomed) {
        info!(
            pk = doomed.id.0,
            name = %doomed.name,
            version = doomed.version,
            files = doomed.files,
            bytes = doomed.bytes,
            deleted_at = %shown(doomed.deleted_at),
            due_at = %shown(self.due_at(doomed.deleted_at)),
            "a soft-deleted dataset will be removed for good; reinstate it to keep it"
        );
    }
}

/// Whether it was removed: one that is no longer due stays, and one that is busy stays for now.
fn is_removed(
    dataset: DatasetId,
    deleted_at: Timestamp,
    purged: Result<Dataset, MutationError>,
) -> Result<bool, MutationError> {
    if let Err(MutationError::Moved { .. } | MutationError::DatasetNotFound { .. }) = purged {
        return Ok(false);
    }
    if let Err(error @ MutationError::Busy { .. }) = &purged {
        warn!(pk = dataset.0, %error, "a soft-deleted dataset is removed by a later sweep");
        return Ok(false);
    }
    let removed = purged?;
    info!(
        pk = removed.id.0,
        name = %removed.name,
        version = removed.version,
        files = removed.file_count,
        bytes = removed.file_bytes,
        deleted_at = %shown(deleted_at),
        "a soft-deleted dataset was removed for good"
    );
    Ok(true)
}

/// What is told of a soft-deleted dataset; without the texts that may be long.
struct Doomed {
    id: DatasetId,
    name: String,
    version: u64,
    files: u64,
    bytes: u64,
    deleted_at: Timestamp,
}

fn soft_deleted(engine: &Engine) -> Result<Vec<Doomed>, ReadError> {
    let mut found = Vec::new();
    for dataset in engine.snapshot()?.datasets()? {
        let dataset = dataset?;
        if let Some(deleted_at) = dataset.deletion_time {
            let Dataset { id, name, version, file_count, file_bytes, .. } = dataset;
            found.push(Doomed {
                id,
                name,
                version,
                files: file_count,
                bytes: file_bytes,
                deleted_at,
            });
        }
    }
    Ok(found)
}

fn shown(time: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(time.0).unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use granary_engine::EngineOptions;
    use granary_engine::model::{NewDataset, NewLicence, NewProject, NewTeam};

    use super::*;

    /// Soft-deleted datasets, in order of primary key.
    async fn destroyed(engine: &Engine, names: [&str; 2]) -> [DatasetId; 2] {
        let licence = NewLicence {
            name: "CC0".into(),
            url: String::new(),
            permissions: vec![],
            conditions: vec![],
            limitations: vec![],
            domains: vec![],
        };
        let licence = engine.create_licence(licence).await.unwrap().id;
        let team = NewTeam { name: "team".into(), creator: None };
        let team = engine.create_team(team).await.unwrap().id;
        let project = NewProject { name: "project".into(), team, creator: None };
        let project = engine.create_project(project).await.unwrap().id;
        let mut made = Vec::new();
        for name in names {
            let dataset = NewDataset {
                name: name.into(),
                description: String::new(),
                project,
                licence,
                tags: String::new(),
                is_public: false,
                creator: None,
            };
            let id = engine.create_dataset(dataset).await.unwrap().id;
            engine.destroy_dataset(id).await.unwrap();
            made.push(id);
        }
        engine.caught_up().await;
        made.try_into().unwrap()
    }

    #[tokio::test]
    async fn a_dataset_that_is_busy_holds_up_no_other_and_goes_with_the_next_sweep() {
        let directory = tempfile::tempdir().unwrap();
        let options = EngineOptions { arbiters: 1, ..EngineOptions::default() };
        let engine = Engine::open(directory.path().to_owned(), &options).unwrap();
        let [busy, other] = destroyed(&engine, ["busy", "other"]).await;
        let mut purge = Purge::new(engine.clone(), Duration::ZERO);
        let now = Timestamp(Timestamp::now().0 + 1_000_000);
        assert_eq!(purge.sweep(now).await.unwrap().announced, [busy, other]);
        let but_one = async |id, deleted_at| {
            if id == busy {
                return Err(MutationError::Busy { what: "the dataset", waiting: 1 });
            }
            engine.purge_dataset(id, deleted_at).await
        };
        let swept = purge.sweep_with(now, but_one).await.unwrap();
        assert_eq!(swept, Sweep { announced: vec![], removed: vec![other] });
        engine.caught_up().await;
        let swept = purge.sweep(now).await.unwrap();
        assert_eq!(swept, Sweep { announced: vec![], removed: vec![busy] });
    }
}

//! Shapes of what takes the space and of what could be given back; the command line reads and
//! shows them too.

use granary_engine::{Collected, DatasetUsage, Garbage, ProjectUsage, Taken, Usage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::store::CheckPhase;

/// What a dataset or project holds and takes.
///
/// A content is stored once, whoever names it. Its bytes are divided evenly among the files that
/// name it, and those of a file that copies share evenly among them, so that what all datasets take
/// adds up to what is stored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = Taken)]
pub struct TakenShape {
    /// Files, each counted as often as a dataset shows it.
    pub files: u64,
    /// Bytes of these files.
    pub file_bytes: u64,
    /// Bytes of contents that are counted for it.
    pub stored_bytes: u64,
    /// Bytes of contents that nothing else names: what removing it for good gives back at least.
    pub alone_bytes: u64,
}

impl From<Taken> for TakenShape {
    fn from(taken: Taken) -> Self {
        let Taken { files, file_bytes, stored_bytes, alone_bytes } = taken;
        Self { files, file_bytes, stored_bytes, alone_bytes }
    }
}

/// A project and what its datasets take, soft-deleted ones too.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ProjectUsage)]
pub struct ProjectUsageShape {
    /// Primary key.
    pub project: u64,
    /// Its name.
    #[schema(examples("default"))]
    pub name: String,
    /// Primary key of the team that owns it.
    pub team: u64,
    /// Whether it is soft-deleted.
    pub deleted: bool,
    /// Datasets in it, each version counted.
    pub datasets: u64,
    #[expect(missing_docs, reason = "its fields are part of this record")]
    #[serde(flatten)]
    pub taken: TakenShape,
}

impl From<ProjectUsage> for ProjectUsageShape {
    fn from(usage: ProjectUsage) -> Self {
        let ProjectUsage { project, name, team, is_deleted, datasets, taken } = usage;
        let (project, team, taken) = (project.0, team.0, taken.into());
        Self { project, name, team, deleted: is_deleted, datasets, taken }
    }
}

/// A dataset and what it takes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = DatasetUsage)]
pub struct DatasetUsageShape {
    /// Primary key.
    pub dataset: u64,
    /// Its name.
    #[schema(examples("cats"))]
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Primary key of its project.
    pub project: u64,
    /// Whether it is soft-deleted.
    pub deleted: bool,
    #[expect(missing_docs, reason = "its fields are part of this record")]
    #[serde(flatten)]
    pub taken: TakenShape,
}

impl From<DatasetUsage> for DatasetUsageShape {
    fn from(usage: DatasetUsage) -> Self {
        let DatasetUsage { dataset, name, version, project, is_deleted, taken } = usage;
        let (dataset, project, taken) = (dataset.0, project.0, taken.into());
        Self { dataset, name, version, project, deleted: is_deleted, taken }
    }
}

/// What takes the space. It is no one state of the store: rows are read page by page while others
/// change them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Usage)]
pub struct UsageShape {
    /// Bytes of the index's file.
    pub index_bytes: u64,
    /// Bytes of the journal's segments, in which contents up to 1 MiB are.
    pub journal_bytes: u64,
    /// Bytes that the segments have set aside behind these, for what comes next.
    pub journal_ahead_bytes: u64,
    /// Of these, bytes of contents that the index holds.
    pub journal_live_bytes: u64,
    /// Bytes of contents above 1 MiB, in files of their own.
    pub large_bytes: u64,
    /// Bytes of uploads and answers on their way.
    pub staging_bytes: u64,
    /// Bytes of the file system.
    pub disk_bytes: u64,
    /// Bytes of the file system that are free.
    pub disk_free_bytes: u64,
    /// Contents that files name.
    pub contents: u64,
    /// Bytes of these.
    pub content_bytes: u64,
    /// Contents that no file names any longer and that are not gone yet.
    pub unnamed: u64,
    /// Bytes of these.
    pub unnamed_bytes: u64,
    /// Datasets, each version counted, soft-deleted ones too.
    pub datasets: u64,
    /// All datasets together.
    pub taken: TakenShape,
    /// The projects, those that take most first.
    pub projects: Vec<ProjectUsageShape>,
    /// The thousand datasets that take most, those first.
    pub largest: Vec<DatasetUsageShape>,
}

impl From<Usage> for UsageShape {
    fn from(usage: Usage) -> Self {
        Self {
            index_bytes: usage.index_bytes,
            journal_bytes: usage.journal_bytes,
            journal_ahead_bytes: usage.journal_ahead_bytes,
            journal_live_bytes: usage.journal_live_bytes,
            large_bytes: usage.large_bytes,
            staging_bytes: usage.staging_bytes,
            disk_bytes: usage.space.total,
            disk_free_bytes: usage.space.available,
            contents: usage.contents,
            content_bytes: usage.content_bytes,
            unnamed: usage.unnamed,
            unnamed_bytes: usage.unnamed_bytes,
            datasets: usage.datasets,
            taken: usage.taken.into(),
            projects: usage.projects.into_iter().map(ProjectUsageShape::from).collect(),
            largest: usage.largest.into_iter().map(DatasetUsageShape::from).collect(),
        }
    }
}

/// The measurement that runs, or the last one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Measurement)]
pub struct MeasurementShape {
    /// How it is.
    pub state: CheckPhase,
    /// Number of the measurement since the server was started.
    pub number: u64,
    /// Rows that are read.
    pub done: u64,
    /// Rows in all, about; 0 if nobody knows.
    pub total: u64,
    /// What takes the space; null before it is finished.
    #[schema(required = true)]
    pub report: Option<UsageShape>,
    /// Why it could not be carried to its end.
    #[schema(required = true)]
    pub error: Option<String>,
}

/// What could be given back. Of what is named here the sparse segments' dead bytes alone wait for
/// somebody to ask; the rest goes by itself, most of it within seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = Garbage)]
pub struct GarbageShape {
    /// Contents that no file names any longer.
    pub contents: u64,
    /// Bytes of these.
    pub content_bytes: u64,
    /// Of these, contents that an archive or a backup on its way still reads.
    pub held_contents: u64,
    /// Bytes of these.
    pub held_bytes: u64,
    /// Layers that no dataset has any longer.
    pub layers: u64,
    /// Rows of files and metadata in these.
    pub rows: u64,
    /// Segments of the journal without a live content, which go with the next checkpoint.
    pub empty_segments: u64,
    /// Bytes of these.
    pub empty_segment_bytes: u64,
    /// Segments of which a tenth or more is dead, and that are not being written.
    pub sparse_segments: u64,
    /// Dead bytes in these: what a collection gives back, about.
    pub sparse_dead_bytes: u64,
    /// Live bytes in these, which a collection writes again.
    pub sparse_live_bytes: u64,
    /// Dead bytes in segments of which less is dead; they stay.
    pub other_dead_bytes: u64,
    /// Dead bytes in the segment that is being written, if a tenth of it or more is dead; a
    /// collection goes on in another one, so that it may be rewritten.
    pub head_dead_bytes: u64,
    /// Files of contents above 1 MiB that go with the next checkpoint.
    pub large_files: u64,
    /// Bytes of these.
    pub large_bytes: u64,
    /// Files of uploads and answers on their way, which go by themselves.
    pub staged_files: u64,
    /// Bytes of these.
    pub staged_bytes: u64,
}

impl From<Garbage> for GarbageShape {
    fn from(garbage: Garbage) -> Self {
        Self {
            contents: garbage.contents,
            content_bytes: garbage.content_bytes,
            held_contents: garbage.held_contents,
            held_bytes: garbage.held_bytes,
            layers: garbage.layers,
            rows: garbage.rows,
            empty_segments: garbage.empty_segments,
            empty_segment_bytes: garbage.empty_segment_bytes,
            sparse_segments: garbage.sparse_segments,
            sparse_dead_bytes: garbage.sparse_dead_bytes,
            sparse_live_bytes: garbage.sparse_live_bytes,
            other_dead_bytes: garbage.other_dead_bytes,
            head_dead_bytes: garbage.head_dead_bytes,
            large_files: garbage.large_files,
            large_bytes: garbage.large_bytes,
            staged_files: garbage.staged_files,
            staged_bytes: garbage.staged_bytes,
        }
    }
}

/// What a collection did.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = Collected)]
pub struct CollectedShape {
    /// What could be given back before.
    pub before: GarbageShape,
    /// What could be given back afterwards.
    pub after: GarbageShape,
    /// Bytes of files that were given back to the disk meanwhile.
    pub freed_bytes: u64,
    /// Bytes of live contents that were written again for it.
    pub moved_bytes: u64,
}

impl From<Collected> for CollectedShape {
    fn from(collected: Collected) -> Self {
        let Collected { before, after, freed_bytes, moved_bytes } = collected;
        Self { before: before.into(), after: after.into(), freed_bytes, moved_bytes }
    }
}

/// The collection that runs, or the last one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Collection)]
pub struct CollectionShape {
    /// How it is.
    pub state: CheckPhase,
    /// Number of the collection since the server was started.
    pub number: u64,
    /// What is being done, or was done last; null where none was begun.
    #[schema(required = true, examples("removing rows"))]
    pub stage: Option<String>,
    /// What it did; null before it is finished.
    #[schema(required = true)]
    pub report: Option<CollectedShape>,
    /// Why it could not be carried to its end.
    #[schema(required = true)]
    pub error: Option<String>,
}

//! What takes the space: contents against the datasets and projects that name them.
//!
//! A content is stored once, whoever names it, so what a dataset takes of it is a convention. Here
//! the bytes of a content are divided evenly among the rows of files that name it, and a row of a
//! layer that copies share evenly among the datasets that have the layer. So what all datasets take
//! adds up to what is stored, a copy halves what its source takes, and bytes of files divided by
//! what they take say how much is saved by storing contents once. What removing a dataset gives
//! back at least are the contents that one row alone names, in a layer of its own.
//!
//! Rows are read in pages, each within a snapshot of its own, so that the index can use old pages
//! again meanwhile: the whole is no one state (I8), and off by what changed while it was measured.
//! What the background moves between layers of a dataset's own counts once: these are read together.
//! Memory grows with the number of projects, not with datasets, files or contents.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::ReadableTableMetadata;

use crate::blobs::STAGING;
use crate::check::contents_from;
use crate::codec;
use crate::disk::{OpenMode, Space};
use crate::error::ReadError;
use crate::index::rows::{FileRow, LayerRow};
use crate::index::snapshot::Snapshot;
use crate::index::{INDEX_PATH, IndexError, tables};
use crate::limits::{
    CHECK_CONTENTS_AT_ONCE, USAGE_DATASETS_TOLD_MAX, USAGE_LAYERS_KEPT_MAX, USAGE_ROWS_AT_ONCE,
};
use crate::model::change::BlobPlace;
use crate::model::{Dataset, DatasetId, Digest, FileRecord, LayerId, ProjectId, TeamId};
use crate::store::Store;

/// Binary digits behind the point of a part of a content: parts of many rows add up to it.
const PART_BITS: u32 = 32;

/// What a dataset or a project holds and takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Files, each counted as often as a dataset shows it.
    pub files: u64,
    /// Bytes of these files.
    pub file_bytes: u64,
    /// Bytes of contents that are counted for it, see the module.
    pub stored_bytes: u64,
    /// Bytes of contents that nothing else names: what removing it for good gives back at least.
    pub alone_bytes: u64,
}

impl Taken {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.file_bytes += other.file_bytes;
        self.stored_bytes += other.stored_bytes;
        self.alone_bytes += other.alone_bytes;
    }
}

/// A project, and what the datasets in it take, soft-deleted ones too.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ProjectUsage {
    pub project: ProjectId,
    pub name: String,
    pub team: TeamId,
    pub is_deleted: bool,
    pub datasets: u64,
    pub taken: Taken,
}

/// A dataset, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct DatasetUsage {
    pub dataset: DatasetId,
    pub name: String,
    pub version: u64,
    pub project: ProjectId,
    pub is_deleted: bool,
    pub taken: Taken,
}

/// What takes the space.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Bytes of the index's file.
    pub index_bytes: u64,
    /// Bytes of the journal's segments up to their last groups.
    pub journal_bytes: u64,
    /// Bytes that the segments have set aside behind these.
    pub journal_ahead_bytes: u64,
    /// Of these, bytes of contents that the index holds.
    pub journal_live_bytes: u64,
    /// Bytes of contents in files of their own.
    pub large_bytes: u64,
    /// Bytes of uploads and answers on their way.
    pub staging_bytes: u64,
    /// The file system's.
    pub space: Space,
    /// Contents that files name.
    pub contents: u64,
    /// Bytes of these.
    pub content_bytes: u64,
    /// Contents that no file names any longer and that are not gone yet.
    pub unnamed: u64,
    /// Bytes of these.
    pub unnamed_bytes: u64,
    /// All datasets together.
    pub taken: Taken,
    /// How many datasets there are, soft-deleted ones too.
    pub datasets: u64,
    /// The projects, those that take most first.
    pub projects: Vec<ProjectUsage>,
    /// The datasets that take most, those first; the others are in their projects' numbers only.
    pub largest: Vec<DatasetUsage>,
}

/// How far a measurement is, for whoever shows it, and the way to stop it.
#[derive(Debug, Default)]
pub struct UsageProgress {
    done: AtomicU64,
    total: AtomicU64,
    is_stopped: AtomicBool,
}

impl UsageProgress {
    /// Rows that are read.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Rows in all, about; 0 before anybody knows.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Ends the measurement soon.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    fn advance(&self, rows: usize) {
        self.done.fetch_add(u64::try_from(rows).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Measures what takes the space; `None` if it was told to stop. Reads all rows of contents and of
/// files, and blocks.
///
/// # Errors
/// The index or the disk cannot be read.
pub(crate) fn measure(store: &Store, progress: &UsageProgress) -> Result<Option<Usage>, ReadError> {
    let rows = {
        let snapshot = store.snapshot()?;
        let blobs = snapshot.table(tables::BLOBS)?.len().map_err(IndexError::from)?;
        blobs + snapshot.table(tables::FILES)?.len().map_err(IndexError::from)?
    };
    progress.total.store(rows, Ordering::Relaxed);
    let mut usage = files_of_the_store(store)?;
    let is_whole = count_contents(store, progress, &mut usage)?
        && Measuring::new(store, progress).datasets(&mut usage)?;
    Ok(is_whole.then_some(usage))
}

/// What the files of the data directory say.
fn files_of_the_store(store: &Store) -> Result<Usage, ReadError> {
    let io = |what| move |source| ReadError::Io { what, source };
    let index = store.disk.open(INDEX_PATH, OpenMode::ReadOnly);
    let index_bytes = index.and_then(|file| file.len()).map_err(io("the index's length"))?;
    let (mut journal_bytes, mut journal_ahead_bytes) = (0, 0);
    for segment in store.segments.ids() {
        let bytes = store.segments.length(segment);
        // One that has gone meanwhile has set nothing aside.
        let file = store.segments.get(segment).ok().flatten().and_then(|file| file.len().ok());
        journal_bytes += bytes;
        journal_ahead_bytes += file.unwrap_or_default().saturating_sub(bytes);
    }
    let mut journal_live_bytes = 0;
    for row in store.snapshot()?.table(tables::SEGMENTS)?.range(0..).map_err(IndexError::from)? {
        journal_live_bytes += row.map_err(IndexError::from)?.1.value();
    }
    Ok(Usage {
        index_bytes,
        journal_bytes,
        journal_ahead_bytes,
        journal_live_bytes,
        large_bytes: 0,
        staging_bytes: staged(store)?.1,
        space: store.bare_disk.space().map_err(io("the disk's space"))?,
        contents: 0,
        content_bytes: 0,
        unnamed: 0,
        unnamed_bytes: 0,
        taken: Taken::default(),
        datasets: 0,
        projects: Vec::new(),
        largest: Vec::new(),
    })
}

/// Files of uploads and answers on their way, and their bytes.
pub(crate) fn staged(store: &Store) -> Result<(u64, u64), ReadError> {
    let listed = store.disk.list(STAGING);
    let listed = listed.map_err(|source| ReadError::Io { what: STAGING, source })?;
    let (mut files, mut bytes) = (0, 0);
    for name in listed {
        let file = store.disk.open(&format!("{STAGING}/{name}"), OpenMode::ReadOnly);
        // One that has gone meanwhile takes nothing.
        if let Ok(length) = file.and_then(|file| file.len()) {
            files += 1;
            bytes += length;
        }
    }
    Ok((files, bytes))
}

/// Counts contents; `false` if it was told to stop.
fn count_contents(
    store: &Store,
    progress: &UsageProgress,
    usage: &mut Usage,
) -> Result<bool, ReadError> {
    let mut from = Some([0; 32]);
    while let Some(first) = from {
        let page = contents_from(store, &first, CHECK_CONTENTS_AT_ONCE, u64::MAX)?;
        from = page.next;
        for (_, row) in &page.rows {
            if row.count > 0 {
                usage.contents += 1;
                usage.content_bytes += row.length;
            } else {
                usage.unnamed += 1;
                usage.unnamed_bytes += row.length;
            }
            if matches!(row.place, BlobPlace::Large(_)) {
                usage.large_bytes += row.length;
            }
        }
        progress.advance(page.rows.len());
        if progress.is_stopped() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the rows of layers take, in parts of bytes.
#[derive(Debug, Clone, Copy, Default)]
struct LayerTaken {
    parts: u128,
    /// Bytes of contents that one row alone names.
    alone_bytes: u64,
}

impl LayerTaken {
    /// Adds what one row takes.
    fn add(&mut self, snapshot: &Snapshot, record: &FileRecord) -> Result<(), ReadError> {
        if let Some(count) = named_by(snapshot, &record.digest)? {
            self.parts += (u128::from(record.length) << PART_BITS) / u128::from(count);
            self.alone_bytes += if count == 1 { record.length } else { 0 };
        }
        Ok(())
    }
}

/// The files that layers of a stack name, up to a name.
struct NamePage {
    files: Vec<FileRecord>,
    /// Rows that were read.
    read: usize,
    /// The name up to which all rows were read; `None` if that was all.
    last: Option<String>,
}

impl NamePage {
    /// The next rows after a name.
    fn read(snapshot: &Snapshot, ids: &[LayerId], after: Option<&str>) -> Result<Self, ReadError> {
        let table = snapshot.table(tables::FILES)?;
        let first = |id: &LayerId| match after {
            Some(name) => Bound::Excluded((id.0, name)),
            None => Bound::Included((id.0, "")),
        };
        let at_once = (USAGE_ROWS_AT_ONCE / ids.len().max(1)).max(1);
        let mut last: Option<String> = None;
        for id in ids {
            let all = (first(id), Bound::Excluded((id.0 + 1, "")));
            let mut rows = table.range::<(u64, &str)>(all).map_err(IndexError::from)?;
            let Some(row) = rows.nth(at_once - 1) else { continue };
            let (key, _) = row.map_err(IndexError::from)?;
            let name = key.value().1;
            if last.as_deref().is_none_or(|last| name < last) {
                last = Some(name.to_owned());
            }
        }
        let (mut files, mut read) = (Vec::new(), 0);
        for id in ids {
            let upto = match &last {
                Some(last) => Bound::Included((id.0, last.as_str())),
                None => Bound::Excluded((id.0 + 1, "")),
            };
            let rows = table.range::<(u64, &str)>((first(id), upto)).map_err(IndexError::from)?;
            for row in rows {
                let (_, row) = row.map_err(IndexError::from)?;
                read += 1;
                if let FileRow::File(record) =
                    FileRow::decode(row.value()).map_err(IndexError::from)?
                {
                    files.push(record);
                }
            }
        }
        Ok(Self { files, read, last })
    }
}

/// How many stacks have a layer.
fn stacks_of(snapshot: &Snapshot, layer: LayerId) -> Result<u64, ReadError> {
    let layers = snapshot.table(tables::LAYERS)?;
    let row = layers.get(layer.0).map_err(IndexError::from)?;
    let Some(row) = row else { return Ok(0) };
    let row: LayerRow = codec::decode(row.value()).map_err(IndexError::from)?;
    Ok(row.stacks)
}

/// The walk over the datasets and their layers.
struct Measuring<'a> {
    store: &'a Store,
    progress: &'a UsageProgress,
    /// Shared layers that were read, for the next dataset that has them.
    kept: HashMap<LayerId, LayerTaken>,
    projects: BTreeMap<ProjectId, (u64, Taken)>,
    largest: Vec<DatasetUsage>,
}

impl<'a> Measuring<'a> {
    fn new(store: &'a Store, progress: &'a UsageProgress) -> Self {
        let (kept, projects, largest) = (HashMap::new(), BTreeMap::new(), Vec::new());
        Self { store, progress, kept, projects, largest }
    }

    /// Visits all datasets; `false` if it was told to stop.
    fn datasets(mut self, usage: &mut Usage) -> Result<bool, ReadError> {
        let mut from = Some(DatasetId(0));
        while let Some(first) = from {
            let page: Vec<Dataset> = {
                let headers = self.store.snapshot()?.datasets_from(first)?;
                let headers = headers.map(|header| header.map(Dataset::without_texts));
                headers.take(USAGE_ROWS_AT_ONCE / 16).collect::<Result<_, _>>()?
            };
            from = page.last().map(|last| DatasetId(last.id.0 + 1));
            for dataset in page {
                let Some(taken) = self.taken_by(&dataset)? else { return Ok(false) };
                usage.datasets += 1;
                usage.taken.add(taken);
                let project = self.projects.entry(dataset.project).or_default();
                project.0 += 1;
                project.1.add(taken);
                self.tell(dataset, taken);
            }
        }
        usage.projects = self.named_projects()?;
        self.largest.sort_by_key(rank);
        self.largest.truncate(USAGE_DATASETS_TOLD_MAX);
        usage.largest = self.largest;
        Ok(true)
    }

    fn taken_by(&mut self, dataset: &Dataset) -> Result<Option<Taken>, ReadError> {
        let (mut own, mut shared) = (Vec::new(), Vec::new());
        {
            let snapshot = self.store.snapshot()?;
            for entry in &dataset.stack {
                match stacks_of(&snapshot, entry.layer)? {
                    0 | 1 => own.push(entry.layer),
                    stacks => shared.push((entry.layer, stacks)),
                }
            }
        }
        let Some(LayerTaken { mut parts, alone_bytes }) = self.read_layers(&own)? else {
            return Ok(None);
        };
        for (layer, stacks) in shared {
            let Some(layer) = self.shared_layer(layer)? else { return Ok(None) };
            parts += layer.parts / u128::from(stacks);
        }
        let stored_bytes = u64::try_from(parts >> PART_BITS).unwrap_or(u64::MAX);
        let (files, file_bytes) = (dataset.file_count, dataset.file_bytes);
        Ok(Some(Taken { files, file_bytes, stored_bytes, alone_bytes }))
    }

    fn shared_layer(&mut self, id: LayerId) -> Result<Option<LayerTaken>, ReadError> {
        if let Some(kept) = self.kept.get(&id) {
            return Ok(Some(*kept));
        }
        let Some(layer) = self.read_layers(&[id])? else { return Ok(None) };
        // What is dropped here is merely read again.
        if self.kept.len() >= USAGE_LAYERS_KEPT_MAX {
            self.kept.clear();
        }
        self.kept.insert(id, layer);
        Ok(Some(layer))
    }

    /// Reads layers of one stack in order of name, page by page: rows may go from one of them to another
    /// meanwhile, and keep their names. One that has gone takes nothing more.
    fn read_layers(&self, ids: &[LayerId]) -> Result<Option<LayerTaken>, ReadError> {
        let mut taken = LayerTaken::default();
        let mut after: Option<String> = None;
        loop {
            let snapshot = self.store.snapshot()?;
            let page = NamePage::read(&snapshot, ids, after.as_deref())?;
            for record in &page.files {
                taken.add(&snapshot, record)?;
            }
            self.progress.advance(page.read);
            if self.progress.is_stopped() {
                return Ok(None);
            }
            if page.last.is_none() {
                return Ok(Some(taken));
            }
            after = page.last;
        }
    }

    /// Keeps the datasets that take most.
    fn tell(&mut self, dataset: Dataset, taken: Taken) {
        let Dataset { id, name, version, project, deletion_time, .. } = dataset;
        let is_deleted = deletion_time.is_some();
        self.largest.push(DatasetUsage { dataset: id, name, version, project, is_deleted, taken });
        if self.largest.len() >= USAGE_DATASETS_TOLD_MAX * 2 {
            self.largest.sort_by_key(rank);
            self.largest.truncate(USAGE_DATASETS_TOLD_MAX);
        }
    }

    fn named_projects(&self) -> Result<Vec<ProjectUsage>, ReadError> {
        let snapshot = self.store.snapshot()?;
        let mut projects = Vec::new();
        for project in snapshot.projects()? {
            let project = project?;
            let taken = self.projects.get(&project.id).copied().unwrap_or_default();
            projects.push(ProjectUsage {
                project: project.id,
                name: project.name,
                team: project.team,
                is_deleted: project.deletion_time.is_some(),
                datasets: taken.0,
                taken: taken.1,
            });
        }
        projects.sort_by_key(|project| (u64::MAX - project.taken.stored_bytes, project.project));
        Ok(projects)
    }
}

/// Those that take most come first.
fn rank(dataset: &DatasetUsage) -> (u64, DatasetId) {
    (u64::MAX - dataset.taken.stored_bytes, dataset.dataset)
}

/// How many rows name a content; `None` if its row has gone, or came later.
fn named_by(snapshot: &Snapshot, digest: &Digest) -> Result<Option<u64>, ReadError> {
    let row = snapshot.blob(digest)?;
    Ok(row.map(|row| row.count).filter(|count| *count > 0))
}

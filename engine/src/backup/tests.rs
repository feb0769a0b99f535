//! Stores that are backed up and restored, on simulated disks.

mod crash;

mod damage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{ReadableTable, TableHandle};

use super::directory::state_path;
use super::pending::StateDownload;
use super::restore::restore_on;
use super::session::Backup;
use super::state_file::{Block, StateFile};
use super::states::States;
use super::{BackupDirectory, BackupError, BackupReport, RestoreOptions};
use crate::disk::{Disk, DiskFile, OpenMode, SimulatedDisk};
use crate::model::{
    Dataset, DatasetId, Digest, NewDataset, NewLicence, NewProject, NewTeam, NewUser, Timestamp,
};
use crate::{Engine, EngineOptions};

/// Bytes of a content that gets a file of its own.
const LARGE: usize = (1 << 20) + 77;

/// Packs so small that a few contents fill them.
const PACK: u64 = 100 << 10;

const TOKEN_KEY: &[u8] = b"the key of tokens";

fn options() -> EngineOptions {
    EngineOptions {
        index_cache_bytes: 4 << 20,
        segment_bytes: 256 << 10,
        arbiters: 1,
        ..EngineOptions::default()
    }
}

fn restore_options() -> RestoreOptions {
    RestoreOptions {
        index_cache_bytes: 4 << 20,
        segment_bytes: 256 << 10,
        ..RestoreOptions::default()
    }
}

fn open(disk: &SimulatedDisk) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), &options()).unwrap()
}

fn port(disk: &SimulatedDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// Bytes that differ from number to number.
fn numbered(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut block = *blake3::hash(&number.to_le_bytes()).as_bytes();
    while bytes.len() < length {
        bytes.extend(block);
        block = *blake3::hash(&block).as_bytes();
    }
    bytes.truncate(length);
    bytes
}

async fn add(engine: &Engine, dataset: DatasetId, name: &str, bytes: &[u8]) {
    let mut upload = engine.begin_upload(None).await.unwrap();
    upload.write(bytes).await.unwrap();
    let content = upload.finish().await.unwrap();
    engine.add_file(dataset, name, content).await.unwrap();
}

/// A store with a bit of everything; gives its first dataset.
async fn fill(engine: &Engine) -> DatasetId {
    let licence = NewLicence {
        name: "licence".into(),
        url: "https://example.org/".into(),
        permissions: vec!["Use".into()],
        conditions: Vec::new(),
        limitations: Vec::new(),
        domains: vec!["Data".into()],
    };
    let licence = engine.create_licence(licence).await.unwrap().id;
    let user = NewUser {
        username: "somebody".into(),
        password_hash: "a hash".into(),
        first_name: String::new(),
        last_name: String::new(),
        email: String::new(),
        is_superuser: false,
        is_staff: false,
        is_active: true,
    };
    let user = engine.create_user(user).await.unwrap().id;
    engine.touch_login(user);
    let team = NewTeam { name: "team".into(), creator: None };
    let team = engine.create_team(team).await.unwrap().id;
    let project = NewProject { name: "project".into(), team, creator: None };
    let project = engine.create_project(project).await.unwrap().id;
    let dataset = NewDataset {
        name: "dataset".into(),
        description: String::new(),
        project,
        licence,
        tags: String::new(),
        is_public: false,
        creator: None,
    };
    let first = engine.create_dataset(dataset).await.unwrap().id;
    for number in 0..12 {
        let length = 1000 + 9000 * usize::try_from(number % 4).unwrap();
        add(engine, first, &format!("d/{number}"), &numbered(number, length)).await;
    }
    add(engine, first, "empty", b"").await;
    add(engine, first, "large", &numbered(100, LARGE)).await;
    add(engine, first, "again", &numbered(3, 28_000)).await;
    engine.set_metadata(first, "d/1", "text".into()).await.unwrap();
    let copy = engine.copy_dataset(first, None, None, None).await.unwrap().id;
    engine.delete_file(first, "d/2").await.unwrap();
    engine.delete_file(copy, "d/5").await.unwrap();
    add(engine, copy, "d/5", b"another").await;
    add(engine, first, "late", &numbered(200, 70_000)).await;
    engine.destroy_dataset(copy).await.unwrap();
    let gone = engine.copy_dataset(first, Some("gone".into()), None, None).await.unwrap().id;
    engine.hard_delete_dataset(gone).await.unwrap();
    first
}

fn download(disk: &SimulatedDisk) -> Result<StateDownload, BackupError> {
    BackupDirectory::open_on(port(disk), PACK)?.begin()
}

/// Copies a backup to a directory, some contents at a time.
async fn copy(
    backup: &Backup,
    disk: &SimulatedDisk,
    name: &str,
) -> Result<BackupReport, BackupError> {
    let mut download = download(disk)?;
    let state = backup.state();
    loop {
        let chunk = state.chunk(download.len()).await.unwrap();
        if chunk.is_empty() {
            break;
        }
        download.write(&chunk)?;
    }
    let mut pending = download.finish()?;
    while let Some(wanted) = pending.next_missing(&|_, _| {})? {
        for batch in wanted.chunks(5) {
            pending.expect(batch.to_vec());
            let mut frames = backup.read(batch.iter().map(|wanted| wanted.digest).collect());
            while let Some(bytes) = frames.next().await {
                pending.receive(&bytes, &|_, _| {})?;
            }
            assert_eq!(pending.outstanding(), []);
        }
    }
    pending.finish(name)
}

async fn begin(engine: &Engine) -> Backup {
    engine.begin_backup(vec![("token-key".into(), TOKEN_KEY.to_vec())]).await.unwrap()
}

async fn back_up(engine: &Engine, disk: &SimulatedDisk, name: &str) -> BackupReport {
    let report = copy(&begin(engine).await, disk, name).await.unwrap();
    assert_eq!(report.failures, []);
    report
}

fn restore_new(backup: &SimulatedDisk) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    restore_on(port(backup), &port(&disk), &restore_options()).unwrap();
    disk
}

/// All rows of a state by table, and what it says of contents but for their places.
type Rows = (BTreeMap<String, Vec<u8>>, Vec<(Digest, u64, u32, u64)>);

fn rows(disk: &SimulatedDisk, name: &str) -> Rows {
    let state = StateFile::open(disk, &state_path(name)).unwrap();
    let mut tables: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for block in state.blocks() {
        if let Block::Rows(table, rows) = block.unwrap() {
            tables.entry(table).or_default().extend(rows);
        }
    }
    let contents = state.contents_from(0, 1000).unwrap();
    let contents = contents.iter().map(|row| (row.digest, row.length, row.crc32, row.count));
    (tables, contents.collect())
}

/// Name to content and metadata.
type ShownFiles = BTreeMap<String, (Digest, String)>;

/// Everything that readers see: headers, and each file with its content and metadata.
fn shown(engine: &Engine) -> Vec<(Dataset, ShownFiles)> {
    let snapshot = engine.snapshot().unwrap();
    let mut all = Vec::new();
    for dataset in snapshot.datasets().unwrap() {
        let mut dataset = dataset.unwrap();
        let files = snapshot.files_with_metadata(&dataset).unwrap();
        let files = files.map(|file| {
            let (name, record, text) = file.unwrap();
            (name, (record.digest, text))
        });
        let files: BTreeMap<_, _> = files.collect();
        // The background may change how it is kept.
        dataset.stack.clear();
        all.push((dataset, files));
    }
    drop(snapshot);
    for (digest, _) in all.iter().flat_map(|(_, files)| files.values()) {
        engine.open_blob(digest).unwrap().unwrap().verify(&mut |_| true).unwrap();
    }
    all
}

fn is_without_contents(engine: &Engine) -> bool {
    let blobs = engine.snapshot().unwrap().table(crate::index::tables::BLOBS).unwrap();
    blobs.iter().unwrap().next().is_none()
}

fn read_file(disk: &SimulatedDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path, OpenMode::ReadOnly).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[tokio::test]
async fn a_restored_store_answers_the_same_and_goes_on_counting() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    let first = fill(&engine).await;
    let report = back_up(&engine, &backups, "one").await;
    assert_eq!(report.copied, report.state.contents);
    let before = shown(&engine);

    let restored = restore_new(&backups);
    assert_eq!(read_file(&restored, "token-key"), TOKEN_KEY);
    assert_eq!(read_file(&restored, "store"), read_file(&disk, "store"));
    let twin = open(&restored);
    assert!(!twin.is_new());
    assert_eq!(shown(&twin), before);
    assert_eq!(twin.check(true).unwrap(), []);
    let (ours, theirs) = (engine.snapshot().unwrap(), twin.snapshot().unwrap());
    let user = ours.user_by_name("somebody").unwrap().unwrap();
    assert!(user.last_login.is_some());
    assert_eq!(theirs.user_by_name("somebody").unwrap(), Some(user));
    drop((ours, theirs));
    // No primary key is used twice, that of the dataset which is gone for good neither.
    for engine in [&engine, &twin] {
        let next = engine.copy_dataset(first, Some("next".into()), None, None).await.unwrap();
        assert_eq!(next.id, DatasetId(4));
        add(engine, next.id, "new", b"new").await;
    }
    twin.shutdown().await;
    drop(twin);
    assert_eq!(open(&restored).check(true).unwrap(), []);
}

#[tokio::test]
async fn every_row_comes_back_byte_for_byte() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    fill(&engine).await;
    back_up(&engine, &backups, "one").await;
    let restored = restore_new(&backups);
    // Before an opening, which may fold layers.
    let index = crate::index::Index::open(&port(&restored), OpenMode::Existing, 1 << 20).unwrap();
    let snapshot =
        crate::index::snapshot::Snapshot::take(&index, &Arc::default(), &Arc::default()).unwrap();
    let header = super::StateHeader::V1 {
        store_format: 1,
        key: [0; 32],
        start: 0,
        sequence: crate::model::Sequence::ZERO,
        taken: Timestamp(0),
    };
    let mut again = Vec::new();
    super::state::write_state(&snapshot, &header, &[], &mut again).unwrap();
    let file = backups.open("states/again.state", OpenMode::CreateNew).unwrap();
    file.write_all_at(&[std::io::IoSlice::new(&again)], 0).unwrap();
    assert_eq!(rows(&backups, "again"), rows(&backups, "one"));
}

/// Whoever checks it before it is opened would make them in memory.
#[tokio::test]
async fn a_restored_store_lacks_no_table_of_a_new_one() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    fill(&engine).await;
    back_up(&engine, &backups, "one").await;
    let tables = |disk: &SimulatedDisk| -> BTreeSet<String> {
        let index = crate::index::Index::open(&port(disk), OpenMode::Existing, 1 << 20).unwrap();
        let state = index.read().unwrap();
        state.list_tables().unwrap().map(|table| table.name().to_owned()).collect()
    };
    let restored = restore_new(&backups);
    engine.shutdown().await;
    drop(engine);
    assert_eq!(tables(&restored), tables(&disk));
}

#[tokio::test]
async fn a_second_backup_copies_only_what_is_new() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    let first = fill(&engine).await;
    back_up(&engine, &backups, "one").await;
    let same = back_up(&engine, &backups, "two").await;
    assert_eq!((same.copied, same.copied_bytes), (0, 0));
    add(&engine, first, "new", &numbered(300, 4321)).await;
    add(&engine, first, "known", &numbered(7, 28_000)).await;
    let more = back_up(&engine, &backups, "three").await;
    assert_eq!((more.copied, more.copied_bytes), (1, 4321));

    let states = States::of(&backups).unwrap().readable;
    let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
    assert_eq!(names, ["one", "two", "three"]);
    let older = RestoreOptions { state: Some("two".into()), ..restore_options() };
    let restored = SimulatedDisk::new();
    restore_on(port(&backups), &port(&restored), &older).unwrap();
    let twin = open(&restored);
    let names: Vec<String> =
        shown(&twin).into_iter().flat_map(|(_, files)| files.into_keys()).collect();
    assert!(names.contains(&"late".into()) && !names.contains(&"new".into()));
}

#[tokio::test]
async fn a_restored_store_is_backed_up_to_where_the_old_one_was() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    fill(&engine).await;
    back_up(&engine, &backups, "old").await;
    let twin = open(&restore_new(&backups));
    assert_eq!(back_up(&twin, &backups, "new").await.copied, 0);
}

#[tokio::test]
async fn contents_that_die_during_a_backup_are_in_it() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    let first = fill(&engine).await;
    let before = shown(&engine);
    let backup = begin(&engine).await;
    // Everything goes, and the background has its time: rows are hidden, dropped, reclaimed.
    let all = {
        let snapshot = engine.snapshot().unwrap();
        snapshot.datasets().unwrap().map(|dataset| dataset.unwrap().id).collect::<Vec<_>>()
    };
    assert!(all.contains(&first));
    for dataset in all {
        engine.hard_delete_dataset(dataset).await.unwrap();
    }
    for _ in 0..20 {
        engine.checkpoint().await.unwrap();
    }
    let report = copy(&backup, &backups, "one").await.unwrap();
    assert_eq!(report.failures, []);
    let twin = open(&restore_new(&backups));
    assert_eq!(shown(&twin), before);
    assert_eq!(twin.check(true).unwrap(), []);
    // With the backup's end its contents may go.
    drop(backup);
    while !is_without_contents(&engine) {
        engine.checkpoint().await.unwrap();
    }
}

#[tokio::test]
async fn each_chunk_that_is_read_keeps_the_contents_for_another_while() {
    let engine = open(&SimulatedDisk::new());
    let set = fill(&engine).await;
    let long = numbered(1, 3 << 20);
    add(&engine, set, "long", &long).await;
    let backup = begin(&engine).await;
    let mut frames = backup.read(vec![Digest::of(&long)]);
    let soon = Duration::from_secs(100);
    while frames.next().await.is_some() {
        let kept_until = backup.lease.expires();
        assert!(kept_until > Some(Instant::now() + soon));
        // As if the reader had taken most of the time for this chunk.
        backup.lease.renew(soon);
    }
}

#[tokio::test]
async fn a_store_without_anything_is_restored_too() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    assert_eq!(back_up(&engine, &backups, "empty").await.copied, 0);
    let twin = open(&restore_new(&backups));
    fill(&twin).await;
    assert_eq!(twin.check(true).unwrap(), []);
}

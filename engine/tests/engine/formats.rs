//! Stores and backups written by earlier versions: they open, read right, go on being written, and
//! check clean. What a newer version wrote is refused and left as it is.
//!
//! `golden/` holds data directories as they lay on the disk, packed. Each tells the same story:
//! a dataset in two versions, a third that is soft-deleted. None is ever made anew; a version that
//! writes something else adds its own:
//!
//! ```console
//! $ GRANARY_GOLDEN=name cargo test -p granary-engine --features simulation --test engine -- \
//!     --ignored writes_a_golden
//! ```
//!
//! | directory | written by |
//! |---|---|
//! | `foundation-killed` | the first version, over HTTP, then `kill -9`: all of it in the journal |
//! | `foundation-stopped` | the same, stopped in order: all of it in the index |
//! | `records-killed`, `records-stopped` | the version that made subdescriptors and belongings tables |
//! | `records-backup` | that version: a backup of the same story |
//! | `namings-killed`, `namings-stopped` | the version whose contents tell which files name them |
//! | `audit-killed`, `audit-stopped`, `audit-backup` | the version with an audit log: journal, index, backup |

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use granary_engine::backup::{BackupDirectory, RestoreOptions, restore};
use granary_engine::model::{Dataset, DatasetId, Digest, LicenceId, NewDataset, ProjectId};
use granary_engine::{Engine, OpenError};
use tempfile::TempDir;

use crate::support::{add, content, options, project, read, read_content};
use crate::told;

const STORES: [&str; 8] = [
    "foundation-killed",
    "foundation-stopped",
    "records-killed",
    "records-stopped",
    "namings-killed",
    "namings-stopped",
    "audit-killed",
    "audit-stopped",
];

/// Bytes of the content that has a file of its own: zeros.
const LARGE: usize = 1_048_577;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.tar.gz"))
}

/// Unpacks a golden directory.
fn unpacked(name: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let packed = std::fs::File::open(golden(name)).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = directory.path().join(entry.path().unwrap());
        if entry.header().entry_type().is_dir() {
            std::fs::create_dir_all(path).unwrap();
            continue;
        }
        let mut file = std::fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).mode(0o600).open(path).unwrap();
        std::io::copy(&mut entry, &mut file).unwrap();
    }
    directory
}

fn open(directory: &TempDir) -> Engine {
    Engine::open(directory.path().to_owned(), &options()).unwrap()
}

/// Every file below a directory, with its bytes.
fn files_in(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            let mut bytes = Vec::new();
            std::fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
            files.insert(path, bytes);
        }
    }
    files
}

fn datasets(engine: &Engine) -> Vec<Dataset> {
    let snapshot = engine.snapshot().unwrap();
    snapshot.datasets().unwrap().collect::<Result<_, _>>().unwrap()
}

/// Name to content and metadata, by the golden story.
fn expected_files(second_version: bool) -> BTreeMap<String, (Digest, String)> {
    let mut files = BTreeMap::new();
    for number in 1..=5 {
        let content = format!("content number {number} of the foundation");
        let metadata = if number == 1 { "a cat" } else { "" };
        files
            .insert(format!("dir/{number}.txt"), (Digest::of(content.as_bytes()), metadata.into()));
    }
    files.insert("empty".into(), (Digest::of(b""), String::new()));
    files.insert("large.bin".into(), (Digest::of(&vec![0; LARGE]), String::new()));
    if second_version {
        files.remove("dir/2.txt");
        let content = Digest::of(b"only in the second version");
        files.insert("second.txt".into(), (content, String::new()));
    }
    files
}

/// Asserts that a store tells the golden story, every byte of it.
async fn tells_the_story(engine: &Engine, name: &str) {
    assert!(!engine.is_new(), "{name}");
    let all = datasets(engine);
    let shown: Vec<_> =
        all.iter().map(|dataset| (dataset.name.as_str(), dataset.version)).collect();
    assert_eq!(shown, [("animals", 1), ("animals", 2), ("gone", 1)], "{name}");
    for (dataset, is_deleted) in all.iter().zip([false, false, true]) {
        assert_eq!(dataset.deletion_time.is_some(), is_deleted, "{name}");
    }
    for (dataset, second_version) in all.iter().zip([false, true]) {
        assert_eq!(&*dataset.description, "made by the foundation", "{name}");
        assert!(dataset.is_public && &*dataset.tags == "old", "{name}");
        let files = {
            let snapshot = engine.snapshot().unwrap();
            let files = snapshot.files(dataset).unwrap().map(|file| {
                let (file, record) = file.unwrap();
                let metadata = snapshot.metadata(dataset, &file).unwrap().unwrap();
                (file, (record.digest, metadata))
            });
            files.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(files, expected_files(second_version), "{name}");
        for (digest, _) in files.values() {
            assert_eq!(Digest::of(&read_content(engine, digest).await), *digest, "{name}");
        }
    }
    assert_eq!(engine.check(true).unwrap(), [], "{name}");
}

/// Goes on writing; primary keys go on behind those of the story.
async fn goes_on(engine: &Engine, name: &str) {
    let first = DatasetId(1);
    add(engine, first, "dir/6.txt", b"a later content").await.unwrap();
    engine.delete_file(first, "dir/3.txt").await.unwrap();
    engine.set_metadata(first, "dir/1.txt", "another cat".into()).await.unwrap();
    let copy = engine.copy_dataset(first, Some("later".into()), None, None).await.unwrap();
    assert_eq!(copy.id, DatasetId(4), "{name}");
    engine.hard_delete_dataset(DatasetId(3)).await.unwrap();
    // Contents that are there already are known as such.
    let known = content(engine, b"content number 4 of the foundation").await.unwrap();
    engine.add_file(copy.id, "again", known).await.unwrap();
    assert_eq!(read(engine, copy.id, "dir/6.txt").await.unwrap(), b"a later content", "{name}");
    assert_eq!(engine.check(true).unwrap(), [], "{name}");
}

#[tokio::test]
async fn stores_of_every_version_open_read_right_and_go_on() {
    for name in STORES {
        let directory = unpacked(name);
        let engine = open(&directory);
        // What an older program would not understand it refuses.
        let identity = std::fs::read_to_string(directory.path().join("store")).unwrap();
        assert!(identity.starts_with("granary store\nformat 4\nkey "), "{name}: {identity}");
        tells_the_story(&engine, name).await;
        tells_who_told_it(&engine, name);
        engine.shutdown().await;
        drop(engine);
        // Once more, now that what it lacked has been added.
        let engine = open(&directory);
        tells_the_story(&engine, name).await;
        goes_on(&engine, name).await;
        engine.shutdown().await;
        drop(engine);
        let engine = open(&directory);
        assert_eq!(engine.check(true).unwrap(), [], "{name}");
        let read = read(&engine, DatasetId(4), "again").await.unwrap();
        assert_eq!(read, b"content number 4 of the foundation", "{name}");
    }
}

#[tokio::test]
async fn the_first_version_left_users_that_can_still_log_in_and_licences() {
    let directory = unpacked("foundation-stopped");
    let engine = open(&directory);
    let snapshot = engine.snapshot().unwrap();
    let admin = snapshot.user_by_name("admin").unwrap().unwrap();
    assert!(admin.is_superuser && admin.password_hash.starts_with("$argon2"));
    assert_eq!(snapshot.licences().unwrap().count(), 14);
    assert_eq!(snapshot.projects().unwrap().count(), 1);
    let teams: Vec<_> = snapshot.teams().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(teams.len(), 1);
    assert!(snapshot.membership(teams[0].id, admin.id).unwrap().is_some());
}

#[tokio::test]
async fn stores_of_every_version_are_backed_up_and_restored() {
    for name in STORES {
        let directory = unpacked(name);
        let engine = open(&directory);
        let (backups, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        back_up(&engine, backups.path()).await;
        restored(backups.path(), target.path());
        let twin = open(&target);
        tells_the_story(&twin, name).await;
        goes_on(&twin, name).await;
    }
}

#[tokio::test]
async fn backups_of_every_version_are_restored() {
    for name in ["records-backup", "audit-backup"] {
        let (backups, target) = (unpacked(name), tempfile::tempdir().unwrap());
        restored(backups.path(), target.path());
        let engine = open(&target);
        tells_the_story(&engine, name).await;
        tells_who_told_it(&engine, name);
        goes_on(&engine, name).await;
        // And it is one to go on from.
        back_up(&engine, backups.path()).await;
        assert_eq!(BackupDirectory::states(backups.path()).unwrap().readable.len(), 2);
    }
}

/// The audit log of stores that have one.
fn tells_who_told_it(engine: &Engine, name: &str) {
    let log = told::log(engine);
    let expected = if name.starts_with("audit") { 17 } else { 0 };
    let by = told::origin(1, 1);
    assert_eq!(log.iter().filter(|entry| entry.origin == by).count(), expected, "{name}");
    assert_eq!(log.len(), expected, "{name}");
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_untouched() {
    for name in STORES {
        let directory = unpacked(name);
        let identity = directory.path().join("store");
        let text = std::fs::read_to_string(&identity).unwrap();
        let newer = text.replace("format 1", "format 5");
        assert_ne!(newer, text);
        #[expect(clippy::disallowed_methods, reason = "a test's own file needs no durability")]
        std::fs::write(&identity, newer).unwrap();
        let before = files_in(directory.path());
        let refused = Engine::open(directory.path().to_owned(), &options()).unwrap_err();
        assert!(matches!(refused, OpenError::NewerFormat { found: 5, known: 4 }), "{refused}");
        assert!(refused.to_string().contains("use a newer granary"), "{refused}");
        assert!(files_in(directory.path()) == before, "{name} was changed");
    }
}

async fn back_up(engine: &Engine, directory: &Path) {
    let backup = engine.begin_backup(Vec::new()).await.unwrap();
    let mut download = BackupDirectory::open(directory).unwrap().begin().unwrap();
    let state = backup.state();
    loop {
        let chunk = state.chunk(download.len()).await.unwrap();
        if chunk.is_empty() {
            break;
        }
        download.write(&chunk).unwrap();
    }
    let mut pending = download.finish().unwrap();
    while let Some(wanted) = pending.next_missing(&|_, _| {}).unwrap() {
        pending.expect(wanted.clone());
        let mut frames = backup.read(wanted.iter().map(|wanted| wanted.digest).collect());
        while let Some(bytes) = frames.next().await {
            pending.receive(&bytes, &|_, _| {}).unwrap();
        }
    }
    let name = format!("backup-{}", pending.summary().sequence);
    assert_eq!(pending.finish(&name).unwrap().failed, 0);
}

fn restored(backups: &Path, target: &Path) {
    let options = RestoreOptions {
        segment_bytes: 1 << 20,
        index_cache_bytes: 4 << 20,
        ..RestoreOptions::default()
    };
    restore(backups, target, &options, &|_, _| {}).unwrap();
}

async fn tell_the_story(engine: &Engine) {
    let (project, licence) = project(engine).await.unwrap();
    let animals = animals(project, licence);
    let first = engine.create_dataset(animals.clone()).await.unwrap().id;
    for number in 1..=5 {
        let content = format!("content number {number} of the foundation");
        let name = format!("dir/{number}.txt");
        add(engine, first, &name, content.as_bytes()).await.unwrap();
    }
    add(engine, first, "empty", b"").await.unwrap();
    add(engine, first, "large.bin", &vec![0; LARGE]).await.unwrap();
    engine.set_metadata(first, "dir/1.txt", "a cat".into()).await.unwrap();
    let second = engine.copy_dataset(first, None, None, None).await.unwrap().id;
    add(engine, second, "second.txt", b"only in the second version").await.unwrap();
    engine.delete_file(second, "dir/2.txt").await.unwrap();
    let gone = NewDataset { name: "gone".into(), ..animals };
    let gone = engine.create_dataset(gone).await.unwrap().id;
    engine.destroy_dataset(gone).await.unwrap();
}

fn animals(project: ProjectId, licence: LicenceId) -> NewDataset {
    NewDataset {
        name: "animals".into(),
        description: "made by the foundation".into(),
        project,
        licence,
        tags: "old".into(),
        is_public: true,
        creator: None,
    }
}

fn pack(directory: &Path, name: &str) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).open(golden(name)).unwrap();
    let packed = flate2::write::GzEncoder::new(file, flate2::Compression::best());
    let mut archive = tar::Builder::new(packed);
    archive.mode(tar::HeaderMode::Deterministic);
    archive.append_dir_all(".", directory).unwrap();
    archive.into_inner().unwrap().finish().unwrap();
}

/// Writes `NAME-killed`, `NAME-stopped` and `NAME-backup` for the version at hand.
#[tokio::test]
#[ignore = "makes files of the repository"]
async fn writes_a_golden_store() {
    let name = std::env::var("GRANARY_GOLDEN").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let engine = open(&directory);
    tell_the_story(&engine.clone().on_behalf_of(told::origin(1, 1))).await;
    // As it lies on the disk while the store is open: the next opening replays the journal.
    pack(directory.path(), &format!("{name}-killed"));
    let backups = tempfile::tempdir().unwrap();
    back_up(&engine, backups.path()).await;
    pack(backups.path(), &format!("{name}-backup"));
    engine.shutdown().await;
    drop(engine);
    pack(directory.path(), &format!("{name}-stopped"));
}

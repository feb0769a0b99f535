//! Damage of every kind, planted by hand: each is found and named, and nothing else is.

use std::io::IoSlice;
use std::sync::Arc;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::directory::check_disk;
use super::*;
use crate::codec;
use crate::disk::{Disk, OpenMode, Reached, SimulatedDisk};
use crate::index::rows::{BlobRow, FileRow, LayerRow, NamedBlob};
use crate::index::{Index, IndexError, tables};
use crate::model::change::{BlobPlace, SegmentId};
use crate::model::{
    Dataset, DatasetId, Digest, NewDataset, NewLicence, NewProject, NewTeam, Origin, Quota,
    Subject, Usage,
};
use crate::{Engine, EngineOptions};

const LARGE: usize = (1 << 20) + 100;

fn options() -> EngineOptions {
    EngineOptions {
        index_cache_bytes: 4 << 20,
        segment_bytes: 64 << 10,
        arbiters: 1,
        ..EngineOptions::default()
    }
}

async fn add(engine: &Engine, dataset: DatasetId, name: &str, bytes: &[u8]) -> Digest {
    let mut upload = engine.begin_upload(u64::try_from(bytes.len()).ok()).await.unwrap();
    upload.write(bytes).await.unwrap();
    engine.add_file(dataset, name, upload.finish().await.unwrap()).await.unwrap().digest
}

/// Two datasets that share a layer, small and large contents, metadata, a deletion; stopped.
async fn store() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let engine = Engine::open_on(Arc::new(disk.clone()), &options()).unwrap();
    let licence = NewLicence {
        name: "CC0".into(),
        url: "https://example.org/".into(),
        permissions: vec!["Use".into()],
        conditions: vec![],
        limitations: vec![],
        domains: vec![],
    };
    let licence = engine.create_licence(licence).await.unwrap().id;
    let team = NewTeam { name: "team".into(), creator: None };
    let team = engine.create_team(team).await.unwrap().id;
    let project = NewProject { name: "project".into(), team, creator: None };
    let project = engine.create_project(project).await.unwrap().id;
    let dataset = NewDataset {
        name: "cats".into(),
        description: String::new(),
        project,
        licence,
        tags: String::new(),
        is_public: false,
        creator: None,
    };
    let dataset = engine.create_dataset(dataset).await.unwrap().id;
    for number in 0..12 {
        add(&engine, dataset, &format!("small/{number}"), &[number; 9000]).await;
    }
    add(&engine, dataset, "large", &vec![7; LARGE]).await;
    add(&engine, dataset, "the same", &[3; 9000]).await;
    engine.set_metadata(dataset, "large", "a text".into()).await.unwrap();
    engine.copy_dataset(dataset, None, None, None).await.unwrap();
    engine.delete_file(dataset, "small/5").await.unwrap();
    engine.shutdown().await;
    disk
}

/// Checks the disk while nobody uses it.
fn look(disk: &SimulatedDisk, is_deep: bool) -> CheckReport {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    check_disk(&disk, is_deep, &CheckProgress::default()).unwrap()
}

/// Changes rows of the index behind everybody's back.
fn edit(disk: &SimulatedDisk, work: impl FnOnce(&WriteTransaction) -> Result<(), IndexError>) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let index = Index::open(&disk, OpenMode::Existing, 4 << 20).unwrap();
    index.checkpoint(work).unwrap();
}

fn row<T: serde::de::DeserializeOwned>(
    txn: &WriteTransaction,
    table: TableDefinition<'static, u64, &'static [u8]>,
    id: u64,
) -> T {
    codec::decode(txn.open_table(table).unwrap().get(id).unwrap().unwrap().value()).unwrap()
}

fn put<T: serde::Serialize>(
    txn: &WriteTransaction,
    table: TableDefinition<'static, u64, &'static [u8]>,
    id: u64,
    row: &T,
) {
    let bytes = codec::encode(row).unwrap();
    txn.open_table(table).unwrap().insert(id, bytes.as_slice()).unwrap();
}

fn edit_blob(txn: &WriteTransaction, digest: &Digest, change: impl FnOnce(&mut BlobRow)) {
    edit_named_blob(txn, digest, |blob| change(&mut blob.row));
}

fn edit_named_blob(txn: &WriteTransaction, digest: &Digest, change: impl FnOnce(&mut NamedBlob)) {
    let mut table = txn.open_table(tables::BLOBS).unwrap();
    let mut blob =
        NamedBlob::decode(table.get(digest.as_bytes()).unwrap().unwrap().value()).unwrap();
    change(&mut blob);
    table.insert(digest.as_bytes(), blob.encode().unwrap().as_slice()).unwrap();
}

/// The digest of a small content, and that of the large one.
fn digests() -> (Digest, Digest) {
    (Digest::of(&[3; 9000]), Digest::of(&vec![7; LARGE]))
}

/// Where a content is.
fn place_of(disk: &SimulatedDisk, digest: &Digest) -> BlobPlace {
    let mut place = None;
    edit(disk, |txn| {
        edit_blob(txn, digest, |row| place = Some(row.place));
        Ok(())
    });
    place.unwrap()
}

fn flip(disk: &SimulatedDisk, path: &str, offset: u64) {
    let file = disk.open(path, OpenMode::Existing).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[IoSlice::new(&[byte[0] ^ 1])], offset).unwrap();
}

fn large_path(disk: &SimulatedDisk) -> String {
    format!("blobs/{}", disk.list("blobs").unwrap()[0])
}

/// One finding is there and holds these words.
fn assert_one(report: &CheckReport, invariant: &str, words: &[&str]) {
    let [finding] = report.findings.as_slice() else { panic!("{:#?}", report.findings) };
    assert_eq!(finding.invariant, invariant, "{finding:?}");
    for word in words {
        assert!(finding.what.contains(word), "{word}: {finding:?}");
    }
    assert!(!finding.advice.is_empty());
}

#[tokio::test]
async fn a_sound_store_is_sound_and_stays_as_it_is() {
    let disk = store().await;
    let before = disk.operations();
    for is_deep in [false, true] {
        let report = look(&disk, is_deep);
        assert!(report.is_clean(), "{:#?}", report.findings);
        assert_eq!(report.notes, [""; 0]);
        assert_eq!(report.contents, 13);
        assert_eq!(report.bytes_read > 0, is_deep);
    }
    assert_eq!(disk.operations(), before, "nothing was written");
}

#[tokio::test]
async fn a_flipped_byte_of_a_content_in_the_journal_is_found_and_its_files_are_named() {
    let disk = store().await;
    let (small, _) = digests();
    let BlobPlace::Segment { segment: SegmentId(segment), offset } = place_of(&disk, &small) else {
        panic!("it is small");
    };
    flip(&disk, &format!("journal/{segment:016x}.seg"), offset + 4000);
    assert!(look(&disk, false).is_clean(), "nobody has read it");
    let report = look(&disk, true);
    assert_one(&report, "I9", &[&small.to_string()]);
    let finding = &report.findings[0];
    assert_eq!(finding.content, Some(small));
    let names = |version| {
        let hits = finding.hits.iter().filter(move |hit| hit.version == version);
        hits.map(|hit| hit.filename.clone().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((names(1), names(2)), (vec!["small/3".into(), "the same".into()], names(1)));
    assert_eq!(finding.hit_count, 4);
    assert!(finding.advice.contains("upload the same content again"));
}

#[tokio::test]
async fn a_large_file_that_is_changed_cut_or_gone_is_found() {
    let (_, large) = digests();
    let disk = store().await;
    flip(&disk, &large_path(&disk), 500_000);
    assert!(look(&disk, false).is_clean(), "nobody has read it");
    assert_one(&look(&disk, true), "I9", &[&large.to_string(), "digest"]);

    let file = disk.open(&large_path(&disk), OpenMode::Existing).unwrap();
    file.set_len((1 << 20) + 99).unwrap();
    assert_one(&look(&disk, false), "I2", &[&large.to_string(), "bytes of"]);

    disk.remove(&large_path(&disk)).unwrap();
    let report = look(&disk, false);
    assert_one(&report, "I2", &[&large.to_string(), "missing"]);
    assert_eq!(report.findings[0].hit_count, 2);
}

#[tokio::test]
async fn damage_of_the_journals_own_bytes_is_found() {
    // A group's header, in a segment that opening does not read.
    let disk = store().await;
    flip(&disk, "journal/0000000000000001.seg", 4096 + 10);
    let report = look(&disk, false);
    assert_one(&report, "I9", &["journal segment 1", "byte 4096"]);
    // A segment's header.
    let disk = store().await;
    flip(&disk, "journal/0000000000000001.seg", 20);
    let report = look(&disk, false);
    assert!(report.findings[0].what.contains("segment 1"), "{:#?}", report.findings);
    // The contents behind it are as they were, and everybody reads them.
    let engine = Engine::open_on(Arc::new(disk.clone()), &options()).unwrap();
    let snapshot = engine.snapshot().unwrap();
    let cats = snapshot.dataset(DatasetId(1)).unwrap().unwrap();
    for file in snapshot.files(&cats).unwrap() {
        let blob = engine.open_blob(&file.unwrap().1.digest).unwrap().unwrap();
        assert!(blob.verify(&mut |_| true).unwrap().is_some());
    }
    drop(snapshot);
    engine.shutdown().await;
    // A whole segment.
    let disk = store().await;
    disk.remove("journal/0000000000000001.seg").unwrap();
    let report = look(&disk, false);
    assert!(!report.findings.is_empty());
    let is_named = |finding: &Finding| finding.what.contains("journal segment 1 is missing");
    assert!(report.findings.iter().all(is_named), "{:#?}", report.findings);
}

#[tokio::test]
async fn a_flipped_byte_of_the_index_is_found_unless_nothing_needs_its_page() {
    let disk = store().await;
    let length = disk.open("index.redb", OpenMode::Existing).unwrap().len().unwrap();
    let mut found = 0;
    for page in 1..length / 4096 {
        let image = disk.image(Reached::Everything);
        flip(&image, "index.redb", page * 4096 + 5);
        flip(&image, "index.redb", page * 4096 + 200);
        if !look(&image, false).is_clean() {
            found += 1;
            continue;
        }
        let engine = Engine::open_on(Arc::new(image), &options()).unwrap();
        assert_eq!(engine.check(true).unwrap(), [], "page {page}");
        let names = {
            let snapshot = engine.snapshot().unwrap();
            let cats = snapshot.dataset(DatasetId(1)).unwrap().unwrap();
            snapshot.files(&cats).unwrap().count()
        };
        assert_eq!(names, 13, "page {page}");
        engine.abandon();
    }
    assert!(found > 5, "{found} of {}", length / 4096);
}

#[tokio::test]
async fn what_contents_say_of_files_is_found_where_it_is_missing_untrue_or_said_twice() {
    let small = digests().0;
    let mut namings = Vec::new();
    edit(&store().await, |txn| {
        edit_named_blob(txn, &small, |blob| namings = blob.namings.clone());
        Ok(())
    });
    let [first, second] = namings.as_slice() else { panic!("{namings:?}") };
    let changed = async |change: &dyn Fn(&mut NamedBlob), other: Option<(u64, &str)>| {
        let disk = store().await;
        edit(&disk, |txn| {
            edit_named_blob(txn, &small, |blob| change(blob));
            let mut table = txn.open_table(tables::NAMINGS)?;
            if let Some((layer, name)) = other {
                table.insert((small.as_bytes(), layer, name), ())?;
            }
            Ok(())
        });
        look(&disk, false)
    };
    let layer = second.layer.0;
    // Where it stands is all the same.
    let report = changed(&|blob| drop(blob.namings.pop()), Some((layer, &second.name))).await;
    assert!(report.findings.is_empty(), "{report:?}");
    let report = changed(&|blob| drop(blob.namings.pop()), None).await;
    assert_one(&report, "I4", &[&small.to_string(), "does not say that", &second.name]);
    let report = changed(&|_| {}, Some((layer, "ghost"))).await;
    assert_one(&report, "I4", &[&small.to_string(), "says that", "ghost", "which does not"]);
    let report = changed(&|_| {}, Some((layer, &second.name))).await;
    assert_one(&report, "I4", &[&small.to_string(), "says twice that", &second.name]);
    let report = changed(&|blob| blob.namings.push(first.clone()), None).await;
    assert_one(&report, "I4", &[&small.to_string(), "says twice that", &first.name]);
}

#[tokio::test]
async fn counts_that_were_changed_are_found_and_named() {
    let (small, large) = digests();
    let changed = |change: &'static dyn Fn(&WriteTransaction)| async move {
        let disk = store().await;
        edit(&disk, |txn| {
            change(txn);
            Ok(())
        });
        look(&disk, false)
    };
    let report = changed(&|txn| edit_blob(txn, &digests().0, |row| row.count += 1)).await;
    assert_one(&report, "I4", &[&small.to_string(), "counts 3, 2 rows name it"]);
    let report = changed(&|txn| edit_blob(txn, &digests().1, |row| row.crc32 ^= 1)).await;
    assert_one(&report, "I4", &[&large.to_string(), "CRC-32"]);
    let report = changed(&|txn| {
        let mut dataset: Dataset = row(txn, tables::DATASETS, 1);
        dataset.file_count += 1;
        put(txn, tables::DATASETS, 1, &dataset);
        let usage: Usage = row(txn, tables::TEAM_USAGE, 1);
        put(txn, tables::TEAM_USAGE, 1, &Usage { files: usage.files + 1, ..usage });
    });
    let report = report.await;
    assert_one(&report, "I8", &["dataset 1 counts 14 files"]);
    assert_eq!(report.findings[0].hits[0].name, "cats");
    let report = changed(&|txn| {
        let layer: LayerRow = row(txn, tables::LAYERS, 1);
        put(txn, tables::LAYERS, 1, &LayerRow { stacks: layer.stacks + 1, ..layer });
    });
    assert_one(&report.await, "I4", &["layer 1 counts 3 stacks, 2 name it"]);
    let report = changed(&|txn| {
        let layer: LayerRow = row(txn, tables::LAYERS, 1);
        put(txn, tables::LAYERS, 1, &LayerRow { rows: layer.rows + 1, ..layer });
    });
    assert_one(&report.await, "I4", &["layer 1 counts 15 rows of files"]);
    let report = changed(&|txn| {
        let usage: Usage = row(txn, tables::TEAM_USAGE, 1);
        put(txn, tables::TEAM_USAGE, 1, &Usage { bytes: usage.bytes + 1, ..usage });
    });
    assert_one(&report.await, "I4", &["team 1 holds", "its total says"]);
    let report = changed(&|txn| {
        let mut table = txn.open_table(tables::SEGMENTS).unwrap();
        table.insert(1, 5).unwrap();
    });
    assert_one(&report.await, "I4", &["segment 1 counts 5 live bytes"]);
}

#[tokio::test]
async fn rows_that_nobody_owns_and_rows_that_are_lost_are_found_and_named() {
    let changed = |change: &'static dyn Fn(&WriteTransaction)| async move {
        let disk = store().await;
        edit(&disk, |txn| {
            change(txn);
            Ok(())
        });
        look(&disk, false)
    };
    let report = changed(&|txn| {
        let row = codec::encode(&FileRow::Tombstone).unwrap();
        txn.open_table(tables::FILES).unwrap().insert((99, "x"), row.as_slice()).unwrap();
    });
    assert_one(&report.await, "I4", &["layer 99 has rows and is not known"]);
    let report = changed(&|txn| {
        txn.open_table(tables::BLOBS).unwrap().remove(digests().1.as_bytes()).unwrap();
    });
    let report = report.await;
    assert_one(&report, "I2", &[&digests().1.to_string(), "named by 1 rows and not known"]);
    assert_eq!(report.findings[0].hit_count, 2);
    assert_eq!(report.notes.len(), 1, "its file is left over: {:?}", report.notes);
    let report = changed(&|txn| {
        txn.open_table(tables::DEAD_BLOBS).unwrap().retain(|_, ()| false).unwrap();
        edit_blob(txn, &digests().0, |row| row.count = 0);
    });
    let report = report.await;
    assert!(report.findings.iter().any(|finding| finding.what.contains("never removed")));
    let report = changed(&|txn| {
        txn.open_table(tables::TEAM_NAMES).unwrap().remove("team").unwrap();
    });
    assert_one(&report.await, "I8", &["team 1 does not hold its name"]);
    let report = changed(&|txn| {
        txn.open_table(tables::USERNAMES).unwrap().insert("ghost", 7).unwrap();
    });
    assert_one(&report.await, "I8", &["user 7", "ghost"]);
    let report = changed(&|txn| {
        txn.open_table(tables::TEAM_PROJECTS).unwrap().remove((1, 1)).unwrap();
        txn.open_table(tables::TEAM_USAGE).unwrap().remove(1).unwrap();
    });
    assert_one(&report.await, "I4", &["team 1 does not count project 1 as its own"]);
    let report = changed(&|txn| {
        txn.open_table(tables::LICENCE_DATASETS).unwrap().insert((1, 88), ()).unwrap();
    });
    assert_one(&report.await, "I4", &["licence 1 counts dataset 88"]);
    let report = changed(&|txn| {
        txn.open_table(tables::USER_ACCESS_TOKENS).unwrap().insert((1, 88), ()).unwrap();
    });
    assert_one(&report.await, "I4", &["user 1 counts access token 88"]);
    let report = changed(&|txn| {
        put(txn, tables::TEAM_QUOTAS, 88, &Quota::default());
    });
    assert_one(&report.await, "I4", &["a quota is of team 88"]);
    let report = changed(&|txn| {
        txn.open_table(tables::NUMBERS).unwrap().insert("dataset", 1).unwrap();
    });
    assert_one(&report.await, "I4", &["dataset 2 is there", "up to 1"]);
    let report = changed(&|txn| {
        txn.open_table(tables::DATASET_NAMES).unwrap().remove((1, "cats", 2)).unwrap();
    });
    assert_one(&report.await, "I8", &["dataset 2 does not hold its name"]);
}

#[tokio::test]
async fn gaps_and_untrue_sums_of_the_audit_log_are_found_and_named() {
    let disk = store().await;
    let engine = Engine::open_on(Arc::new(disk.clone()), &options()).unwrap();
    for _ in 0..5 {
        let (origin, subject) = (Origin::of_the_server("test"), Subject::default());
        engine.witness(origin, subject).await.unwrap();
    }
    engine.shutdown().await;
    drop(engine);
    assert!(look(&disk, true).is_clean());
    let image = || disk.image(Reached::Everything);
    let changed = |work: &dyn Fn(&WriteTransaction)| {
        let disk = image();
        edit(&disk, |txn| {
            work(txn);
            Ok(())
        });
        look(&disk, false)
    };
    let report = changed(&|txn| {
        let mut table = txn.open_table(tables::AUDIT).unwrap();
        let row = table.remove(3).unwrap().unwrap().value().to_vec();
        // Behind the others, so that what all take is the same.
        table.insert(6, row.as_slice()).unwrap();
        txn.open_table(tables::NUMBERS).unwrap().insert("audit", 6).unwrap();
    });
    assert_one(&report, "I6", &["from entry 2 to entry 4"]);
    let report = changed(&|txn| {
        txn.open_table(tables::NUMBERS).unwrap().insert("audit", 4).unwrap();
    });
    assert_one(&report, "I4", &["ends with entry 5, and 4 were numbered"]);
    let report = changed(&|txn| {
        txn.open_table(tables::NUMBERS).unwrap().insert("audit bytes", 1).unwrap();
    });
    assert_one(&report, "I4", &["the audit log takes", "and 1 are noted"]);
}

#[tokio::test]
async fn a_place_that_is_not_the_contents_own_is_found_without_reading_everything() {
    let disk = store().await;
    let (small, _) = digests();
    edit(&disk, |txn| {
        edit_blob(txn, &small, |row| {
            if let BlobPlace::Segment { offset, .. } = &mut row.place {
                *offset -= 1;
            }
        });
        Ok(())
    });
    assert_one(&look(&disk, false), "I9", &[&small.to_string()]);
}

#[tokio::test]
async fn what_is_left_over_is_noted_and_no_problem() {
    let disk = store().await;
    let digest = Digest::of(b"left over");
    let name = format!("blobs/{digest}.0000000000000001-00000000000000ff");
    disk.open(&name, OpenMode::CreateNew).unwrap();
    disk.open("blobs/notes.txt", OpenMode::CreateNew).unwrap();
    disk.open("staging/0000000000000001-00000000000000ff", OpenMode::CreateNew).unwrap();
    let report = look(&disk, true);
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!(report.notes.len(), 3, "{:?}", report.notes);
}

#[tokio::test]
async fn a_directory_in_use_or_of_something_else_is_not_checked() {
    let disk = SimulatedDisk::new();
    let engine = Engine::open_on(Arc::new(disk.clone()), &options()).unwrap();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let refused = check_disk(&as_disk, false, &CheckProgress::default());
    assert!(matches!(refused, Err(CheckError::Open(crate::OpenError::Locked { .. }))));
    engine.shutdown().await;
    let empty: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
    let refused = check_disk(&empty, false, &CheckProgress::default());
    assert!(matches!(refused, Err(CheckError::Open(crate::OpenError::NotAStore { .. }))));
    assert_eq!(empty.list("").unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_check_that_is_told_to_stop_stops() {
    let disk: Arc<dyn Disk> = Arc::new(store().await);
    let progress = CheckProgress::default();
    progress.stop();
    assert!(matches!(check_disk(&disk, true, &progress), Err(CheckError::Stopped)));
}

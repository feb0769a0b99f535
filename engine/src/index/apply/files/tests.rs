//! Files that were answered as added before they are.

use std::sync::Arc;

use super::*;
use crate::disk::{Disk, OpenMode, SimulatedDisk};
use crate::index::{Index, create_tables, tables};
use crate::model::change::{BlobPlace, CatalogueChange, Change, NewBlob, SegmentId};
use crate::model::{
    Filename, LicenceId, NewDataset, NewLicence, NewProject, NewTeam, ProjectId, TeamId, Timestamp,
};

const DATASET: DatasetId = DatasetId(1);
const AT: Timestamp = Timestamp(1);

fn blob(content: &str) -> NewBlob {
    let place = BlobPlace::Segment { segment: SegmentId(1), offset: 0 };
    let length = u64::try_from(content.len()).unwrap();
    NewBlob { digest: Digest::of(content.as_bytes()), length, crc32: 0, place }
}

fn add_file(name: &str, content: &str) -> Change {
    let NewBlob { digest, length, crc32, .. } = blob(content);
    let record = FileRecord { digest, length, crc32, creation_time: AT, compressible: false };
    let filename = Filename::exact(name).unwrap();
    let files = vec![NewFile { filename, record, metadata: String::new() }];
    Change::AddFiles { dataset: DATASET, files }
}

/// A dataset without files.
fn index() -> Index {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
    let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
    let dataset = NewDataset {
        name: "name".to_owned(),
        description: String::new(),
        project: ProjectId(1),
        licence: LicenceId(1),
        tags: String::new(),
        is_public: false,
        creator: None,
    };
    index.apply(create_tables).unwrap();
    let name = || "name".to_owned();
    let licence = NewLicence {
        name: name(),
        url: String::new(),
        permissions: Vec::new(),
        conditions: Vec::new(),
        limitations: Vec::new(),
        domains: Vec::new(),
    };
    let project = NewProject { name: name(), team: TeamId(1), creator: None };
    let team = NewTeam { name: name(), creator: None };
    let records = [
        CatalogueChange::CreateTeam { team, at: AT },
        CatalogueChange::CreateProject { project, at: AT },
        CatalogueChange::CreateLicence { licence },
    ];
    apply(&index, &records.map(Change::Catalogue));
    apply(&index, &[Change::CreateDataset { dataset, at: AT }]);
    index
}

fn apply(index: &Index, changes: &[Change]) {
    let applied = index.apply(|txn| {
        let mut group = Group::begin(txn)?;
        for change in changes {
            group.apply(Sequence(1), change, None, &[blob("one")])?.unwrap();
        }
        group.finish()
    });
    applied.unwrap();
}

fn apply_promised(index: &Index, change: &Change, brought: &str) -> Result<(), IndexError> {
    index.apply(|txn| {
        let mut group = Group::begin(txn)?;
        group.apply_promised(Sequence(2), change, None, &[blob(brought)])?.unwrap();
        group.finish().map(drop)
    })
}

#[test]
fn a_file_that_was_promised_and_has_anothers_name_breaks_the_promise() {
    let index = index();
    apply(&index, &[add_file("taken", "one")]);
    let broken = apply_promised(&index, &add_file("taken", "two"), "two");
    assert!(matches!(broken, Err(IndexError::PromiseBroken { sequence: 2, .. })), "{broken:?}");
    let txn = index.read().unwrap();
    let rows = txn.open_table(tables::FILES).unwrap();
    let (_, row) = redb::ReadableTable::first(&rows).unwrap().unwrap();
    let FileRow::File(record) = FileRow::decode(row.value()).unwrap() else { panic!("a file") };
    assert_eq!(record.digest, Digest::of(b"one"), "nothing was touched");
}

#[test]
fn a_file_that_was_promised_is_added_as_any_other_is() {
    let promised = index();
    apply(&promised, &[add_file("a", "one")]);
    apply_promised(&promised, &add_file("b", "two"), "two").unwrap();
    let refusal = promised.apply(|txn| {
        let mut group = Group::begin(txn)?;
        // The promise was the other's alone.
        group.apply(Sequence(3), &add_file("b", "one"), None, &[])
    });
    assert!(matches!(refusal, Ok(Err(MutationError::FilenameTaken { .. }))), "{refusal:?}");
    let other = index();
    apply(&other, &[add_file("a", "one")]);
    let made = other.apply(|txn| {
        let mut group = Group::begin(txn)?;
        group.apply(Sequence(2), &add_file("b", "two"), None, &[blob("two")])?.unwrap();
        group.finish().map(drop)
    });
    made.unwrap();
    let rows = |index: &Index| {
        let txn = index.read().unwrap();
        let mut rows = Vec::new();
        for table in [tables::DATASETS, tables::LAYERS, tables::TEAM_USAGE] {
            for row in redb::ReadableTable::iter(&txn.open_table(table).unwrap()).unwrap() {
                rows.push(row.unwrap().1.value().to_vec());
            }
        }
        rows
    };
    assert_eq!(rows(&promised), rows(&other));
}

#[test]
fn additions_of_a_group_count_in_one_header_and_a_refused_one_in_none() {
    let index = index();
    let header = index.apply(|txn| {
        let mut group = Group::begin(txn)?;
        let mut add = |name: &str, content: &str| {
            group.apply(Sequence(2), &add_file(name, content), None, &[blob(content)])
        };
        assert!(add("a", "one")?.is_ok());
        assert!(matches!(add("a", "three")?, Err(MutationError::FilenameTaken { .. })));
        assert!(add("b", "three")?.is_ok());
        group.finish()?;
        let table = txn.open_table(tables::DATASETS)?;
        let row = redb::ReadableTable::get(&table, DATASET.0)?.unwrap();
        let header: Dataset = codec::decode(row.value())?;
        Ok(header)
    });
    let header = header.unwrap();
    // Making the dataset was its first change.
    assert_eq!((header.file_count, header.file_bytes, header.revision), (2, 8, 3));
}

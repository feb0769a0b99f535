use std::sync::Arc;

use super::*;
use crate::disk::{Disk, OpenMode, SimulatedDisk};
use crate::index::{Index, create_tables};
use crate::model::change::{BlobPlace, CatalogueChange, Change, NewBlob, NewFile, SegmentId};
use crate::model::{
    Digest, FileRecord, Filename, LicenceId, NewDataset, NewLicence, NewProject, NewTeam, Sequence,
    Timestamp,
};

pub(in crate::index::apply) const TEAM: TeamId = TeamId(1);
pub(in crate::index::apply) const PROJECT: ProjectId = ProjectId(1);
const DATASET: DatasetId = DatasetId(1);
pub(in crate::index::apply) const AT: Timestamp = Timestamp(1);

/// All of them in one transaction.
pub(in crate::index::apply) fn apply(index: &Index, changes: &[Change]) {
    let applied = index.apply(|txn| {
        let mut group = Group::begin(txn)?;
        for change in changes {
            group.apply(Sequence(1), change, None, &[blob()])?.unwrap();
        }
        group.finish()
    });
    applied.unwrap();
}

fn blob() -> NewBlob {
    let place = BlobPlace::Segment { segment: SegmentId(1), offset: 0 };
    NewBlob { digest: Digest::of(b"content"), length: 7, crc32: 0, place }
}

fn add_file(name: &str) -> Change {
    let NewBlob { digest, length, crc32, .. } = blob();
    let record = FileRecord { digest, length, crc32, creation_time: AT, compressible: false };
    let filename = Filename::exact(name).unwrap();
    let files = vec![NewFile { filename, record, metadata: String::new() }];
    Change::AddFiles { dataset: DATASET, files }
}

fn hard_delete_dataset() -> Change {
    Change::HardDeleteDataset { dataset: DATASET }
}

fn hard_delete_project() -> Change {
    Change::Catalogue(CatalogueChange::HardDeleteProject { project: PROJECT })
}

fn hard_delete_team() -> Change {
    Change::Catalogue(CatalogueChange::HardDeleteTeam { team: TEAM })
}

/// A team with a project with a dataset with a file.
pub(in crate::index::apply) fn index() -> Index {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
    let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
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
    let project = NewProject { name: name(), team: TEAM, creator: None };
    let dataset = NewDataset {
        name: name(),
        description: String::new(),
        project: PROJECT,
        licence: LicenceId(1),
        tags: String::new(),
        is_public: false,
        creator: None,
    };
    let team = NewTeam { name: name(), creator: None };
    let records = [
        CatalogueChange::CreateTeam { team, at: AT },
        CatalogueChange::CreateProject { project, at: AT },
        CatalogueChange::CreateLicence { licence },
    ];
    apply(&index, &records.map(Change::Catalogue));
    apply(&index, &[Change::CreateDataset { dataset, at: AT }, add_file("a")]);
    assert_eq!(total(&index), Some(Usage { files: 1, bytes: 7 }));
    index
}

/// The team's total, if it has a row.
fn total(index: &Index) -> Option<Usage> {
    let table = index.read().unwrap().open_table(tables::TEAM_USAGE).unwrap();
    let row = table.get(TEAM.0).unwrap();
    row.map(|row| codec::decode(row.value()).unwrap())
}

#[test]
fn a_project_that_goes_at_once_with_its_last_dataset_leaves_no_total() {
    let index = index();
    apply(&index, &[hard_delete_dataset(), hard_delete_project()]);
    assert_eq!(total(&index), Some(Usage::default()));
}

#[test]
fn a_team_that_goes_at_once_with_its_last_dataset_has_no_total_again() {
    let index = index();
    // Adding looks up whose the project is, and that is remembered.
    let changes = [add_file("b"), hard_delete_dataset(), hard_delete_project(), hard_delete_team()];
    apply(&index, &changes);
    assert_eq!(total(&index), None);
}

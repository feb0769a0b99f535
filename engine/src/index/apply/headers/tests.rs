use std::sync::Arc;

use super::super::usage::tests::{AT, PROJECT, TEAM, apply, index};
use super::*;
use crate::index::Index;
use crate::limits::GROUP_HEADER_BYTES_MAX;
use crate::model::change::{CatalogueChange, Change, CopyTarget};
use crate::model::{NewTeam, ProjectPatch, Quota, Sequence, TeamId, Usage};

/// Bytes of a description of which some tens are more than a group keeps.
const LONG: usize = GROUP_HEADER_BYTES_MAX / 16;

/// Adds datasets with such descriptions to the project.
fn add_long_ones(index: &Index, count: u64) {
    for number in 0..count {
        let dataset = NewDataset {
            name: format!("long {number}"),
            description: "x".repeat(LONG),
            project: PROJECT,
            licence: LicenceId(1),
            tags: String::new(),
            is_public: false,
            creator: None,
        };
        apply(index, &[Change::CreateDataset { dataset, at: AT }]);
    }
}

/// Applies one change, and gives what a group keeps of headers then.
fn kept_by(index: &Index, change: &Change) -> (usize, usize) {
    let mut kept = (0, 0);
    let applied = index.apply(|txn| {
        let mut group = Group::begin(txn)?;
        group.apply(Sequence(1), change, None, &[])?.unwrap();
        kept = (group.headers.len(), group.header_bytes);
        group.finish()
    });
    applied.unwrap();
    kept
}

/// The headers of all datasets.
fn headers(index: &Index) -> Vec<Dataset> {
    let table = index.read().unwrap().open_table(tables::DATASETS).unwrap();
    table.iter().unwrap().map(|row| codec::decode(row.unwrap().1.value()).unwrap()).collect()
}

#[test]
fn a_project_that_moves_has_no_headers_kept_however_many_it_has() {
    let index = index();
    add_long_ones(&index, 3);
    let team = NewTeam { name: "other".into(), creator: None };
    apply(&index, &[Change::Catalogue(CatalogueChange::CreateTeam { team, at: AT })]);
    let other = TeamId(TEAM.0 + 1);
    let quota = Quota { files: Some(1), bytes: Some(7) };
    apply(&index, &[Change::Catalogue(CatalogueChange::SetQuota { team: other, quota })]);
    let patch = ProjectPatch { team: Some(other), ..ProjectPatch::default() };
    let moved = Change::Catalogue(CatalogueChange::UpdateProject { project: PROJECT, patch });
    assert_eq!(kept_by(&index, &moved), (0, 0));
    let table = index.read().unwrap().open_table(tables::TEAM_USAGE).unwrap();
    let total = |team: TeamId| -> Usage {
        codec::decode(table.get(team.0).unwrap().unwrap().value()).unwrap()
    };
    assert_eq!((total(TEAM), total(other)), (Usage::default(), Usage { files: 1, bytes: 7 }));
}

#[test]
fn a_project_that_is_destroyed_has_few_headers_kept_and_all_written() {
    let index = index();
    add_long_ones(&index, 40);
    let destroyed = Change::Catalogue(CatalogueChange::DestroyProject { project: PROJECT, at: AT });
    let (_, bytes) = kept_by(&index, &destroyed);
    assert!(bytes <= GROUP_HEADER_BYTES_MAX, "{bytes}");
    let headers = headers(&index);
    assert_eq!(headers.len(), 41);
    assert!(headers.iter().all(|header| header.deletion_time == Some(AT)));
}

#[test]
fn many_copies_in_a_group_keep_few_headers_and_share_a_text() {
    let index = index();
    add_long_ones(&index, 1);
    let copy = CopyTarget { new_name: None, creator: None, at: AT };
    let applied = index.apply(|txn| {
        let mut group = Group::begin(txn)?;
        let mut made = Vec::new();
        for _ in 0..40 {
            let change = Change::CopyDataset { source: DatasetId(2), copy: copy.clone() };
            let Applied::Dataset(dataset) = group.apply(Sequence(1), &change, None, &[])?.unwrap()
            else {
                panic!("a copy is a dataset")
            };
            assert!(group.header_bytes <= GROUP_HEADER_BYTES_MAX);
            made.push(dataset);
        }
        let [first, second, ..] = &made[..] else { panic!("there are two") };
        assert!(Arc::ptr_eq(&first.description, &second.description));
        group.finish()
    });
    applied.unwrap();
    let headers = headers(&index);
    assert_eq!(headers.len(), 42);
    assert!(headers[1..].iter().all(|header| header.description.len() == LONG));
    let versions: Vec<u64> = headers[1..].iter().map(|header| header.version).collect();
    assert_eq!(versions, (1..=41).collect::<Vec<_>>());
}

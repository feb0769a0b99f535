//! Compares what belongs to what, and the words of licences, with the rows that say so.

use std::collections::BTreeSet;

use redb::{ReadableTable, TableDefinition};

use super::{Finding, note};
use crate::error::ReadError;
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::model::SubdescriptorKind;

type Pairs = BTreeSet<(u64, u64)>;

/// Whether a record may be removed depends on these rows: one too few loses things, one too many
/// keeps them for ever.
pub(super) fn check_catalogue(
    snapshot: &Snapshot,
    findings: &mut Vec<Finding>,
) -> Result<(), ReadError> {
    let (mut in_teams, mut in_projects, mut under_licences) =
        (Pairs::new(), Pairs::new(), Pairs::new());
    for project in snapshot.projects()? {
        let project = project?;
        in_teams.insert((project.team.0, project.id.0));
    }
    for dataset in snapshot.datasets()? {
        let dataset = dataset?;
        in_projects.insert((dataset.project.0, dataset.id.0));
        under_licences.insert((dataset.licence.0, dataset.id.0));
    }
    for (what, table, expected) in [
        ("projects of teams", tables::TEAM_PROJECTS, in_teams),
        ("datasets of projects", tables::PROJECT_DATASETS, in_projects),
        ("datasets of licences", tables::LICENCE_DATASETS, under_licences),
    ] {
        let found = pairs(snapshot, table)?;
        for (holder, held) in found.symmetric_difference(&expected) {
            note(findings, "I4", format!("{what}: ({holder}, {held}) is on one side only"));
        }
    }
    check_subdescriptors(snapshot, findings)
}

fn pairs(
    snapshot: &Snapshot,
    table: TableDefinition<'static, (u64, u64), ()>,
) -> Result<Pairs, ReadError> {
    let mut pairs = Pairs::new();
    for row in snapshot.table(table)?.iter().map_err(IndexError::from)? {
        let (key, _) = row.map_err(IndexError::from)?;
        pairs.insert(key.value());
    }
    Ok(pairs)
}

fn check_subdescriptors(snapshot: &Snapshot, findings: &mut Vec<Finding>) -> Result<(), ReadError> {
    let names = snapshot.table(tables::SUBDESCRIPTOR_NAMES)?;
    let rows = snapshot.table(tables::SUBDESCRIPTORS)?;
    for licence in snapshot.licences()? {
        let licence = licence?;
        for kind in SubdescriptorKind::ALL {
            for name in licence.subdescriptors(kind) {
                let key = (kind.code(), name.as_str());
                let id = names.get(key).map_err(IndexError::from)?.map(|id| id.value());
                let row = rows.get((kind.code(), id.unwrap_or(0))).map_err(IndexError::from)?;
                if row.is_none_or(|row| row.value() != name.as_str()) {
                    let id = licence.id;
                    note(findings, "I4", format!("{kind} {name:?} of licence {id} is no record"));
                }
            }
        }
    }
    Ok(())
}

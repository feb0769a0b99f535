//! What belongs to what, the soft-deleted too: projects to teams, datasets to projects and
//! licences, access tokens to users and teams.
//!
//! The tables answer without visiting anything else: may this record be removed, and what goes with it?
//! Whoever writes a project's, a dataset's or an access token's row keeps them true.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{IndexError, tables};
use crate::model::{AccessToken, Dataset, Project};

type Holdings = TableDefinition<'static, (u64, u64), ()>;

/// A project belongs to its team from now on.
pub(crate) fn enter_project(txn: &WriteTransaction, project: &Project) -> Result<(), IndexError> {
    txn.open_table(tables::TEAM_PROJECTS)?.insert((project.team.0, project.id.0), ())?;
    Ok(())
}

/// A project belongs to its team no longer.
pub(crate) fn leave_project(txn: &WriteTransaction, project: &Project) -> Result<(), IndexError> {
    txn.open_table(tables::TEAM_PROJECTS)?.remove((project.team.0, project.id.0))?;
    Ok(())
}

/// A dataset belongs to its project and its licence from now on.
pub(crate) fn enter_dataset(txn: &WriteTransaction, dataset: &Dataset) -> Result<(), IndexError> {
    let Dataset { id, project, licence, .. } = dataset;
    txn.open_table(tables::PROJECT_DATASETS)?.insert((project.0, id.0), ())?;
    txn.open_table(tables::LICENCE_DATASETS)?.insert((licence.0, id.0), ())?;
    Ok(())
}

/// A dataset belongs to its project and its licence no longer.
pub(crate) fn leave_dataset(txn: &WriteTransaction, dataset: &Dataset) -> Result<(), IndexError> {
    let Dataset { id, project, licence, .. } = dataset;
    txn.open_table(tables::PROJECT_DATASETS)?.remove((project.0, id.0))?;
    txn.open_table(tables::LICENCE_DATASETS)?.remove((licence.0, id.0))?;
    Ok(())
}

/// An access token belongs to its user and its team from now on.
pub(crate) fn enter_access_token(
    txn: &WriteTransaction,
    token: &AccessToken,
) -> Result<(), IndexError> {
    let AccessToken { id, user, team, .. } = token;
    txn.open_table(tables::USER_ACCESS_TOKENS)?.insert((user.0, id.0), ())?;
    txn.open_table(tables::TEAM_ACCESS_TOKENS)?.insert((team.0, id.0), ())?;
    Ok(())
}

/// An access token belongs to its user and its team no longer.
pub(crate) fn leave_access_token(
    txn: &WriteTransaction,
    token: &AccessToken,
) -> Result<(), IndexError> {
    let AccessToken { id, user, team, .. } = token;
    txn.open_table(tables::USER_ACCESS_TOKENS)?.remove((user.0, id.0))?;
    txn.open_table(tables::TEAM_ACCESS_TOKENS)?.remove((team.0, id.0))?;
    Ok(())
}

/// All things that belong to a holder; for holders of few.
pub(crate) fn all_of(
    txn: &WriteTransaction,
    holdings: Holdings,
    holder: u64,
) -> Result<Vec<u64>, IndexError> {
    let table = txn.open_table(holdings)?;
    let rows = table.range((holder, 0)..=(holder, u64::MAX))?;
    rows.map(|row| Ok(row?.0.value().1)).collect()
}

/// The first thing that belongs to a holder; one look-up, however many there are.
pub(crate) fn first_of(
    txn: &WriteTransaction,
    holdings: Holdings,
    holder: u64,
) -> Result<Option<u64>, IndexError> {
    let table = txn.open_table(holdings)?;
    let first = table.range((holder, 0)..=(holder, u64::MAX))?.next().transpose()?;
    Ok(first.map(|(key, _)| key.value().1))
}

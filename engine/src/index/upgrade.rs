//! Tables that stores of earlier versions lack: made and filled on opening.
//!
//! They say nothing that the other rows do not say already, so filling them is no change of the
//! store: a crash on the way makes the next opening fill them again. It happens before the journal
//! is replayed, since replaying keeps them true from then on.

use std::collections::BTreeMap;
#[cfg(any(test, feature = "simulation"))]
use std::sync::Arc;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

#[cfg(any(test, feature = "simulation"))]
use super::audit;
use super::{
    Index, IndexError, create_catalogue_tables, create_naming_tables, holdings, namings,
    subdescriptors, tables,
};
use crate::codec;
#[cfg(any(test, feature = "simulation"))]
use crate::disk::{Disk, OpenMode};
#[cfg(any(test, feature = "simulation"))]
use crate::error::ReadError;
#[cfg(any(test, feature = "simulation"))]
use crate::model::SubdescriptorKind;
use crate::model::{Dataset, Licence, Project, Usage};

/// Makes what an earlier version did not make. Visits all licences, projects and datasets, and the
/// rows of all files, once in a store's life.
pub(crate) fn upgrade(index: &Index) -> Result<(), IndexError> {
    if !has_table(index, tables::SUBDESCRIPTORS)? {
        // They were made together, so one of them tells of all.
        index.apply(|txn| {
            create_catalogue_tables(txn)?;
            fill(txn)
        })?;
    }
    if !has_table(index, tables::QUARANTINE)? {
        index.apply(|txn| Ok(txn.open_table(tables::QUARANTINE).map(drop)?))?;
    }
    // Nobody had one before there was the table.
    if !has_table(index, tables::ACCESS_TOKENS)? {
        index.apply(|txn| Ok(txn.open_table(tables::ACCESS_TOKENS).map(drop)?))?;
    }
    if !has_table(index, tables::USER_ACCESS_TOKENS)? {
        index.apply(|txn| {
            txn.open_table(tables::USER_ACCESS_TOKENS)?;
            txn.open_table(tables::TEAM_ACCESS_TOKENS)?;
            for row in txn.open_table(tables::ACCESS_TOKENS)?.iter()? {
                holdings::enter_access_token(txn, &codec::decode(row?.1.value())?)?;
            }
            Ok(())
        })?;
    }
    // Who changed what before there was the table is not known.
    if !has_table(index, tables::AUDIT)? {
        index.apply(|txn| Ok(txn.open_table(tables::AUDIT).map(drop)?))?;
    }
    if !has_table(index, tables::TEAM_USAGE)? {
        index.apply(|txn| {
            txn.open_table(tables::TEAM_QUOTAS)?;
            fill_usage(txn)
        })?;
    }
    if !has_table(index, tables::NAMINGS)? {
        tracing::info!(
            "looking at the rows of all files, once, for what an earlier version did not note"
        );
        index.apply(|txn| {
            create_naming_tables(txn)?;
            namings::fill(txn)
        })?;
    }
    Ok(())
}

fn has_table<K: redb::Key, V: redb::Value>(
    index: &Index,
    table: TableDefinition<'static, K, V>,
) -> Result<bool, IndexError> {
    match index.read()?.open_table(table) {
        Ok(_) => Ok(true),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sums up what each team holds.
fn fill_usage(txn: &WriteTransaction) -> Result<(), IndexError> {
    let mut usage: BTreeMap<u64, Usage> = BTreeMap::new();
    let projects = txn.open_table(tables::PROJECTS)?;
    for row in txn.open_table(tables::DATASETS)?.iter()? {
        let dataset: Dataset = codec::decode(row?.1.value())?;
        if let Some(row) = projects.get(dataset.project.0)? {
            let project: Project = codec::decode(row.value())?;
            let sum = usage.entry(project.team.0).or_default();
            *sum = sum.plus(dataset.usage());
        }
    }
    let mut table = txn.open_table(tables::TEAM_USAGE)?;
    for (team, usage) in usage {
        table.insert(team, codec::encode(&usage)?.as_slice())?;
    }
    Ok(())
}

fn fill(txn: &WriteTransaction) -> Result<(), IndexError> {
    for row in txn.open_table(tables::LICENCES)?.iter()? {
        let licence: Licence = codec::decode(row?.1.value())?;
        subdescriptors::register_all(txn, &licence)?;
    }
    for row in txn.open_table(tables::PROJECTS)?.iter()? {
        let project: Project = codec::decode(row?.1.value())?;
        holdings::enter_project(txn, &project)?;
    }
    for row in txn.open_table(tables::DATASETS)?.iter()? {
        let dataset: Dataset = codec::decode(row?.1.value())?;
        holdings::enter_dataset(txn, &dataset)?;
    }
    Ok(())
}

/// Takes away from a closed store what the version before this module did not write; its other
/// rows had the same bytes, which `golden.txt` holds. For tests.
///
/// # Errors
/// The index failed.
#[cfg(any(test, feature = "simulation"))]
#[expect(clippy::needless_pass_by_value, reason = "as opening a store takes it")]
pub fn make_older(disk: Arc<dyn Disk>) -> Result<(), ReadError> {
    let index = Index::open(&disk, OpenMode::Existing, 4 << 20)?;
    let strip = |txn: &WriteTransaction| {
        txn.delete_table(tables::SUBDESCRIPTORS)?;
        txn.delete_table(tables::SUBDESCRIPTOR_NAMES)?;
        txn.delete_table(tables::TEAM_PROJECTS)?;
        txn.delete_table(tables::PROJECT_DATASETS)?;
        txn.delete_table(tables::LICENCE_DATASETS)?;
        txn.delete_table(tables::QUARANTINE)?;
        txn.delete_table(tables::ACCESS_TOKENS)?;
        txn.delete_table(tables::USER_ACCESS_TOKENS)?;
        txn.delete_table(tables::TEAM_ACCESS_TOKENS)?;
        txn.delete_table(tables::TEAM_USAGE)?;
        txn.delete_table(tables::TEAM_QUOTAS)?;
        txn.delete_table(tables::AUDIT)?;
        txn.delete_table(tables::NAMINGS)?;
        txn.delete_table(tables::LAYER_DATASETS)?;
        namings::forget_all(txn)?;
        let mut numbers = txn.open_table(tables::NUMBERS)?;
        for kind in SubdescriptorKind::ALL {
            numbers.remove(kind.name())?;
        }
        for kind in [audit::NUMBER, audit::BYTES] {
            numbers.remove(kind)?;
        }
        Ok(())
    };
    Ok(index.checkpoint(strip)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::error::{MutationError, RecordKind};
    use crate::model::{
        LicenceId, NewAccessToken, NewDataset, NewLicence, NewProject, NewTeam, NewUser,
        PermissionLevel, SubdescriptorEdit, SubdescriptorId, SubdescriptorRef,
    };
    use crate::{Engine, EngineOptions};

    fn options() -> EngineOptions {
        EngineOptions {
            index_cache_bytes: 4 << 20,
            segment_bytes: 1 << 20,
            arbiters: 1,
            ..EngineOptions::default()
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    fn licence(name: &str, permissions: &[&str], domains: &[&str]) -> NewLicence {
        NewLicence {
            name: name.into(),
            url: "https://example.org/".into(),
            permissions: texts(permissions),
            conditions: Vec::new(),
            limitations: Vec::new(),
            domains: texts(domains),
        }
    }

    #[tokio::test]
    async fn a_store_of_the_version_before_opens_with_all_that_it_lacked() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Engine::open(directory.path().to_owned(), &options()).unwrap();
        let engine = open();
        let used = licence("used", &["Use", "Sale"], &["Data"]);
        let used = engine.create_licence(used).await.unwrap();
        let free = licence("free", &["Sale", "Loan"], &[]);
        let free = engine.create_licence(free).await.unwrap();
        let team = NewTeam { name: "team".into(), creator: None };
        let team = engine.create_team(team).await.unwrap();
        let project = NewProject { name: "project".into(), team: team.id, creator: None };
        let project = engine.create_project(project).await.unwrap();
        let dataset = NewDataset {
            name: "dataset".into(),
            description: String::new(),
            project: project.id,
            licence: used.id,
            tags: String::new(),
            is_public: false,
            creator: None,
        };
        let dataset = engine.create_dataset(dataset).await.unwrap();
        engine.destroy_dataset(dataset.id).await.unwrap();
        engine.shutdown().await;
        drop(engine);
        make_older(Arc::new(RealDisk::new(directory.path().to_owned()).unwrap())).unwrap();

        let engine = open();
        assert_eq!(engine.check(false).unwrap(), []);
        let refused = engine.delete_licence(used.id).await.unwrap_err();
        assert!(matches!(
            refused,
            MutationError::NotEmpty { record: RecordKind::Licence, first, .. }
                if first == dataset.id.0
        ));
        assert!(engine.hard_delete_project(project.id).await.is_err());
        assert!(engine.hard_delete_team(team.id).await.is_err());
        engine.shutdown().await;
        drop(engine);

        // Filled once: the numbers stay what they were.
        let engine = open();
        let third = vec![SubdescriptorRef::Id(SubdescriptorId(3))];
        let (kind, edit) = (SubdescriptorKind::Permission, SubdescriptorEdit::Add);
        let edited = engine.edit_subdescriptors(used.id, kind, edit, third.clone()).await;
        assert_eq!(edited.unwrap().permissions, ["Use", "Sale", "Loan"]);
        let edit = SubdescriptorEdit::Remove;
        let edited = engine.edit_subdescriptors(free.id, kind, edit, third).await;
        assert_eq!(edited.unwrap().permissions, ["Sale"]);
        let fourth = vec![SubdescriptorRef::Id(SubdescriptorId(4))];
        let refused = engine.edit_subdescriptors(LicenceId(1), kind, edit, fourth).await;
        assert!(matches!(refused, Err(MutationError::SubdescriptorNotFound { .. })));
        assert_eq!(engine.check(false).unwrap(), []);
    }

    /// A store whose access tokens were made before it was noted whose they are, as one that is restored
    /// from a backup is.
    #[tokio::test]
    async fn access_tokens_of_the_version_before_end_with_the_rights_of_their_owners() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Engine::open(directory.path().to_owned(), &options()).unwrap();
        let engine = open();
        let team = NewTeam { name: "team".into(), creator: None };
        let team = engine.create_team(team).await.unwrap().id;
        let user = engine.create_user(NewUser {
            username: "ann".into(),
            password_hash: String::new(),
            first_name: String::new(),
            last_name: String::new(),
            email: String::new(),
            is_superuser: false,
            is_staff: false,
            is_active: true,
        });
        let user = user.await.unwrap().id;
        let (level, name) = (PermissionLevel::Read, "token".to_owned());
        engine.add_member(team, user, level, None).await.unwrap();
        let (secret_hash, expiry_time) = ([0; 32], None);
        let token = NewAccessToken { name, user, team, level, secret_hash, expiry_time };
        let token = engine.create_access_token(token).await.unwrap().id;
        engine.shutdown().await;
        drop(engine);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(directory.path().to_owned()).unwrap());
        let index = Index::open(&disk, OpenMode::Existing, 4 << 20).unwrap();
        let strip = |txn: &WriteTransaction| {
            txn.delete_table(tables::USER_ACCESS_TOKENS)?;
            Ok(txn.delete_table(tables::TEAM_ACCESS_TOKENS)?)
        };
        assert!(index.checkpoint(strip).unwrap());
        drop((index, disk));

        let engine = open();
        assert_eq!(engine.check(false).unwrap(), []);
        assert!(engine.snapshot().unwrap().access_token(token).unwrap().is_some());
        engine.remove_member(team, user).await.unwrap();
        assert!(engine.snapshot().unwrap().access_token(token).unwrap().is_none());
        assert_eq!(engine.check(false).unwrap(), []);
    }
}

//! Users, teams, projects, licences, nodes, what belongs to what, and the numbers given out: each
//! row against the rows that must say the same. Nothing is gathered; every comparison is a look-up.

use redb::{ReadableTable, TableDefinition, Value};

use super::findings::Findings;
use crate::codec;
use crate::error::ReadError;
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::model::{
    AccessToken, Dataset, Licence, Membership, Node, Project, SubdescriptorKind, Team, TeamId,
    Usage, User,
};

type Bytes = &'static [u8];

/// Compares all records around datasets.
pub(super) fn check_catalogue(
    snapshot: &Snapshot,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    check_names(snapshot, findings)?;
    check_owners(snapshot, findings)?;
    check_subdescriptors(snapshot, findings)?;
    check_usage(snapshot, findings)?;
    check_numbers(snapshot, findings)
}

/// A record by its id.
fn record<T: serde::de::DeserializeOwned>(
    snapshot: &Snapshot,
    table: TableDefinition<'static, u64, Bytes>,
    id: u64,
) -> Result<Option<T>, IndexError> {
    let row = snapshot.table(table)?.get(id)?;
    Ok(row.map(|row| codec::decode(row.value())).transpose()?)
}

/// Each name's row names a record that has the name.
fn check_names(snapshot: &Snapshot, findings: &mut Findings) -> Result<(), ReadError> {
    check_names_forward(snapshot, findings)?;
    let mut wrong = |kind: &str, name: &dyn std::fmt::Debug, id: u64| {
        findings
            .rows("I8", format!("{kind} {id} does not have the name {name:?} that its row says"));
    };
    each(snapshot, tables::USERNAMES, |name, id| {
        let user: Option<User> = record(snapshot, tables::USERS, id)?;
        if user.is_none_or(|user| user.username != name) {
            wrong("user", &name, id);
        }
        Ok(())
    })?;
    each(snapshot, tables::TEAM_NAMES, |name, id| {
        let team: Option<Team> = record(snapshot, tables::TEAMS, id)?;
        if team.is_none_or(|team| team.name != name || team.deletion_time.is_some()) {
            wrong("team", &name, id);
        }
        Ok(())
    })?;
    each(snapshot, tables::PROJECT_NAMES, |(team, name), id| {
        let project: Option<Project> = record(snapshot, tables::PROJECTS, id)?;
        let is_it = |project: Project| {
            (project.team.0, project.name.as_str()) == (team, name)
                && project.deletion_time.is_none()
        };
        if !project.is_some_and(is_it) {
            wrong("project", &(team, name), id);
        }
        Ok(())
    })?;
    each(snapshot, tables::LICENCE_NAMES, |name, id| {
        let licence: Option<Licence> = record(snapshot, tables::LICENCES, id)?;
        if licence.is_none_or(|licence| licence.name != name) {
            wrong("licence", &name, id);
        }
        Ok(())
    })?;
    each(snapshot, tables::NODE_ADDRESSES, |(ip, index), id| {
        let node: Option<Node> = record(snapshot, tables::NODES, id)?;
        if node.is_none_or(|node| (node.ip.as_str(), node.index) != (ip, index)) {
            wrong("node", &(ip, index), id);
        }
        Ok(())
    })?;
    each(snapshot, tables::DATASET_NAMES, |(project, name, version), id| {
        let dataset: Option<Dataset> = record(snapshot, tables::DATASETS, id)?;
        let is_it = |dataset: Dataset| {
            (dataset.project.0, dataset.name.as_str(), dataset.version) == (project, name, version)
                && dataset.deletion_time.is_none()
        };
        if !dataset.is_some_and(is_it) {
            wrong("dataset", &(project, name, version), id);
        }
        Ok(())
    })
}

/// Visits a table whose values are ids.
fn each<K: redb::Key + 'static>(
    snapshot: &Snapshot,
    table: TableDefinition<'static, K, u64>,
    mut visit: impl FnMut(K::SelfType<'_>, u64) -> Result<(), IndexError>,
) -> Result<(), ReadError> {
    for row in snapshot.table(table)?.iter().map_err(IndexError::from)? {
        let (key, id) = row.map_err(IndexError::from)?;
        visit(key.value(), id.value())?;
    }
    Ok(())
}

/// Each record that is not deleted holds its name. Those of datasets are looked at with their
/// files.
fn check_names_forward(snapshot: &Snapshot, findings: &mut Findings) -> Result<(), ReadError> {
    let mut expect = |holder: Option<u64>, kind: &str, id: u64| {
        if holder != Some(id) {
            findings.rows("I8", format!("{kind} {id} does not hold its name"));
        }
    };
    let usernames = snapshot.table(tables::USERNAMES)?;
    for user in snapshot.users()? {
        let user = user?;
        let holder = usernames.get(user.username.as_str()).map_err(IndexError::from)?;
        expect(holder.map(|id| id.value()), "user", user.id.0);
    }
    let names = snapshot.table(tables::TEAM_NAMES)?;
    for team in snapshot.teams()? {
        let team = team?;
        let holder = names.get(team.name.as_str()).map_err(IndexError::from)?;
        if team.deletion_time.is_none() {
            expect(holder.map(|id| id.value()), "team", team.id.0);
        }
    }
    let names = snapshot.table(tables::PROJECT_NAMES)?;
    for project in snapshot.projects()? {
        let project = project?;
        let key = (project.team.0, project.name.as_str());
        let holder = names.get(key).map_err(IndexError::from)?;
        if project.deletion_time.is_none() {
            expect(holder.map(|id| id.value()), "project", project.id.0);
        }
    }
    let names = snapshot.table(tables::LICENCE_NAMES)?;
    for licence in snapshot.licences()? {
        let licence = licence?;
        let holder = names.get(licence.name.as_str()).map_err(IndexError::from)?;
        expect(holder.map(|id| id.value()), "licence", licence.id.0);
    }
    let addresses = snapshot.table(tables::NODE_ADDRESSES)?;
    for node in snapshot.nodes()? {
        let node = node?;
        let holder = addresses.get((node.ip.as_str(), node.index)).map_err(IndexError::from)?;
        expect(holder.map(|id| id.value()), "node", node.id.0);
    }
    Ok(())
}

/// Each record's owner is there, and the rows that say what belongs to what say the same: one too
/// few loses things when an owner is removed, one too many keeps the owner for ever.
fn check_owners(snapshot: &Snapshot, findings: &mut Findings) -> Result<(), ReadError> {
    let mut owned = Owned { snapshot, findings };
    for project in snapshot.projects()? {
        let project = project?;
        let (team, id) = (project.team.0, project.id.0);
        owned.expect(tables::TEAMS, "team", team, tables::TEAM_PROJECTS, "project", id)?;
    }
    for dataset in snapshot.datasets()? {
        let dataset = dataset?;
        let (project, licence, id) = (dataset.project.0, dataset.licence.0, dataset.id.0);
        let (kind, table) = ("dataset", tables::PROJECT_DATASETS);
        owned.expect(tables::PROJECTS, "project", project, table, kind, id)?;
        let table = tables::LICENCE_DATASETS;
        owned.expect(tables::LICENCES, "licence", licence, table, kind, id)?;
    }
    owned.each(tables::TEAM_PROJECTS, "project", "team", |id| {
        let project: Option<Project> = record(snapshot, tables::PROJECTS, id)?;
        Ok(project.map(|project| project.team.0))
    })?;
    owned.each(tables::PROJECT_DATASETS, "dataset", "project", |id| {
        let dataset: Option<Dataset> = record(snapshot, tables::DATASETS, id)?;
        Ok(dataset.map(|dataset| dataset.project.0))
    })?;
    owned.each(tables::LICENCE_DATASETS, "dataset", "licence", |id| {
        let dataset: Option<Dataset> = record(snapshot, tables::DATASETS, id)?;
        Ok(dataset.map(|dataset| dataset.licence.0))
    })?;
    for token in snapshot.access_tokens()? {
        let AccessToken { id, team, user, .. } = token?;
        let (kind, table) = ("access token", tables::USER_ACCESS_TOKENS);
        owned.expect(tables::USERS, "user", user.0, table, kind, id.0)?;
        let table = tables::TEAM_ACCESS_TOKENS;
        owned.expect(tables::TEAMS, "team", team.0, table, kind, id.0)?;
    }
    owned.each(tables::USER_ACCESS_TOKENS, "access token", "user", |id| {
        let token: Option<AccessToken> = record(snapshot, tables::ACCESS_TOKENS, id)?;
        Ok(token.map(|token| token.user.0))
    })?;
    owned.each(tables::TEAM_ACCESS_TOKENS, "access token", "team", |id| {
        let token: Option<AccessToken> = record(snapshot, tables::ACCESS_TOKENS, id)?;
        Ok(token.map(|token| token.team.0))
    })?;
    for row in snapshot.table(tables::MEMBERSHIPS)?.iter().map_err(IndexError::from)? {
        let (key, row) = row.map_err(IndexError::from)?;
        let (team, user) = key.value();
        let member: Membership = codec::decode(row.value()).map_err(IndexError::from)?;
        let is_known =
            is_there(snapshot, tables::TEAMS, team)? && is_there(snapshot, tables::USERS, user)?;
        if !is_known || (member.team.0, member.user.0) != (team, user) {
            let what = format!("the membership of user {user} in team {team} is nobody's");
            findings.rows("I4", what);
        }
    }
    Ok(())
}

fn is_there<V: Value>(
    snapshot: &Snapshot,
    table: TableDefinition<'static, u64, V>,
    id: u64,
) -> Result<bool, IndexError> {
    Ok(snapshot.table(table)?.get(id)?.is_some())
}

/// What belongs to what, both ways.
struct Owned<'a> {
    snapshot: &'a Snapshot,
    findings: &'a mut Findings,
}

type Pairs = TableDefinition<'static, (u64, u64), ()>;

impl Owned<'_> {
    /// The owner is there, and its row names the thing.
    fn expect(
        &mut self,
        owners: TableDefinition<'static, u64, Bytes>,
        owner_kind: &str,
        owner: u64,
        pairs: Pairs,
        kind: &str,
        id: u64,
    ) -> Result<(), ReadError> {
        if !is_there(self.snapshot, owners, owner)? {
            let what = format!("{kind} {id} is of {owner_kind} {owner}, which is not there");
            self.findings.rows("I4", what);
        }
        let pair = self.snapshot.table(pairs)?.get((owner, id)).map_err(IndexError::from)?;
        if pair.is_none() {
            let what = format!("{owner_kind} {owner} does not count {kind} {id} as its own");
            self.findings.rows("I4", what);
        }
        Ok(())
    }

    /// Each thing that an owner counts as its own is there and is its own.
    fn each(
        &mut self,
        pairs: Pairs,
        kind: &str,
        owner_kind: &str,
        owner_of: impl Fn(u64) -> Result<Option<u64>, IndexError>,
    ) -> Result<(), ReadError> {
        for row in self.snapshot.table(pairs)?.iter().map_err(IndexError::from)? {
            let (key, _) = row.map_err(IndexError::from)?;
            let (owner, id) = key.value();
            if owner_of(id)? != Some(owner) {
                let what =
                    format!("{owner_kind} {owner} counts {kind} {id} as its own, which it is not");
                self.findings.rows("I4", what);
            }
        }
        Ok(())
    }
}

/// Each team's total is the sum of its datasets, and no total is of a team that is not there.
fn check_usage(snapshot: &Snapshot, findings: &mut Findings) -> Result<(), ReadError> {
    for team in snapshot.teams()? {
        let team = team?.id;
        let (held, total) = (held_by(snapshot, team)?, snapshot.team_usage(team)?);
        if held != total {
            let what = format!("team {team} holds {held:?}, and its total says {total:?}");
            findings.rows("I4", what);
        }
    }
    for table in [tables::TEAM_USAGE, tables::TEAM_QUOTAS] {
        for row in snapshot.table(table)?.iter().map_err(IndexError::from)? {
            let team = row.map_err(IndexError::from)?.0.value();
            if !is_there(snapshot, tables::TEAMS, team)? {
                let what = format!("a total or a quota is of team {team}, which is not there");
                findings.rows("I4", what);
            }
        }
    }
    Ok(())
}

/// The sum of a team's datasets.
fn held_by(snapshot: &Snapshot, team: TeamId) -> Result<Usage, ReadError> {
    let mut held = Usage::default();
    let projects = snapshot.table(tables::TEAM_PROJECTS)?;
    let datasets = snapshot.table(tables::PROJECT_DATASETS)?;
    let of = |holder: u64| (holder, 0)..=(holder, u64::MAX);
    for row in projects.range(of(team.0)).map_err(IndexError::from)? {
        let project = row.map_err(IndexError::from)?.0.value().1;
        for row in datasets.range(of(project)).map_err(IndexError::from)? {
            let id = row.map_err(IndexError::from)?.0.value().1;
            let dataset: Option<Dataset> = record(snapshot, tables::DATASETS, id)?;
            held = held.plus(dataset.map(|dataset| dataset.usage()).unwrap_or_default());
        }
    }
    Ok(held)
}

fn check_subdescriptors(snapshot: &Snapshot, findings: &mut Findings) -> Result<(), ReadError> {
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
                    findings.rows("I4", format!("{kind} {name:?} of licence {id} is no record"));
                }
            }
        }
    }
    Ok(())
}

/// No number is in use that was not given out: it would be given out again.
fn check_numbers(snapshot: &Snapshot, findings: &mut Findings) -> Result<(), ReadError> {
    let numbers = snapshot.table(tables::NUMBERS)?;
    for (kind, table) in [
        ("dataset", tables::DATASETS),
        ("layer", tables::LAYERS),
        ("user", tables::USERS),
        ("team", tables::TEAMS),
        ("project", tables::PROJECTS),
        ("licence", tables::LICENCES),
        ("node", tables::NODES),
        ("access token", tables::ACCESS_TOKENS),
    ] {
        let last = snapshot.table(table)?;
        let last = last.last().map_err(IndexError::from)?.map_or(0, |(id, _)| id.value());
        let given = numbers.get(kind).map_err(IndexError::from)?.map_or(0, |given| given.value());
        if last > given {
            let what = format!("{kind} {last} is there, and numbers were given out up to {given}");
            findings.rows("I4", what);
        }
    }
    Ok(())
}

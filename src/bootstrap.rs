//! The first start: what a new store needs so that pushing works at once.
//!
//! It makes the fourteen licences that the API has from the start, the user `admin`, and a team
//! and a project called `default`. A marker file says that this is under way, so that a start after
//! a crash goes on where it ended, and a store whose owner removed some of it is left alone.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use granary_engine::model::{
    NewLicence, NewProject, NewTeam, NewUser, Origin, PermissionLevel, TeamId, User, UserId,
};
use granary_engine::{Engine, ReadError, Snapshot};
use serde::Deserialize;

use crate::auth::hash_password;
use crate::first_password::{self, ADMIN};
use crate::private_file;

/// Name of the first team and the first project.
const DEFAULT: &str = "default";

/// File that is there while the first start is under way.
const MARKER_FILE: &str = "first-start";

/// File that every store has.
const STORE_FILE: &str = "store";

/// The licences as the API has them.
const LICENCES: &str = include_str!("licences.json");

/// What the one who started the server must be told.
#[derive(Clone)]
pub struct FirstStart {
    /// Name of the user that was made.
    pub username: &'static str,
    /// Its password.
    pub password: String,
    /// Where the password is written down, if it was made up here.
    pub password_file: Option<PathBuf>,
}

impl std::fmt::Debug for FirstStart {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FirstStart")
            .field("username", &self.username)
            .field("password_file", &self.password_file)
            .finish_non_exhaustive()
    }
}

/// Makes a new store usable; of one that is, only the file with the first password is removed, if that was
/// changed.
///
/// `chosen_password` gives the first user's, or `None` for a made-up one. It is asked only where that
/// user is made, so what it reads need not be there at later starts. A made-up password is on disk
/// before the user that it belongs to is, so that a crash between the two locks nobody out. Says what
/// to tell if the user was made by this call.
///
/// # Errors
/// The store, the data directory or `chosen_password` refused; the next start goes on.
pub async fn bootstrap(
    engine: &Engine,
    directory: &Path,
    chosen_password: impl FnOnce() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<Option<FirstStart>> {
    let has_users = engine.snapshot()?.users()?.next().transpose()?.is_some();
    let unfinished = directory.join(MARKER_FILE).exists();
    if has_users && !unfinished {
        first_password::forget_if_stale(engine, directory).await?;
        return Ok(None);
    }
    let marked =
        in_background(directory, |directory| private_file::write(directory, MARKER_FILE, b""));
    marked.await.context("cannot write to the data directory")?;
    let engine = &engine.clone().on_behalf_of(Origin::of_the_server("first_start"));
    create_licences(engine).await?;
    let (admin, first_start) = create_admin(engine, directory, chosen_password).await?;
    let team = create_team(engine, admin).await?;
    create_project(engine, admin, team).await?;
    let unmarked =
        in_background(directory, |directory| private_file::remove(directory, MARKER_FILE));
    unmarked.await.context("cannot write to the data directory")?;
    Ok(first_start)
}

/// Whether a data directory has its first start behind it, as far as can be told without opening the
/// store; `false` where that cannot be seen. Of a start that was cut off within its first moments, before it
/// made anything, it is `true`.
pub fn has_started_once(directory: &Path) -> bool {
    let is_there = |name: &str| directory.join(name).try_exists().unwrap_or(false);
    is_there(STORE_FILE) && !is_there(MARKER_FILE)
}

#[derive(Deserialize)]
struct LicenceRecord {
    name: String,
    url: String,
    permissions: Vec<String>,
    conditions: Vec<String>,
    limitations: Vec<String>,
    domains: Vec<String>,
}

async fn create_licences(engine: &Engine) -> anyhow::Result<()> {
    let licences: Vec<LicenceRecord> = serde_json::from_str(LICENCES)?;
    for licence in licences {
        if has_licence(&engine.snapshot()?, &licence.name)? {
            continue;
        }
        let licence = NewLicence {
            name: licence.name,
            url: licence.url,
            permissions: licence.permissions,
            conditions: licence.conditions,
            limitations: licence.limitations,
            domains: licence.domains,
        };
        engine.create_licence(licence).await?;
    }
    Ok(())
}

fn has_licence(snapshot: &Snapshot, name: &str) -> Result<bool, ReadError> {
    for licence in snapshot.licences()? {
        if licence?.name == name {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn create_admin(
    engine: &Engine,
    directory: &Path,
    chosen_password: impl FnOnce() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<(UserId, Option<FirstStart>)> {
    if let Some(User { id, .. }) = engine.snapshot()?.user_by_name(ADMIN)? {
        return Ok((id, None));
    }
    let (password, password_file) = if let Some(password) = chosen_password()? {
        (password, None)
    } else {
        let password = in_background(directory, first_password::written).await;
        let password = password.context("cannot write the password to the data directory")?;
        (password, Some(directory.join(first_password::FILE)))
    };
    let to_hash = password.clone();
    let hashed = tokio::task::spawn_blocking(move || hash_password(&to_hash));
    let user = NewUser {
        username: ADMIN.to_owned(),
        password_hash: hashed.await??,
        first_name: String::new(),
        last_name: String::new(),
        email: String::new(),
        is_superuser: true,
        is_staff: true,
        is_active: true,
    };
    let user = engine.create_user(user).await?;
    let first_start = FirstStart { username: ADMIN, password, password_file };
    Ok((user.id, Some(first_start)))
}

async fn create_team(engine: &Engine, admin: UserId) -> anyhow::Result<TeamId> {
    let team = if let Some(team) = find_team(&engine.snapshot()?)? {
        team
    } else {
        let team = NewTeam { name: DEFAULT.to_owned(), creator: Some(admin) };
        engine.create_team(team).await?.id
    };
    if engine.snapshot()?.membership(team, admin)?.is_none() {
        let level = PermissionLevel::Admin;
        engine.add_member(team, admin, level, Some(admin)).await?;
    }
    Ok(team)
}

fn find_team(snapshot: &Snapshot) -> Result<Option<TeamId>, ReadError> {
    for team in snapshot.teams()? {
        let team = team?;
        if team.name == DEFAULT && team.deletion_time.is_none() {
            return Ok(Some(team.id));
        }
    }
    Ok(None)
}

async fn create_project(engine: &Engine, admin: UserId, team: TeamId) -> anyhow::Result<()> {
    if !has_project(&engine.snapshot()?, team)? {
        let project = NewProject { name: DEFAULT.to_owned(), team, creator: Some(admin) };
        engine.create_project(project).await?;
    }
    Ok(())
}

fn has_project(snapshot: &Snapshot, team: TeamId) -> Result<bool, ReadError> {
    for project in snapshot.projects()? {
        let project = project?;
        if project.name == DEFAULT && project.team == team {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Touches the data directory on the blocking pool.
async fn in_background<T: Send + 'static>(
    directory: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let directory = directory.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&directory)).await;
    done.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_fourteen_licences() {
        let licences: Vec<LicenceRecord> = serde_json::from_str(LICENCES).unwrap();
        assert_eq!(licences.len(), 14);
    }
}

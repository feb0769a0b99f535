//! The records around datasets: users, teams, memberships, projects, licences, nodes.

use serde::{Deserialize, Serialize};

use super::{LicenceId, NodeId, ProjectId, TeamId, Timestamp, UserId};

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire's own")]
pub struct User {
    pub id: UserId,
    pub username: String,
    /// Argon2 hash in PHC form; never shown.
    pub password_hash: String,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    pub is_superuser: bool,
    /// Administrators may do everything.
    pub is_staff: bool,
    pub is_active: bool,
    pub date_joined: Timestamp,
    pub last_login: Option<Timestamp>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the password's hash and the person's details, so that no log ever holds them.
        let mut text = formatter.debug_struct("User");
        text.field("id", &self.id).field("username", &self.username).finish_non_exhaustive()
    }
}

/// What a caller gives to make a user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `User`")]
pub struct NewUser {
    pub username: String,
    pub password_hash: String,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    pub is_superuser: bool,
    pub is_staff: bool,
    pub is_active: bool,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("NewUser").field("username", &self.username).finish_non_exhaustive()
    }
}

/// People who own projects together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire's own")]
pub struct Team {
    pub id: TeamId,
    /// Unique among the teams that are not deleted.
    pub name: String,
    pub creator: Option<UserId>,
    pub creation_time: Timestamp,
    pub deletion_time: Option<Timestamp>,
}

/// What a caller gives to make a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Team`")]
pub struct NewTeam {
    pub name: String,
    pub creator: Option<UserId>,
}

/// What a member may do; each level includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum PermissionLevel {
    Read,
    Execute,
    Write,
    Admin,
}

/// A user's place in a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire's own")]
pub struct Membership {
    pub team: TeamId,
    pub user: UserId,
    pub permissions: PermissionLevel,
    pub creator: Option<UserId>,
    pub creation_time: Timestamp,
    /// Set once it has ended; an ended membership gives no right.
    pub deletion_time: Option<Timestamp>,
}

/// Datasets of one team that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire's own")]
pub struct Project {
    pub id: ProjectId,
    /// Unique in its team among the projects that are not deleted.
    pub name: String,
    pub team: TeamId,
    pub creator: Option<UserId>,
    pub creation_time: Timestamp,
    pub deletion_time: Option<Timestamp>,
}

/// What a caller gives to make a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Project`")]
pub struct NewProject {
    pub name: String,
    pub team: TeamId,
    pub creator: Option<UserId>,
}

/// Terms that a dataset's content is under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire's own")]
pub struct Licence {
    pub id: LicenceId,
    /// Unique.
    pub name: String,
    pub url: String,
    pub permissions: Vec<String>,
    pub conditions: Vec<String>,
    pub limitations: Vec<String>,
    pub domains: Vec<String>,
}

/// What a caller gives to make a licence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Licence`")]
pub struct NewLicence {
    pub name: String,
    pub url: String,
    pub permissions: Vec<String>,
    pub conditions: Vec<String>,
    pub limitations: Vec<String>,
    pub domains: Vec<String>,
}

/// A machine that works for the server's users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire's own")]
pub struct Node {
    pub id: NodeId,
    /// Unique together with `index`.
    pub ip: String,
    pub index: i64,
    pub driver_version: Option<String>,
    pub hardware_generation: Option<i64>,
    pub gpu_mem: Option<i64>,
    pub cpu_mem: i64,
    pub last_seen: Option<Timestamp>,
    pub current_job: Option<i64>,
}

/// What a caller gives to register a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Node`")]
pub struct NewNode {
    pub ip: String,
    pub index: i64,
    pub driver_version: Option<String>,
    pub hardware_generation: Option<i64>,
    pub gpu_mem: Option<i64>,
    pub cpu_mem: i64,
    pub current_job: Option<i64>,
}

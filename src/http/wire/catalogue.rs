//! Shapes of users, teams, projects, licences and nodes.

use granary_engine::model::{
    Licence, NewLicence, NewNode, NewProject, NewTeam, NewUser, Node, Project, Team, TeamId, User,
    UserId,
};
use granary_engine::{ReadError, Snapshot};
use serde::Serialize;

use super::Time;
use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text, no_object};

/// A user, without the password's hash.
#[derive(Serialize)]
pub(crate) struct UserShape<'a> {
    username: &'a str,
    pk: u64,
    last_login: Option<Time>,
    is_superuser: bool,
    first_name: &'a str,
    last_name: &'a str,
    email: &'a str,
    is_staff: bool,
    is_active: bool,
    date_joined: Time,
}

impl<'a> From<&'a User> for UserShape<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            username: &user.username,
            pk: user.id.0,
            last_login: user.last_login.map(Time),
            is_superuser: user.is_superuser,
            first_name: &user.first_name,
            last_name: &user.last_name,
            email: &user.email,
            is_staff: user.is_staff,
            is_active: user.is_active,
            date_joined: Time(user.date_joined),
        }
    }
}

/// A user in a body, the password still in clear.
pub(crate) struct UserBody {
    user: NewUser,
    pub(crate) password: String,
}

impl UserBody {
    /// Reads the body of create.
    pub(crate) fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let short = Text::upto(150).or_blank();
        let username = fields.text("username", Need::Required, Text::upto(150));
        if username.as_deref().is_some_and(|name| !is_username(name)) {
            fields.refuse(
                "username",
                "Enter a valid username. This value may contain only letters, numbers, and \
                 @/./+/-/_ characters.",
            );
        }
        let password = fields.text("password", Need::Required, Text::upto(128).untrimmed());
        let first_name = fields.text("first_name", Need::Optional, short);
        let last_name = fields.text("last_name", Need::Optional, short);
        let email = fields.text("email", Need::Optional, Text::upto(254).or_blank());
        if email
            .as_deref()
            .is_some_and(|email| !email.is_empty() && !is_email(email))
        {
            fields.refuse("email", "Enter a valid email address.");
        }
        let is_staff = fields.boolean("is_staff", Need::Optional);
        let is_active = fields.boolean("is_active", Need::Optional);
        fields.check()?;
        let user = NewUser {
            username: username.unwrap_or_default(),
            password_hash: String::new(),
            first_name: first_name.unwrap_or_default(),
            last_name: last_name.unwrap_or_default(),
            email: email.unwrap_or_default(),
            is_superuser: false,
            is_staff: is_staff.unwrap_or(false),
            is_active: is_active.unwrap_or(true),
        };
        Ok(Self {
            user,
            password: password.unwrap_or_default(),
        })
    }

    /// The user, with the hash of the password.
    pub(crate) fn user(self, password_hash: String) -> NewUser {
        NewUser {
            password_hash,
            ..self.user
        }
    }
}

fn is_username(name: &str) -> bool {
    let known = |letter: char| letter.is_alphanumeric() || "@.+-_".contains(letter);
    name.chars().all(known)
}

/// Something, an at sign, and a domain with a dot: what is beyond that, only a mail can prove.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let label = |label: &str| {
        let known = |letter: char| letter.is_alphanumeric() || letter == '-';
        !label.is_empty() && label.chars().all(known)
    };
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '@';
    !local.is_empty()
        && !local.contains(bad)
        && domain.contains('.')
        && domain.split('.').all(label)
}

/// A team with its present members.
#[derive(Serialize)]
pub(crate) struct TeamShape<'a> {
    pk: u64,
    name: &'a str,
    members: Vec<Member>,
    creator: Option<u64>,
    creation_time: Time,
    deletion_time: Option<Time>,
}

#[derive(Serialize)]
struct Member {
    pk: u64,
    username: String,
}

impl<'a> TeamShape<'a> {
    /// The team as a snapshot shows it.
    pub(crate) fn of(team: &'a Team, snapshot: &Snapshot) -> Result<Self, ReadError> {
        let mut members = Vec::new();
        for membership in snapshot.memberships(team.id)? {
            let membership = membership?;
            if membership.deletion_time.is_some() {
                continue;
            }
            if let Some(user) = snapshot.user(membership.user)? {
                members.push(Member {
                    pk: user.id.0,
                    username: user.username,
                });
            }
        }
        Ok(Self {
            pk: team.id.0,
            name: &team.name,
            members,
            creator: team.creator.map(|creator| creator.0),
            creation_time: Time(team.creation_time),
            deletion_time: team.deletion_time.map(Time),
        })
    }
}

/// Reads the body of a team's create.
pub(crate) fn read_team(mut fields: Fields, creator: Option<UserId>) -> Result<NewTeam, ApiError> {
    let name = fields.text("name", Need::Required, Text::upto(200));
    fields.check()?;
    Ok(NewTeam {
        name: name.unwrap_or_default(),
        creator,
    })
}

/// A project.
#[derive(Serialize)]
pub(crate) struct ProjectShape<'a> {
    pk: u64,
    name: &'a str,
    team: u64,
    creator: Option<u64>,
    creation_time: Time,
    deletion_time: Option<Time>,
}

impl<'a> From<&'a Project> for ProjectShape<'a> {
    fn from(project: &'a Project) -> Self {
        Self {
            pk: project.id.0,
            name: &project.name,
            team: project.team.0,
            creator: project.creator.map(|creator| creator.0),
            creation_time: Time(project.creation_time),
            deletion_time: project.deletion_time.map(Time),
        }
    }
}

/// Reads the body of a project's create; its team must be there and not deleted.
pub(crate) fn read_project(
    mut fields: Fields,
    snapshot: &Snapshot,
    creator: Option<UserId>,
) -> Result<NewProject, ApiError> {
    let name = fields.text("name", Need::Required, Text::upto(200));
    let team = fields.pk("team", Need::Required).map(TeamId);
    if let Some(team) = team
        && snapshot
            .team(team)?
            .is_none_or(|team| team.deletion_time.is_some())
    {
        fields.refuse("team", no_object(team));
    }
    fields.check()?;
    Ok(NewProject {
        name: name.unwrap_or_default(),
        // A team that is missing was refused above; none has the number 0.
        team: team.unwrap_or(TeamId(0)),
        creator,
    })
}

/// A licence.
#[derive(Serialize)]
pub(crate) struct LicenceShape<'a> {
    pk: u64,
    name: &'a str,
    url: &'a str,
    permissions: &'a [String],
    conditions: &'a [String],
    limitations: &'a [String],
    domains: &'a [String],
}

impl<'a> From<&'a Licence> for LicenceShape<'a> {
    fn from(licence: &'a Licence) -> Self {
        Self {
            pk: licence.id.0,
            name: &licence.name,
            url: &licence.url,
            permissions: &licence.permissions,
            conditions: &licence.conditions,
            limitations: &licence.limitations,
            domains: &licence.domains,
        }
    }
}

/// Reads the body of a licence's create; its descriptions are added by an action of their own.
pub(crate) fn read_licence(mut fields: Fields) -> Result<NewLicence, ApiError> {
    let name = fields.text("name", Need::Required, Text::upto(100));
    let url = fields.text("url", Need::Required, Text::upto(200));
    if url.as_deref().is_some_and(|url| !is_url(url)) {
        fields.refuse("url", "Enter a valid URL.");
    }
    fields.check()?;
    Ok(NewLicence {
        name: name.unwrap_or_default(),
        url: url.unwrap_or_default(),
        permissions: Vec::new(),
        conditions: Vec::new(),
        limitations: Vec::new(),
        domains: Vec::new(),
    })
}

fn is_url(text: &str) -> bool {
    let Ok(url) = text.parse::<axum::http::Uri>() else {
        return false;
    };
    matches!(url.scheme_str(), Some("http" | "https" | "ftp" | "ftps"))
        && url
            .host()
            .is_some_and(|host| host.contains('.') || host == "localhost")
}

/// A node.
#[derive(Serialize)]
pub(crate) struct NodeShape<'a> {
    pk: u64,
    ip: &'a str,
    index: i64,
    driver_version: Option<&'a str>,
    hardware_generation: Option<i64>,
    gpu_mem: Option<i64>,
    cpu_mem: i64,
    last_seen: Option<Time>,
    current_job: Option<i64>,
}

impl<'a> From<&'a Node> for NodeShape<'a> {
    fn from(node: &'a Node) -> Self {
        Self {
            pk: node.id.0,
            ip: &node.ip,
            index: node.index,
            driver_version: node.driver_version.as_deref(),
            hardware_generation: node.hardware_generation,
            gpu_mem: node.gpu_mem,
            cpu_mem: node.cpu_mem,
            last_seen: node.last_seen.map(Time),
            current_job: node.current_job,
        }
    }
}

/// Reads the body of a node's create.
pub(crate) fn read_node(mut fields: Fields) -> Result<NewNode, ApiError> {
    let ip = fields.text("ip", Need::Required, Text::upto(39));
    let index = fields.integer("index", Need::Required);
    let driver_version = fields.nullable_text("driver_version", Text::upto(16));
    let hardware_generation = fields.nullable_integer("hardware_generation");
    let gpu_mem = fields.nullable_integer("gpu_mem");
    let cpu_mem = fields.integer("cpu_mem", Need::Required);
    fields.check()?;
    Ok(NewNode {
        ip: ip.unwrap_or_default(),
        index: index.unwrap_or_default(),
        driver_version,
        hardware_generation,
        gpu_mem,
        cpu_mem: cpu_mem.unwrap_or_default(),
        current_job: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_as_far_as_they_can_be() {
        for good in ["a@b.org", "first.last+tag@mail.example.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["a", "a@b", "@b.org", "a b@c.org", "a@b..org", "a@.org"] {
            assert!(!is_email(bad), "{bad}");
        }
        for good in ["https://example.org/x?y", "http://localhost:8000"] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "example.org",
            "javascript:alert(1)",
            "http://",
            "http://x",
            "https://a b",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}

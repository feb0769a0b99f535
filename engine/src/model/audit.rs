//! Who changed what, when and from where: the entries of the audit log.
//!
//! Who asks for changes says so once ([`Origin`], given to `Engine::on_behalf_of`). The origin
//! travels within the journal's record of the change, so that the log has an entry exactly if the
//! store has the change, at the price of no sync of its own. What the change was done to
//! ([`Subject`]) is taken from the change and the rows when it is applied.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{AccessTokenId, DatasetId, NodeId, ProjectId, TeamId, Timestamp, UserId};

/// Who asks for a change, from where, by which request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The user and their name at that time; `None` if nobody was logged in, or for what the server
    /// does by itself.
    pub user: Option<(UserId, String)>,
    /// The access token that the user was known by; `None` for the token of a login.
    pub access_token: Option<AccessTokenId>,
    /// The machine that the request named.
    pub node: Option<NodeId>,
    /// What was asked for, by the API's name.
    pub action: String,
    /// The address that the request came from, as far as it is known.
    pub address: Option<IpAddr>,
    /// The request's id.
    pub request: String,
    /// The status of the answer: of a change that was made, that which its action then has.
    pub status: u16,
}

impl Origin {
    /// The server itself, which nobody asked just then.
    pub fn of_the_server(action: &str) -> Self {
        Self {
            user: None,
            access_token: None,
            node: None,
            action: action.to_owned(),
            address: None,
            request: String::new(),
            status: 200,
        }
    }
}

/// Kinds of records that are neither team, project nor dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubjectKind {
    /// A person.
    User,
    /// A licence.
    Licence,
    /// A machine.
    Node,
    /// An access token.
    AccessToken,
}

/// What was changed, as far as it concerns each of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The team, or that which the project or dataset belonged to.
    pub team: Option<TeamId>,
    /// The project, or that which the dataset was in.
    pub project: Option<ProjectId>,
    /// The dataset.
    pub dataset: Option<DatasetId>,
    /// The name of the file, where it was one.
    pub filename: Option<String>,
    /// How many files, where they were many.
    pub files: Option<u64>,
    /// Another record and its primary key.
    pub record: Option<(SubjectKind, u64)>,
    /// The name of the narrowest of these that is no file.
    pub name: Option<String>,
    /// What else there is to say, in a few words.
    pub detail: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number; the next entry has the next one.
    pub sequence: u64,
    /// When it was journaled.
    pub at: Timestamp,
    /// Who asked.
    pub origin: Origin,
    /// For what.
    pub subject: Subject,
}

/// An entry as its row holds it; the number is the row's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditRow {
    pub(crate) at: Timestamp,
    pub(crate) origin: Origin,
    pub(crate) subject: Subject,
}

/// What a change's record in the journal says beside the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) at: Timestamp,
    pub(crate) origin: Origin,
}

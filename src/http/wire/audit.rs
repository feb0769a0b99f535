//! Shapes of the audit log.

use granary_engine::AuditPage;
use granary_engine::model::{AuditEntry, SubjectKind};
use serde::Serialize;
use utoipa::ToSchema;

use super::Time;

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub(crate) struct AuditShape {
    /// The entries, in the order asked for.
    entries: Vec<AuditEntryShape>,
    /// What to give as `after` for the next page; null if this is the last one.
    #[schema(required = true, examples(1201))]
    next: Option<u64>,
    /// The number of the oldest entry that there still is, null if there is none: those before it were
    /// rotated away.
    #[schema(required = true, examples(1))]
    first: Option<u64>,
    /// The number of the newest entry, null if there is none.
    #[schema(required = true, examples(1300))]
    last: Option<u64>,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct AuditEntryShape {
    /// Its number; they are counted from 1, and the next entry has the next one.
    #[schema(examples(1300))]
    sequence: u64,
    /// When it was made.
    time: Time,
    /// The primary key of the user who asked; null if nobody was logged in.
    #[schema(required = true, examples(2))]
    user: Option<u64>,
    /// The user's name at that time.
    #[schema(required = true, examples("ann"))]
    username: Option<String>,
    /// The number of the access token that was shown; null for a login's.
    #[schema(required = true)]
    access_token: Option<u64>,
    /// The node that the request named.
    #[schema(required = true)]
    node: Option<u64>,
    /// What was asked for: the operation's id, as the metrics have it; `reset_password_offline` is
    /// what the command line did in the directory of a stopped server; `purge` and `first_start` are
    /// the server's own.
    #[schema(examples("files_add_file"))]
    action: String,
    /// The status of the answer.
    #[schema(examples(200))]
    status: u16,
    /// The address that the request came from; null if it is not known, and of the server's own.
    #[schema(required = true, examples("192.0.2.7"))]
    address: Option<String>,
    /// The request's id, as its answer's `X-Request-Id` had it.
    #[schema(examples("6f1c2a9be0d4f783"))]
    request_id: String,
    /// The primary key of the team, or of that to which the rest belonged.
    #[schema(required = true, examples(1))]
    team: Option<u64>,
    /// The primary key of the project, or of that in which the dataset was.
    #[schema(required = true, examples(1))]
    project: Option<u64>,
    /// The primary key of the dataset.
    #[schema(required = true, examples(5))]
    dataset: Option<u64>,
    /// The name of the file, if it was one.
    #[schema(required = true, examples("images/1.png"))]
    filename: Option<String>,
    /// How many files, if it was a change of many.
    #[schema(required = true)]
    files: Option<u64>,
    /// The kind of another record: user, licence, node or access token.
    #[schema(required = true)]
    record: Option<&'static str>,
    /// That record's primary key.
    #[schema(required = true)]
    record_pk: Option<u64>,
    /// The name, at that time, of the dataset, record, project or team.
    #[schema(required = true, examples("birds"))]
    name: Option<String>,
    /// What else there is to say.
    #[schema(required = true, examples("to images/2.png"))]
    detail: Option<String>,
}

impl From<AuditPage> for AuditShape {
    fn from(page: AuditPage) -> Self {
        let AuditPage { entries, next, first, last } = page;
        Self {
            entries: entries.into_iter().map(AuditEntryShape::from).collect(),
            next,
            first,
            last,
        }
    }
}

impl From<AuditEntry> for AuditEntryShape {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { sequence, at, origin, subject } = entry;
        let (user, username) = origin.user.map(|(user, name)| (user.0, name)).unzip();
        let (record, record_pk) = subject.record.map(|(kind, pk)| (kind_name(kind), pk)).unzip();
        Self {
            sequence,
            time: Time(at),
            user,
            username,
            access_token: origin.access_token.map(|token| token.0),
            node: origin.node.map(|node| node.0),
            action: origin.action,
            status: origin.status,
            address: origin.address.map(|address| address.to_string()),
            request_id: origin.request,
            team: subject.team.map(|team| team.0),
            project: subject.project.map(|project| project.0),
            dataset: subject.dataset.map(|dataset| dataset.0),
            filename: subject.filename,
            files: subject.files,
            record,
            record_pk,
            name: subject.name,
            detail: subject.detail,
        }
    }
}

fn kind_name(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::User => "user",
        SubjectKind::Licence => "licence",
        SubjectKind::Node => "node",
        SubjectKind::AccessToken => "access token",
    }
}

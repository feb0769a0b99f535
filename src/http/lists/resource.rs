//! What can be listed, and how each of it is read, seen and shown.

use std::io::Write;
use std::sync::Arc;

use granary_engine::model::{
    Dataset, DatasetId, Licence, LicenceId, Node, NodeId, Project, ProjectId, Team, TeamId, User,
    UserId,
};
use granary_engine::{ReadError, Snapshot};

use crate::filter::{Held, Kind, Record};
use crate::http::error::ApiError;
use crate::http::respond::write_shape;
use crate::http::wire::catalogue::{LicenceShape, NodeShape, ProjectShape, TeamShape, UserShape};
use crate::http::wire::datasets::write_dataset;
use crate::permission::{Action, Object, Rights};

/// Something that is listed.
pub(crate) trait Resource: 'static {
    /// A record of it.
    type Row;

    /// What listing it takes.
    const ACTION: Action;

    /// Its fields.
    const KIND: Kind;

    /// The records from a primary key on.
    fn rows_from(
        snapshot: &Snapshot,
        pk: u64,
    ) -> Result<impl Iterator<Item = Result<Self::Row, ReadError>>, ReadError>;

    /// The record of a primary key.
    fn row(snapshot: &Snapshot, pk: u64) -> Result<Option<Self::Row>, ReadError>;

    /// Its primary key.
    fn pk(row: &Self::Row) -> u64;

    /// Whether it is neither soft-deleted nor deactivated.
    fn is_active(row: &Self::Row) -> bool;

    /// Whether the caller may retrieve it.
    fn may_be_seen(rights: &mut Rights<'_>, row: &Self::Row) -> Result<bool, ReadError>;

    /// The record as filters see it.
    fn record(row: &Self::Row) -> Record<'_>;

    /// Writes its fields; only datasets have files.
    fn write(
        out: &mut dyn Write,
        snapshot: &Snapshot,
        row: &Self::Row,
        with_files: bool,
    ) -> Result<(), ApiError>;
}

/// The datasets.
#[derive(Debug)]
pub(crate) struct Datasets;

/// The users.
#[derive(Debug)]
pub(crate) struct Users;

/// The teams.
#[derive(Debug)]
pub(crate) struct Teams;

/// The projects.
#[derive(Debug)]
pub(crate) struct Projects;

/// The licences.
#[derive(Debug)]
pub(crate) struct Licences;

/// The nodes.
#[derive(Debug)]
pub(crate) struct Nodes;

impl Resource for Datasets {
    type Row = Dataset;

    const ACTION: Action = Action::ListDatasets;

    const KIND: Kind = Kind::Dataset;

    fn rows_from(
        snapshot: &Snapshot,
        pk: u64,
    ) -> Result<impl Iterator<Item = Result<Dataset, ReadError>>, ReadError> {
        snapshot.datasets_from(DatasetId(pk))
    }

    fn row(snapshot: &Snapshot, pk: u64) -> Result<Option<Dataset>, ReadError> {
        Ok(snapshot.dataset(DatasetId(pk))?.map(Arc::unwrap_or_clone))
    }

    fn pk(row: &Dataset) -> u64 {
        row.id.0
    }

    fn is_active(row: &Dataset) -> bool {
        row.deletion_time.is_none()
    }

    fn may_be_seen(rights: &mut Rights<'_>, row: &Dataset) -> Result<bool, ReadError> {
        rights.may(Action::RetrieveDataset, Object::Dataset(row))
    }

    fn record(row: &Dataset) -> Record<'_> {
        Record::Dataset(row)
    }

    fn write(
        out: &mut dyn Write,
        snapshot: &Snapshot,
        row: &Dataset,
        with_files: bool,
    ) -> Result<(), ApiError> {
        write_dataset(out, snapshot, row, with_files)
    }
}

impl Resource for Users {
    type Row = User;

    const ACTION: Action = Action::ListUsers;

    const KIND: Kind = Kind::User;

    fn rows_from(
        snapshot: &Snapshot,
        pk: u64,
    ) -> Result<impl Iterator<Item = Result<User, ReadError>>, ReadError> {
        snapshot.users_from(UserId(pk))
    }

    fn row(snapshot: &Snapshot, pk: u64) -> Result<Option<User>, ReadError> {
        snapshot.user(UserId(pk))
    }

    fn pk(row: &User) -> u64 {
        row.id.0
    }

    fn is_active(row: &User) -> bool {
        row.is_active
    }

    fn may_be_seen(rights: &mut Rights<'_>, row: &User) -> Result<bool, ReadError> {
        rights.may(Action::RetrieveUser, Object::User(row.id))
    }

    fn record(row: &User) -> Record<'_> {
        Record::User(row)
    }

    fn write(out: &mut dyn Write, _: &Snapshot, row: &User, _: bool) -> Result<(), ApiError> {
        write_shape(out, &UserShape::from(row))
    }
}

impl Resource for Teams {
    type Row = Team;

    const ACTION: Action = Action::ListTeams;

    const KIND: Kind = Kind::Team;

    fn rows_from(
        snapshot: &Snapshot,
        pk: u64,
    ) -> Result<impl Iterator<Item = Result<Team, ReadError>>, ReadError> {
        snapshot.teams_from(TeamId(pk))
    }

    fn row(snapshot: &Snapshot, pk: u64) -> Result<Option<Team>, ReadError> {
        snapshot.team(TeamId(pk))
    }

    fn pk(row: &Team) -> u64 {
        row.id.0
    }

    fn is_active(row: &Team) -> bool {
        row.deletion_time.is_none()
    }

    fn may_be_seen(rights: &mut Rights<'_>, row: &Team) -> Result<bool, ReadError> {
        rights.may(Action::RetrieveTeam, Object::Team(row.id))
    }

    fn record(row: &Team) -> Record<'_> {
        Record::Team(Held::Listed(row))
    }

    fn write(
        out: &mut dyn Write,
        snapshot: &Snapshot,
        row: &Team,
        _: bool,
    ) -> Result<(), ApiError> {
        write_shape(out, &TeamShape::of(row, snapshot)?)
    }
}

impl Resource for Projects {
    type Row = Project;

    const ACTION: Action = Action::ListProjects;

    const KIND: Kind = Kind::Project;

    fn rows_from(
        snapshot: &Snapshot,
        pk: u64,
    ) -> Result<impl Iterator<Item = Result<Project, ReadError>>, ReadError> {
        snapshot.projects_from(ProjectId(pk))
    }

    fn row(snapshot: &Snapshot, pk: u64) -> Result<Option<Project>, ReadError> {
        snapshot.project(ProjectId(pk))
    }

    fn pk(row: &Project) -> u64 {
        row.id.0
    }

    fn is_active(row: &Project) -> bool {
        row.deletion_time.is_none()
    }

    fn may_be_seen(rights: &mut Rights<'_>, row: &Project) -> Result<bool, ReadError> {
        rights.may(Action::RetrieveProject, Object::Team(row.team))
    }

    fn record(row: &Project) -> Record<'_> {
        Record::Project(Held::Listed(row))
    }

    fn write(out: &mut dyn Write, _: &Snapshot, row: &Project, _: bool) -> Result<(), ApiError> {
        write_shape(out, &ProjectShape::from(row))
    }
}

impl Resource for Licences {
    type Row = Licence;

    const ACTION: Action = Action::ListLicences;

    const KIND: Kind = Kind::Licence;

    fn rows_from(
        snapshot: &Snapshot,
        pk: u64,
    ) -> Result<impl Iterator<Item = Result<Licence, ReadError>>, ReadError> {
        snapshot.licences_from(LicenceId(pk))
    }

    fn row(snapshot: &Snapshot, pk: u64) -> Result<Option<Licence>, ReadError> {
        snapshot.licence(LicenceId(pk))
    }

    fn pk(row: &Licence) -> u64 {
        row.id.0
    }

    /// None of them is ever inactive.
    fn is_active(_: &Licence) -> bool {
        true
    }

    fn may_be_seen(rights: &mut Rights<'_>, _: &Licence) -> Result<bool, ReadError> {
        rights.may(Action::RetrieveLicence, Object::Server)
    }

    fn record(row: &Licence) -> Record<'_> {
        Record::Licence(Held::Listed(row))
    }

    fn write(out: &mut dyn Write, _: &Snapshot, row: &Licence, _: bool) -> Result<(), ApiError> {
        write_shape(out, &LicenceShape::from(row))
    }
}

impl Resource for Nodes {
    type Row = Node;

    const ACTION: Action = Action::ListNodes;

    const KIND: Kind = Kind::Node;

    fn rows_from(
        snapshot: &Snapshot,
        pk: u64,
    ) -> Result<impl Iterator<Item = Result<Node, ReadError>>, ReadError> {
        snapshot.nodes_from(NodeId(pk))
    }

    fn row(snapshot: &Snapshot, pk: u64) -> Result<Option<Node>, ReadError> {
        snapshot.node(NodeId(pk))
    }

    fn pk(row: &Node) -> u64 {
        row.id.0
    }

    /// None of them is ever inactive.
    fn is_active(_: &Node) -> bool {
        true
    }

    fn may_be_seen(rights: &mut Rights<'_>, _: &Node) -> Result<bool, ReadError> {
        rights.may(Action::RetrieveNode, Object::Server)
    }

    fn record(row: &Node) -> Record<'_> {
        Record::Node(row)
    }

    fn write(out: &mut dyn Write, _: &Snapshot, row: &Node, _: bool) -> Result<(), ApiError> {
        write_shape(out, &NodeShape::from(row))
    }
}

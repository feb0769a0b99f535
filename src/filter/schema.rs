//! The fields of every kind of record: their types, where they lead, and nothing that is secret.
//!
//! Names are those of the wire. What is not in these tables cannot be filtered or ordered by.

use granary_engine::model::{Dataset, Licence, Node, Project, Team, User};

use super::record::{Person, Record, Value};

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dataset,
    Project,
    Team,
    /// A user in the list of users.
    User,
    /// A user whom another record names.
    Person,
    Licence,
    Node,
}

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Integer,
    Boolean,
    Text,
    Time,
    /// What would be known of a record that there never is.
    Absent,
}

/// How a column is read from a record of its kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Dataset(fn(&Dataset) -> Value<'_>),
    Project(fn(&Project) -> Value<'_>),
    Team(fn(&Team) -> Value<'_>),
    User(fn(&User) -> Value<'_>),
    Person(fn(&Person) -> Value<'_>),
    Licence(fn(&Licence) -> Value<'_>),
    Node(fn(&Node) -> Value<'_>),
}

/// From a record to the one that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    Project,
    Licence,
    Team,
    Creator,
}

/// From a record to things of which it has any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Many {
    Files,
    Members,
    Permissions,
    Conditions,
    Limitations,
    Domains,
}

/// What is looked at of one of many things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    FileName,
    FileHandle,
    PersonPk,
    PersonUsername,
    Term,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    Column(Type, Column),
    /// The column with the primary key, and the way to the record.
    One(Column, Hop, Kind),
    /// A related record that there never is: its key, which is null, and what else would be known.
    Nowhere(Column, &'static [&'static str]),
    /// What the bare name stands for comes first.
    Many(Many, &'static [(&'static str, Type, Part)]),
}

use Field::{Many as Several, Nowhere, One};
use Type::{Boolean, Integer, Text, Time};

type Fields = &'static [(&'static str, Field)];

const fn dataset(kind: Type, read: fn(&Dataset) -> Value<'_>) -> Field {
    Field::Column(kind, Column::Dataset(read))
}

const fn project(kind: Type, read: fn(&Project) -> Value<'_>) -> Field {
    Field::Column(kind, Column::Project(read))
}

const fn team(kind: Type, read: fn(&Team) -> Value<'_>) -> Field {
    Field::Column(kind, Column::Team(read))
}

const fn user(kind: Type, read: fn(&User) -> Value<'_>) -> Field {
    Field::Column(kind, Column::User(read))
}

const fn person(kind: Type, read: fn(&Person) -> Value<'_>) -> Field {
    Field::Column(kind, Column::Person(read))
}

const fn licence(kind: Type, read: fn(&Licence) -> Value<'_>) -> Field {
    Field::Column(kind, Column::Licence(read))
}

const fn node(kind: Type, read: fn(&Node) -> Value<'_>) -> Field {
    Field::Column(kind, Column::Node(read))
}

const DATASET: Fields = &[
    ("pk", dataset(Integer, |it| it.id.0.into())),
    ("id", dataset(Integer, |it| it.id.0.into())),
    ("name", dataset(Text, |it| (&it.name).into())),
    ("version", dataset(Integer, |it| it.version.into())),
    ("previous_version", dataset(Integer, previous_version)),
    ("description", dataset(Text, |it| (&*it.description).into())),
    ("project", One(Column::Dataset(|it| it.project.0.into()), Hop::Project, Kind::Project)),
    ("licence", One(Column::Dataset(|it| it.licence.0.into()), Hop::Licence, Kind::Licence)),
    ("is_public", dataset(Boolean, |it| it.is_public.into())),
    ("domain", Nowhere(Column::Dataset(|_| Value::Null), DOMAIN)),
    ("tags", dataset(Text, |it| (&*it.tags).into())),
    ("creator", One(Column::Dataset(|it| key(it.creator)), Hop::Creator, Kind::Person)),
    ("creation_time", dataset(Time, |it| it.creation_time.into())),
    ("deletion_time", dataset(Time, |it| it.deletion_time.into())),
    ("files", Several(Many::Files, FILE)),
];

const PROJECT: Fields = &[
    ("pk", project(Integer, |it| it.id.0.into())),
    ("id", project(Integer, |it| it.id.0.into())),
    ("name", project(Text, |it| (&it.name).into())),
    ("team", One(Column::Project(|it| it.team.0.into()), Hop::Team, Kind::Team)),
    ("creator", One(Column::Project(|it| key(it.creator)), Hop::Creator, Kind::Person)),
    ("creation_time", project(Time, |it| it.creation_time.into())),
    ("deletion_time", project(Time, |it| it.deletion_time.into())),
];

const TEAM: Fields = &[
    ("pk", team(Integer, |it| it.id.0.into())),
    ("id", team(Integer, |it| it.id.0.into())),
    ("name", team(Text, |it| (&it.name).into())),
    ("members", Several(Many::Members, MEMBER)),
    ("creator", One(Column::Team(|it| key(it.creator)), Hop::Creator, Kind::Person)),
    ("creation_time", team(Time, |it| it.creation_time.into())),
    ("deletion_time", team(Time, |it| it.deletion_time.into())),
];

const USER: Fields = &[
    ("pk", user(Integer, |it| it.id.0.into())),
    ("id", user(Integer, |it| it.id.0.into())),
    ("username", user(Text, |it| (&it.username).into())),
    ("last_login", user(Time, |it| it.last_login.into())),
    ("is_superuser", user(Boolean, |it| it.is_superuser.into())),
    ("first_name", user(Text, |it| (&it.first_name).into())),
    ("last_name", user(Text, |it| (&it.last_name).into())),
    ("email", user(Text, |it| (&it.email).into())),
    ("is_staff", user(Boolean, |it| it.is_staff.into())),
    ("is_active", user(Boolean, |it| it.is_active.into())),
    ("date_joined", user(Time, |it| it.date_joined.into())),
];

const PERSON: Fields = &[
    ("pk", person(Integer, |it| it.id.0.into())),
    ("id", person(Integer, |it| it.id.0.into())),
    ("username", person(Text, |it| (&it.username).into())),
];

const LICENCE: Fields = &[
    ("pk", licence(Integer, |it| it.id.0.into())),
    ("id", licence(Integer, |it| it.id.0.into())),
    ("name", licence(Text, |it| (&it.name).into())),
    ("url", licence(Text, |it| (&it.url).into())),
    ("permissions", Several(Many::Permissions, TERM)),
    ("conditions", Several(Many::Conditions, TERM)),
    ("limitations", Several(Many::Limitations, TERM)),
    ("domains", Several(Many::Domains, TERM)),
];

const NODE: Fields = &[
    ("pk", node(Integer, |it| it.id.0.into())),
    ("id", node(Integer, |it| it.id.0.into())),
    ("ip", node(Text, |it| (&it.ip).into())),
    ("index", node(Integer, |it| it.index.into())),
    ("driver_version", node(Text, |it| it.driver_version.as_ref().into())),
    ("hardware_generation", node(Integer, |it| it.hardware_generation.into())),
    ("gpu_mem", node(Integer, |it| it.gpu_mem.into())),
    ("cpu_mem", node(Integer, |it| it.cpu_mem.into())),
    ("last_seen", node(Time, |it| it.last_seen.into())),
    ("current_job", node(Integer, |it| it.current_job.into())),
];

const FILE: &[(&str, Type, Part)] = &[
    ("name", Text, Part::FileName),
    ("filename", Text, Part::FileName),
    ("handle", Text, Part::FileHandle),
];

const MEMBER: &[(&str, Type, Part)] = &[
    ("pk", Integer, Part::PersonPk),
    ("id", Integer, Part::PersonPk),
    ("username", Text, Part::PersonUsername),
];

const TERM: &[(&str, Type, Part)] = &[("name", Text, Part::Term)];

/// What the original knows of a domain, which no dataset here is in.
const DOMAIN: &[&str] = &["pk", "id", "name", "description"];

fn key(user: Option<granary_engine::model::UserId>) -> Value<'static> {
    user.map(|user| user.0).into()
}

/// -1 for none, as on the wire.
fn previous_version(dataset: &Dataset) -> Value<'_> {
    dataset.previous_version.map_or(Value::Integer(-1), Value::from)
}

impl Kind {
    /// The fields of a kind.
    pub(super) fn fields(self) -> Fields {
        match self {
            Self::Dataset => DATASET,
            Self::Project => PROJECT,
            Self::Team => TEAM,
            Self::User => USER,
            Self::Person => PERSON,
            Self::Licence => LICENCE,
            Self::Node => NODE,
        }
    }

    /// The field of a name.
    pub(super) fn field(self, name: &str) -> Option<Field> {
        self.fields().iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    /// The column with a related record's key, as the original's tables name it: `project_id`.
    pub(super) fn key_column(self, name: &str) -> Option<(Type, Column)> {
        match self.field(name.strip_suffix("_id")?)? {
            One(key, ..) => Some((Integer, key)),
            Nowhere(key, _) => Some((Type::Absent, key)),
            Field::Column(..) | Several(..) => None,
        }
    }

    /// What one is called, with its article.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dataset => "a dataset",
            Self::Project => "a project",
            Self::Team => "a team",
            Self::User => "a user",
            Self::Person => "a related user",
            Self::Licence => "a licence",
            Self::Node => "a node",
        }
    }
}

impl Type {
    /// What a value of it is called, with its article.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::Boolean => "a boolean",
            Self::Text => "a text",
            Self::Time => "a time",
            Self::Absent => "of a record that there is none of",
        }
    }
}

impl Column {
    /// Reads the column; of a record of another kind, which compiling excludes, it is null.
    pub(super) fn read<'a>(self, record: &'a Record<'_>) -> Value<'a> {
        match (self, record) {
            (Self::Dataset(read), Record::Dataset(it)) => read(it),
            (Self::Project(read), Record::Project(it)) => read(it),
            (Self::Team(read), Record::Team(it)) => read(it),
            (Self::User(read), Record::User(it)) => read(it),
            (Self::Person(read), Record::Person(it)) => read(it),
            (Self::Licence(read), Record::Licence(it)) => read(it),
            (Self::Node(read), Record::Node(it)) => read(it),
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_has_a_secret() {
        use Kind::{Dataset, Licence, Node, Person, Project, Team, User};
        for kind in [Dataset, Project, Team, User, Person, Licence, Node] {
            for (name, _) in kind.fields() {
                let secret = ["password", "hash", "token", "key"];
                assert!(!secret.iter().any(|part| name.contains(part)), "{kind:?}.{name}");
            }
        }
        let names: Vec<_> = PERSON.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["pk", "id", "username"]);
        let names: Vec<_> = MEMBER.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["pk", "id", "username"]);
    }
}

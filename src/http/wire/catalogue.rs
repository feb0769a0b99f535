//! Shapes of users, teams, projects, licences and nodes, a file a resource.

mod licences;

mod nodes;

mod projects;

mod teams;

mod users;

pub(crate) use licences::{
    LicenceChange, LicenceFields, LicenceShape, SubdescriptorsBody, SubdescriptorsFields,
    read_licence, read_licence_patch,
};
pub(crate) use nodes::{NodeChange, NodeFields, NodeShape, read_node, read_node_patch};
pub(crate) use projects::{GoneProject, ProjectBody, ProjectChange, ProjectFields, ProjectShape};
pub(crate) use teams::{
    Level, MembershipBody, MembershipFields, MembershipMethod, MembershipShape, TeamChange,
    TeamFields, TeamShape, read_team, read_team_patch,
};
pub(crate) use users::{UserBody, UserChange, UserFields, UserOrList, UserShape};

//! Shapes of users, teams, projects, licences and nodes, a file a resource.

mod licences;

mod nodes;

mod projects;

mod teams;

mod users;

pub(crate) use licences::{LicenceShape, SubdescriptorsBody, read_licence, read_licence_patch};
pub(crate) use nodes::{NodeShape, read_node, read_node_patch};
pub(crate) use projects::{ProjectBody, ProjectShape};
pub(crate) use teams::{
    MembershipBody, MembershipMethod, MembershipShape, TeamShape, letter_of, read_team,
    read_team_patch,
};
pub(crate) use users::{UserBody, UserShape};

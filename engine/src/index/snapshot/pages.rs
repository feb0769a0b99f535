//! Lists from an id on: what a page of a list reads, and nothing before it.

use super::Snapshot;
use crate::error::ReadError;
use crate::index::tables;
use crate::model::{
    Dataset, DatasetId, Licence, LicenceId, Node, NodeId, Project, ProjectId, Team, TeamId, User,
    UserId,
};

impl Snapshot {
    /// Headers from this id on, in order of id, soft-deleted or not.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn datasets_from(
        &self,
        from: DatasetId,
    ) -> Result<impl Iterator<Item = Result<Dataset, ReadError>> + use<>, ReadError> {
        Ok(self.all_from(tables::DATASETS, from.0)?)
    }

    /// Users from this id on, in order of id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn users_from(
        &self,
        from: UserId,
    ) -> Result<impl Iterator<Item = Result<User, ReadError>> + '_, ReadError> {
        let users = self.all_from::<User>(tables::USERS, from.0)?;
        Ok(users.map(|user| user.map(|user| self.with_login(user))))
    }

    /// Teams from this id on, in order of id, deleted or not.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn teams_from(
        &self,
        from: TeamId,
    ) -> Result<impl Iterator<Item = Result<Team, ReadError>> + use<>, ReadError> {
        Ok(self.all_from(tables::TEAMS, from.0)?)
    }

    /// Projects from this id on, in order of id, deleted or not.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn projects_from(
        &self,
        from: ProjectId,
    ) -> Result<impl Iterator<Item = Result<Project, ReadError>> + use<>, ReadError> {
        Ok(self.all_from(tables::PROJECTS, from.0)?)
    }

    /// Licences from this id on, in order of id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn licences_from(
        &self,
        from: LicenceId,
    ) -> Result<impl Iterator<Item = Result<Licence, ReadError>> + use<>, ReadError> {
        Ok(self.all_from(tables::LICENCES, from.0)?)
    }

    /// Nodes from this id on, in order of id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn nodes_from(
        &self,
        from: NodeId,
    ) -> Result<impl Iterator<Item = Result<Node, ReadError>> + '_, ReadError> {
        let nodes = self.all_from::<Node>(tables::NODES, from.0)?;
        Ok(nodes.map(|node| node.map(|node| self.with_sighting(node))))
    }
}

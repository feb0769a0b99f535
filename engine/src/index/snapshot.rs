//! All reads: one committed state, answered without a mailbox.

use std::ops::Bound;
use std::sync::Arc;

use redb::{ReadOnlyTable, TableDefinition, Value};
use serde::de::DeserializeOwned;

use super::file_tree::{FileTree, Files, Rows};
use super::rows::{AppliedRow, BlobRow, FileRow};
use super::tables;
use super::{Index, IndexError};
use crate::codec;
use crate::counters::Counters;
use crate::error::{MutationError, ReadError};
use crate::model::change::{BlobPlace, LargeFileId, SegmentId};
use crate::model::{
    AccessToken, AccessTokenId, Dataset, DatasetId, Digest, FileRecord, Licence, LicenceId,
    Membership, Node, NodeId, Project, ProjectId, Quota, Sequence, Team, TeamId, Usage, User,
    UserId,
};
use crate::touches::Touches;

mod handles;

mod headers;

mod pages;

mod readable;

mod state;

pub use readable::ContentSearch;
pub(crate) use state::State;

type Bytes = &'static [u8];

/// One committed state of the store (I8).
///
/// Costs less than a microsecond to take. Reading may wait for the disk where the index is not
/// cached. Hold it a few seconds at most: while it lives, the index cannot use its old pages again.
#[derive(Debug)]
pub struct Snapshot {
    state: Arc<State>,
    /// The times of logins and sightings, where they are held.
    held_times: Option<Box<Touches>>,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.state.counters.snapshots_open.leave();
    }
}

/// A table of names within layers.
pub(crate) type NamesTable = ReadOnlyTable<(u64, &'static str), Bytes>;

pub(crate) type Tree<'a> = FileTree<'a, NamesTable, NamesTable>;

impl Snapshot {
    pub(crate) fn take(
        index: &Index,
        touches: &Arc<Touches>,
        counters: &Arc<Counters>,
    ) -> Result<Self, IndexError> {
        let state = index.latest(touches, counters)?;
        state.counters.snapshots_open.enter();
        Ok(Self { state, held_times: None })
    }

    /// Keeps `last_login`, `last_seen` and `last_use` as they are now, for who reads a row twice: otherwise they
    /// are those of the time of reading. Costs a copy of those of this process.
    pub fn hold_times(&mut self) {
        self.held_times = Some(Box::new(self.touches().clone()));
    }

    fn touches(&self) -> &Touches {
        self.held_times.as_deref().unwrap_or(&self.state.touches)
    }

    fn by_id<T: DeserializeOwned>(
        &self,
        table: TableDefinition<'static, u64, Bytes>,
        id: u64,
    ) -> Result<Option<T>, IndexError> {
        Self::row(&self.state.open(table)?, id)
    }

    fn row<T: DeserializeOwned>(
        table: &ReadOnlyTable<u64, Bytes>,
        id: u64,
    ) -> Result<Option<T>, IndexError> {
        let row = table.get(id)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?)
    }

    fn all<T: DeserializeOwned>(
        &self,
        table: TableDefinition<'static, u64, Bytes>,
    ) -> Result<impl Iterator<Item = Result<T, ReadError>> + use<T>, IndexError> {
        self.all_from(table, 0)
    }

    /// The rows of a table from an id on; none before it is read.
    fn all_from<T: DeserializeOwned>(
        &self,
        table: TableDefinition<'static, u64, Bytes>,
        from: u64,
    ) -> Result<impl Iterator<Item = Result<T, ReadError>> + use<T>, IndexError> {
        let rows = self.state.open(table)?.range_owned(from..)?;
        Ok(rows.map(|entry| {
            let (_, row) = entry.map_err(IndexError::from)?;
            codec::decode(row.value()).map_err(|error| IndexError::from(error).into())
        }))
    }

    /// The files of a dataset as a tree.
    pub(crate) fn tree<'a>(&'a self, dataset: &'a Dataset) -> Result<Tree<'a>, IndexError> {
        let files = self.state.opened(&self.state.files)?;
        let metadata = self.state.opened(&self.state.metadata)?;
        Ok(FileTree::new(files, metadata, &dataset.stack))
    }

    /// A dataset's header, soft-deleted or not. Readers of the same state share it.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn dataset(&self, id: DatasetId) -> Result<Option<Arc<Dataset>>, ReadError> {
        Ok(self.state.dataset(id)?)
    }

    /// All headers in order of id, the soft-deleted ones too.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn datasets(
        &self,
    ) -> Result<impl Iterator<Item = Result<Dataset, ReadError>> + use<>, ReadError> {
        Ok(self.all(tables::DATASETS)?)
    }

    /// A file by its exact name.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn file(&self, dataset: &Dataset, filename: &str) -> Result<Option<FileRecord>, ReadError> {
        Ok(self.tree(dataset)?.get(filename)?)
    }

    /// A dataset's files in order of name, compared byte by byte.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn files<'a>(
        &'a self,
        dataset: &'a Dataset,
    ) -> Result<impl Iterator<Item = Result<(String, FileRecord), ReadError>> + 'a, ReadError> {
        let files: Files<'a> = self.tree(dataset)?.files_from(Bound::Unbounded)?;
        Ok(files.map(|file| Ok(file?)))
    }

    /// A file's metadata, empty if none was set; `None` if there is no such file.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn metadata(&self, dataset: &Dataset, name: &str) -> Result<Option<String>, ReadError> {
        Ok(self.tree(dataset)?.metadata(name)?)
    }

    /// Every file's name and metadata in order of name.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn all_metadata<'a>(
        &'a self,
        dataset: &'a Dataset,
    ) -> Result<impl Iterator<Item = Result<(String, String), ReadError>> + 'a, ReadError> {
        let files = self.files_with_metadata(dataset)?;
        Ok(files.map(|file| file.map(|(name, _, metadata)| (name, metadata))))
    }

    /// Every file with its metadata in order of name.
    pub(crate) fn files_with_metadata<'a>(
        &'a self,
        dataset: &'a Dataset,
    ) -> Result<impl Iterator<Item = Result<(String, FileRecord, String), ReadError>> + 'a, ReadError>
    {
        let tree = self.tree(dataset)?;
        let rows: Rows<'a> = tree.rows_from(Bound::Unbounded)?;
        Ok(rows.filter_map(move |row| {
            let row = match row {
                Ok(row) => row,
                Err(error) => return Some(Err(error.into())),
            };
            let FileRow::File(record) = row.row else {
                return None;
            };
            let metadata = match tree.metadata_at(row.depth, &row.name) {
                Ok(metadata) => metadata.unwrap_or_default(),
                Err(error) => return Some(Err(error.into())),
            };
            Some(Ok((row.name, record, metadata)))
        }))
    }

    /// Where a content is, whether or not any row names it.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Option<BlobRow>, IndexError> {
        let row = self.state.opened(&self.state.blobs)?.get(digest.as_bytes())?;
        Ok(row.map(|row| BlobRow::decode(row.value())).transpose()?)
    }

    /// Whether a large file is one that the index points at or will remove itself.
    pub(crate) fn names_large_file(
        &self,
        digest: &Digest,
        file: LargeFileId,
    ) -> Result<bool, IndexError> {
        let removals = self.state.open(tables::LARGE_REMOVALS)?;
        if removals.get((digest.as_bytes(), file.start, file.number))?.is_some() {
            return Ok(true);
        }
        Ok(self.blob(digest)?.is_some_and(|row| row.place == BlobPlace::Large(file)))
    }

    fn applied(&self) -> Result<Option<AppliedRow>, IndexError> {
        let row = self.state.open(tables::STATE)?.get(tables::APPLIED)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?)
    }

    /// The last change that this state contains.
    pub(crate) fn sequence(&self) -> Result<Sequence, IndexError> {
        Ok(self.applied()?.map_or(Sequence::ZERO, |row| row.sequence))
    }

    /// How often the store had been opened.
    pub(crate) fn start(&self) -> Result<u64, IndexError> {
        Ok(self.applied()?.map_or(0, |row| row.start))
    }

    /// The journal segment that this state reaches into.
    pub(crate) fn applied_position(&self) -> Result<Option<SegmentId>, IndexError> {
        Ok(self.applied()?.map(|row| row.position.segment))
    }

    /// A read-only table, for those who visit all of it.
    pub(crate) fn table<K: redb::Key, V: Value>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<ReadOnlyTable<K, V>, IndexError> {
        self.state.open(table)
    }

    /// A user.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn user(&self, id: UserId) -> Result<Option<User>, ReadError> {
        let user: Option<User> = Self::row(self.state.opened(&self.state.users)?, id.0)?;
        Ok(user.map(|user| self.with_login(user)))
    }

    fn with_login(&self, mut user: User) -> User {
        user.last_login = user.last_login.max(self.touches().login(user.id));
        user
    }

    /// A user by name, exactly as written.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn user_by_name(&self, username: &str) -> Result<Option<User>, ReadError> {
        let names = self.state.open(tables::USERNAMES)?;
        match names.get(username).map_err(IndexError::from)? {
            Some(id) => self.user(UserId(id.value())),
            None => Ok(None),
        }
    }

    /// All users in order of id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn users(&self) -> Result<impl Iterator<Item = Result<User, ReadError>> + '_, ReadError> {
        let users = self.all::<User>(tables::USERS)?;
        Ok(users.map(|user| user.map(|user| self.with_login(user))))
    }

    /// A team, deleted or not.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn team(&self, id: TeamId) -> Result<Option<Team>, ReadError> {
        Ok(self.by_id(tables::TEAMS, id.0)?)
    }

    /// All teams in order of id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn teams(
        &self,
    ) -> Result<impl Iterator<Item = Result<Team, ReadError>> + use<>, ReadError> {
        Ok(self.all(tables::TEAMS)?)
    }

    /// A user's place in a team, ended or not.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn membership(&self, team: TeamId, user: UserId) -> Result<Option<Membership>, ReadError> {
        let table = self.state.opened(&self.state.memberships)?;
        let row = table.get((team.0, user.0)).map_err(IndexError::from)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose().map_err(IndexError::from)?)
    }

    /// All places in a team, ended ones too, in order of user id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn memberships(
        &self,
        team: TeamId,
    ) -> Result<impl Iterator<Item = Result<Membership, ReadError>> + use<>, ReadError> {
        let table = self.state.open(tables::MEMBERSHIPS)?;
        let rows = table.range_owned((team.0, 0)..=(team.0, u64::MAX)).map_err(IndexError::from)?;
        Ok(rows.map(|entry| {
            let (_, row) = entry.map_err(IndexError::from)?;
            codec::decode(row.value()).map_err(|error| IndexError::from(error).into())
        }))
    }

    /// A project, deleted or not.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn project(&self, id: ProjectId) -> Result<Option<Project>, ReadError> {
        Ok(Self::row(self.state.opened(&self.state.projects)?, id.0)?)
    }

    /// All projects in order of id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn projects(
        &self,
    ) -> Result<impl Iterator<Item = Result<Project, ReadError>> + use<>, ReadError> {
        Ok(self.all(tables::PROJECTS)?)
    }

    /// A licence.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn licence(&self, id: LicenceId) -> Result<Option<Licence>, ReadError> {
        Ok(self.by_id(tables::LICENCES, id.0)?)
    }

    /// All licences in order of id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn licences(
        &self,
    ) -> Result<impl Iterator<Item = Result<Licence, ReadError>> + use<>, ReadError> {
        Ok(self.all(tables::LICENCES)?)
    }

    /// What all datasets of a team hold together, the soft-deleted ones too.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn team_usage(&self, team: TeamId) -> Result<Usage, ReadError> {
        let usage: Option<Usage> = self.by_id(tables::TEAM_USAGE, team.0)?;
        Ok(usage.unwrap_or_default())
    }

    /// Refuses what a project's team has no room for, as far as this state tells; what is on its
    /// way is counted when it is applied.
    ///
    /// # Errors
    /// `QuotaExceeded`, or the index cannot be read.
    pub fn expect_room(&self, project: ProjectId, added: Usage) -> Result<(), MutationError> {
        if !self.state.has_quotas()? {
            return Ok(());
        }
        let Some(Project { team, .. }) = self.project(project)? else {
            return Ok(());
        };
        let quota = self.team_quota(team)?;
        if quota == Quota::default() {
            return Ok(());
        }
        let room = quota.expect_room(self.team_usage(team)?, added);
        room.map_err(|exceeded| MutationError::QuotaExceeded { team, exceeded })
    }

    /// Whether the team of a project may hold so much only.
    pub(crate) fn has_quota(&self, project: ProjectId) -> Result<bool, ReadError> {
        if !self.state.has_quotas()? {
            return Ok(false);
        }
        let Some(Project { team, .. }) = self.project(project)? else { return Ok(false) };
        Ok(self.team_quota(team)? != Quota::default())
    }

    /// How much a team may hold.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn team_quota(&self, team: TeamId) -> Result<Quota, ReadError> {
        let quota: Option<Quota> = Self::row(self.state.opened(&self.state.team_quotas)?, team.0)?;
        Ok(quota.unwrap_or_default())
    }

    /// An access token.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn access_token(&self, id: AccessTokenId) -> Result<Option<AccessToken>, ReadError> {
        let token: Option<AccessToken> = self.by_id(tables::ACCESS_TOKENS, id.0)?;
        Ok(token.map(|token| self.with_use(token)))
    }

    fn with_use(&self, mut token: AccessToken) -> AccessToken {
        token.last_use = token.last_use.max(self.touches().access_token_use(token.id));
        token
    }

    /// All access tokens in order of id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn access_tokens(
        &self,
    ) -> Result<impl Iterator<Item = Result<AccessToken, ReadError>> + '_, ReadError> {
        let tokens = self.all::<AccessToken>(tables::ACCESS_TOKENS)?;
        Ok(tokens.map(|token| token.map(|token| self.with_use(token))))
    }

    /// A node.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn node(&self, id: NodeId) -> Result<Option<Node>, ReadError> {
        let node: Option<Node> = Self::row(self.state.opened(&self.state.nodes)?, id.0)?;
        Ok(node.map(|node| self.with_sighting(node)))
    }

    fn with_sighting(&self, mut node: Node) -> Node {
        node.last_seen = node.last_seen.max(self.touches().sighting(node.id));
        node
    }

    /// All nodes in order of id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn nodes(&self) -> Result<impl Iterator<Item = Result<Node, ReadError>> + '_, ReadError> {
        let nodes = self.all::<Node>(tables::NODES)?;
        Ok(nodes.map(|node| node.map(|node| self.with_sighting(node))))
    }
}

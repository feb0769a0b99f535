//! Every table of the index: key, value, order, meaning. Nothing else names a table.
//!
//! Keys are integers, texts and byte arrays; values are bytes of [`crate::codec`] or an integer.
//! Written by the index thread only. A change of a key or a value's meaning needs a new name.

use redb::TableDefinition;

type Table<K> = TableDefinition<'static, K, &'static [u8]>;

/// Dataset id to `Dataset`.
pub(crate) const DATASETS: Table<u64> = Table::new("datasets.v1");

/// `(project, name, version)` to dataset id, for the datasets that are not soft-deleted: the
/// unique rule, and the order in which versions are counted.
pub(crate) const DATASET_NAMES: TableDefinition<'static, (u64, &str, u64), u64> =
    TableDefinition::new("dataset_names.v1");

/// Layer id to `LayerRow`.
pub(crate) const LAYERS: Table<u64> = Table::new("layers.v1");

/// `(layer, filename)` to `FileRow`. Key order is the API's listing order, so that listing a
/// layer is one range; the digest in a row always has a row in [`BLOBS`] (I4).
pub(crate) const FILES: Table<(u64, &str)> = Table::new("files.v1");

/// `(layer, filename)` to the file's metadata, a text. Counts from the top of a stack down to
/// the layer that holds the file's row.
pub(crate) const METADATA: Table<(u64, &str)> = Table::new("metadata.v1");

/// Digest to `NamedBlob`; the one table with random keys, hence the costly one.
pub(crate) const BLOBS: Table<&[u8; 32]> = Table::new("blobs.v1");

/// `(digest, layer, filename)` for every row of a file that names a content, but for the few that
/// stand in the content's own row. With both, whoever knows a digest finds its files. Made anew
/// on opening where it is missing; backups leave it out.
pub(crate) const NAMINGS: TableDefinition<'static, (&[u8; 32], u64, &str), ()> =
    TableDefinition::new("namings.v1");

/// `(layer, dataset)` for every layer of every dataset's stack. As [`NAMINGS`] it says nothing that
/// other rows do not say.
pub(crate) const LAYER_DATASETS: TableDefinition<'static, (u64, u64), ()> =
    TableDefinition::new("layer_datasets.v1");

/// `(sequence of death, digest)` of blobs that no row names, oldest first; a blob that came back
/// to life keeps its entry until the background meets it.
pub(crate) const DEAD_BLOBS: TableDefinition<'static, (u64, &[u8; 32]), ()> =
    TableDefinition::new("dead_blobs.v1");

/// Segment id to the bytes in it that [`BLOBS`] points at, each content counted as one at least.
pub(crate) const SEGMENTS: TableDefinition<'static, u64, u64> = TableDefinition::new("segments.v1");

/// `(digest, start, number)` of large files to be removed after the next checkpoint.
pub(crate) const LARGE_REMOVALS: TableDefinition<'static, (&[u8; 32], u64, u64), ()> =
    TableDefinition::new("large_removals.v1");

/// Layers that no stack names; the background removes their rows.
pub(crate) const DROPPED_LAYERS: TableDefinition<'static, u64, ()> =
    TableDefinition::new("dropped_layers.v1");

/// Set id to `SetRow`: large sets whose parts have come and whose commit has not, and the layers
/// that folding builds.
pub(crate) const SETS: Table<u64> = Table::new("sets.v1");

/// User id to `User`.
pub(crate) const USERS: Table<u64> = Table::new("users.v1");

/// Username to user id.
pub(crate) const USERNAMES: TableDefinition<'static, &str, u64> =
    TableDefinition::new("usernames.v1");

/// Team id to `Team`.
pub(crate) const TEAMS: Table<u64> = Table::new("teams.v1");

/// Name to team id, for the teams that are not deleted.
pub(crate) const TEAM_NAMES: TableDefinition<'static, &str, u64> =
    TableDefinition::new("team_names.v1");

/// `(team, user)` to `Membership`.
pub(crate) const MEMBERSHIPS: Table<(u64, u64)> = Table::new("memberships.v1");

/// Project id to `Project`.
pub(crate) const PROJECTS: Table<u64> = Table::new("projects.v1");

/// `(team, name)` to project id, for the projects that are not deleted.
pub(crate) const PROJECT_NAMES: TableDefinition<'static, (u64, &str), u64> =
    TableDefinition::new("project_names.v1");

/// Licence id to `Licence`.
pub(crate) const LICENCES: Table<u64> = Table::new("licences.v1");

/// Name to licence id.
pub(crate) const LICENCE_NAMES: TableDefinition<'static, &str, u64> =
    TableDefinition::new("licence_names.v1");

/// `(kind, subdescriptor id)` to its name; ids are counted by kind.
pub(crate) const SUBDESCRIPTORS: TableDefinition<'static, (u8, u64), &'static str> =
    TableDefinition::new("subdescriptors.v1");

/// `(kind, name)` to subdescriptor id; every name in a licence's row has one.
pub(crate) const SUBDESCRIPTOR_NAMES: TableDefinition<'static, (u8, &str), u64> =
    TableDefinition::new("subdescriptor_names.v1");

/// `(team, project)` for every project, deleted or not: what keeps a team from being removed.
pub(crate) const TEAM_PROJECTS: TableDefinition<'static, (u64, u64), ()> =
    TableDefinition::new("team_projects.v1");

/// `(project, dataset)` for every dataset, deleted or not: what keeps a project from being removed.
pub(crate) const PROJECT_DATASETS: TableDefinition<'static, (u64, u64), ()> =
    TableDefinition::new("project_datasets.v1");

/// `(licence, dataset)` for every dataset, deleted or not: what keeps a licence from being removed.
pub(crate) const LICENCE_DATASETS: TableDefinition<'static, (u64, u64), ()> =
    TableDefinition::new("licence_datasets.v1");

/// Node id to `Node`.
pub(crate) const NODES: Table<u64> = Table::new("nodes.v1");

/// `(ip, index)` to node id.
pub(crate) const NODE_ADDRESSES: TableDefinition<'static, (&str, i64), u64> =
    TableDefinition::new("node_addresses.v1");

/// Access token id to `AccessToken`.
pub(crate) const ACCESS_TOKENS: Table<u64> = Table::new("access_tokens.v1");

/// `(user, access token)` for every access token. Says what the tokens' rows say, so opening fills it
/// where an older store lacks it; with [`TEAM_ACCESS_TOKENS`].
pub(crate) const USER_ACCESS_TOKENS: TableDefinition<'static, (u64, u64), ()> =
    TableDefinition::new("user_access_tokens.v1");

/// `(team, access token)` for every access token.
pub(crate) const TEAM_ACCESS_TOKENS: TableDefinition<'static, (u64, u64), ()> =
    TableDefinition::new("team_access_tokens.v1");

/// Team id to the `Usage` of all its datasets together, the soft-deleted ones too; none where there
/// is nothing. Says what the headers say, so opening fills it where an older store lacks it.
pub(crate) const TEAM_USAGE: Table<u64> = Table::new("team_usage.v1");

/// Team id to `Quota`, of the teams that have one.
pub(crate) const TEAM_QUOTAS: Table<u64> = Table::new("team_quotas.v1");

/// Number to `AuditRow`: who changed what, oldest first and without a gap. Rotation takes the first
/// ones away. [`NUMBERS`] has the last number, as `audit`, and as `audit bytes` what all rows take.
pub(crate) const AUDIT: Table<u64> = Table::new("audit.v1");

/// Kind to the last number given out, so that no primary key is used twice.
pub(crate) const NUMBERS: TableDefinition<'static, &str, u64> = TableDefinition::new("numbers.v1");

/// Digest to `QuarantineRow` of the contents that were found damaged. Not journaled: what a crash
/// takes away is found again.
pub(crate) const QUARANTINE: Table<&[u8; 32]> = Table::new("quarantine.v1");

/// `"applied"` to `AppliedRow`: how far into the journal the index reaches; `"scrub"` to
/// `ScrubRow`: how far the scrub came, which is not journaled.
pub(crate) const STATE: Table<&str> = Table::new("state.v1");

/// Key of the row of [`STATE`] without which there is no store.
pub(crate) const APPLIED: &str = "applied";

/// Key of the scrub's row of [`STATE`].
pub(crate) const SCRUB: &str = "scrub";

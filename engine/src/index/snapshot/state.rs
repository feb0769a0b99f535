//! A read transaction and the tables that most requests look at, opened once for all who share it.
//!
//! Opening a table costs more than a look-up in it, and a request looks at half a dozen. So those
//! who ask for the latest state get the same one, until a commit makes a later one
//! ([`super::super::Index::latest`]).

use std::sync::{Arc, OnceLock};

use redb::{
    Key, ReadOnlyTable, ReadTransaction, ReadableTableMetadata as _, TableDefinition, Value,
};

use super::headers::KeptHeaders;
use crate::codec;
use crate::counters::Counters;
use crate::index::{IndexError, Reading, tables};
use crate::model::{Dataset, DatasetId};
use crate::touches::Touches;

type Bytes = &'static [u8];

/// One committed state, for as many readers as want it.
pub(crate) struct State {
    datasets: Opened<u64, Bytes>,
    headers: KeptHeaders,
    pub(super) files: Opened<(u64, &'static str), Bytes>,
    pub(super) metadata: Opened<(u64, &'static str), Bytes>,
    pub(super) blobs: Opened<&'static [u8; 32], Bytes>,
    pub(super) users: Opened<u64, Bytes>,
    pub(super) projects: Opened<u64, Bytes>,
    pub(super) memberships: Opened<(u64, u64), Bytes>,
    pub(super) nodes: Opened<u64, Bytes>,
    /// What was seen of users and nodes since, and where readers are counted: the same for all states of a
    /// store, and kept here so that a snapshot costs no handle of either.
    pub(super) touches: Arc<Touches>,
    pub(super) counters: Arc<Counters>,
    pub(super) team_quotas: Opened<u64, Bytes>,
    /// Whether any team has a quota: where none has, nobody looks for that of one.
    has_quotas: OnceLock<bool>,
    txn: ReadTransaction,
    /// Tells that it is read.
    _reading: Arc<Reading>,
}

impl State {
    pub(crate) fn of(
        txn: ReadTransaction,
        reading: Arc<Reading>,
        touches: Arc<Touches>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            datasets: Opened::later(tables::DATASETS),
            headers: KeptHeaders::default(),
            files: Opened::later(tables::FILES),
            metadata: Opened::later(tables::METADATA),
            blobs: Opened::later(tables::BLOBS),
            users: Opened::later(tables::USERS),
            projects: Opened::later(tables::PROJECTS),
            memberships: Opened::later(tables::MEMBERSHIPS),
            nodes: Opened::later(tables::NODES),
            touches,
            counters,
            team_quotas: Opened::later(tables::TEAM_QUOTAS),
            has_quotas: OnceLock::new(),
            txn,
            _reading: reading,
        }
    }

    /// A table that few ask for.
    pub(super) fn open<K: Key, V: Value>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<ReadOnlyTable<K, V>, IndexError> {
        Ok(self.txn.open_table(table)?)
    }

    /// A table that many ask for.
    pub(super) fn opened<'a, K: Key, V: Value>(
        &'a self,
        table: &'a Opened<K, V>,
    ) -> Result<&'a ReadOnlyTable<K, V>, IndexError> {
        if let Some(opened) = table.opened.get() {
            return Ok(opened);
        }
        let opened = self.open(table.definition)?;
        Ok(table.opened.get_or_init(|| opened))
    }

    /// A dataset's header, read once for most who ask for it.
    pub(super) fn dataset(&self, id: DatasetId) -> Result<Option<Arc<Dataset>>, IndexError> {
        if let Some(kept) = self.headers.get(id) {
            return Ok(Some(kept));
        }
        let Some(row) = self.opened(&self.datasets)?.get(id.0)? else { return Ok(None) };
        let header: Arc<Dataset> = Arc::new(codec::decode(row.value())?);
        self.headers.keep(&header);
        Ok(Some(header))
    }

    /// Whether any team may hold so much only.
    pub(super) fn has_quotas(&self) -> Result<bool, IndexError> {
        if let Some(has_quotas) = self.has_quotas.get() {
            return Ok(*has_quotas);
        }
        let has_quotas = !self.opened(&self.team_quotas)?.is_empty()?;
        Ok(*self.has_quotas.get_or_init(|| has_quotas))
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("State").field("txn", &self.txn).finish_non_exhaustive()
    }
}

/// A table that is opened when it is first asked for.
pub(super) struct Opened<K: Key + 'static, V: Value + 'static> {
    definition: TableDefinition<'static, K, V>,
    opened: OnceLock<ReadOnlyTable<K, V>>,
}

impl<K: Key + 'static, V: Value + 'static> Opened<K, V> {
    fn later(definition: TableDefinition<'static, K, V>) -> Self {
        Self { definition, opened: OnceLock::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::blobs::memory_disk::MemoryDisk;
    use crate::codec;
    use crate::counters::Counters;
    use crate::disk::{Disk, OpenMode};
    use crate::index::rows::BlobRow;
    use crate::index::snapshot::Snapshot;
    use crate::index::{Index, create_tables, tables};
    use crate::limits::HEADER_KEPT_BYTES_MAX;
    use crate::model::change::{BlobPlace, SegmentId};
    use crate::model::{
        Dataset, DatasetId, Digest, Project, ProjectId, Quota, Sequence, TeamId, Timestamp, Usage,
    };

    fn enter(index: &Index, digest: &Digest) {
        let place = BlobPlace::Segment { segment: SegmentId(1), offset: 4096 };
        let row = BlobRow { place, length: 1, crc32: 0, count: 1, died: Sequence::ZERO };
        let entered = index.apply(|txn| {
            create_tables(txn)?;
            let mut blobs = txn.open_table(tables::BLOBS)?;
            blobs.insert(digest.as_bytes(), codec::encode(&row)?.as_slice())?;
            Ok(())
        });
        entered.unwrap();
    }

    #[test]
    fn readers_share_a_state_until_a_commit_and_see_what_was_committed_before() {
        let disk: Arc<dyn Disk> = MemoryDisk::prepared();
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
        enter(&index, &first);
        let (touches, counters) = (Arc::default(), Arc::<Counters>::default());
        let take = || Snapshot::take(&index, &touches, &counters).unwrap();
        let before = take();
        let handles = Arc::strong_count(&counters);
        let together = take();
        assert!(Arc::ptr_eq(&before.state, &together.state));
        assert_eq!(Arc::strong_count(&counters), handles, "but for the state's own there is none");
        enter(&index, &second);
        let after = take();
        assert_eq!(counters.snapshots_open.get(), 3);
        drop(together);
        assert_eq!(counters.snapshots_open.get(), 2);

        let shows = |snapshot: &Snapshot, digest| snapshot.blob(digest).unwrap().is_some();
        assert!(shows(&before, &first) && !shows(&before, &second));
        assert!(shows(&after, &first) && shows(&after, &second));
    }

    fn header(id: DatasetId, description: &str) -> Dataset {
        Dataset { id, description: description.into(), ..Dataset::with_stack(Vec::new()) }
    }

    fn put_header(index: &Index, header: &Dataset) {
        let row = codec::encode(header).unwrap();
        let put = |txn: &redb::WriteTransaction| {
            txn.open_table(tables::DATASETS)?.insert(header.id.0, row.as_slice())?;
            Ok(())
        };
        index.apply(put).unwrap();
    }

    #[test]
    fn readers_of_a_state_share_a_header_and_it_is_that_of_the_state() {
        let disk: Arc<dyn Disk> = MemoryDisk::prepared();
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        let take = || Snapshot::take(&index, &Arc::default(), &Arc::default()).unwrap();
        let shown = |snapshot: &Snapshot, id| snapshot.dataset(id).unwrap();
        let (id, neighbour) = (DatasetId(3), DatasetId(3 + 16));
        index.apply(create_tables).unwrap();
        put_header(&index, &header(id, "before"));
        let before = take();
        put_header(&index, &header(id, "after"));
        put_header(&index, &header(neighbour, "of another"));
        let after = take();
        for _ in 0..2 {
            assert_eq!(*shown(&before, id).unwrap(), header(id, "before"));
            assert!(shown(&before, neighbour).is_none());
            assert_eq!(*shown(&after, id).unwrap(), header(id, "after"));
            // Which has the same place.
            assert_eq!(*shown(&after, neighbour).unwrap(), header(neighbour, "of another"));
        }
        let by_two = [&after, &take()].map(|snapshot| shown(snapshot, neighbour).unwrap());
        assert!(Arc::ptr_eq(&by_two[0], &by_two[1]));
    }

    #[test]
    fn a_header_with_a_long_text_is_kept_by_no_state() {
        let disk: Arc<dyn Disk> = MemoryDisk::prepared();
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        index.apply(create_tables).unwrap();
        let (short, long) = (DatasetId(1), DatasetId(2));
        put_header(&index, &header(short, ""));
        put_header(&index, &header(long, &"a".repeat(HEADER_KEPT_BYTES_MAX + 1)));
        let snapshot = Snapshot::take(&index, &Arc::default(), &Arc::default()).unwrap();
        let owners = |id| Arc::strong_count(&snapshot.dataset(id).unwrap().unwrap());
        assert_eq!((owners(short), owners(long)), (2, 1));
    }

    #[test]
    fn whether_any_team_has_a_quota_is_told_of_each_state() {
        let disk: Arc<dyn Disk> = MemoryDisk::prepared();
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        index.apply(create_tables).unwrap();
        let (project, team) = (ProjectId(1), TeamId(2));
        let quota = Quota { files: Some(0), bytes: None };
        let told = |snapshot: &Snapshot| {
            let has_quota = snapshot.has_quota(project).unwrap();
            let is_refused = snapshot.expect_room(project, Usage { files: 1, bytes: 0 }).is_err();
            (has_quota, is_refused, snapshot.team_quota(team).unwrap())
        };
        let take = || Snapshot::take(&index, &Arc::default(), &Arc::default()).unwrap();
        let row = Project {
            id: project,
            name: String::new(),
            team,
            creator: None,
            creation_time: Timestamp(0),
            deletion_time: None,
        };
        let put = |table, id, row: Vec<u8>| {
            let put = |txn: &redb::WriteTransaction| {
                txn.open_table(table)?.insert(id, row.as_slice())?;
                Ok(())
            };
            index.apply(put).unwrap();
        };
        put(tables::PROJECTS, project.0, codec::encode(&row).unwrap());
        let before = take();
        assert_eq!(told(&before), (false, false, Quota::default()));
        put(tables::TEAM_QUOTAS, team.0, codec::encode(&quota).unwrap());
        assert_eq!(told(&take()), (true, true, quota));
        assert_eq!(told(&before), (false, false, Quota::default()));
    }
}

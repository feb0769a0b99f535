//! A store that is opened beside its server's settings.

use std::time::Duration;

use super::EngineOptions;
use crate::index::audit::AuditLimits;

impl EngineOptions {
    /// For a command that opens the store of a stopped server, whose settings it does not know: what
    /// these may keep stays. No entry of the audit log is rotated away, no upload expires, and a pass
    /// of the scrub waits for the server.
    pub fn offline() -> Self {
        Self {
            scrub_bytes_per_second: 0,
            continues_scrub: false,
            resumable_expire_after: Duration::MAX,
            audit: AuditLimits { keep: Duration::MAX, bytes: u64::MAX },
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redb::WriteTransaction;

    use super::*;
    use crate::blobs::STAGING;
    use crate::committer::Left;
    use crate::disk::{Disk, OpenMode, SimulatedDisk};
    use crate::engine::rig::dataset;
    use crate::index::{Index, tables, write_marks};
    use crate::model::audit::AuditRow;
    use crate::model::{FileCondition, Origin, Subject, Timestamp, UserId};
    use crate::resumable::ResumableTerms;
    use crate::scrub::{ScrubPass, ScrubRow};
    use crate::{AuditRange, Engine, codec};

    fn open(disk: &SimulatedDisk, options: &EngineOptions) -> Engine {
        let small = EngineOptions {
            index_cache_bytes: 4 << 20,
            segment_bytes: 4 << 20,
            arbiters: 1,
            ..options.clone()
        };
        Engine::open_on(Arc::new(disk.clone()), &small).unwrap()
    }

    fn row_of_1970() -> AuditRow {
        let origin = Origin::of_the_server("login");
        AuditRow { at: Timestamp(0), origin, subject: Subject::default() }
    }

    /// A store with an old entry of the audit log, a pass of the scrub under way, and an upload that
    /// is not done.
    async fn old_store() -> SimulatedDisk {
        let disk = SimulatedDisk::new();
        let engine = open(&disk, &EngineOptions::default());
        let terms = ResumableTerms {
            owner: UserId(1),
            dataset: dataset(&engine).await,
            filename: "a".into(),
            length: 3,
            replaces: false,
            condition: FileCondition::default(),
            digests: vec![],
            metadata: String::new(),
        };
        engine.inner.resumables.create(terms).unwrap();
        engine.shutdown().await;
        drop(engine);
        let port: Arc<dyn Disk> = Arc::new(disk.clone());
        let index = Index::open(&port, OpenMode::Existing, 4 << 20).unwrap();
        let pass =
            ScrubPass { started: Timestamp(0), finished: None, contents: 7, bytes: 7, damaged: 0 };
        let scrub = ScrubRow { pass: Some((pass, [0; 32])), last: None };
        let age = |txn: &WriteTransaction| {
            let row = codec::encode(&row_of_1970())?;
            txn.open_table(tables::AUDIT)?.insert(1, row.as_slice())?;
            write_marks(txn, &[], Some(&scrub))
        };
        index.checkpoint(age).unwrap();
        disk
    }

    #[tokio::test]
    async fn what_the_servers_settings_may_keep_stays() {
        let disk = old_store().await;
        let engine = open(&disk, &EngineOptions::offline());
        let inner = Arc::clone(&engine.inner);
        let steps = move || while inner.committer.step_blocking().unwrap() == Left::More {};
        tokio::task::spawn_blocking(steps).await.unwrap();
        let everything = AuditRange { after: None, newest_first: false, limit: 100 };
        let audit = engine.snapshot().unwrap().audit(everything, |_| true).unwrap();
        assert_eq!(audit.entries.len(), 1);
        engine.inner.resumables.expire(Timestamp::now().after(Duration::from_hours(24 * 365)));
        assert_eq!(disk.list(STAGING).unwrap().len(), 2);
        assert_eq!(engine.scrub().pass.map(|pass| pass.contents), Some(7));
        engine.shutdown().await;
    }
}

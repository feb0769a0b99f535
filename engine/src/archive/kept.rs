//! Manifests that are kept for a while: the next range of the same archive needs the same one.
//!
//! A dataset's revision grows with every visible change, so id and revision name one list of
//! files. Of a dataset only the latest is kept, of all together as many as the bounds allow; what
//! was used longest ago goes first. Nothing here is needed: a manifest can be made again.

use std::sync::{Arc, Mutex, PoisonError};

use super::manifest::Manifest;
use crate::limits::{MANIFESTS_KEPT_BYTES_MAX, MANIFESTS_KEPT_MAX};
use crate::model::{Dataset, DatasetId};

/// The manifests that are kept.
#[derive(Debug, Default)]
pub(crate) struct KeptManifests {
    /// In the order of their last use.
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    dataset: DatasetId,
    revision: u64,
    manifest: Arc<Manifest>,
}

impl KeptManifests {
    /// The manifest of this very state of a dataset, if it was kept.
    pub(crate) fn get(&self, dataset: &Dataset) -> Option<Arc<Manifest>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept
            .iter()
            .position(|one| one.dataset == dataset.id && one.revision == dataset.revision)?;
        let found = kept.remove(at);
        let manifest = Arc::clone(&found.manifest);
        kept.push(found);
        Some(manifest)
    }

    /// Keeps the manifest of a state, if it is not too large.
    pub(crate) fn keep(&self, dataset: &Dataset, manifest: &Arc<Manifest>) {
        if manifest.list_bytes() > MANIFESTS_KEPT_BYTES_MAX {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().any(|one| one.dataset == dataset.id && one.revision > dataset.revision) {
            return;
        }
        kept.retain(|one| one.dataset != dataset.id);
        kept.push(Kept {
            dataset: dataset.id,
            revision: dataset.revision,
            manifest: Arc::clone(manifest),
        });
        let mut bytes: u64 = kept.iter().map(|one| one.manifest.list_bytes()).sum();
        while kept.len() > MANIFESTS_KEPT_MAX || bytes > MANIFESTS_KEPT_BYTES_MAX {
            bytes -= kept.remove(0).manifest.list_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contents::tests::record_of;
    use super::super::manifest::tests::manifest;
    use super::*;

    fn of(id: u64, revision: u64) -> Dataset {
        Dataset { id: DatasetId(id), revision, ..Dataset::with_stack(vec![]) }
    }

    #[test]
    fn only_the_very_state_is_found() {
        let manifests = KeptManifests::default();
        let first = Arc::new(manifest(&[("a".into(), record_of(b"", false))]));
        manifests.keep(&of(1, 5), &first);
        assert!(Arc::ptr_eq(&manifests.get(&of(1, 5)).unwrap(), &first));
        assert!(manifests.get(&of(1, 6)).is_none() && manifests.get(&of(2, 5)).is_none());
        let second = Arc::new(manifest(&[]));
        manifests.keep(&of(1, 6), &second);
        assert!(manifests.get(&of(1, 5)).is_none(), "the older state is not kept beside it");
        manifests.keep(&of(1, 5), &first);
        assert!(manifests.get(&of(1, 6)).is_some(), "an older state does not replace it");
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let manifests = KeptManifests::default();
        let empty = Arc::new(manifest(&[]));
        let count = u64::try_from(MANIFESTS_KEPT_MAX).unwrap();
        for id in 0..count {
            manifests.keep(&of(id, 1), &empty);
        }
        manifests.get(&of(0, 1)).unwrap();
        manifests.keep(&of(count, 1), &empty);
        assert!(manifests.get(&of(0, 1)).is_some());
        assert!(manifests.get(&of(1, 1)).is_none());
        assert_eq!(manifests.kept.lock().unwrap().len(), MANIFESTS_KEPT_MAX);
    }
}

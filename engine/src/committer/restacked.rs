//! Datasets whose stacks may want to be folded or swept, in the order in which they get their turn.

use std::collections::{BTreeMap, HashMap};

use crate::model::DatasetId;

/// So often the dataset gets its turn that waits the longest, so that it comes at last however many others
/// do.
const TURNS_OF_THE_OLDEST: u64 = 4;

/// Datasets that wait, each once.
///
/// Mostly the one that was noted last gets its turn: whoever copies it shares its layers as they are.
#[derive(Debug, Default)]
pub(super) struct Restacked {
    by_time: BTreeMap<u64, DatasetId>,
    times: HashMap<DatasetId, u64>,
    noted: u64,
    taken: u64,
}

impl Restacked {
    /// Notes a dataset; one that waits already counts as noted now.
    pub(super) fn note(&mut self, dataset: DatasetId) {
        self.noted += 1;
        if let Some(before) = self.times.insert(dataset, self.noted) {
            self.by_time.remove(&before);
        }
        self.by_time.insert(self.noted, dataset);
    }

    /// The dataset whose turn it is.
    pub(super) fn take(&mut self) -> Option<DatasetId> {
        self.taken += 1;
        let (_, dataset) = if self.taken.is_multiple_of(TURNS_OF_THE_OLDEST) {
            self.by_time.pop_first()?
        } else {
            self.by_time.pop_last()?
        };
        self.times.remove(&dataset);
        Some(dataset)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_comes_first_and_the_oldest_now_and_then() {
        let mut restacked = Restacked::default();
        for id in [1, 2, 3, 4, 5, 6, 1, 2] {
            restacked.note(DatasetId(id));
        }
        let taken: Vec<u64> = std::iter::from_fn(|| restacked.take()).map(|id| id.0).collect();
        assert_eq!(taken, [2, 1, 6, 3, 5, 4]);
        assert!(restacked.is_empty());
        restacked.note(DatasetId(7));
        assert!(!restacked.is_empty());
    }
}

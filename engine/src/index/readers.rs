//! Whether states from before the last checkpoint are still read. redb uses no page again that one of
//! them sees, so as long as they are, each further change makes the file longer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Kept with a state as long as that is read.
#[derive(Debug)]
pub(crate) struct Reading;

/// Who reads, by checkpoints: those who came since the last one share one [`Reading`].
#[derive(Debug)]
pub(super) struct Readers(Mutex<Periods>);

#[derive(Debug)]
struct Periods {
    now: Arc<Reading>,
    /// Those before in which somebody came who read on when the next one began.
    earlier: Vec<Weak<Reading>>,
}

impl Default for Readers {
    fn default() -> Self {
        Self(Mutex::new(Periods { now: Arc::new(Reading), earlier: Vec::new() }))
    }
}

impl Readers {
    /// Somebody begins to read.
    pub(super) fn enter(&self) -> Arc<Reading> {
        Arc::clone(&self.periods().now)
    }

    /// A checkpoint was committed.
    pub(super) fn checkpointed(&self) {
        let mut periods = self.periods();
        let before = std::mem::replace(&mut periods.now, Arc::new(Reading));
        periods.earlier.push(Arc::downgrade(&before));
        drop(before);
        periods.earlier.retain(is_read);
    }

    /// Whether a state from before the last checkpoint is read.
    pub(super) fn are_from_before(&self) -> bool {
        self.periods().earlier.iter().any(is_read)
    }

    fn periods(&self) -> MutexGuard<'_, Periods> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_read(period: &Weak<Reading>) -> bool {
    period.strong_count() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_before_a_checkpoint_is_known_until_it_ends() {
        let readers = Readers::default();
        let (first, second) = (readers.enter(), readers.enter());
        assert!(!readers.are_from_before());
        readers.checkpointed();
        assert!(readers.are_from_before());
        drop(first);
        readers.checkpointed();
        let third = readers.enter();
        assert!(readers.are_from_before());
        drop(second);
        assert!(!readers.are_from_before());
        drop(third);
        for _ in 0..100 {
            readers.checkpointed();
        }
        assert!(!readers.are_from_before());
        assert!(readers.periods().earlier.is_empty());
    }
}

//! Work of minutes that an administrator asked a running server for: one of a kind at a time, in
//! the background, remembered until the server stops.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::http::wire_of_store::CheckPhase;

/// Errands of one kind: `P` says how far one is, `R` is what it found.
#[derive(Debug)]
pub(crate) struct Errands<P, R> {
    last: Arc<Mutex<Last<P, R>>>,
}

// By hand: what the handle leads to need not be cloned.
impl<P, R> Clone for Errands<P, R> {
    fn clone(&self) -> Self {
        Self { last: Arc::clone(&self.last) }
    }
}

impl<P, R> Default for Errands<P, R> {
    fn default() -> Self {
        Self { last: Arc::new(Mutex::new(Last { number: 0, progress: None, end: None })) }
    }
}

#[derive(Debug)]
struct Last<P, R> {
    number: u64,
    progress: Option<Arc<P>>,
    end: Option<End<R>>,
}

/// How an errand ended.
#[derive(Debug)]
pub(crate) enum End<R> {
    /// It found this.
    Finished(Box<R>),
    /// It was told to stop.
    Stopped,
    /// It could not be carried to its end.
    Failed(String),
}

/// The errand that runs, or the last one.
#[derive(Debug)]
pub(crate) struct Errand<P, R> {
    pub(crate) phase: CheckPhase,
    pub(crate) number: u64,
    pub(crate) progress: Option<Arc<P>>,
    pub(crate) report: Option<R>,
    pub(crate) error: Option<String>,
}

impl<P: Default + Send + Sync + 'static, R: Clone + Send + 'static> Errands<P, R> {
    fn last(&self) -> MutexGuard<'_, Last<P, R>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one on the blocking pool unless one runs; tells whether it did.
    pub(crate) fn begin(&self, work: impl FnOnce(&P) -> End<R> + Send + 'static) -> bool {
        let progress = Arc::new(P::default());
        {
            let mut last = self.last();
            if last.progress.is_some() && last.end.is_none() {
                return false;
            }
            let number = last.number + 1;
            *last = Last { number, progress: Some(Arc::clone(&progress)), end: None };
        }
        let errands = self.clone();
        tokio::spawn(async move {
            let done = tokio::task::spawn_blocking(move || work(&progress));
            let broke = |_panicked| End::Failed("it broke; the log says more".to_owned());
            errands.last().end = Some(done.await.unwrap_or_else(broke));
        });
        true
    }

    /// Tells the one that runs to stop, by way of its progress.
    pub(crate) fn stop(&self, stop: impl FnOnce(&P)) {
        if let Some(progress) = &self.last().progress {
            stop(progress);
        }
    }

    /// The one that runs, or the last one.
    pub(crate) fn shown(&self) -> Errand<P, R> {
        let last = self.last();
        let (mut report, mut error) = (None, None);
        let phase = match (&last.end, &last.progress) {
            (None, None) => CheckPhase::None,
            (None, Some(_)) => CheckPhase::Running,
            (Some(End::Stopped), _) => CheckPhase::Stopped,
            (Some(End::Finished(finished)), _) => {
                report = Some((**finished).clone());
                CheckPhase::Finished
            }
            (Some(End::Failed(reason)), _) => {
                error = Some(reason.clone());
                CheckPhase::Failed
            }
        };
        Errand { phase, number: last.number, progress: last.progress.clone(), report, error }
    }
}

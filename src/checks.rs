//! The check that an administrator asked a running server for: one at a time, in the background,
//! remembered until the server stops.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use granary_engine::{CheckProgress, CheckReport, Engine, ReadError, Stopped};
use tracing::{info, warn};

use crate::http::wire_of_store::{CheckPhase, CheckProgressShape, CheckReportShape, CheckShape};

/// The checks of a server; clones are handles to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks {
    last: Arc<Mutex<Last>>,
}

#[derive(Debug, Default)]
struct Last {
    number: u64,
    progress: Option<Arc<CheckProgress>>,
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    Finished(Box<CheckReportShape>),
    Stopped,
    Failed(String),
}

impl Checks {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a check unless one runs.
    pub(crate) fn begin(&self, engine: &Engine, is_deep: bool) {
        let progress = Arc::new(CheckProgress::default());
        {
            let mut last = self.last();
            if last.progress.is_some() && last.end.is_none() {
                return;
            }
            let number = last.number + 1;
            *last = Last { number, progress: Some(Arc::clone(&progress)), end: None };
        }
        info!(is_deep, "a check of the store begins");
        let (engine, checks) = (engine.clone(), self.clone());
        tokio::spawn(async move {
            let checked =
                tokio::task::spawn_blocking(move || engine.check_store(is_deep, &progress));
            let end = match checked.await {
                Ok(checked) => end(checked),
                Err(_panicked) => End::Failed("the check broke; the log says more".to_owned()),
            };
            checks.last().end = Some(end);
        });
    }

    /// Ends the check that runs, soon.
    pub(crate) fn stop(&self) {
        if let Some(progress) = &self.last().progress {
            progress.stop();
        }
    }

    /// The check that runs or the last one, as the API shows it.
    pub(crate) fn shape(&self) -> CheckShape {
        let last = self.last();
        let (mut report, mut error) = (None, None);
        let state = match (&last.end, &last.progress) {
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
        let progress = last.progress.as_deref().map(CheckProgressShape::from);
        CheckShape { state, number: last.number, progress, report, error }
    }
}

fn end(checked: Result<Result<CheckReport, Stopped>, ReadError>) -> End {
    match checked {
        Ok(Ok(report)) => {
            let findings = report.findings.len();
            if report.is_clean() {
                info!(contents = report.contents, "the check found nothing wrong");
            } else {
                warn!(findings, unlisted = report.unlisted, "the check found what is wrong");
            }
            End::Finished(Box::new(report.into()))
        }
        Ok(Err(Stopped)) => End::Stopped,
        Err(error) => {
            warn!(%error, "the check could not be carried to its end");
            End::Failed(error.to_string())
        }
    }
}

//! Many files at once: keeps a bounded number of transfers under way and collects their ends.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use super::failure::Failure;
use super::progress::{Counters, Progress};
use super::report::{Outcome, Report};
use super::{say, shown};

/// One transfer's end, with the name of its file.
pub(crate) type Ended = (String, Result<Outcome, Failure>);

/// The transfers under way, and what became of the others.
pub(crate) struct Transfers {
    running: JoinSet<Ended>,
    jobs: usize,
    counters: Arc<Counters>,
    progress: Progress,
    /// Whether each transferred file is named on standard output when it is answered for.
    verbose: bool,
    pub(crate) report: Report,
}

impl Transfers {
    /// None is under way yet; at most `jobs` will be.
    pub(crate) fn new(
        verb: &'static str,
        jobs: usize,
        verbose: bool,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            running: JoinSet::new(),
            jobs,
            progress: Progress::start(Arc::clone(&counters)),
            counters,
            verbose,
            report: Report::new(verb),
        }
    }

    /// Starts a transfer as soon as there is room for it.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) async fn start(
        &mut self,
        transfer: impl Future<Output = Ended> + Send + 'static,
    ) -> anyhow::Result<()> {
        while self.running.len() >= self.jobs {
            let Some(ended) = self.running.join_next().await else {
                break;
            };
            self.take(ended)?;
        }
        // Also what ended meanwhile, so that it is told in time.
        while let Some(ended) = self.running.try_join_next() {
            self.take(ended)?;
        }
        self.running.spawn(transfer);
        Ok(())
    }

    /// Waits for the transfers under way; with the report on all.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Report> {
        while let Some(ended) = self.running.join_next().await {
            self.take(ended)?;
        }
        self.progress.finish();
        Ok(self.report)
    }

    fn take(&mut self, ended: Result<Ended, JoinError>) -> anyhow::Result<()> {
        self.counters.file_done();
        let (name, result) = match ended {
            Ok(ended) => ended,
            Err(broken) => {
                self.report.fail("a file", &broken.to_string());
                return Ok(());
            }
        };
        if self.verbose && matches!(result, Ok(Outcome::Transferred { .. })) {
            let line = format!("{} {}", self.report.verb(), shown(&name));
            self.progress.aside(|| say(line))?;
        }
        self.report.take(&name, result);
        Ok(())
    }
}

//! Many files at once: keeps a bounded number of transfers under way and collects their ends.

use tokio::task::{JoinError, JoinSet};

use super::ledger::{Ended, Ledger};

/// The transfers under way, and what became of the others.
pub(crate) struct Transfers {
    running: JoinSet<Ended>,
    jobs: usize,
    pub(crate) ledger: Ledger,
}

impl Transfers {
    /// None is under way yet; at most `jobs` will be.
    pub(crate) fn new(jobs: usize, ledger: Ledger) -> Self {
        Self { running: JoinSet::new(), jobs, ledger }
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

    /// Waits for the transfers under way; with the account of all.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Ledger> {
        while let Some(ended) = self.running.join_next().await {
            self.take(ended)?;
        }
        Ok(self.ledger)
    }

    fn take(&mut self, ended: Result<Ended, JoinError>) -> anyhow::Result<()> {
        match ended {
            Ok(ended) => self.ledger.take(ended)?,
            Err(broken) => self.ledger.fail("a file", &broken.to_string())?,
        }
        Ok(())
    }
}

//! Uploads of which no client knows yet.

use granary_engine::model::{DatasetId, UserId};
use granary_engine::{Engine, MutationError, ResumableId, ResumableTerms};

/// An upload that was begun, until its client is told of it: it goes with the request that began it,
/// however that ends, since nobody else can go on with it or give it up.
#[derive(Debug)]
pub(super) struct Untold {
    engine: Engine,
    /// `None` once it is told.
    upload: Option<(ResumableId, UserId, DatasetId)>,
}

impl Untold {
    /// Begins one. The request may end meanwhile: then it goes as soon as it is there.
    pub(super) async fn begin(
        engine: &Engine,
        terms: ResumableTerms,
    ) -> Result<(ResumableId, Self), MutationError> {
        let engine = engine.clone();
        let begun = tokio::spawn(async move {
            let (owner, dataset) = (terms.owner, terms.dataset);
            let upload = engine.begin_resumable(terms).await?;
            Ok((upload, Self { engine, upload: Some((upload, owner, dataset)) }))
        });
        begun.await.unwrap_or(Err(MutationError::Panicked))
    }

    /// What its client is about to hear of it is all that is needed to go on.
    pub(super) fn tell(mut self) {
        self.upload = None;
    }

    /// Gives it up before its client hears of a refusal, and begins again.
    pub(super) async fn give_up(mut self) {
        if let Some((upload, owner, dataset)) = self.upload {
            give_up(&self.engine, upload, owner, dataset).await;
        }
        self.upload = None;
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        if let Some((upload, owner, dataset)) = self.upload {
            let engine = self.engine.clone();
            tokio::spawn(async move { give_up(&engine, upload, owner, dataset).await });
        }
    }
}

async fn give_up(engine: &Engine, upload: ResumableId, owner: UserId, dataset: DatasetId) {
    // Wrong bytes have ended it already.
    if let Err(error) = engine.give_up_resumable(upload, owner, dataset).await {
        tracing::debug!(%upload, %error, "an upload that nobody was told of is not given up");
    }
}

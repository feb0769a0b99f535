//! Uploads of which no client knows yet.

use granary_engine::model::{DatasetId, UserId};
use granary_engine::{Engine, ResumableId};

/// An upload that was begun, until its client is told of it: it goes with the request that began it,
/// however that ends, since nobody else can go on with it or give it up.
#[derive(Debug)]
pub(super) struct Untold {
    engine: Engine,
    /// `None` once it is told.
    upload: Option<(ResumableId, UserId, DatasetId)>,
}

impl Untold {
    pub(super) fn new(
        engine: &Engine,
        upload: ResumableId,
        owner: UserId,
        dataset: DatasetId,
    ) -> Self {
        Self { engine: engine.clone(), upload: Some((upload, owner, dataset)) }
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

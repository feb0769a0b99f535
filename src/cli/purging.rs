//! `purge_after`: the sweeps beside the server.

use std::time::Duration;

use granary::Purge;
use granary_engine::Engine;
use granary_engine::model::Timestamp;
use tokio::sync::watch;
use tracing::warn;

/// Sweeps until the server stops.
pub(super) async fn sweep_until(
    mut stop: watch::Receiver<bool>,
    engine: Engine,
    retention: Duration,
) {
    let mut purge = Purge::new(engine, retention);
    purge.announce_setting();
    let mut ticks = tokio::time::interval(purge.period());
    // A sweep that took long is no reason for two in a row.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Its sender lives as long as the process listens to signals.
            _ = stop.wait_for(|stopping| *stopping) => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = purge.sweep(Timestamp::now()).await {
            warn!(%error, "removing soft-deleted datasets stopped; it starts again later");
        }
    }
}

//! `--purge-after`: how the setting is read, and the sweeps beside the server.

use std::time::Duration;

use granary::Purge;
use granary_engine::Engine;
use granary_engine::model::Timestamp;
use jiff::{Span, SpanRelativeTo};
use tokio::sync::watch;
use tracing::warn;

/// Reads a retention such as `30d` or `12h`; a day has 24 hours.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(super) fn read_retention(text: &str) -> Result<Duration, String> {
    let wrong =
        |error: jiff::Error| format!("{error}; say it in weeks, days or hours, such as 30d or 12h");
    let span: Span = text.trim().parse().map_err(wrong)?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(wrong)?;
    match Duration::try_from(time) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) | Err(_) => Err("it must be longer than nothing, such as 30d; left out, what is \
                               soft-deleted stays"
            .into()),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_days_or_hours() {
        let hours = |hours| Ok(Duration::from_hours(hours));
        for (text, expected) in [
            ("30d", hours(720)),
            ("12h", hours(12)),
            ("2w", hours(336)),
            (" 1d 12h ", hours(36)),
            ("P1D", hours(24)),
        ] {
            assert_eq!(read_retention(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_retention_is_refused_with_an_example() {
        for text in ["", "30", "1mo", "1y", "for ever", "-3"] {
            let refusal = read_retention(text).unwrap_err();
            assert!(refusal.contains("30d"), "{text}: {refusal}");
        }
        for text in ["0h", "-1d", "1d ago"] {
            assert!(read_retention(text).unwrap_err().contains("longer than nothing"), "{text}");
        }
    }
}

//! Work of minutes that a server does in the background: begun over HTTP, asked after until it has
//! ended, so that no connection has to last for as long.

use std::time::Duration;

use anyhow::bail;
use granary::space_shapes::{CollectionShape, MeasurementShape};
use granary::store_shapes::{CheckPhase, CheckReportShape, CheckShape};
use indicatif::ProgressBar;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Client;
use super::complain;

/// The right that all of this needs.
pub(crate) const ADMINISTRATOR: &str = "an administrator";

/// How often a server is asked how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A kind of work, as the server shows it.
pub(crate) trait Errand: DeserializeOwned {
    /// Where it is, behind `/v1/`.
    const PATH: &'static str;
    /// What it found.
    type Report;

    /// How it is, and its number since the server was started.
    fn state(&self) -> (CheckPhase, u64);

    /// How far it is, in words.
    fn progress(&self) -> String;

    /// What it found, or why it did not end.
    fn end(self) -> (Option<Self::Report>, Option<String>);
}

impl Errand for MeasurementShape {
    const PATH: &'static str = "store/usage";
    type Report = granary::space_shapes::UsageShape;

    fn state(&self) -> (CheckPhase, u64) {
        (self.state, self.number)
    }

    fn progress(&self) -> String {
        let percent = self.done.saturating_mul(100).checked_div(self.total).unwrap_or(0).min(100);
        format!("reading rows, {percent} %")
    }

    fn end(self) -> (Option<Self::Report>, Option<String>) {
        (self.report, self.error)
    }
}

impl Errand for CollectionShape {
    const PATH: &'static str = "store/collection";
    type Report = granary::space_shapes::CollectedShape;

    fn state(&self) -> (CheckPhase, u64) {
        (self.state, self.number)
    }

    fn progress(&self) -> String {
        self.stage.clone().unwrap_or_default()
    }

    fn end(self) -> (Option<Self::Report>, Option<String>) {
        (self.report, self.error)
    }
}

impl Errand for CheckShape {
    const PATH: &'static str = "store/check";
    type Report = CheckReportShape;

    fn state(&self) -> (CheckPhase, u64) {
        (self.state, self.number)
    }

    fn progress(&self) -> String {
        self.progress.as_ref().map(|progress| progress.stage.clone()).unwrap_or_default()
    }

    fn end(self) -> (Option<Self::Report>, Option<String>) {
        (self.report, self.error)
    }
}

/// Has the server carry it out, and shows on a terminal how far it is. One that runs already is
/// waited for.
///
/// # Errors
/// Any failure on the way; or it did not come to its end.
pub(crate) async fn carry_out<E: Errand>(client: &Client) -> anyhow::Result<E::Report> {
    let bar = ProgressBar::new_spinner();
    let show = |errand: &E| {
        bar.set_message(errand.progress());
        bar.tick();
    };
    let report = carry_out_shown(client, &Value::Null, show).await;
    bar.finish_and_clear();
    report
}

/// The same with fields that say what is to be done, shown by the caller. Where one ends and
/// somebody's next begins between two questions, the next is waited for: what the first found is gone.
///
/// # Errors
/// As [`carry_out`].
pub(crate) async fn carry_out_shown<E: Errand>(
    client: &Client,
    fields: &Value,
    show: impl Fn(&E),
) -> anyhow::Result<E::Report> {
    let address = client.url.action(E::PATH);
    // Of one that was begun and not answered, the next attempt hears.
    let order = || {
        let request = client.http.post(&address);
        client.ask(if fields.is_null() { request } else { request.json(fields) })
    };
    let begun = client.patience.persist_if_it_runs(order).await;
    let mut errand: E = begun.map_err(|failure| failure.needing(ADMINISTRATOR))?;
    let mut number = errand.state().1;
    while errand.state().0 == CheckPhase::Running {
        show(&errand);
        tokio::time::sleep(POLL_INTERVAL).await;
        errand = client.patience.persist(|| client.ask(client.http.get(&address))).await?;
        let present = errand.state().1;
        if present < number {
            bail!("the server was started again; run this once more");
        }
        if present > number {
            complain("it has ended, and somebody began another; that one is waited for instead");
            number = present;
        }
    }
    let is_stopped = errand.state().0 == CheckPhase::Stopped;
    match errand.end() {
        (Some(report), _) => Ok(report),
        (None, _) if is_stopped => bail!("somebody stopped it at the server"),
        (None, error) => {
            let reason = error.unwrap_or_else(|| "it gave no report".to_owned());
            bail!("the server could not carry it to its end: {reason}")
        }
    }
}

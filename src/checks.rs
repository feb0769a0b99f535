//! What administrators ask a running server to do in the background: checking what is stored,
//! measuring what takes the space, giving back what serves nobody.

use granary_engine::{
    CheckProgress, CheckReport, CollectionProgress, Engine, ReadError, Stopped, UsageProgress,
};
use tracing::{info, warn};

use crate::errand::{End, Errands};
use crate::http::wire_of_space::{CollectedShape, CollectionShape, MeasurementShape, UsageShape};
use crate::http::wire_of_store::{CheckProgressShape, CheckReportShape, CheckShape};

/// The errands of a server; clones are handles to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks {
    integrity: Errands<CheckProgress, CheckReportShape>,
    usage: Errands<UsageProgress, UsageShape>,
    garbage: Errands<CollectionProgress, CollectedShape>,
}

impl Checks {
    /// Begins a check unless one runs.
    pub(crate) fn begin(&self, engine: &Engine, is_deep: bool) {
        let engine = engine.clone();
        let begun =
            self.integrity.begin(move |progress| check_end(engine.check_store(is_deep, progress)));
        if begun {
            info!(is_deep, "a check of the store begins");
        }
    }

    /// Ends the check that runs, soon.
    pub(crate) fn stop(&self) {
        self.integrity.stop(CheckProgress::stop);
    }

    /// The check that runs or the last one, as the API shows it.
    pub(crate) fn shape(&self) -> CheckShape {
        let check = self.integrity.shown();
        let progress = check.progress.as_deref().map(CheckProgressShape::from);
        let (state, number, report, error) = (check.phase, check.number, check.report, check.error);
        CheckShape { state, number, progress, report, error }
    }

    /// Begins to measure what takes the space, unless that is under way.
    pub(crate) fn measure(&self, engine: &Engine) {
        let engine = engine.clone();
        self.usage.begin(move |progress| match engine.measure_usage(progress) {
            Ok(Some(usage)) => End::Finished(Box::new(usage.into())),
            Ok(None) => End::Stopped,
            Err(error) => failed("what takes the space could not be measured", &error),
        });
    }

    /// Ends the measurement that runs, soon.
    pub(crate) fn stop_measuring(&self) {
        self.usage.stop(UsageProgress::stop);
    }

    /// The measurement that runs or the last one, as the API shows it.
    pub(crate) fn measurement(&self) -> MeasurementShape {
        let measured = self.usage.shown();
        let (done, total) =
            measured.progress.map_or((0, 0), |progress| (progress.done(), progress.total()));
        let (state, number, error) = (measured.phase, measured.number, measured.error);
        MeasurementShape { state, number, done, total, report: measured.report, error }
    }

    /// Begins to give back what serves nobody, unless that is under way.
    pub(crate) fn collect(&self, engine: &Engine) {
        let engine = engine.clone();
        self.garbage.begin(move |progress| match engine.collect_garbage(progress) {
            Ok(_) if progress.is_stopped() => End::Stopped,
            Ok(collected) => End::Finished(Box::new(collected.into())),
            Err(error) => failed("what serves nobody could not be given back", &error),
        });
    }

    /// Ends the collection that runs, soon.
    pub(crate) fn stop_collecting(&self) {
        self.garbage.stop(CollectionProgress::stop);
    }

    /// The collection that runs or the last one, as the API shows it.
    pub(crate) fn collection(&self) -> CollectionShape {
        let collected = self.garbage.shown();
        CollectionShape {
            state: collected.phase,
            number: collected.number,
            stage: collected.progress.map(|progress| progress.stage().to_owned()),
            report: collected.report,
            error: collected.error,
        }
    }
}

fn failed<R>(what: &str, error: &impl std::error::Error) -> End<R> {
    warn!(%error, "{what}");
    End::Failed(error.to_string())
}

fn check_end(checked: Result<Result<CheckReport, Stopped>, ReadError>) -> End<CheckReportShape> {
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
        Err(error) => failed("the check could not be carried to its end", &error),
    }
}

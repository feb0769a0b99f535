//! What a transfer of many files tells while it goes on and at its end: progress, names, events.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::progress::{Counters, Progress};
use super::report::{Outcome, Report};
use super::{Ending, say, shown};

/// One transfer's end, with the name of its file.
pub(crate) type Ended = (String, Result<Outcome, Failure>);

/// How much is told, and in which form.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TellOptions {
    /// Name each file when it has been dealt with.
    #[arg(long, short)]
    verbose: bool,
    /// Write events and the summary as JSON, one object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Keeps account of the files of one command.
pub(crate) struct Ledger {
    options: TellOptions,
    counters: Arc<Counters>,
    progress: Progress,
    begun: Instant,
    pub(crate) report: Report,
}

/// What became of one file, for programs.
#[derive(Serialize)]
struct FileEvent<'a> {
    event: &'static str,
    name: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Ledger {
    /// Nothing has happened yet. `verb` is what a transfer is called.
    pub(crate) fn new(
        verb: &'static str,
        dry_run: bool,
        options: TellOptions,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            options,
            progress: Progress::start(Arc::clone(&counters)),
            counters,
            begun: Instant::now(),
            report: Report::new(verb, dry_run),
        }
    }

    /// Takes a file's end.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn take(&mut self, (name, result): Ended) -> io::Result<()> {
        self.counters.file_done();
        match &result {
            Ok(outcome) => self.tell(&name, *outcome)?,
            Err(failure) => self.tell_event(&name, "failed", None, Some(&failure.chain()))?,
        }
        self.report.take(&name, result);
        Ok(())
    }

    /// Takes something that was passed over on purpose.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) -> io::Result<()> {
        self.tell_event(name, "skipped", None, Some(reason))?;
        self.report.skip(name, reason);
        Ok(())
    }

    /// Takes something that could not even be tried.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn fail(&mut self, name: &str, reason: &str) -> io::Result<()> {
        self.tell_event(name, "failed", None, Some(reason))?;
        self.report.fail(name, reason);
        Ok(())
    }

    /// Sums up; `more` is what the summary for programs has besides.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn finish(self, more: &Value) -> io::Result<Ending> {
        let Self { options, progress, begun, report, .. } = self;
        progress.finish();
        let ending = report.ending();
        if !options.json {
            say(&report)?;
            return Ok(ending);
        }
        let mut summary = json!({
            "event": "summary",
            "complete": ending == Ending::Complete,
            "seconds": begun.elapsed().as_secs_f64(),
            "stopped_by": report.stopped_by(),
        });
        let tallies = serde_json::to_value(report.tallies()).map_err(io::Error::other)?;
        if let Some(summary) = summary.as_object_mut() {
            for part in [&tallies, more] {
                summary.extend(
                    part.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())),
                );
            }
        }
        say(summary)?;
        Ok(ending)
    }

    fn tell(&self, name: &str, outcome: Outcome) -> io::Result<()> {
        let verb = self.report.verb();
        let (word, key, bytes) = match outcome {
            Outcome::Transferred { bytes } => (verb, "transferred", Some(bytes)),
            Outcome::Attached { bytes } => ("attached", "attached", Some(bytes)),
            Outcome::Replaced { bytes } => ("replaced", "replaced", Some(bytes)),
            Outcome::AlreadyThere { bytes } => ("", "already_there", Some(bytes)),
            Outcome::Deleted => ("deleted", "deleted", None),
            Outcome::Differs => ("", "differs", None),
        };
        // A million files that are there are not worth a million lines unless they are asked for.
        if key != "already_there" || self.options.verbose {
            self.tell_event(name, key, bytes, None)?;
        }
        if self.options.verbose && !self.options.json && !word.is_empty() {
            let line = format!("{word} {}", shown(name));
            self.progress.aside(|| say(line))?;
        }
        Ok(())
    }

    fn tell_event(
        &self,
        name: &str,
        outcome: &'static str,
        bytes: Option<u64>,
        reason: Option<&str>,
    ) -> io::Result<()> {
        if !self.options.json {
            return Ok(());
        }
        let event = FileEvent { event: "file", name, outcome, bytes, reason };
        let line = serde_json::to_string(&event).map_err(io::Error::other)?;
        self.progress.aside(|| say(line))
    }
}

//! What became of each file, summed up at the end.

use std::fmt;

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::failure::Failure;
use super::style::{ADDED, CHANGED, FAINT, Painted, REMOVED};
use super::{Ending, shown};

/// Files that are named with what is wrong with them; the rest is only counted.
const NAMED_MAX: usize = 20;

/// How a file that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its bytes were transferred, and their digest compared.
    Transferred {
        /// Its length in bytes.
        bytes: u64,
    },
    /// The server had the content and gave it this name; no bytes were sent.
    Attached {
        /// Its length in bytes.
        bytes: u64,
    },
    /// It took the place of other content under its name.
    Replaced {
        /// Its length in bytes.
        bytes: u64,
    },
    /// The other side had the same content under this name.
    AlreadyThere {
        /// Its length in bytes.
        bytes: u64,
    },
    /// It was on the other side only, and was removed there.
    Deleted,
    /// The other side has other content under this name, which was left as it is.
    Differs,
}

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    files: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// What a report counts; the names are those of `--json` and stay as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tallies {
    /// Whose bytes were transferred.
    transferred: Tally,
    /// Which the server made of contents that it had.
    attached: Tally,
    /// Which took the place of others, whether or not bytes were transferred.
    replaced: Tally,
    /// Which were there.
    already_there: Tally,
    deleted: u64,
    differ: u64,
    failed: u64,
    skipped: u64,
}

/// What became of all files.
#[derive(Debug)]
pub(crate) struct Report {
    /// What a transfer is called: `sent`, `fetched`.
    verb: &'static str,
    /// Whether nothing was done, and everything is only said.
    dry_run: bool,
    tallies: Tallies,
    named: Vec<String>,
    /// The failure that made going on pointless.
    stopped_by: Option<Failure>,
}

impl Report {
    /// Nothing has happened yet.
    pub(crate) fn new(verb: &'static str, dry_run: bool) -> Self {
        let tallies = Tallies::default();
        Self { verb, dry_run, tallies, named: Vec::new(), stopped_by: None }
    }

    /// What a transfer is called.
    pub(crate) fn verb(&self) -> &'static str {
        self.verb
    }

    /// What was counted so far.
    pub(crate) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// The failure that made going on pointless, in words.
    pub(crate) fn stopped_by(&self) -> Option<String> {
        self.stopped_by.as_ref().map(Failure::chain)
    }

    /// Takes a file's end.
    pub(crate) fn take(&mut self, name: &str, result: Result<Outcome, Failure>) {
        match result {
            Ok(Outcome::Transferred { bytes }) => self.tallies.transferred.add(bytes),
            Ok(Outcome::Attached { bytes }) => self.tallies.attached.add(bytes),
            Ok(Outcome::Replaced { bytes }) => self.tallies.replaced.add(bytes),
            Ok(Outcome::AlreadyThere { bytes }) => self.tallies.already_there.add(bytes),
            Ok(Outcome::Deleted) => self.tallies.deleted += 1,
            Ok(Outcome::Differs) => {
                self.tallies.differ += 1;
                self.name("differs", name, "the content there is another one");
            }
            Err(failure) => {
                self.fail(name, &failure.chain());
                if failure.concerns_all() {
                    self.stop(failure);
                }
            }
        }
    }

    /// Takes something that could not even be tried.
    pub(crate) fn fail(&mut self, name: &str, reason: &str) {
        self.tallies.failed += 1;
        self.name("failed", name, reason);
    }

    /// Takes something that was passed over on purpose.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.tallies.skipped += 1;
        self.name("skipped", name, reason);
    }

    /// Takes a failure of what concerns no single file, such as a list of them; the first one is told.
    pub(crate) fn stop(&mut self, failure: Failure) {
        self.stopped_by.get_or_insert(failure);
    }

    /// Whether going on is pointless.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped_by.is_some()
    }

    /// Whether some file's content differs on the two sides.
    pub(crate) fn has_differences(&self) -> bool {
        self.tallies.differ > 0
    }

    /// Whether nothing failed so far, so that what was not found is truly not there.
    pub(crate) fn has_no_failures(&self) -> bool {
        self.tallies.failed == 0
    }

    /// Whether everything is where it should be.
    pub(crate) fn ending(&self) -> Ending {
        if self.has_differences() || !self.has_no_failures() || self.is_stopped() {
            Ending::Incomplete
        } else {
            Ending::Complete
        }
    }

    fn name(&mut self, what: &str, name: &str, reason: &str) {
        if self.named.len() < NAMED_MAX {
            let style = match what {
                "skipped" => FAINT,
                "differs" => CHANGED,
                _ => REMOVED,
            };
            // Reasons name files, too, and repeat a server's words.
            let (name, reason) = (shown(name), shown(reason));
            self.named.push(format!("{}: {name}: {reason}", Painted(style, what)));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.named {
            writeln!(formatter, "{line}")?;
        }
        let Tallies { transferred, attached, replaced, already_there, .. } = self.tallies;
        let Tallies { deleted, differ, failed, skipped, .. } = self.tallies;
        let troubles = differ + failed + skipped;
        let named = u64::try_from(self.named.len()).unwrap_or(u64::MAX);
        if troubles > named {
            let more = HumanCount(troubles - named);
            writeln!(formatter, "... and {more} more of these")?;
        }
        if let Some(failure) = &self.stopped_by {
            writeln!(
                formatter,
                "stopped early, since this concerns every file: {}",
                shown(&failure.chain())
            )?;
        }
        if self.dry_run {
            formatter.write_str("dry run, nothing was changed: ")?;
        }
        let sized =
            |tally: Tally| format!("{} ({})", HumanCount(tally.files), HumanBytes(tally.bytes));
        write!(formatter, "{} {}", self.verb, Painted(ADDED, sized(transferred)))?;
        if attached.files > 0 {
            write!(formatter, ", attached without sending {}", Painted(ADDED, sized(attached)))?;
        }
        if replaced.files > 0 {
            write!(formatter, ", replaced {}", Painted(ADDED, sized(replaced)))?;
        }
        if deleted > 0 {
            write!(formatter, ", deleted {}", Painted(REMOVED, HumanCount(deleted)))?;
        }
        write!(formatter, ", already there {}", HumanCount(already_there.files))?;
        write!(formatter, ", differ {}", Counted(CHANGED, differ))?;
        write!(formatter, ", failed {}", Counted(REMOVED, failed))?;
        write!(formatter, ", skipped {}", HumanCount(skipped))
    }
}

/// A number that is coloured unless it is none.
struct Counted(anstyle::Style, u64);

impl fmt::Display for Counted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(style, number) = self;
        if *number == 0 {
            return formatter.write_str("0");
        }
        Painted(*style, HumanCount(*number)).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    /// The report without its colours.
    fn plain(report: &Report) -> String {
        anstream::adapter::strip_str(&report.to_string()).to_string()
    }

    #[test]
    fn what_is_already_there_or_skipped_is_no_failure() {
        let mut report = Report::new("sent", false);
        report.take("a", Ok(Outcome::Transferred { bytes: 1024 }));
        report.take("b", Ok(Outcome::AlreadyThere { bytes: 7 }));
        report.skip("c", "a symbolic link");
        assert_eq!(report.ending(), Ending::Complete);
        assert_eq!(
            plain(&report),
            "skipped: c: a symbolic link\n\
             sent 1 (1.00 KiB), already there 1, differ 0, failed 0, skipped 1"
        );
    }

    #[test]
    fn what_was_saved_replaced_and_deleted_is_told_where_there_was_any() {
        let mut report = Report::new("sent", true);
        report.take("a", Ok(Outcome::Attached { bytes: 2048 }));
        report.take("b", Ok(Outcome::Replaced { bytes: 1 }));
        report.take("c", Ok(Outcome::Deleted));
        assert_eq!(
            plain(&report),
            "dry run, nothing was changed: sent 0 (0 B), attached without sending 1 (2.00 KiB), \
             replaced 1 (1 B), deleted 1, already there 0, differ 0, failed 0, skipped 0"
        );
    }

    #[test]
    fn a_file_that_differs_makes_the_end_incomplete() {
        let mut report = Report::new("sent", false);
        report.take("a", Ok(Outcome::Differs));
        assert_eq!(report.ending(), Ending::Incomplete);
        assert!(plain(&report).starts_with("differs: a: "));
    }

    #[test]
    fn only_a_failure_that_concerns_all_stops() {
        let refused = |status| Failure::Refused { status, detail: "no".to_owned() };
        let mut report = Report::new("sent", false);
        report.take("a", Err(refused(StatusCode::BAD_REQUEST)));
        assert!(!report.is_stopped());
        report.take("b", Err(refused(StatusCode::INSUFFICIENT_STORAGE)));
        assert!(report.is_stopped());
        assert_eq!(report.ending(), Ending::Incomplete);
    }

    #[test]
    fn no_name_and_no_reason_steers_the_terminal() {
        let mut report = Report::new("fetched", false);
        report.fail("a\u{1b}[2J", "cannot make a\u{1b}[2J");
        let status = StatusCode::INSUFFICIENT_STORAGE;
        let detail = "no room for a\u{1b}[2J".to_owned();
        report.take("b", Err(Failure::Refused { status, detail }));
        assert!(report.is_stopped());
        // Without its own colours, which are the only ones there may be.
        let painted = Painted(REMOVED, "failed").to_string();
        let text = report.to_string().replace(&painted, "failed");
        let (names, _summary) = text.rsplit_once('\n').unwrap();
        assert!(!names.contains('\u{1b}'), "{names:?}");
    }

    #[test]
    fn many_troubles_are_counted_and_the_first_are_named() {
        let mut report = Report::new("sent", false);
        for number in 0..25 {
            report.fail(&format!("f{number}"), "no");
        }
        let text = plain(&report);
        assert_eq!(text.lines().count(), 22);
        assert!(text.contains("... and 5 more of these"));
        assert!(text.ends_with("failed 25, skipped 0"));
    }
}

//! What became of each file, summed up at the end.

use std::fmt;

use indicatif::{HumanBytes, HumanCount};

use super::failure::Failure;
use super::{Ending, shown};

/// Files that are named with what is wrong with them; the rest is only counted.
const NAMED_MAX: usize = 20;

/// How a file that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was transferred, and its digest compared.
    Transferred {
        /// Its length in bytes.
        bytes: u64,
    },
    /// The other side had the same content under this name.
    AlreadyThere,
    /// The other side has other content under this name, which was left as it is.
    Differs,
}

/// What became of all files.
#[derive(Debug)]
pub(crate) struct Report {
    /// What a transfer is called: `sent`, `fetched`.
    verb: &'static str,
    transferred: u64,
    bytes: u64,
    already_there: u64,
    differ: u64,
    failed: u64,
    skipped: u64,
    named: Vec<String>,
    /// The failure that made going on pointless.
    stopped_by: Option<Failure>,
}

impl Report {
    /// Nothing has happened yet.
    pub(crate) fn new(verb: &'static str) -> Self {
        Self {
            verb,
            transferred: 0,
            bytes: 0,
            already_there: 0,
            differ: 0,
            failed: 0,
            skipped: 0,
            named: Vec::new(),
            stopped_by: None,
        }
    }

    /// What a transfer is called.
    pub(crate) fn verb(&self) -> &'static str {
        self.verb
    }

    /// Takes a file's end.
    pub(crate) fn take(&mut self, name: &str, result: Result<Outcome, Failure>) {
        match result {
            Ok(Outcome::Transferred { bytes }) => {
                self.transferred += 1;
                self.bytes += bytes;
            }
            Ok(Outcome::AlreadyThere) => self.already_there += 1,
            Ok(Outcome::Differs) => {
                self.differ += 1;
                self.name("differs", name, "the content there is another one");
            }
            Err(failure) => {
                self.fail(name, &failure.chain());
                if failure.concerns_all() && self.stopped_by.is_none() {
                    self.stopped_by = Some(failure);
                }
            }
        }
    }

    /// Takes something that could not even be tried.
    pub(crate) fn fail(&mut self, name: &str, reason: &str) {
        self.failed += 1;
        self.name("failed", name, reason);
    }

    /// Takes something that was passed over on purpose.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.skipped += 1;
        self.name("skipped", name, reason);
    }

    /// Whether going on is pointless.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped_by.is_some()
    }

    /// Whether some file's content differs on the two sides.
    pub(crate) fn has_differences(&self) -> bool {
        self.differ > 0
    }

    /// Whether everything is where it should be.
    pub(crate) fn ending(&self) -> Ending {
        if self.differ == 0 && self.failed == 0 { Ending::Complete } else { Ending::Incomplete }
    }

    fn name(&mut self, what: &str, name: &str, reason: &str) {
        if self.named.len() < NAMED_MAX {
            let name = shown(name);
            self.named.push(format!("{what}: {name}: {reason}"));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.named {
            writeln!(formatter, "{line}")?;
        }
        let troubles = self.differ + self.failed + self.skipped;
        let named = u64::try_from(self.named.len()).unwrap_or(u64::MAX);
        if troubles > named {
            let more = HumanCount(troubles - named);
            writeln!(formatter, "... and {more} more of these")?;
        }
        if let Some(failure) = &self.stopped_by {
            writeln!(
                formatter,
                "stopped early, since this concerns every file: {}",
                failure.chain()
            )?;
        }
        write!(
            formatter,
            "{} {} ({}), already there {}, differ {}, failed {}, skipped {}",
            self.verb,
            HumanCount(self.transferred),
            HumanBytes(self.bytes),
            HumanCount(self.already_there),
            HumanCount(self.differ),
            HumanCount(self.failed),
            HumanCount(self.skipped),
        )
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn what_is_already_there_or_skipped_is_no_failure() {
        let mut report = Report::new("sent");
        report.take("a", Ok(Outcome::Transferred { bytes: 1024 }));
        report.take("b", Ok(Outcome::AlreadyThere));
        report.skip("c", "a symbolic link");
        assert_eq!(report.ending(), Ending::Complete);
        assert_eq!(
            report.to_string(),
            "skipped: c: a symbolic link\n\
             sent 1 (1.00 KiB), already there 1, differ 0, failed 0, skipped 1"
        );
    }

    #[test]
    fn a_file_that_differs_makes_the_end_incomplete() {
        let mut report = Report::new("sent");
        report.take("a", Ok(Outcome::Differs));
        assert_eq!(report.ending(), Ending::Incomplete);
        assert!(report.to_string().starts_with("differs: a: "));
    }

    #[test]
    fn only_a_failure_that_concerns_all_stops() {
        let refused = |status| Failure::Refused { status, detail: "no".to_owned() };
        let mut report = Report::new("sent");
        report.take("a", Err(refused(StatusCode::BAD_REQUEST)));
        assert!(!report.is_stopped());
        report.take("b", Err(refused(StatusCode::INSUFFICIENT_STORAGE)));
        assert!(report.is_stopped());
        assert_eq!(report.ending(), Ending::Incomplete);
    }

    #[test]
    fn many_troubles_are_counted_and_the_first_are_named() {
        let mut report = Report::new("sent");
        for number in 0..25 {
            report.fail(&format!("f{number}"), "no");
        }
        let text = report.to_string();
        assert_eq!(text.lines().count(), 22);
        assert!(text.contains("... and 5 more of these"));
        assert!(text.ends_with("failed 25, skipped 0"));
    }
}

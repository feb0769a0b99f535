//! Shapes of the check, the scrub and the quarantine; the command line reads and shows them too.

use granary_engine::model::Timestamp;
use granary_engine::{CheckProgress, Quarantined, ScrubPass, ScrubState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
pub use super::status::StatusShape;

/// A dataset or file that is hit by something that is wrong.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Hit)]
pub struct HitShape {
    /// Primary key of the dataset.
    #[schema(examples(7))]
    pub dataset: u64,
    /// Its name.
    #[schema(examples("cats"))]
    pub name: String,
    /// Its version.
    #[schema(examples(1))]
    pub version: u64,
    /// The file; null means the dataset as a whole.
    #[schema(required = true, examples("images/cat.png"))]
    pub filename: Option<String>,
}

impl From<granary_engine::Hit> for HitShape {
    fn from(hit: granary_engine::Hit) -> Self {
        let granary_engine::Hit { dataset, name, version, filename } = hit;
        Self { dataset: dataset.0, name, version, filename }
    }
}

/// Something that is not as it must be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Finding)]
pub struct FindingShape {
    /// The invariant of ARCHITECTURE.md that is broken.
    #[schema(examples("I9"))]
    pub invariant: String,
    /// What is wrong, and where.
    pub what: String,
    /// What to do about it.
    pub advice: String,
    /// The content that is damaged, if one is.
    #[schema(required = true, pattern = "^[0-9a-f]{64}$")]
    pub handle: Option<String>,
    /// The first datasets or files that are hit.
    pub hits: Vec<HitShape>,
    /// How many are hit in all.
    pub hit_count: u64,
    /// Whether not all files that name the content were looked for, because those of damaged ones are too many
    /// (100,000): more may be hit than that, also where none are told.
    #[serde(default)]
    #[schema(required = true)]
    pub hits_cut: bool,
}

/// What a check found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = CheckReport)]
pub struct CheckReportShape {
    /// Whether nothing is wrong.
    pub clean: bool,
    /// Whether all contents were read.
    pub deep: bool,
    /// Rows of files that were read; one that copies share counts once.
    pub files: u64,
    /// Contents that were looked at.
    pub contents: u64,
    /// Bytes of contents that were read.
    pub bytes_read: u64,
    /// What is wrong: the first thousand.
    pub findings: Vec<FindingShape>,
    /// How much more is wrong.
    pub unlisted: u64,
    /// What is worth knowing and no harm.
    pub notes: Vec<String>,
}

impl From<granary_engine::CheckReport> for CheckReportShape {
    fn from(report: granary_engine::CheckReport) -> Self {
        let clean = report.is_clean();
        let findings = report.findings.into_iter().map(|finding| FindingShape {
            invariant: finding.invariant.to_owned(),
            what: finding.what,
            advice: finding.advice.to_owned(),
            handle: finding.content.map(|digest| digest.to_string()),
            hits: finding.hits.into_iter().map(HitShape::from).collect(),
            hit_count: finding.hit_count,
            hits_cut: finding.hits_cut,
        });
        Self {
            clean,
            deep: report.is_deep,
            files: report.files,
            contents: report.contents,
            bytes_read: report.bytes_read,
            findings: findings.collect(),
            unlisted: report.unlisted,
            notes: report.notes,
        }
    }
}

/// How far a check is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = CheckProgress)]
pub struct CheckProgressShape {
    /// What is being done.
    #[schema(examples("looking at contents"))]
    pub stage: String,
    /// Things of this stage that are dealt with.
    pub done: u64,
    /// Things of this stage, about; 0 if nobody knows.
    pub total: u64,
    /// Bytes of contents that were read so far.
    pub bytes_read: u64,
}

impl From<&CheckProgress> for CheckProgressShape {
    fn from(progress: &CheckProgress) -> Self {
        Self {
            stage: progress.stage().to_owned(),
            done: progress.done(),
            total: progress.total(),
            bytes_read: progress.bytes_read(),
        }
    }
}

/// How a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckPhase {
    /// None was begun since the server was started.
    None,
    /// It runs.
    Running,
    /// It has ended, and there is a report.
    Finished,
    /// It was stopped before its end.
    Stopped,
    /// It could not be carried to its end.
    Failed,
}

/// The check that runs, or the last one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Check)]
pub struct CheckShape {
    /// How it is.
    pub state: CheckPhase,
    /// Number of the check since the server was started.
    pub number: u64,
    /// How far it is; null where none was begun.
    #[schema(required = true)]
    pub progress: Option<CheckProgressShape>,
    /// What it found; null before it is finished.
    #[schema(required = true)]
    pub report: Option<CheckReportShape>,
    /// Why it could not be carried to its end.
    #[schema(required = true)]
    pub error: Option<String>,
}

/// The fields of a new check.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the handler reads")]
pub(crate) struct CheckFields {
    /// Whether all contents are read and compared with their digests.
    #[schema(required = false, default = false)]
    deep: bool,
}

/// A pass of the scrub.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ScrubPass)]
pub struct ScrubPassShape {
    /// When it began.
    #[schema(format = DateTime, examples("2026-11-22T21:36:34.338973Z"))]
    pub started: String,
    /// When it had read everything; null while it runs.
    #[schema(required = true, format = DateTime, examples("2026-11-22T23:36:34.338973Z"))]
    pub finished: Option<String>,
    /// Contents that were read.
    pub contents: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Contents that were found damaged, those that were known to be included.
    pub damaged: u64,
}

impl From<ScrubPass> for ScrubPassShape {
    fn from(pass: ScrubPass) -> Self {
        let ScrubPass { started, finished, contents, bytes, damaged } = pass;
        Self { started: shown(started), finished: finished.map(shown), contents, bytes, damaged }
    }
}

/// What is known of the scrub.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Scrub)]
pub struct ScrubShape {
    /// Bytes a second that it may read; 0 if it begins no pass by itself.
    pub bytes_per_second: u64,
    /// The pass under way.
    #[schema(required = true)]
    pub pass: Option<ScrubPassShape>,
    /// How much of all contents that pass has read, from 0 to 1, about.
    pub share: f64,
    /// The last pass that came to its end.
    #[schema(required = true)]
    pub last: Option<ScrubPassShape>,
    /// When the next pass begins by itself.
    #[schema(required = true, format = DateTime, examples("2026-11-29T21:36:34.338973Z"))]
    pub next: Option<String>,
}

impl From<ScrubState> for ScrubShape {
    fn from(state: ScrubState) -> Self {
        let ScrubState { bytes_per_second, pass, share, last, next } = state;
        Self {
            bytes_per_second,
            pass: pass.map(ScrubPassShape::from),
            share,
            last: last.map(ScrubPassShape::from),
            next: next.map(shown),
        }
    }
}

/// A content that was found damaged.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Quarantined)]
pub struct QuarantinedShape {
    /// The content's handle.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub handle: String,
    /// Its length in bytes.
    pub length: u64,
    /// What is wrong with it.
    #[schema(examples("its bytes have another digest"))]
    pub fault: String,
    /// When that was found.
    #[schema(format = DateTime, examples("2026-11-22T21:36:34.338973Z"))]
    pub since: String,
    /// The first files that name it.
    pub files: Vec<HitShape>,
    /// How many files name it; of all contents here 100,000 are looked for.
    pub file_count: u64,
}

impl From<Quarantined> for QuarantinedShape {
    fn from(content: Quarantined) -> Self {
        let Quarantined { digest, length, fault, since, files, file_count } = content;
        Self {
            handle: digest.to_string(),
            length,
            fault: fault.text().to_owned(),
            since: shown(since),
            files: files.into_iter().map(HitShape::from).collect(),
            file_count,
        }
    }
}

fn shown(time: Timestamp) -> String {
    Time(time).to_string()
}

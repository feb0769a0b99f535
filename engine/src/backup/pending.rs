//! A backup that is being made: its state first, then the contents that are missing.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use super::Progress;
use super::directory::{BackupDirectory, INCOMING_STATE, STATES, packs, state_path};
use super::error::BackupError;
use super::frames::{FrameReader, Said};
use super::pack::{PACKS, Pack, PackWriter};
use super::state::{ContentRow, StateHeader};
use super::state_file::{StateFile, StateSummary};
use super::states::{States, UnreadableState};
use super::window::look;
use crate::blobs::byte_count;
use crate::disk::DiskFile;
use crate::limits::{BACKUP_WINDOW_CONTENTS, PACK_CONTENTS_MAX};
use crate::model::Digest;

/// Contents whose failure is told one by one; of the others only their number.
const FAILURES_TOLD_MAX: usize = 100;

/// A state on its way into a directory. All calls block.
#[derive(Debug)]
pub struct StateDownload {
    directory: BackupDirectory,
    file: Arc<dyn DiskFile>,
    path: String,
    length: u64,
}

impl StateDownload {
    pub(super) fn new(directory: BackupDirectory, file: Arc<dyn DiskFile>, path: String) -> Self {
        Self { directory, file, path, length: 0 }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let written = self.file.write_all_at(&[IoSlice::new(bytes)], self.length);
        written.map_err(BackupError::io(&self.path))?;
        self.length += byte_count(bytes.len());
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none so far.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Ends the state, checks it, and looks at what the directory has already.
    ///
    /// # Errors
    /// The state is not whole, the directory belongs to another store, or a pack is damaged.
    pub fn finish(self) -> Result<PendingBackup, BackupError> {
        self.file.sync_data().map_err(BackupError::io(&self.path))?;
        let directory = self.directory;
        let state = StateFile::open(&*directory.disk, INCOMING_STATE)?;
        let StateHeader::V1 { key, .. } = state.header();
        let States { readable, mut unreadable } = States::of(&*directory.disk)?;
        if let Some(newest) = readable.last() {
            let newest = StateFile::open_unchecked(&*directory.disk, &state_path(&newest.name))?;
            let StateHeader::V1 { key: earlier, .. } = newest.header();
            if earlier != key {
                return Err(BackupError::OtherStore { path: directory.disk.display() });
            }
        } else if let Some(state) = unreadable.pop() {
            // None says whose backups these are.
            return Err(state.error);
        }
        // An earlier run may have ended before the name of its last pack was durable, and what is copied
        // already is not copied again.
        let names = directory.disk.sync_dir(PACKS);
        names.map_err(BackupError::io(format!("{}/{PACKS}", directory.disk.display())))?;
        let packs = packs(&*directory.disk)?;
        let report = BackupReport {
            state: state.summary(""),
            copied: 0,
            copied_bytes: 0,
            failed: 0,
            failures: Vec::new(),
        };
        Ok(PendingBackup {
            directory,
            state,
            packs,
            unreadable,
            looked_at: 0,
            writer: None,
            batch: VecDeque::new(),
            frames: FrameReader::default(),
            report,
        })
    }
}

/// A content that a backup lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub digest: Digest,
    /// Bytes.
    pub length: u64,
}

/// What a backup came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// The state; its name is that of the backup.
    pub state: StateSummary,
    /// Contents that were copied.
    pub copied: u64,
    /// Bytes of these.
    pub copied_bytes: u64,
    /// Contents that the store could not give; a restore of this backup lacks them.
    pub failed: u64,
    /// The first of them, with the reasons.
    pub failures: Vec<(Digest, String)>,
}

/// A backup whose contents are being copied. All calls block.
///
/// Dropping it loses the pack under way; [`PendingBackup::give_up`] keeps it for the next attempt.
#[derive(Debug)]
pub struct PendingBackup {
    directory: BackupDirectory,
    state: StateFile,
    packs: Vec<Pack>,
    unreadable: Vec<UnreadableState>,
    /// Contents of the state that were looked at.
    looked_at: u64,
    writer: Option<PackWriter>,
    /// What is expected, the next one first.
    batch: VecDeque<Wanted>,
    frames: FrameReader,
    report: BackupReport,
}

impl PendingBackup {
    /// What is being backed up.
    pub fn summary(&self) -> &StateSummary {
        &self.report.state
    }

    /// Earlier backups in the directory that cannot be read.
    pub fn unreadable(&self) -> &[UnreadableState] {
        &self.unreadable
    }

    /// More contents that the directory lacks, in an order in which the store reads them well;
    /// `None` when there are no more. `progress` is told what need not be copied.
    ///
    /// # Errors
    /// A pack or the state cannot be read.
    pub fn next_missing(
        &mut self,
        progress: Progress<'_>,
    ) -> Result<Option<Vec<Wanted>>, BackupError> {
        while self.looked_at < self.state.contents() {
            let disk = &*self.directory.disk;
            let window = BACKUP_WINDOW_CONTENTS;
            let window = look(disk, &self.packs, &self.state, self.looked_at, window)?;
            self.looked_at += window.looked_at;
            progress(window.present.0, window.present.1);
            if window.looked_at == 0 {
                break;
            }
            let mut rows = window.missing;
            if !rows.is_empty() {
                rows.sort_unstable_by_key(|row| row.place);
                let wanted = |row: ContentRow| Wanted { digest: row.digest, length: row.length };
                return Ok(Some(rows.into_iter().map(wanted).collect()));
            }
        }
        Ok(None)
    }

    /// Says which contents come next. What had begun to come is forgotten.
    pub fn expect(&mut self, wanted: Vec<Wanted>) {
        self.batch = wanted.into();
        self.frames = FrameReader::default();
        if let Some(writer) = &mut self.writer {
            writer.forget_content();
        }
    }

    /// What of the expected has not come.
    pub fn outstanding(&self) -> Vec<Wanted> {
        self.batch.iter().copied().collect()
    }

    /// Takes the next bytes of what [`super::Backup::read`] gives for the expected contents.
    /// `progress` is told of what is dealt with.
    ///
    /// # Errors
    /// The directory cannot be written, or more came than was expected.
    pub fn receive(&mut self, piece: &[u8], progress: Progress<'_>) -> Result<(), BackupError> {
        let mut frames = std::mem::take(&mut self.frames);
        let read = frames.read(piece, |said| match said {
            Said::Bytes(bytes) => {
                progress(0, byte_count(bytes.len()));
                self.writer()?.append(bytes)
            }
            Said::End => {
                progress(1, 0);
                self.end_content()
            }
            Said::Failed(reason) => {
                progress(1, 0);
                let wanted = self.take_expected()?;
                self.writer()?.forget_content();
                self.note_failure(wanted.digest, reason);
                Ok(())
            }
        });
        self.frames = frames;
        read
    }

    fn writer(&mut self) -> Result<&mut PackWriter, BackupError> {
        match &mut self.writer {
            Some(writer) => Ok(writer),
            empty => Ok(empty.insert(PackWriter::create(&self.directory.disk)?)),
        }
    }

    fn take_expected(&mut self) -> Result<Wanted, BackupError> {
        self.batch.pop_front().ok_or_else(|| {
            BackupError::damaged(
                "what the store gave",
                "it holds more contents than were asked for",
            )
        })
    }

    fn end_content(&mut self) -> Result<(), BackupError> {
        let Wanted { digest, length } = self.take_expected()?;
        if self.writer()?.end_content(&digest, length) {
            self.report.copied += 1;
            self.report.copied_bytes += length;
        } else {
            self.note_failure(digest, "its bytes are not those of its digest".to_owned());
        }
        let pack_bytes = self.directory.pack_bytes;
        match self.writer.take_if(|writer| writer.is_full(pack_bytes, PACK_CONTENTS_MAX)) {
            Some(full) => full.seal().map(drop),
            None => Ok(()),
        }
    }

    fn note_failure(&mut self, digest: Digest, reason: String) {
        self.report.failed += 1;
        if self.report.failures.len() < FAILURES_TOLD_MAX {
            self.report.failures.push((digest, reason));
        }
    }

    /// Ends the backup under a name, which may hold letters, digits, `-` and `.`.
    ///
    /// # Durability
    /// When this returns the state and all its contents are on disk.
    ///
    /// # Errors
    /// The directory cannot be written; the backup is not there then.
    pub fn finish(mut self, name: &str) -> Result<BackupReport, BackupError> {
        let is_plain =
            |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '.';
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
            let reason = format!("{name:?} is no name of a backup");
            return Err(BackupError::damaged(self.state.path(), reason));
        }
        self.seal()?;
        let disk = &self.directory.disk;
        let path = state_path(name);
        let named = disk.rename(INCOMING_STATE, &path).and_then(|()| disk.sync_dir(STATES));
        named.map_err(BackupError::io(format!("{}/{path}", disk.display())))?;
        name.clone_into(&mut self.report.state.name);
        Ok(self.report)
    }

    /// Ends without a backup, and keeps what was copied for the next attempt.
    ///
    /// # Errors
    /// The directory cannot be written; what was copied since the last full pack is lost.
    pub fn give_up(mut self) -> Result<(), BackupError> {
        self.seal()
    }

    fn seal(&mut self) -> Result<(), BackupError> {
        match self.writer.take() {
            Some(writer) => writer.seal().map(drop),
            None => Ok(()),
        }
    }
}

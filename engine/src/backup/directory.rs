//! The directory that backups are made to.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::FORMAT_VERSION;
use super::error::BackupError;
use super::pack::{EXTENSION as PACK_EXTENSION, PACKS, Pack};
use super::pending::StateDownload;
use super::states::States;
use crate::blobs::remove_if_there;
use crate::disk::{Disk, OpenMode, RealDisk};
use crate::limits::PACK_BYTES;

/// File that says what the directory is.
const IDENTITY: &str = "granary-backup";

/// The same while it is written.
const IDENTITY_NEW: &str = "granary-backup.new";

/// Directory of the states.
pub(super) const STATES: &str = "states";

/// How the name of a state's file ends.
const STATE_EXTENSION: &str = ".state";

/// State whose contents are not all there.
pub(super) const INCOMING_STATE: &str = "states/incoming";

/// Files of others that may lie in a new directory, and our own of an interrupted beginning.
const HARMLESS: [&str; 3] = ["LOCK", "lost+found", IDENTITY_NEW];

/// A directory of backups, locked for adding one.
#[derive(Debug)]
pub struct BackupDirectory {
    pub(super) disk: Arc<dyn Disk>,
    /// Bytes at which a pack ends.
    pub(super) pack_bytes: u64,
    _lock: Box<dyn Debug + Send + Sync>,
}

impl BackupDirectory {
    /// Opens a directory of backups, or makes one of a directory that is absent or empty.
    ///
    /// # Errors
    /// It holds something else, another backup is being made to it, or it cannot be used.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let shown = path.display().to_string();
        expect_ours_or_empty(path, IDENTITY)?;
        let disk = RealDisk::new(path.to_owned()).map_err(BackupError::io(shown))?;
        Self::open_on(Arc::new(disk), PACK_BYTES)
    }

    /// As [`BackupDirectory::open`], on any disk and with packs of another size.
    pub(crate) fn open_on(disk: Arc<dyn Disk>, pack_bytes: u64) -> Result<Self, BackupError> {
        let path = disk.display();
        let lock = disk.lock().map_err(|source| {
            let path = path.clone();
            if source.kind() == io::ErrorKind::WouldBlock {
                BackupError::Locked { path }
            } else {
                BackupError::Io { path, source }
            }
        })?;
        let names = disk.list("").map_err(BackupError::io(&path))?;
        if names.iter().any(|name| name == IDENTITY) {
            check_identity(&*disk)?;
            // Whoever made it may have ended before this name was durable.
            disk.sync_dir("").map_err(BackupError::io(&path))?;
        } else {
            if let Some(foreign) = names.iter().find(|name| !HARMLESS.contains(&name.as_str())) {
                let reason = format!("it holds {foreign:?}");
                return Err(BackupError::NotABackup { path, reason });
            }
            make(&*disk).map_err(BackupError::io(&path))?;
        }
        Ok(Self { disk, pack_bytes, _lock: lock })
    }

    /// Begins a backup: takes the state that a store gives.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn begin(self) -> Result<StateDownload, BackupError> {
        let path = format!("{}/{INCOMING_STATE}", self.disk.display());
        let made = remove_if_there(&*self.disk, INCOMING_STATE)
            .and_then(|()| self.disk.open(INCOMING_STATE, OpenMode::CreateNew));
        let file = made.map_err(BackupError::io(&path))?;
        Ok(StateDownload::new(self, file, path))
    }

    /// The backups in a directory. Needs no lock and writes nothing.
    ///
    /// # Errors
    /// It is none, or cannot be read.
    pub fn states(path: &Path) -> Result<States, BackupError> {
        let shown = path.display().to_string();
        let disk = RealDisk::existing(path.to_owned()).map_err(BackupError::io(shown))?;
        States::of(&disk)
    }
}

/// Refuses a directory of the file system that holds anything without being `ours`.
pub(super) fn expect_ours_or_empty(path: &Path, ours: &str) -> Result<(), BackupError> {
    let shown = path.display().to_string();
    let entries = match path.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(BackupError::io(&shown))?,
    };
    let mut foreign = None;
    for entry in entries {
        let name = entry.map_err(BackupError::io(&shown))?.file_name();
        if name == ours {
            return Ok(());
        }
        if HARMLESS.iter().all(|harmless| name != **harmless) {
            foreign = Some(name.to_string_lossy().into_owned());
        }
    }
    match foreign {
        None => Ok(()),
        Some(found) if ours == IDENTITY => {
            let reason = format!("it holds {found:?}");
            Err(BackupError::NotABackup { path: shown, reason })
        }
        Some(found) => Err(BackupError::TargetNotEmpty { path: shown, found }),
    }
}

fn make(disk: &dyn Disk) -> io::Result<()> {
    disk.create_dir(STATES)?;
    disk.create_dir(PACKS)?;
    remove_if_there(disk, IDENTITY_NEW)?;
    let file = disk.open(IDENTITY_NEW, OpenMode::CreateNew)?;
    let text = format!("granary backup\nformat {FORMAT_VERSION}\n");
    file.write_all_at(&[IoSlice::new(text.as_bytes())], 0)?;
    file.sync_data()?;
    disk.sync_dir("")?;
    disk.rename(IDENTITY_NEW, IDENTITY)?;
    disk.sync_dir("")
}

/// Checks that a directory is one of ours, of a format that we know.
pub(super) fn check_identity(disk: &dyn Disk) -> Result<(), BackupError> {
    let path = disk.display();
    let no_backup =
        |reason: &str| BackupError::NotABackup { path: path.clone(), reason: reason.to_owned() };
    let file = match disk.open(IDENTITY, OpenMode::ReadOnly) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(no_backup(&format!("it has no file {IDENTITY:?}")));
        }
        file => file.map_err(BackupError::io(&path))?,
    };
    let length = file.len().map_err(BackupError::io(&path))?.min(4096);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).map_err(BackupError::io(&path))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let ours = lines.next() == Some("granary backup");
    let format = lines.next().and_then(|line| line.strip_prefix("format ")?.parse::<u32>().ok());
    match format.filter(|_| ours) {
        None => Err(no_backup(&format!("its file {IDENTITY:?} is not one of ours"))),
        Some(found) if found > FORMAT_VERSION => {
            Err(BackupError::NewerFormat { what: path, found, known: FORMAT_VERSION })
        }
        Some(_) => Ok(()),
    }
}

/// The path of a state by its name.
pub(super) fn state_path(name: &str) -> String {
    format!("{STATES}/{name}{STATE_EXTENSION}")
}

/// The name of a state by that of its file; `None` if it is another file.
pub(super) fn state_name(file: &str) -> Option<&str> {
    file.strip_suffix(STATE_EXTENSION)
}

/// All packs of a directory, their tables checked.
pub(super) fn packs(disk: &dyn Disk) -> Result<Vec<Pack>, BackupError> {
    pack_names(disk)?.iter().map(|name| Pack::open(disk, name)).collect()
}

/// The names of all packs of a directory.
pub(super) fn pack_names(disk: &dyn Disk) -> Result<Vec<String>, BackupError> {
    let shown = format!("{}/{PACKS}", disk.display());
    let mut names = disk.list(PACKS).map_err(BackupError::io(shown))?;
    names.retain(|name| name.ends_with(PACK_EXTENSION));
    names.sort_unstable();
    Ok(names)
}

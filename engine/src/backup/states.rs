//! The states of a backup directory: what each says of itself, and which cannot be read.

use std::fmt;

use super::directory::{STATES, check_identity, state_name, state_path};
use super::error::BackupError;
use super::state_file::{StateFile, StateSummary};
use crate::disk::{Disk, is_for_want_of_means};

/// The states of a backup directory. One that cannot be read keeps nobody from the others.
#[derive(Debug)]
pub struct States {
    /// Those that can be read, the newest last.
    pub readable: Vec<StateSummary>,
    /// The others.
    pub unreadable: Vec<UnreadableState>,
}

/// A state that cannot be read.
#[derive(Debug)]
pub struct UnreadableState {
    /// Name, by which it is chosen.
    pub name: String,
    /// Why.
    pub error: BackupError,
}

impl fmt::Display for UnreadableState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "backup {} cannot be read: {}", self.name, self.error)?;
        match std::error::Error::source(&self.error) {
            Some(cause) => write!(formatter, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl States {
    /// Looks at all of them; only their frames are checked.
    pub(super) fn of(disk: &dyn Disk) -> Result<Self, BackupError> {
        check_identity(disk)?;
        let shown = format!("{}/{STATES}", disk.display());
        let mut states = Self { readable: Vec::new(), unreadable: Vec::new() };
        for file in disk.list(STATES).map_err(BackupError::io(shown))? {
            let Some(name) = state_name(&file) else { continue };
            match StateFile::open_unchecked(disk, &state_path(name)) {
                Ok(state) => states.readable.push(state.summary(name)),
                // That says nothing of the state.
                Err(BackupError::Io { path, source }) if is_for_want_of_means(&source) => {
                    return Err(BackupError::Io { path, source });
                }
                Err(error) => {
                    states.unreadable.push(UnreadableState { name: name.to_owned(), error });
                }
            }
        }
        let age = |state: &StateSummary| (state.taken, state.sequence.0, state.name.clone());
        states.readable.sort_by_key(age);
        Ok(states)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.readable.iter().any(|state| state.name == name)
            || self.unreadable.iter().any(|state| state.name == name)
    }

    /// The newest one that can be read; if there are only others, what is wrong with one.
    pub(super) fn newest(mut self) -> Result<Option<StateSummary>, BackupError> {
        match (self.readable.pop(), self.unreadable.pop()) {
            (None, Some(unreadable)) => Err(unreadable.error),
            (newest, _) => Ok(newest),
        }
    }
}

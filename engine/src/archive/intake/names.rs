//! The names of an archive's files, as far as they are known: no two alike, none below another.

use std::collections::HashSet;

use crate::error::IntakeError;
use crate::model::Filename;

/// The names of files that came one by one.
#[derive(Debug, Default)]
pub(crate) struct Names(HashSet<Filename>);

impl Names {
    /// Refuses two files of one name and files below files, in names that are all there.
    pub(crate) fn check<'n>(
        names: impl Iterator<Item = &'n Filename> + Clone,
    ) -> Result<(), IntakeError> {
        let mut sorted: Vec<&str> = names.clone().map(Filename::as_str).collect();
        sorted.sort_unstable();
        let mut following = sorted.iter().skip(1);
        if let Some(twice) = sorted.iter().find(|name| following.next() == Some(name)) {
            return Err(IntakeError::DuplicateFilename { filename: (*twice).to_owned() });
        }
        for directory in names.flat_map(Filename::directories) {
            if sorted.binary_search(&directory).is_ok() {
                return Err(IntakeError::FileAndDirectory { filename: directory.to_owned() });
            }
        }
        Ok(())
    }

    /// Takes the next name.
    ///
    /// # Errors
    /// It was there before.
    pub(crate) fn add(&mut self, name: &Filename) -> Result<(), IntakeError> {
        if self.0.insert(name.clone()) {
            return Ok(());
        }
        Err(IntakeError::DuplicateFilename { filename: name.to_string() })
    }

    /// Refuses files below files, once all names have come.
    ///
    /// # Errors
    /// The file that is a directory too.
    pub(crate) fn finish(&self) -> Result<(), IntakeError> {
        let mut directories = self.0.iter().flat_map(Filename::directories);
        match directories.find(|directory| self.0.contains(*directory)) {
            None => Ok(()),
            Some(directory) => {
                Err(IntakeError::FileAndDirectory { filename: directory.to_owned() })
            }
        }
    }
}

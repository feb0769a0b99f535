//! The names of an archive's files, as far as they are known: no two alike, none below another.

use std::collections::HashSet;

use crate::error::IntakeError;
use crate::model::Filename;

/// The names of files that came one by one.
#[derive(Debug, Default)]
pub(crate) struct Names(HashSet<Filename>);

impl Names {
    /// Refuses two files of one name and files below files, in names that are all there.
    pub(crate) fn check<'n>(names: impl Iterator<Item = &'n Filename>) -> Result<(), IntakeError> {
        let mut sorted: Vec<&Filename> = names.collect();
        sorted.sort_unstable_by(|one, other| one.tree_order(other));
        // What lies below a file, or is it once more, comes right behind it.
        for (one, next) in sorted.iter().zip(sorted.iter().skip(1)) {
            if one == next {
                return Err(IntakeError::DuplicateFilename { filename: one.to_string() });
            }
            if next.is_below(one) {
                return Err(IntakeError::FileAndDirectory { filename: one.to_string() });
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
        Self::check(self.0.iter())
    }
}

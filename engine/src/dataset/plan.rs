//! Pure rules: what is committed, what is in flight and a request make a name or a refusal.

use std::ops::Bound;

use super::overlay::{Left, Overlay};
use crate::error::{MutationError, ReadError};
use crate::index::file_tree::Below;
use crate::limits::NUMBERS_TRIED_IN_ORDER;
use crate::model::{DatasetId, Digest, Filename, RequestedFilename};

/// What plans look at.
#[derive(Debug)]
pub(crate) struct View<'a, C> {
    pub(crate) dataset: DatasetId,
    pub(crate) committed: C,
    pub(crate) overlay: &'a Overlay,
}

/// The committed files of a dataset, as far as plans need them.
pub(crate) trait Committed {
    /// Content of a file.
    fn file(&self, name: &str) -> Result<Option<Digest>, ReadError>;

    /// The first file from `from` whose name starts with `prefix`.
    fn first_below(&self, prefix: &str, from: Bound<&str>) -> Result<Below, ReadError>;
}

/// Why there is no plan.
#[derive(Debug)]
pub(crate) enum NoPlan {
    /// The request is refused.
    Refused(MutationError),
    /// More rows must be visited than an actor's thread should wait for.
    TooLong,
}

impl<E: Into<MutationError>> From<E> for NoPlan {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl<C: Committed> View<'_, C> {
    fn file(&self, name: &str) -> Result<Option<Digest>, NoPlan> {
        match self.overlay.get(name) {
            Some(Left::File(digest)) => Ok(Some(digest)),
            Some(Left::Absent) => Ok(None),
            None => Ok(self.committed.file(name)?),
        }
    }

    fn has_directory(&self, directory: &str) -> Result<bool, NoPlan> {
        if self.overlay.has_directory(directory) {
            return Ok(true);
        }
        let prefix = format!("{directory}/");
        let mut next = self.committed.first_below(&prefix, Bound::Included(&prefix))?;
        loop {
            match next {
                Below::Nothing => return Ok(false),
                Below::Unknown => return Err(NoPlan::TooLong),
                Below::File(name) if self.overlay.get(&name) == Some(Left::Absent) => {
                    next = self.committed.first_below(&prefix, Bound::Excluded(&name))?;
                }
                Below::File(_) => return Ok(true),
            }
        }
    }
}

/// The name under which an upload may be added.
///
/// # Errors
/// The name is in use, is a directory, or lies below a file.
pub(crate) fn plan_add_file<C: Committed>(
    view: &View<'_, C>,
    requested: RequestedFilename,
) -> Result<Filename, NoPlan> {
    let filename = match requested {
        RequestedFilename::Named(filename) => {
            let taken = filename.to_string();
            if view.file(&taken)?.is_some() {
                return Err(MutationError::FilenameTaken { filename: taken }.into());
            }
            if view.has_directory(&taken)? {
                return Err(MutationError::FilenameIsDirectory { filename: taken }.into());
            }
            filename
        }
        RequestedFilename::Numbered(directory) => plan_number(view, &directory)?,
    };
    for directory in filename.directories() {
        if view.file(directory)?.is_some() {
            return Err(MutationError::DirectoryIsFile { filename: filename.to_string() }.into());
        }
    }
    Ok(filename)
}

/// The next free number in a directory: the lowest if it is among the first few, otherwise one
/// whose predecessor is in use, found in steps that double and then halve.
fn plan_number<C: Committed>(view: &View<'_, C>, directory: &Filename) -> Result<Filename, NoPlan> {
    let in_use = |number: u64| -> Result<bool, NoPlan> {
        let name = directory.numbered(number);
        Ok(view.file(name.as_str())?.is_some() || view.has_directory(name.as_str())?)
    };
    for number in 1..=NUMBERS_TRIED_IN_ORDER {
        if !in_use(number)? {
            return Ok(directory.numbered(number));
        }
    }
    let mut used = NUMBERS_TRIED_IN_ORDER;
    let mut free = used * 2;
    while in_use(free)? {
        used = free;
        free *= 2;
    }
    while free - used > 1 {
        let middle = used + (free - used) / 2;
        if in_use(middle)? {
            used = middle;
        } else {
            free = middle;
        }
    }
    Ok(directory.numbered(free))
}

/// The content that a change of an existing file expects.
///
/// # Errors
/// There is no such file.
pub(crate) fn plan_existing<C: Committed>(
    view: &View<'_, C>,
    filename: &str,
) -> Result<(Filename, Digest), NoPlan> {
    let found = match Filename::exact(filename) {
        Some(exact) => view.file(filename)?.map(|digest| (exact, digest)),
        None => None,
    };
    let not_found =
        || MutationError::FileNotFound { dataset: view.dataset, filename: filename.to_owned() };
    Ok(found.ok_or_else(not_found)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::in_flight::Settled;

    struct Map(BTreeMap<String, Digest>);

    impl Committed for Map {
        fn file(&self, name: &str) -> Result<Option<Digest>, ReadError> {
            Ok(self.0.get(name).copied())
        }

        fn first_below(&self, prefix: &str, from: Bound<&str>) -> Result<Below, ReadError> {
            let first = self.0.range::<str, _>((from, Bound::Unbounded)).next();
            let first = first.filter(|(name, _)| name.starts_with(prefix));
            Ok(first.map_or(Below::Nothing, |(name, _)| Below::File(name.clone())))
        }
    }

    fn committed(names: &[&str]) -> Map {
        Map(names.iter().map(|name| ((*name).to_owned(), Digest([0; 32]))).collect())
    }

    fn refused<T>(plan: Result<T, NoPlan>) -> Result<T, MutationError> {
        plan.map_err(|no_plan| match no_plan {
            NoPlan::Refused(refusal) => refusal,
            NoPlan::TooLong => panic!("nothing here is long"),
        })
    }

    fn add(names: &[&str], overlay: &Overlay, name: &str) -> Result<String, MutationError> {
        let view = View { dataset: DatasetId(1), committed: committed(names), overlay };
        let requested = RequestedFilename::parse(name).unwrap();
        refused(plan_add_file(&view, requested)).map(|filename| filename.to_string())
    }

    #[test]
    fn names_files_and_directories_exclude_each_other() {
        let none = Overlay::default();
        assert_eq!(add(&["a"], &none, "b").unwrap(), "b");
        let refusal = add(&["a"], &none, "a").unwrap_err();
        assert!(matches!(refusal, MutationError::FilenameTaken { .. }));
        let refusal = add(&["a/b/c"], &none, "a/b").unwrap_err();
        assert!(matches!(refusal, MutationError::FilenameIsDirectory { .. }));
        let refusal = add(&["a"], &none, "a/b/c").unwrap_err();
        assert!(matches!(refusal, MutationError::DirectoryIsFile { .. }));
        let refusal = add(&["a.txt"], &none, "a.txt/").unwrap_err();
        assert!(matches!(refusal, MutationError::DirectoryIsFile { .. }));
        assert_eq!(add(&["ab"], &none, "a/b").unwrap(), "a/b");
    }

    #[test]
    fn what_is_in_flight_counts_as_if_it_were_committed() {
        let mut overlay = Overlay::default();
        let content = Left::File(Digest([1; 32]));
        overlay.insert(Filename::exact("new").unwrap(), content, Settled::default());
        overlay.insert(Filename::exact("gone").unwrap(), Left::Absent, Settled::default());
        overlay.insert(Filename::exact("d/gone").unwrap(), Left::Absent, Settled::default());
        let names = ["gone", "d/gone"];
        assert!(add(&names, &overlay, "new").is_err());
        assert_eq!(add(&names, &overlay, "gone").unwrap(), "gone");
        assert_eq!(add(&names, &overlay, "d").unwrap(), "d");
        assert!(add(&names, &overlay, "new/below").is_err());
    }

    #[test]
    fn a_directory_gives_out_the_next_number() {
        let none = Overlay::default();
        assert_eq!(add(&[], &none, "sub/").unwrap(), "sub/1");
        assert_eq!(add(&["sub/1", "sub/3"], &none, "sub/").unwrap(), "sub/2");
        let names: Vec<String> = (1..=1000).map(|number| format!("sub/{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(add(&names, &none, "sub/").unwrap(), "sub/1001");
    }

    #[test]
    fn look_ups_want_the_exact_name() {
        let overlay = Overlay::default();
        let view =
            View { dataset: DatasetId(1), committed: committed(&["a/b"]), overlay: &overlay };
        assert!(plan_existing(&view, "a/b").is_ok());
        for name in ["a//b", "/a/b", "a", "a/b/"] {
            let refusal = refused(plan_existing(&view, name)).unwrap_err();
            assert!(matches!(refusal, MutationError::FileNotFound { .. }), "{name}");
        }
    }
}

//! Pure rules: what is committed, what is in flight and a request make a name or a refusal.

use std::ops::Bound;

use super::free_names::Above;
use super::overlay::{Left, Overlay};
use crate::error::{MutationError, ReadError};
use crate::index::file_tree::Below;
use crate::limits::NUMBERS_TRIED_IN_ORDER;
use crate::model::{DatasetId, Digest, FileCondition, Filename, RequestedFilename, UploadTerms};

/// What plans look at.
#[derive(Debug)]
pub(crate) struct View<'a, C> {
    pub(crate) dataset: DatasetId,
    pub(crate) committed: C,
    pub(crate) overlay: &'a Overlay,
    /// A file whose name the planned change frees.
    pub(crate) leaving: Option<&'a Filename>,
}

/// The committed files of a dataset, as far as plans need them.
pub(crate) trait Committed {
    /// Content of a file.
    fn file(&self, name: &str) -> Result<Option<Digest>, ReadError>;

    /// Whether a file may have this name or lie below it: where not, there is no need to look for either.
    fn is_near(&self, _name: &str) -> Result<bool, ReadError> {
        Ok(true)
    }

    /// The first file from `from` whose name starts with `prefix`.
    fn first_below(&self, prefix: &str, from: Bound<&str>) -> Result<Below, ReadError>;

    /// The nearest to the top of a name's directories that is a file, of those that have at least so many
    /// bytes.
    fn file_above<'n>(&self, name: &'n str, from: usize) -> Result<Above<'n>, ReadError>;
}

impl<C: Committed> Committed for &C {
    fn file(&self, name: &str) -> Result<Option<Digest>, ReadError> {
        C::file(self, name)
    }

    fn is_near(&self, name: &str) -> Result<bool, ReadError> {
        C::is_near(self, name)
    }

    fn first_below(&self, prefix: &str, from: Bound<&str>) -> Result<Below, ReadError> {
        C::first_below(self, prefix, from)
    }

    fn file_above<'n>(&self, name: &'n str, from: usize) -> Result<Above<'n>, ReadError> {
        C::file_above(self, name, from)
    }
}

/// Why there is no plan.
#[derive(Debug)]
pub(crate) enum NoPlan {
    /// The request is refused.
    Refused(MutationError),
    /// It would be refused, or allowed to share a name with a directory, for changes in flight, which
    /// nobody can see yet and which may still fail: to be planned again when they have settled.
    Unsettled,
    /// More rows must be visited than an actor's thread should wait for.
    TooLong,
}

impl<E: Into<MutationError>> From<E> for NoPlan {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl<C: Committed> View<'_, C> {
    /// Applies a rule to what is committed and what is in flight. What both together refuse is refused
    /// if what is committed does so by itself: whoever hears of it may look.
    pub(crate) fn apply<T>(
        self,
        rule: impl Fn(&View<'_, C>) -> Result<T, NoPlan>,
    ) -> Result<T, NoPlan> {
        let refused = match rule(&self) {
            Err(NoPlan::Refused(refusal)) if !self.overlay.is_empty() => refusal,
            outcome => return outcome,
        };
        match rule(&View { overlay: &Overlay::default(), ..self }) {
            Err(NoPlan::Refused(alone)) if is_same_kind(&alone, &refused) => {
                Err(NoPlan::Refused(refused))
            }
            Err(NoPlan::Refused(_) | NoPlan::TooLong | NoPlan::Unsettled) | Ok(_) => {
                Err(NoPlan::Unsettled)
            }
        }
    }

    fn is_leaving(&self, name: &str) -> bool {
        self.leaving.is_some_and(|leaving| leaving.as_str() == name)
    }

    /// What is planned, the change that is being planned included, of a name.
    fn left(&self, name: &str) -> Option<Left> {
        if self.is_leaving(name) { Some(Left::Absent) } else { self.overlay.get(name) }
    }

    fn file(&self, name: &str) -> Result<Option<Digest>, NoPlan> {
        match self.left(name) {
            Some(Left::File(digest)) => Ok(Some(digest)),
            Some(Left::Absent) => Ok(None),
            None => Ok(self.committed.file(name)?),
        }
    }

    /// Refuses a name that a file or a directory has. One look most often tells that neither is committed.
    fn expect_free(&self, filename: &Filename) -> Result<(), NoPlan> {
        let name = filename.as_str();
        let is_near = self.committed.is_near(name)?;
        let is_file = match self.left(name) {
            Some(Left::File(_)) => true,
            Some(Left::Absent) => false,
            None => is_near && self.committed.file(name)?.is_some(),
        };
        if is_file {
            return Err(MutationError::FilenameTaken { filename: filename.to_string() }.into());
        }
        let is_directory = if is_near {
            self.has_directory(name)?
        } else {
            self.overlay.has_directory(name, self.leaving)
        };
        if is_directory {
            return Err(
                MutationError::FilenameIsDirectory { filename: filename.to_string() }.into()
            );
        }
        Ok(())
    }

    fn has_directory(&self, directory: &str) -> Result<bool, NoPlan> {
        if self.overlay.has_directory(directory, self.leaving) {
            return Ok(true);
        }
        let prefix = format!("{directory}/");
        let mut next = self.committed.first_below(&prefix, Bound::Included(&prefix))?;
        loop {
            match next {
                Below::Nothing => return Ok(false),
                Below::Unknown => return Err(NoPlan::TooLong),
                Below::File(name)
                    if self.is_leaving(&name) || self.overlay.get(&name) == Some(Left::Absent) =>
                {
                    next = self.committed.first_below(&prefix, Bound::Excluded(&name))?;
                }
                Below::File(_) => return Ok(true),
            }
        }
    }

    fn is_below_file(&self, filename: &Filename) -> Result<bool, NoPlan> {
        let mut above = filename.directories();
        let is_file = |left: Option<Left>| matches!(left, Some(Left::File(_)));
        if above.any(|above| is_file(self.overlay.get(above)) && !self.is_leaving(above)) {
            return Ok(true);
        }
        let mut from = 0;
        loop {
            match self.committed.file_above(filename.as_str(), from)? {
                Above::Nothing => return Ok(false),
                Above::Unknown => return Err(NoPlan::TooLong),
                Above::File(directory)
                    if self.is_leaving(directory)
                        || self.overlay.get(directory) == Some(Left::Absent) =>
                {
                    from = directory.len() + 1;
                }
                Above::File(_) => return Ok(true),
            }
        }
    }
}

fn is_same_kind(one: &MutationError, other: &MutationError) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// The name under which an upload may be added.
///
/// # Errors
/// The name is in use, is a directory, or lies below a file.
pub(crate) fn plan_add_file<C: Committed>(
    view: &View<'_, C>,
    requested: &RequestedFilename,
) -> Result<Filename, NoPlan> {
    let filename = match requested {
        RequestedFilename::Named(filename) => {
            view.expect_free(filename)?;
            filename.clone()
        }
        RequestedFilename::Numbered(directory) => plan_number(view, directory)?,
    };
    if view.is_below_file(&filename)? {
        return Err(MutationError::DirectoryIsFile { filename: filename.to_string() }.into());
    }
    // Applying it looks at its own name alone.
    if view.overlay.frees_around(&filename) {
        return Err(NoPlan::Unsettled);
    }
    Ok(filename)
}

/// What an upload does under its name.
#[derive(Debug)]
pub(crate) enum PlannedUpload {
    /// It is added.
    Add(Filename),
    /// It takes the place of a file with this content.
    Replace { filename: Filename, expects: Digest },
}

/// What an upload that may replace a file, and may ask for something of it, does under its name.
///
/// # Errors
/// As for [`plan_add_file`], or what it asks for does not hold.
pub(crate) fn plan_upload<C: Committed>(
    view: &View<'_, C>,
    requested: &RequestedFilename,
    terms: &UploadTerms,
) -> Result<PlannedUpload, NoPlan> {
    if terms.is_plain() {
        return plan_add_file(view, requested).map(PlannedUpload::Add);
    }
    let current = match requested {
        RequestedFilename::Named(filename) => view.file(filename.as_str())?,
        RequestedFilename::Numbered(_) => None,
    };
    if !terms.condition.holds(current.as_ref()) {
        let (RequestedFilename::Named(filename) | RequestedFilename::Numbered(filename)) =
            requested;
        return Err(MutationError::ConditionFailed { filename: filename.to_string() }.into());
    }
    match (requested, current) {
        (RequestedFilename::Named(filename), Some(expects)) if terms.replaces => {
            Ok(PlannedUpload::Replace { filename: filename.clone(), expects })
        }
        (requested, _) => plan_add_file(view, requested).map(PlannedUpload::Add),
    }
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

/// As [`plan_existing`], if a condition holds of the file.
///
/// # Errors
/// There is no such file, or the condition does not hold.
pub(crate) fn plan_existing_if<C: Committed>(
    view: &View<'_, C>,
    filename: &str,
    condition: &FileCondition,
) -> Result<(Filename, Digest), NoPlan> {
    let (filename, digest) = plan_existing(view, filename)?;
    if condition.holds(Some(&digest)) {
        return Ok((filename, digest));
    }
    Err(MutationError::ConditionFailed { filename: filename.to_string() }.into())
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

/// A file's new name and what the change of its name expects.
#[derive(Debug)]
pub(crate) struct PlannedRename {
    pub(crate) from: Filename,
    pub(crate) to: Filename,
    pub(crate) expects: Digest,
}

/// The name that a file may get: one that could be added if the file were not there.
///
/// # Errors
/// There is no such file, or the name is its own, in use, a directory, or below a file.
pub(crate) fn plan_rename_file<C: Committed>(
    view: &View<'_, C>,
    from: &str,
    requested: &RequestedFilename,
) -> Result<PlannedRename, NoPlan> {
    let (from, expects) = plan_existing(view, from)?;
    let (dataset, overlay) = (view.dataset, view.overlay);
    let without = View { dataset, committed: &view.committed, overlay, leaving: Some(&from) };
    let to = plan_add_file(&without, requested)?;
    if to == from {
        return Err(MutationError::RenameToItself { filename: from.to_string() }.into());
    }
    Ok(PlannedRename { from, to, expects })
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

        fn file_above<'n>(&self, name: &'n str, from: usize) -> Result<Above<'n>, ReadError> {
            let slashes = name.match_indices('/').filter(|(at, _)| *at >= from);
            let file = slashes.map(|(at, _)| &name[..at]).find(|above| self.0.contains_key(*above));
            Ok(file.map_or(Above::Nothing, Above::File))
        }
    }

    fn committed(names: &[&str]) -> Map {
        Map(names.iter().map(|name| ((*name).to_owned(), Digest([0; 32]))).collect())
    }

    fn refused<T>(plan: Result<T, NoPlan>) -> Result<T, MutationError> {
        plan.map_err(|no_plan| match no_plan {
            NoPlan::Refused(refusal) => refusal,
            NoPlan::TooLong | NoPlan::Unsettled => panic!("nothing here is long or unsettled"),
        })
    }

    fn view<'a>(names: &[&str], overlay: &'a Overlay) -> View<'a, Map> {
        View { dataset: DatasetId(1), committed: committed(names), overlay, leaving: None }
    }

    fn rename(names: &[&str], from: &str, to: &str) -> Result<String, MutationError> {
        let requested = RequestedFilename::parse(to).unwrap();
        let overlay = Overlay::default();
        refused(plan_rename_file(&view(names, &overlay), from, &requested))
            .map(|planned| planned.to.to_string())
    }

    fn add(names: &[&str], overlay: &Overlay, name: &str) -> Result<String, MutationError> {
        let view = view(names, overlay);
        let requested = RequestedFilename::parse(name).unwrap();
        refused(plan_add_file(&view, &requested)).map(|filename| filename.to_string())
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
        assert!(add(&names, &overlay, "new/below").is_err());
    }

    #[test]
    fn a_file_takes_no_directorys_place_while_what_frees_it_may_fail() {
        let mut overlay = Overlay::default();
        let settled = Settled::default();
        for name in ["a", "d/x", "never/there"] {
            overlay.insert(Filename::exact(name).unwrap(), Left::Absent, settled.clone());
        }
        let add = |overlay: &Overlay, name: &str| {
            let requested = RequestedFilename::parse(name).unwrap();
            view(&["a", "d/x"], overlay).apply(|view| plan_add_file(view, &requested))
        };
        for name in ["a/b", "a/b/c", "a/", "d", "never"] {
            assert!(matches!(add(&overlay, name), Err(NoPlan::Unsettled)), "{name}");
        }
        for name in ["a", "d/x", "d/y", "ab", "e"] {
            assert_eq!(add(&overlay, name).unwrap().as_str(), name);
        }
        settled.settle();
        overlay.forget_settled();
        assert!(matches!(add(&overlay, "a/b"), Err(NoPlan::Refused(_))), "they were refused");
    }

    #[test]
    fn what_only_changes_in_flight_refuse_is_not_settled() {
        let content = Left::File(Digest([1; 32]));
        let mut overlay = Overlay::default();
        for (name, left) in [("new", content), ("gone", Left::Absent), ("d/x", content)] {
            overlay.insert(Filename::exact(name).unwrap(), left, Settled::default());
        }
        let names = ["there", "gone"];
        let add = |name: &str| {
            let requested = RequestedFilename::parse(name).unwrap();
            view(&names, &overlay).apply(|view| plan_add_file(view, &requested))
        };
        assert!(matches!(add("there"), Err(NoPlan::Refused(MutationError::FilenameTaken { .. }))));
        assert!(matches!(add("there/x"), Err(NoPlan::Refused(_))));
        for unsettled in ["new", "new/x", "d"] {
            assert!(matches!(add(unsettled), Err(NoPlan::Unsettled)), "{unsettled}");
        }
        assert_eq!(add("gone").unwrap().as_str(), "gone");
        let existing = |name: &str| view(&names, &overlay).apply(|view| plan_existing(view, name));
        assert!(existing("there").is_ok() && existing("new").is_ok());
        assert!(matches!(existing("gone"), Err(NoPlan::Unsettled)));
        assert!(matches!(existing("never"), Err(NoPlan::Refused(_))));
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
    fn a_file_that_gets_a_new_name_is_not_in_its_own_way() {
        assert_eq!(rename(&["a"], "a", "a/b").unwrap(), "a/b");
        assert_eq!(rename(&["a/b"], "a/b", "a").unwrap(), "a");
        assert_eq!(rename(&["a"], "a", "a/").unwrap(), "a/1");
        assert_eq!(rename(&["d/1", "d/2"], "d/2", "d/").unwrap_err().to_string(), itself("d/2"));
        assert_eq!(rename(&["a"], "a", "./x/../a").unwrap_err().to_string(), itself("a"));
        let refusal = rename(&["a/b", "a/c"], "a/b", "a").unwrap_err();
        assert!(matches!(refusal, MutationError::FilenameIsDirectory { .. }));
        let refusal = rename(&["a", "b"], "a", "b").unwrap_err();
        assert!(matches!(refusal, MutationError::FilenameTaken { .. }));
        let refusal = rename(&["a", "b"], "a", "b/c").unwrap_err();
        assert!(matches!(refusal, MutationError::DirectoryIsFile { .. }));
        let refusal = rename(&["a"], "b", "c").unwrap_err();
        assert!(matches!(refusal, MutationError::FileNotFound { .. }));
    }

    fn itself(name: &str) -> String {
        MutationError::RenameToItself { filename: name.into() }.to_string()
    }

    #[test]
    fn look_ups_want_the_exact_name() {
        let overlay = Overlay::default();
        let view = view(&["a/b"], &overlay);
        assert!(plan_existing(&view, "a/b").is_ok());
        for name in ["a//b", "/a/b", "a", "a/b/"] {
            let refusal = refused(plan_existing(&view, name)).unwrap_err();
            assert!(matches!(refusal, MutationError::FileNotFound { .. }), "{name}");
        }
    }
}

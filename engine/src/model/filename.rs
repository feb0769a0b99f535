//! Names of files: the wire's normalisation, in one type that no other code can make.
//!
//! The rules are those of the API: a name is read as a POSIX path, `.` and empty parts go, `..`
//! takes its parent with it, leading slashes are dropped; what then starts with `..` would leave
//! the dataset and is refused, and so is a name of which nothing is left. A slash at the end asks
//! the dataset for a number.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::FILENAME_BYTES_MAX;

/// A file's name in normal form: parts joined by `/`, none of them empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filename(Box<str>);

impl Filename {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Every directory that the name lies in, the nearest first, without the slash at its end.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        let slashes = self.0.rmatch_indices('/');
        slashes.filter_map(|(at, _)| self.0.get(..at))
    }

    /// The order in which what lies below a name follows it, with nothing between: that of the names with a
    /// slash at their end. In plain order `a-` lies between `a` and `a/b`.
    pub(crate) fn tree_order(&self, other: &Self) -> Ordering {
        let shared = self.0.len().min(other.0.len());
        let (start, rest) = self.0.as_bytes().split_at(shared);
        let (other_start, other_rest) = other.0.as_bytes().split_at(shared);
        let next = |rest: &[u8]| rest.first().copied().unwrap_or(b'/');
        start
            .cmp(other_start)
            .then_with(|| next(rest).cmp(&next(other_rest)))
            .then_with(|| rest.len().cmp(&other_rest.len()))
    }

    /// Whether it lies below another name.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The same name if it already is in normal form, which look-ups demand. It may be longer than
    /// what may be added: earlier versions lengthened names without a bound.
    pub fn exact(name: &str) -> Option<Self> {
        match RequestedFilename::of_any_length(name) {
            Ok(RequestedFilename::Named(filename)) if filename.as_str() == name => Some(filename),
            Ok(RequestedFilename::Named(_) | RequestedFilename::Numbered(_)) | Err(_) => None,
        }
    }

    /// The file called `number` in this directory.
    pub(crate) fn numbered(&self, number: u64) -> Self {
        Self(format!("{}/{number}", self.0).into())
    }

    /// The name with `-number`, four digits at least, before the last extension of its last part.
    ///
    /// A leading dot begins no extension: `.dot` becomes `.dot-0001`. What would be too long loses the
    /// end of what comes before the number.
    pub(crate) fn suffixed(&self, number: u64) -> Self {
        let number = format!("{number:04}");
        let (before, behind) = self.around_number(number.len());
        Self(format!("{before}-{number}{behind}").into())
    }

    /// What stands before and behind the number of so many digits that [`Filename::suffixed`] gives it.
    pub(crate) fn around_number(&self, digits: usize) -> (&str, &str) {
        let last_part_at = self.0.rfind('/').map_or(0, |slash| slash + 1);
        let dot = self.0.rfind('.').filter(|&dot| {
            let stem = self.0.get(last_part_at..dot).unwrap_or("");
            stem.bytes().any(|letter| letter != b'.')
        });
        let (base, extension) = self.0.split_at(dot.unwrap_or(self.0.len()));
        let suffix_bytes = "-".len() + digits;
        let room = FILENAME_BYTES_MAX.saturating_sub(suffix_bytes + extension.len());
        if room > 0 {
            return (base.get(..base.floor_char_boundary(room)).unwrap_or(base), extension);
        }
        // An extension that leaves no room is none.
        let end = self.0.floor_char_boundary(FILENAME_BYTES_MAX - suffix_bytes);
        (self.0.get(..end).unwrap_or_default(), "")
    }
}

impl fmt::Display for Filename {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Borrow<str> for Filename {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What an upload's name asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedFilename {
    /// This name.
    Named(Filename),
    /// The next free number in this directory: the request ended in a slash.
    Numbered(Filename),
}

/// Why a text is no file name; the wire's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilenameError {
    /// Nothing is left of the name.
    #[error("Must name a file (nothing is left after normalising)")]
    Empty,
    /// It ends in a slash, which asks for a number, where one name is wanted.
    #[error("Must name a file, not a directory (a slash is at its end)")]
    Directory,
    /// It would leave the dataset.
    #[error("Cannot extend beyond top-level directory (start with ..)")]
    BeyondTop,
    /// It holds a NUL.
    #[error("Null characters are not allowed")]
    Null,
    /// It is too long.
    #[error("Must be at most {FILENAME_BYTES_MAX} bytes long")]
    TooLong,
    /// It asks for a number, with which it would be too long.
    #[error("Must be at most {DIRECTORY_BYTES_MAX} bytes long where a number is added to it")]
    NoRoomForNumber,
}

/// Bytes of a directory's name that any number still fits behind.
const DIRECTORY_BYTES_MAX: usize = FILENAME_BYTES_MAX - "/18446744073709551615".len();

impl RequestedFilename {
    /// Normalises a name that was percent-decoded once.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn parse(name: &str) -> Result<Self, FilenameError> {
        if name.len() > FILENAME_BYTES_MAX {
            return Err(FilenameError::TooLong);
        }
        let requested = Self::of_any_length(name)?;
        if let Self::Numbered(directory) = &requested
            && directory.0.len() > DIRECTORY_BYTES_MAX
        {
            return Err(FilenameError::NoRoomForNumber);
        }
        Ok(requested)
    }

    fn of_any_length(name: &str) -> Result<Self, FilenameError> {
        if name.contains('\0') {
            return Err(FilenameError::Null);
        }
        let absolute = name.starts_with('/');
        let mut parts: Vec<&str> = Vec::new();
        for part in name.split('/') {
            match part {
                "" | "." => {}
                // At the root, `..` stays there, as in POSIX; a relative path keeps it.
                ".." if parts.last().is_none_or(|last| *last == "..") => {
                    if !absolute {
                        parts.push(part);
                    }
                }
                ".." => {
                    parts.pop();
                }
                _ => parts.push(part),
            }
        }
        let normal = parts.join("/");
        if normal.is_empty() {
            return Err(FilenameError::Empty);
        }
        if normal.starts_with("..") {
            return Err(FilenameError::BeyondTop);
        }
        let filename = Filename(normal.into());
        if name.ends_with('/') { Ok(Self::Numbered(filename)) } else { Ok(Self::Named(filename)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> String {
        match RequestedFilename::parse(name).unwrap() {
            RequestedFilename::Named(filename) => filename.to_string(),
            RequestedFilename::Numbered(directory) => panic!("asks for a number in {directory}"),
        }
    }

    #[test]
    fn names_are_normalised_as_posix_paths() {
        assert_eq!(named("a/../b"), "b");
        assert_eq!(named("./x"), "x");
        assert_eq!(named("a//b"), "a/b");
        assert_eq!(named("/abs"), "abs");
        assert_eq!(named("//../abs"), "abs");
        assert_eq!(named("a b+#?%;&'\"\\é"), "a b+#?%;&'\"\\é");
    }

    #[test]
    fn names_that_leave_the_dataset_are_refused() {
        for name in ["../x", "..foo", "...", "a/../../x", ".."] {
            assert_eq!(RequestedFilename::parse(name), Err(FilenameError::BeyondTop), "{name}");
        }
    }

    #[test]
    fn names_of_which_nothing_is_left_are_refused() {
        for name in ["", ".", "./", "/", "x/..", "x/../", "//"] {
            assert_eq!(RequestedFilename::parse(name), Err(FilenameError::Empty), "{name}");
        }
        assert_eq!(RequestedFilename::parse("a\0b"), Err(FilenameError::Null));
        let long = "x".repeat(FILENAME_BYTES_MAX + 1);
        assert_eq!(RequestedFilename::parse(&long), Err(FilenameError::TooLong));
    }

    #[test]
    fn a_slash_at_the_end_asks_for_a_number() {
        let RequestedFilename::Numbered(directory) = RequestedFilename::parse("a/./b//").unwrap()
        else {
            panic!("a number is asked for");
        };
        assert_eq!(directory.numbered(3).as_str(), "a/b/3");
    }

    #[test]
    fn look_ups_are_not_normalised() {
        assert!(Filename::exact("a/b").is_some());
        for name in ["a//b", "./a", "/a", "a/", ""] {
            assert!(Filename::exact(name).is_none(), "{name}");
        }
    }

    #[test]
    fn suffixes_go_before_the_last_extension() {
        let suffixed = |name: &str, number| Filename::exact(name).unwrap().suffixed(number);
        assert_eq!(suffixed("a.txt", 1).as_str(), "a-0001.txt");
        assert_eq!(suffixed("t.tar.gz", 1).as_str(), "t.tar-0001.gz");
        assert_eq!(suffixed(".dot", 2).as_str(), ".dot-0002");
        assert_eq!(suffixed("d.x/plain", 12345).as_str(), "d.x/plain-12345");
        assert_eq!(suffixed("d/.dot", 1).as_str(), "d/.dot-0001");
    }

    #[test]
    fn names_that_are_lengthened_keep_within_the_bound() {
        let long = |name: &str| Filename::exact(name).unwrap();
        let plain = "é".repeat(FILENAME_BYTES_MAX / 2);
        for (name, number, end) in [
            (plain.clone(), 1, "é-0001"),
            (format!("{}.tar.gz", "x".repeat(FILENAME_BYTES_MAX - 7)), 12, "-0012.gz"),
            (format!("a.{}", "b".repeat(FILENAME_BYTES_MAX - 2)), 1, "bb-0001"),
            (
                format!("{}/a", "d".repeat(FILENAME_BYTES_MAX - 2)),
                u64::MAX,
                "-18446744073709551615",
            ),
        ] {
            let suffixed = long(&name).suffixed(number);
            assert!(
                suffixed.as_str().len() <= FILENAME_BYTES_MAX && suffixed.as_str().ends_with(end)
            );
            assert_eq!(Filename::exact(suffixed.as_str()), Some(suffixed.clone()));
            assert!(RequestedFilename::parse(suffixed.as_str()).is_ok(), "{suffixed}");
        }
        let directory = "d".repeat(DIRECTORY_BYTES_MAX);
        let Ok(RequestedFilename::Numbered(fits)) =
            RequestedFilename::parse(&format!("{directory}/"))
        else {
            panic!("there is room");
        };
        assert_eq!(fits.numbered(u64::MAX).as_str().len(), FILENAME_BYTES_MAX);
        let refused = RequestedFilename::parse(&format!("{directory}d/"));
        assert_eq!(refused, Err(FilenameError::NoRoomForNumber));
        let from_before = format!("{plain}/1");
        assert!(Filename::exact(&from_before).is_some(), "it can be removed");
        assert_eq!(RequestedFilename::parse(&from_before), Err(FilenameError::TooLong));
    }

    #[test]
    fn what_lies_below_a_name_follows_it() {
        let mut names = ["b", "a/b", "a0", "a", "a-/c", "a/b/c", "a/b-", "a-"]
            .map(|name| Filename::exact(name).unwrap());
        names.sort_unstable_by(Filename::tree_order);
        let names = names.each_ref().map(Filename::as_str);
        assert_eq!(names, ["a-", "a-/c", "a", "a/b-", "a/b", "a/b/c", "a0", "b"]);
    }

    #[test]
    fn directories_come_nearest_first() {
        let filename = Filename::exact("a/b/c").unwrap();
        assert_eq!(filename.directories().collect::<Vec<_>>(), ["a/b", "a"]);
    }
}

//! Which files a command is about: globs that include and globs that exclude.
//!
//! A glob is compared with a file's name in the dataset, letter case counts. `*` and `?` stand for
//! anything but a slash, `**` for any folders, `[ab]` and `{one,two}` for one of these. A glob
//! without a slash is compared with the last part of the name, wherever it lies; one with a slash
//! with the whole name. A glob that a folder matches speaks of everything below it, and one that
//! ends in a slash of nothing else. A file is taken if some `--include` takes it, or there is none,
//! and no `--exclude` does.

use anyhow::{Context, ensure};
use clap::Args;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// The globs of a command line.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SelectionOptions {
    /// Only files that match: `*.jpg` anywhere, `/raw/**/*.jpg` from the top, `raw/` for a folder.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// No files that match, even if they are included.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
}

/// A predicate of names.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    included: Option<GlobSet>,
    excluded: GlobSet,
    /// Folders that are excluded whole, so that nobody need look into them.
    closed: GlobSet,
}

impl Selection {
    /// Reads the globs.
    ///
    /// # Errors
    /// One of them is none.
    pub(crate) fn new(options: &SelectionOptions) -> anyhow::Result<Self> {
        let (included, _) = sets(&options.include)?;
        let (excluded, closed) = sets(&options.exclude)?;
        let included = (!options.include.is_empty()).then_some(included);
        Ok(Self { included, excluded, closed })
    }

    /// The selection of these globs.
    #[cfg(test)]
    pub(crate) fn of(include: &[&str], exclude: &[&str]) -> Self {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect();
        let options = SelectionOptions { include: owned(include), exclude: owned(exclude) };
        Self::new(&options).unwrap()
    }

    /// Whether a file is taken.
    pub(crate) fn takes(&self, name: &str) -> bool {
        let included = self.included.as_ref().is_none_or(|included| included.is_match(name));
        included && !self.excluded.is_match(name)
    }

    /// Whether something below a folder may be taken.
    pub(crate) fn enters(&self, folder: &str) -> bool {
        !self.closed.is_match(folder)
    }

    /// Whether everything is taken.
    pub(crate) fn is_all(&self) -> bool {
        self.included.is_none() && self.excluded.is_empty()
    }
}

/// What matches files, and what matches folders that hold nothing else.
fn sets(globs: &[String]) -> anyhow::Result<(GlobSet, GlobSet)> {
    let (mut files, mut folders) = (GlobSetBuilder::new(), GlobSetBuilder::new());
    for text in globs {
        let path = text.trim_end_matches('/');
        let base = match path.strip_prefix('/') {
            Some(anchored) => anchored.to_owned(),
            None if path.contains('/') => path.to_owned(),
            None => format!("**/{path}"),
        };
        ensure!(!base.is_empty() && base != "**/", "the glob {text:?} is empty; write * for all");
        if path.len() == text.len() {
            files.add(glob(text, &base)?);
        }
        files.add(glob(text, &format!("{base}/**"))?);
        folders.add(glob(text, &base)?);
    }
    Ok((files.build()?, folders.build()?))
}

fn glob(text: &str, pattern: &str) -> anyhow::Result<Glob> {
    let built = GlobBuilder::new(pattern).literal_separator(true).build();
    built.with_context(|| {
        format!("{text:?} is no glob; put [ ] around letters that are meant as such")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of a few names are taken.
    fn taken(include: &[&str], exclude: &[&str]) -> Vec<&'static str> {
        let names = ["a.jpg", "a.txt", "d/b.jpg", "d/e/c.jpg", "e/.d/x", "ü/[1].JPG"];
        let selection = Selection::of(include, exclude);
        names.into_iter().filter(|name| selection.takes(name)).collect()
    }

    #[test]
    fn a_glob_without_a_slash_is_compared_with_the_last_part() {
        assert_eq!(taken(&["*.jpg"], &[]), ["a.jpg", "d/b.jpg", "d/e/c.jpg"]);
        assert_eq!(taken(&["[[]1].JPG"], &[]), ["ü/[1].JPG"]);
        assert_eq!(taken(&["?.{jpg,txt}"], &["a.*"]), ["d/b.jpg", "d/e/c.jpg"]);
    }

    #[test]
    fn a_glob_with_a_slash_is_compared_with_the_whole_name() {
        assert_eq!(taken(&["/*.jpg"], &[]), ["a.jpg"]);
        assert_eq!(taken(&["d/*.jpg"], &[]), ["d/b.jpg"]);
        assert_eq!(taken(&["d/**/*.jpg"], &[]), ["d/b.jpg", "d/e/c.jpg"]);
    }

    #[test]
    fn a_folder_speaks_of_everything_below_it() {
        assert_eq!(taken(&["e"], &[]), ["d/e/c.jpg", "e/.d/x"]);
        assert_eq!(taken(&["/e/"], &[]), ["e/.d/x"]);
        assert_eq!(taken(&["a.jpg/"], &[]), [""; 0]);
        assert_eq!(taken(&[], &["d/"]), ["a.jpg", "a.txt", "e/.d/x", "ü/[1].JPG"]);
    }

    #[test]
    fn an_excluded_folder_need_not_be_looked_into() {
        let selection = Selection::of(&["*.jpg"], &[".d", "/d/e/"]);
        assert!(!selection.enters("e/.d"));
        assert!(!selection.enters("d/e"));
        assert!(selection.enters("e"), "only the one at the top is closed");
        assert!(selection.enters("d"));
    }

    #[test]
    fn what_is_no_glob_is_refused_with_its_text() {
        for text in ["", "/", "a[", "{a"] {
            let include = vec![text.to_owned()];
            let refused = Selection::new(&SelectionOptions { include, exclude: vec![] });
            let error = format!("{:#}", refused.unwrap_err());
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}

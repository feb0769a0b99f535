//! How a dataset is named on the command line: `NAME`, `NAME@VERSION`, or its primary key.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use anyhow::Context;
use clap::Args;

use super::api::Dataset;
use super::client::Client;

/// A dataset as somebody names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DatasetName {
    /// The newest version of a name.
    Newest(String),
    /// A version of a name.
    Version(String, u64),
    /// By primary key: digits and nothing else.
    Key(u64),
}

impl FromStr for DatasetName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|letter| letter.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain)
        };
        if let Some(key) = number(text) {
            return Ok(Self::Key(key));
        }
        if let Some((name, version)) = text.rsplit_once('@')
            && let Some(version) = number(version)
            && !name.is_empty()
        {
            return Ok(Self::Version(name.to_owned(), version));
        }
        Ok(Self::Newest(text.to_owned()))
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest(name) => write!(formatter, "{name:?}"),
            Self::Version(name, version) => write!(formatter, "{name:?}, version {version},"),
            Self::Key(key) => write!(formatter, "with the primary key {key}"),
        }
    }
}

/// Where datasets are looked for that are named by name.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProjectOptions {
    /// Project of datasets that are given by name.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) project: String,
}

impl Client {
    /// The dataset of this name, which must be there.
    ///
    /// # Errors
    /// It is not, or any failure.
    pub(crate) async fn dataset(
        &self,
        options: &ProjectOptions,
        name: &DatasetName,
    ) -> anyhow::Result<Dataset> {
        let found = self.find_dataset(options, name).await?;
        let where_sought = match name {
            DatasetName::Key(_) => String::new(),
            DatasetName::Newest(_) | DatasetName::Version(..) => {
                format!(" in project {:?}", options.project)
            }
        };
        found.with_context(|| {
            format!(
                "there is no dataset {name}{where_sought} at {} that you may see; see what there \
                 is with: granary ls --url {}",
                self.url, self.url
            )
        })
    }

    /// The dataset of this name, if it is there.
    ///
    /// # Errors
    /// Any failure.
    pub(crate) async fn find_dataset(
        &self,
        options: &ProjectOptions,
        name: &DatasetName,
    ) -> anyhow::Result<Option<Dataset>> {
        let (text, version) = match name {
            DatasetName::Key(key) => return Ok(self.dataset_of_key(*key).await?),
            DatasetName::Newest(text) => (text, None),
            DatasetName::Version(text, version) => (text, Some(*version)),
        };
        let project = self.project(&options.project).await?;
        let mut versions = self.versions(&project, text).await?;
        versions.retain(|dataset| version.is_none_or(|version| dataset.version == version));
        Ok(versions.into_iter().max_by_key(|dataset| dataset.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_key_and_digits_after_the_last_at_are_a_version() {
        let named = |text: &str| text.parse::<DatasetName>().unwrap();
        let version = |name: &str, version| DatasetName::Version(name.to_owned(), version);
        assert_eq!(named("cats"), DatasetName::Newest("cats".to_owned()));
        assert_eq!(named("cats@3"), version("cats", 3));
        assert_eq!(named("7"), DatasetName::Key(7));
        assert_eq!(named("7@1"), version("7", 1));
        assert_eq!(named("a@b@2"), version("a@b", 2));
        for name in ["a@b", "a@", "@3", "+7", "a@+7", ""] {
            assert_eq!(named(name), DatasetName::Newest(name.to_owned()));
        }
    }
}

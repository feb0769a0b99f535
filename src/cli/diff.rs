//! `granary diff`: what tells two datasets, or two versions of one, apart.

use std::collections::VecDeque;

use clap::Args;
use serde_json::json;

use super::client::Client;
use super::dataset_name::{DatasetName, ProjectOptions};
use super::failure::Failure;
use super::listing::{Detail, Listing, RemoteFile};
use super::output::{Output, is_closed};
use super::style::{ADDED, CHANGED, Painted, REMOVED};
use super::{Ending, ServerOptions, shown};

/// Compare the files of two datasets, or of two versions of one.
///
/// Writes a line for each difference: `+ NAME` is only in B, `- NAME` only in A, `~ NAME` has other
/// content, `m NAME` the same content and other metadata. Ends with 0 if there is no difference, 1
/// if there is one, 2 if the two could not be compared.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// NAME (its newest version), NAME@VERSION or primary key.
    #[arg(value_name = "A")]
    old: DatasetName,
    /// The same.
    #[arg(value_name = "B")]
    new: DatasetName,
    #[command(flatten)]
    project: ProjectOptions,
    #[command(flatten)]
    server: ServerOptions,
    /// Leave metadata out of it.
    #[arg(long)]
    no_metadata: bool,
    /// Only end with the status that tells.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Write differences and the summary as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// A difference between two lists of files.
#[derive(Debug, PartialEq, Eq)]
enum Difference {
    Added(RemoteFile),
    Removed(RemoteFile),
    Changed(RemoteFile, RemoteFile),
    Metadata(RemoteFile, RemoteFile),
}

/// How many there are of each kind.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    added: u64,
    removed: u64,
    changed: u64,
    metadata: u64,
    same: u64,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let mut counts = Counts::default();
    match compare(&options, &mut counts).await {
        // Whoever read the list has had enough of it.
        Err(error) if is_closed(&error) => Ok(counts.ending()),
        ending => ending,
    }
}

async fn compare(options: &Options, counts: &mut Counts) -> anyhow::Result<Ending> {
    let client = Client::new(&options.server)?;
    let old = client.dataset(&options.project, &options.old).await?;
    let new = client.dataset(&options.project, &options.new).await?;
    let detail = if options.no_metadata { Detail::Plain } else { Detail::WithMetadata };
    let mut old = Side::new(Listing::new(&client, &old, detail));
    let mut new = Side::new(Listing::new(&client, &new, detail));
    let mut output = Output::new();
    loop {
        let difference = match next(&mut old, &mut new).await? {
            Step::End => break,
            Step::Same => {
                counts.same += 1;
                continue;
            }
            Step::Difference(difference) => difference,
        };
        counts.add(&difference);
        if options.quiet {
            return Ok(Ending::Different);
        }
        if options.json {
            output.line(difference.event())?;
        } else {
            output.line(difference.line())?;
        }
    }
    if options.json {
        output.line(counts.event())?;
    }
    output.flush()?;
    Ok(counts.ending())
}

impl Counts {
    fn add(&mut self, difference: &Difference) {
        let counter = match difference {
            Difference::Added(_) => &mut self.added,
            Difference::Removed(_) => &mut self.removed,
            Difference::Changed(..) => &mut self.changed,
            Difference::Metadata(..) => &mut self.metadata,
        };
        *counter += 1;
    }

    fn ending(&self) -> Ending {
        let different = self.added + self.removed + self.changed + self.metadata > 0;
        if different { Ending::Different } else { Ending::Complete }
    }

    fn event(&self) -> serde_json::Value {
        let Self { added, removed, changed, metadata, same } = *self;
        json!({
            "event": "summary",
            "added": added,
            "removed": removed,
            "changed": changed,
            "metadata": metadata,
            "same": same,
        })
    }
}

impl Difference {
    fn line(&self) -> String {
        let (style, sign, file) = match self {
            Self::Added(file) => (ADDED, '+', file),
            Self::Removed(file) => (REMOVED, '-', file),
            Self::Changed(_, file) => (CHANGED, '~', file),
            Self::Metadata(_, file) => (CHANGED, 'm', file),
        };
        Painted(style, format_args!("{sign} {}", shown(&file.name))).to_string()
    }

    fn event(&self) -> serde_json::Value {
        let (kind, name, old, new) = match self {
            Self::Added(file) => ("added", &file.name, None, Some(file)),
            Self::Removed(file) => ("removed", &file.name, Some(file), None),
            Self::Changed(old, new) => ("changed", &new.name, Some(old), Some(new)),
            Self::Metadata(old, new) => ("metadata", &new.name, Some(old), Some(new)),
        };
        let side = |file: Option<&RemoteFile>| {
            file.map(|file| {
                json!({
                    "handle": file.digest.to_string(),
                    "size": file.size,
                    "metadata": file.metadata,
                })
            })
        };
        json!({ "event": "file", "difference": kind, "name": name, "a": side(old), "b": side(new) })
    }
}

/// One of the two lists, with the page that is being compared.
struct Side<'a> {
    listing: Listing<'a>,
    page: VecDeque<RemoteFile>,
}

impl<'a> Side<'a> {
    fn new(listing: Listing<'a>) -> Self {
        Self { listing, page: VecDeque::new() }
    }

    /// Sees to it that there is a next file, unless the list is at its end.
    async fn fill(&mut self) -> Result<(), Failure> {
        if self.page.is_empty() {
            self.page = self.listing.next_page().await?.into();
        }
        Ok(())
    }
}

enum Step {
    Same,
    Difference(Box<Difference>),
    End,
}

/// Compares what comes next in two lists that are in order of name.
async fn next(old: &mut Side<'_>, new: &mut Side<'_>) -> Result<Step, Failure> {
    old.fill().await?;
    new.fill().await?;
    Ok(step(&mut old.page, &mut new.page))
}

fn step(old: &mut VecDeque<RemoteFile>, new: &mut VecDeque<RemoteFile>) -> Step {
    let order = match (old.front(), new.front()) {
        (None, None) => return Step::End,
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (Some(old), Some(new)) => old.name.cmp(&new.name),
    };
    let old = if order.is_le() { old.pop_front() } else { None };
    let new = if order.is_ge() { new.pop_front() } else { None };
    Step::Difference(Box::new(match (old, new) {
        (None, None) => return Step::End,
        (Some(old), None) => Difference::Removed(old),
        (None, Some(new)) => Difference::Added(new),
        (Some(old), Some(new)) if old.digest != new.digest => Difference::Changed(old, new),
        (Some(old), Some(new)) if old.metadata != new.metadata => Difference::Metadata(old, new),
        (Some(_), Some(_)) => return Step::Same,
    }))
}

#[cfg(test)]
mod tests {
    use granary_engine::model::Digest;

    use super::*;

    fn files(files: &[(&str, &str, &str)]) -> VecDeque<RemoteFile> {
        let file = |(name, content, metadata): &(&str, &str, &str)| RemoteFile {
            name: (*name).to_owned(),
            digest: Digest::of(content.as_bytes()),
            size: None,
            time: None,
            metadata: (*metadata).to_owned(),
        };
        files.iter().map(file).collect()
    }

    #[test]
    fn two_lists_are_compared_name_by_name() {
        let mut old = files(&[("a", "1", ""), ("b", "1", ""), ("c", "1", "x"), ("e", "1", "")]);
        let mut new = files(&[("a", "1", ""), ("b", "2", "y"), ("c", "1", "y"), ("d", "1", "")]);
        let mut lines = Vec::new();
        let mut same = 0;
        loop {
            match step(&mut old, &mut new) {
                Step::End => break,
                Step::Same => same += 1,
                Step::Difference(difference) => {
                    lines.push(anstream::adapter::strip_str(&difference.line()).to_string());
                }
            }
        }
        assert_eq!(lines, ["~ b", "m c", "+ d", "- e"]);
        assert_eq!(same, 1);
    }
}

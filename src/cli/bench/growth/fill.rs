//! A store with very many small files: tars of ten thousand, a dataset each.

use std::time::Duration;

use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use tokio::time::sleep;

use super::super::super::client::Client;
use super::super::super::complain;
use super::super::super::failure::Failure;
use super::super::numbers::{count, index};
use super::super::plan::stored_name;
use super::super::process::Processes;
use super::super::table::grouped;

/// Bytes of each file; no two have the same content.
pub(super) const FILE_BYTES: u64 = 64;

/// Files of a dataset, and of the one dataset that is all there is at the first step.
const FILES_EACH: u64 = 10_000;
const FILES_FIRST: u64 = 1_000;

/// How the names of the datasets begin.
const FIRST: &str = "granary-growth-first";
const MORE: &str = "granary-growth-more";

/// Datasets that are filled at once.
const FILLED_AT_ONCE: usize = 2;

/// Bytes of a tar's header, and what contents are filled up to.
const BLOCK_BYTES: usize = 512;

/// How often it is looked whether the server has settled, and how many times at most.
const LOOKS: (Duration, u32) = (Duration::from_millis(500), 600);

/// Datasets with as many files each, in order; file `number` is in the dataset `number / files_each`.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) datasets: Vec<u64>,
    pub(super) files_each: u64,
}

impl Filled {
    /// What there is of a store that was filled up to so many files.
    pub(super) async fn find(client: &Client, files: u64) -> anyhow::Result<Self> {
        let (prefix, files_each) =
            if files < FILES_EACH { (FIRST, FILES_FIRST) } else { (MORE, FILES_EACH) };
        let mut datasets = begun_with(client, prefix).await?;
        datasets.truncate(index(files / files_each));
        ensure!(!datasets.is_empty(), "nothing is stored");
        Ok(Self { datasets, files_each })
    }
}

async fn begun_with(client: &Client, prefix: &str) -> anyhow::Result<Vec<u64>> {
    let mut found = client.datasets().await?;
    found.retain(|dataset| dataset.name.starts_with(prefix));
    let mut keys: Vec<u64> = found.into_iter().map(|dataset| dataset.pk).collect();
    keys.sort_unstable();
    Ok(keys)
}

/// Files that are stored: those of the first step do not count where there are more.
pub(super) async fn stored(client: &Client) -> anyhow::Result<u64> {
    match stored_in(client, MORE, FILES_EACH).await? {
        0 => stored_in(client, FIRST, FILES_FIRST).await,
        more => Ok(more),
    }
}

/// Files in the datasets up to the first that is not full: all are made before any is filled, so an
/// interrupt leaves empty ones.
async fn stored_in(client: &Client, prefix: &str, files_each: u64) -> anyhow::Result<u64> {
    let mut files = 0;
    for dataset in begun_with(client, prefix).await? {
        if !is_filled(client, dataset, files).await? {
            // Hardly more than one behind it is full, as few are filled at once.
            break;
        }
        files += files_each;
    }
    Ok(files)
}

/// Adds files until there are so many, besides the few of the first step.
pub(super) async fn up_to(client: &Client, files: u64) -> anyhow::Result<()> {
    fill(client, FIRST, 1, FILES_FIRST).await?;
    fill(client, MORE, files / FILES_EACH, FILES_EACH).await
}

/// Sees to it that there are so many datasets, in the order of their keys, and that so many are full,
/// whatever an earlier run that was interrupted has left of them.
async fn fill(client: &Client, prefix: &str, wanted: u64, files_each: u64) -> anyhow::Result<()> {
    let mut datasets = begun_with(client, prefix).await?;
    let there = count(datasets.len());
    let missing = u32::try_from(wanted.saturating_sub(there))?;
    datasets.extend(client.make_datasets("default", &format!("{prefix}-{there}"), missing).await?);
    // An earlier run may have made more, for a later step.
    datasets.truncate(index(wanted));
    let mut empty = Vec::new();
    for (dataset, first) in datasets.into_iter().zip((0..).step_by(index(files_each))) {
        if !is_filled(client, dataset, first).await? {
            empty.push((dataset, first));
        }
    }
    if !empty.is_empty() {
        complain(format_args!("storing {} files", grouped(count(empty.len()) * files_each)));
    }
    let works = empty
        .into_iter()
        .map(|(dataset, first)| async move { add(client, dataset, tar(first, files_each)).await });
    stream::iter(works).buffer_unordered(FILLED_AT_ONCE).try_collect().await
}

/// Whether a dataset has the files from this number on; it has all of them or none.
async fn is_filled(client: &Client, dataset: u64, first: u64) -> anyhow::Result<bool> {
    let address = client.url.action(&format!("datasets/{dataset}/files/{}", stored_name(first)));
    match client.send(client.http.get(address)).await {
        Ok(_) => Ok(true),
        Err(Failure::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

async fn add(client: &Client, dataset: u64, tar: Vec<u8>) -> anyhow::Result<()> {
    let address = client.url.action(&format!("datasets/{dataset}/files-multi"));
    let request = client.http.post(address).header(CONTENT_TYPE, "application/x-tar").body(tar);
    // The names of all the files, of which nobody here wants to know.
    client.send(request).await?.bytes().await?;
    Ok(())
}

/// A tar of files with the names that the plan of a load gives to stored ones.
fn tar(first: u64, files: u64) -> Vec<u8> {
    let mut tar = Vec::with_capacity(index(files + 2) * 2 * BLOCK_BYTES);
    for number in first..first + files {
        let name = stored_name(number);
        tar.extend(header(&name, FILE_BYTES));
        let content = format!("{number:>width$}", width = index(FILE_BYTES));
        tar.extend(content.as_bytes());
        tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    tar.resize(tar.len() + 2 * BLOCK_BYTES, 0);
    tar
}

/// A header of the format `ustar` (POSIX.1-1988): texts at fixed places, numbers in octal.
fn header(name: &str, bytes: u64) -> [u8; BLOCK_BYTES] {
    let mut header = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &str| {
        for (place, byte) in header.iter_mut().skip(at).zip(text.bytes()) {
            *place = byte;
        }
    };
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{bytes:011o}"));
    put(136, "00000000000");
    // The sum counts its own place as blanks.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    for (place, byte) in header.iter_mut().skip(148).zip(text.bytes()) {
        *place = byte;
    }
    header
}

/// Waits until the server has done what it does in the background, or for five minutes.
pub(super) async fn settled(processes: &Processes) {
    let mut quiet = 0;
    let mut before = Duration::ZERO;
    for _ in 0..LOOKS.1 {
        sleep(LOOKS.0).await;
        let now = processes.usage().map_or(Duration::ZERO, |usage| usage.processor);
        quiet = if now.saturating_sub(before) < LOOKS.0 / 25 { quiet + 1 } else { 0 };
        before = now;
        if quiet >= 4 {
            return;
        }
    }
    complain("the server is still at work in the background; the figures tell of that too");
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_tar_holds_files_that_differ_under_the_names_of_stored_ones() {
        let bytes = tar(7, 3);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            assert_eq!(count(content.len()), FILE_BYTES);
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            found.push((name, content.trim().to_owned()));
        }
        let wanted = [7, 8, 9].map(|number| (stored_name(number), number.to_string()));
        assert_eq!(found, wanted);
    }
}

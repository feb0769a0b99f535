//! Which files name a content: what its users lose with it.

use std::collections::{BTreeMap, BTreeSet};

use redb::ReadableTable;

use super::datasets::hit;
use super::findings::{Findings, Hit};
use super::{CheckProgress, Halt};
use crate::error::ReadError;
use crate::index::rows::FileRow;
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::limits::{CHECK_HITS_MAX, CHECK_HITS_TOLD_MAX};
use crate::model::Digest;

/// The files that name a content.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Hits {
    /// The first ones.
    pub(crate) told: Vec<Hit>,
    /// How many there are, counted up to a bound.
    pub(crate) count: u64,
}

/// Adds to findings of contents the files that they hit.
pub(super) fn name_hits(
    snapshot: &Snapshot,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let damaged: BTreeSet<Digest> =
        findings.list_mut().iter().filter_map(|finding| finding.content).collect();
    let (mut hits, is_cut) = files_of(snapshot, &damaged, || progress.advance(0))?;
    for finding in findings.list_mut() {
        let Some(digest) = finding.content else { continue };
        finding.hits_cut = is_cut;
        if let Some(Hits { told, count }) = hits.remove(&digest) {
            (finding.hits, finding.hit_count) = (told, count);
        }
    }
    Ok(())
}

/// The files that name these contents, and whether there were too many rows of these to follow all, so that
/// any of them may have more. Visits all rows of files if there are any contents; asks before each whether it is
/// to go on.
pub(crate) fn files_of<E: From<ReadError>>(
    snapshot: &Snapshot,
    contents: &BTreeSet<Digest>,
    go_on: impl Fn() -> Result<(), E>,
) -> Result<(BTreeMap<Digest, Hits>, bool), E> {
    follow(snapshot, contents, CHECK_HITS_MAX, go_on)
}

fn follow<E: From<ReadError>>(
    snapshot: &Snapshot,
    contents: &BTreeSet<Digest>,
    rows_max: usize,
    go_on: impl Fn() -> Result<(), E>,
) -> Result<(BTreeMap<Digest, Hits>, bool), E> {
    let mut hits: BTreeMap<Digest, Hits> = BTreeMap::new();
    if contents.is_empty() {
        return Ok((hits, false));
    }
    let (rows, is_cut) = rows_of(snapshot, contents, rows_max, &go_on)?;
    for dataset in snapshot.datasets()? {
        let dataset = dataset?;
        for entry in &dataset.stack {
            for (name, digest) in rows.get(&entry.layer.0).into_iter().flatten() {
                go_on()?;
                let shown = snapshot.file(&dataset, name)?;
                if shown.is_none_or(|record| record.digest != *digest) {
                    continue;
                }
                let hits = hits.entry(*digest).or_default();
                hits.count += 1;
                if hits.told.len() < CHECK_HITS_TOLD_MAX {
                    hits.told.push(hit(&dataset, Some(name.clone())));
                }
            }
        }
    }
    Ok((hits, is_cut))
}

/// Layer to the names in it that stand for one of the contents.
type Rows = BTreeMap<u64, Vec<(String, Digest)>>;

fn rows_of<E: From<ReadError>>(
    snapshot: &Snapshot,
    contents: &BTreeSet<Digest>,
    rows_max: usize,
    go_on: impl Fn() -> Result<(), E>,
) -> Result<(Rows, bool), E> {
    let failed = |error| ReadError::from(IndexError::from(error));
    let (mut rows, mut count) = (Rows::new(), 0);
    let table = snapshot.table(tables::FILES).map_err(ReadError::from)?;
    for entry in table.iter().map_err(failed)? {
        go_on()?;
        let (key, row) = entry.map_err(failed)?;
        let Ok(FileRow::File(record)) = FileRow::decode(row.value()) else { continue };
        if contents.contains(&record.digest) {
            if count >= rows_max {
                return Ok((rows, true));
            }
            let (layer, name) = key.value();
            rows.entry(layer).or_default().push((name.to_owned(), record.digest));
            count += 1;
        }
    }
    Ok((rows, false))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::bulk::rig::{attach, run};

    #[test]
    fn where_too_many_rows_are_hit_it_says_so_and_a_stop_is_heeded_on_the_way() {
        run(async |engine, dataset| {
            attach(engine, dataset, "one", (0..9).map(|number| format!("a/{number}"))).await;
            let snapshot = engine.snapshot().unwrap();
            let [one, two] = ["one", "two"].map(|content| Digest::of(content.as_bytes()));
            let both = BTreeSet::from([one, two]);
            let go_on = || Ok::<_, ReadError>(());
            // Those of the other one come behind them.
            let (hits, is_cut) = follow(&snapshot, &both, 10, go_on).unwrap();
            assert_eq!((hits[&one].count, hits.get(&two), is_cut), (10, None, true));
            let (hits, is_cut) = follow(&snapshot, &both, 11, go_on).unwrap();
            assert_eq!((hits[&one].count, hits[&two].count, is_cut), (10, 1, false));

            // While rows are looked for, and while they are followed.
            for asked_max in [5, 15] {
                let asked = Cell::new(0);
                let stopping = || {
                    asked.set(asked.get() + 1);
                    if asked.get() < asked_max { Ok(()) } else { Err(Halt::Stopped) }
                };
                let stopped = follow(&snapshot, &both, 11, stopping);
                assert!(matches!(stopped, Err(Halt::Stopped)));
                assert_eq!(asked.get(), asked_max);
            }
        });
    }
}

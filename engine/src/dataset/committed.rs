//! A dataset's committed files, as plans look at them.

use std::ops::Bound;

use super::free_names::{Above, FreeNames};
use super::overlay::Overlay;
use super::plan::{Committed, NoPlan, View};
use crate::error::{MutationError, ReadError};
use crate::index::file_tree::{Below, Looks};
use crate::index::snapshot::Snapshot;
use crate::model::{Dataset, Digest, Filename};

/// The files of one dataset in one state.
#[derive(Debug)]
pub(crate) struct CommittedFiles<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) header: &'a Dataset,
    /// Rows that the plan may still look for.
    pub(crate) looks: Looks,
}

impl Committed for CommittedFiles<'_> {
    fn file(&self, name: &str) -> Result<Option<Digest>, ReadError> {
        Ok(self.snapshot.file(self.header, name)?.map(|record| record.digest))
    }

    fn is_near(&self, name: &str) -> Result<bool, ReadError> {
        Ok(self.snapshot.tree(self.header)?.has_row_near(name)?)
    }

    fn first_below(&self, prefix: &str, from: Bound<&str>) -> Result<Below, ReadError> {
        Ok(self.snapshot.tree(self.header)?.first_below(prefix, from, &self.looks)?)
    }

    fn file_above<'n>(&self, name: &'n str, from: usize) -> Result<Above<'n>, ReadError> {
        let mut names = FreeNames::of(self.snapshot.tree(self.header)?);
        Ok(names.file_above(name, from, &self.looks)?)
    }
}

/// Runs a rule on a dataset that has nothing in flight, however much it must visit. For the
/// blocking pool.
///
/// # Errors
/// The rule's refusal.
pub(crate) fn plan_settled<T>(
    snapshot: &Snapshot,
    header: &Dataset,
    rule: impl FnOnce(&View<'_, CommittedFiles<'_>>) -> Result<T, NoPlan>,
) -> Result<T, MutationError> {
    let overlay = Overlay::default();
    let committed = CommittedFiles { snapshot, header, looks: Looks::any_number() };
    let view = View { dataset: header.id, committed, overlay: &overlay, leaving: None };
    rule(&view).map_err(|no_plan| match no_plan {
        NoPlan::Refused(refusal) => refusal,
        // Neither can be: nothing bounds the look, and nothing is in flight.
        NoPlan::TooLong | NoPlan::Unsettled => {
            MutationError::Busy { what: "the dataset", waiting: usize::MAX }
        }
    })
}

/// Whether all these names may be added to a dataset that has nothing in flight.
///
/// # Errors
/// One that may not.
pub(crate) fn plan_free_names(
    snapshot: &Snapshot,
    header: &Dataset,
    names: &[&Filename],
) -> Result<(), MutationError> {
    let mut free = FreeNames::of(snapshot.tree(header).map_err(ReadError::from)?);
    let mut names = names.to_vec();
    names.sort_unstable_by(|one, other| one.tree_order(other));
    for name in names {
        free.look(name).map_err(ReadError::from)?.expect_free(name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan_add_file;
    use super::*;
    use crate::bulk::FileSelection;
    use crate::bulk::rig::{attach, run};
    use crate::engine::Engine;
    use crate::index::file_tree::visits;
    use crate::model::{DatasetId, RequestedFilename};

    /// Plans a new file as an actor does, with so many looks; gives the rows that it looked for.
    fn plan(
        engine: &Engine,
        dataset: DatasetId,
        name: &str,
        looks: usize,
    ) -> (Result<Filename, NoPlan>, u64) {
        let snapshot = engine.snapshot().unwrap();
        let header = snapshot.dataset(dataset).unwrap().unwrap();
        let looks = Looks::at_most(looks);
        let committed = CommittedFiles { snapshot: &snapshot, header: &header, looks };
        let overlay = Overlay::default();
        let view = View { dataset, committed, overlay: &overlay, leaving: None };
        let requested = RequestedFilename::parse(name).unwrap();
        visits::during(|| plan_add_file(&view, &requested))
    }

    #[test]
    fn a_deep_name_costs_a_plan_what_lies_on_its_way() {
        run(async |engine, dataset| {
            let deep = "a/".repeat(2040);
            // A row for each of some directories, and in between.
            let beside = (1..30).map(|depth| format!("{}!", &deep[..2 * depth]));
            attach(engine, dataset, "one", beside).await;
            let (planned, visits) = plan(engine, dataset, &format!("{deep}f"), 1000);
            assert_eq!(planned.unwrap().as_str(), format!("{deep}f"));
            assert!(visits < 100, "{visits}");
            let (planned, _) = plan(engine, dataset, &format!("{deep}f"), 20);
            assert!(matches!(planned, Err(NoPlan::TooLong)));
            attach(engine, dataset, "one", [deep[..1999].to_owned()].into_iter()).await;
            let (planned, visits) = plan(engine, dataset, &format!("{deep}f"), 1000);
            let refused = MutationError::DirectoryIsFile { filename: format!("{deep}f") };
            let NoPlan::Refused(refusal) = planned.unwrap_err() else { panic!("it is refused") };
            assert_eq!(refusal.to_string(), refused.to_string());
            assert!(visits < 100, "{visits}");
        });
    }

    #[test]
    fn a_name_that_nothing_is_near_costs_a_plan_one_row() {
        run(async |engine, dataset| {
            let names = ["a-", "a.b", "a/b", "a0", "ab", "c"];
            attach(engine, dataset, "one", names.map(str::to_owned).into_iter()).await;
            let (planned, visits) = plan(engine, dataset, "b", 1000);
            assert_eq!((planned.unwrap().as_str(), visits), ("b", 1));
            let copied = engine.copy_dataset(dataset, None, None, None).await.unwrap().id;
            let gone = FileSelection::Prefix("a/".to_owned());
            assert_eq!(engine.delete_files(copied, gone).await.unwrap(), 1);

            for name in ["A", "a.", "a1", "b", "d", "a/c", "a/b-", "c-"] {
                for dataset in [dataset, copied] {
                    assert_eq!(plan(engine, dataset, name, 1000).0.unwrap().as_str(), name);
                }
            }
            let refusal = |dataset, name| match plan(engine, dataset, name, 1000).0 {
                Err(NoPlan::Refused(refusal)) => refusal,
                planned => panic!("{name} is refused: {planned:?}"),
            };
            for name in names.iter().filter(|name| !name.ends_with("/b")) {
                let taken = refusal(copied, *name);
                assert!(!matches!(taken, MutationError::DirectoryIsFile { .. }), "{name}");
            }
            let is_directory = refusal(dataset, "a");
            assert!(matches!(is_directory, MutationError::FilenameIsDirectory { .. }));
            for free in ["a", "a/b"] {
                assert_eq!(plan(engine, copied, free, 1000).0.unwrap().as_str(), free);
            }
        });
    }

    #[test]
    fn all_numbers_that_a_plan_tries_share_its_looks() {
        run(async |engine, dataset| {
            let gone = |number: u64| (0..200).map(move |file| format!("d/{number}/gone/{file}"));
            attach(engine, dataset, "one", (1..=10).flat_map(gone)).await;
            attach(engine, dataset, "one", (1..=10).map(|number| format!("d/{number}/z"))).await;
            // So many that what is hidden is not worth folding meanwhile.
            attach(engine, dataset, "one", (0..10_000).map(|file| format!("e/{file}"))).await;
            let copied = engine.copy_dataset(dataset, None, None, None).await.unwrap().id;
            for number in 1..=10 {
                let below = FileSelection::Prefix(format!("d/{number}/gone/"));
                assert_eq!(engine.delete_files(copied, below).await.unwrap(), 200);
            }
            let (planned, visits) = plan(engine, copied, "d/", 1024);
            assert!(matches!(planned, Err(NoPlan::TooLong)), "{planned:?} after {visits}");
            let (planned, _) = plan(engine, copied, "d/", usize::MAX);
            assert_eq!(planned.unwrap().as_str(), "d/11");
        });
    }
}

//! The seeds of the fuzz targets through the targets' own functions: they keep the promises that the
//! targets hold them to, and the targets keep working.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../../../fuzz/src/codec.rs"]
mod codec;

#[path = "../../../fuzz/src/filename.rs"]
mod filename;

#[path = "../../../fuzz/src/intake.rs"]
mod intake;

#[path = "../../../fuzz/src/journal.rs"]
mod journal;

#[path = "../../../fuzz/src/operations.rs"]
mod operations;

fn replay(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(seeds).unwrap().map(|seed| seed.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    for seed in seeds {
        let bytes = fs::read(&seed).unwrap();
        let kept = catch_unwind(AssertUnwindSafe(|| run(&bytes)));
        assert!(kept.is_ok(), "{} breaks a promise, see above", seed.display());
    }
}

#[test]
fn values_read_the_same_after_they_were_written_again() {
    replay("codec", codec::run);
}

#[test]
fn names_are_normal_after_one_normalisation_and_lead_nowhere_above() {
    replay("filename", filename::run);
}

#[test]
fn archives_are_refused_or_keep_the_rules_of_names() {
    replay("intake", intake::run);
}

#[test]
fn altered_journals_are_refused_unchanged_or_give_what_was_written() {
    replay("journal", journal::run);
}

#[test]
fn sequences_of_operations_do_what_plain_maps_do() {
    replay("operations", operations::run);
}

//! As the engine's tests of the same name, for the targets that send requests.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../../fuzz/src/filter.rs"]
mod filter;

#[path = "../../fuzz/src/upload.rs"]
mod upload;

fn replay(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
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
fn filters_are_refused_or_give_pages_and_inverses_that_fit() {
    replay("filter", filter::run);
}

#[test]
fn uploads_are_refused_or_show() {
    replay("upload", upload::run);
}

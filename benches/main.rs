//! What the engine costs, each figure beside a floor in the same run: what the machine sets, or for copies,
//! archives on their way in and first bytes what the engine itself does with less.
//!
//! One binary, so that the engine is linked once: `cargo bench --bench engine`, with a part of an
//! id to run some of it (`-- commit/`). A module for each capability opens with its question.
//! `BENCHMARKS.md` has the figures and says how to read them.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing to say")]

mod archive;

mod commit;

mod copy;

mod ingest;

mod intake;

mod list;

mod merge;

mod open;

mod read;

mod support;

use std::rc::Rc;

use criterion::Criterion;
use mimalloc::MiMalloc;

/// That of the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

use crate::support::million::{LazyMillion, Million};

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    commit::bench(&mut criterion);
    ingest::bench(&mut criterion);
    read::bench(&mut criterion);
    list::bench(&mut criterion);
    archive::bench(&mut criterion);
    intake::bench(&mut criterion);
    merge::bench(&mut criterion);
    let million = Rc::new(LazyMillion::new(Million::fill));
    copy::bench(&mut criterion, &million);
    open::bench(&mut criterion, &million);
    criterion.final_summary();
}

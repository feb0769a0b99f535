//! What must hold whichever thread runs on: the engine's own concurrency under shuttle, which takes
//! the place of its locks, channels, atomics and threads (`sync.rs`) and decides at each of them
//! who goes on. The code is the engine's own, with a simulated disk under it; actix alone is
//! replaced, by threads that read a channel.
//!
//! `cargo test -p granary-engine --lib --features interleavings interleavings::` runs each test
//! under 2,000 schedules, half of them random and half with few changes of who goes first.
//! Atomics are taken as sequentially consistent: what a weaker order would let happen is not tried.
//! `GRANARY_SCHEDULES=200000` runs so many, from `GRANARY_SEED`. A failure prints its schedule, and
//! `GRANARY_SCHEDULE=...` with the test's name runs that one alone. The other tests of this crate
//! do not run with this feature.

mod contents;

mod deliveries;

mod groups;

mod overlays;

mod pins;

mod rig;

mod turns;

use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Changes of who goes first, in schedules with few of them.
const CHANGES_OF_PRIORITY: usize = 3;

/// Runs a story under many schedules.
fn explore(story: impl Fn() + Send + Sync + 'static) {
    if let Ok(schedule) = std::env::var("GRANARY_SCHEDULE") {
        run(ReplayScheduler::new_from_encoded(&schedule), &Arc::new(story));
        return;
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let schedules = number("GRANARY_SCHEDULES").map_or(2000, |count| count.try_into().unwrap());
    let seed = number("GRANARY_SEED").unwrap_or(1);
    let story = Arc::new(story);
    let random = RandomScheduler::new_from_seed(seed, schedules / 2);
    let few = PctScheduler::new_from_seed(seed, CHANGES_OF_PRIORITY, schedules / 2);
    let run = run(random, &story) + run(few, &story);
    println!("{run} schedules");
}

fn run(
    scheduler: impl Scheduler + 'static,
    story: &Arc<impl Fn() + Send + Sync + 'static>,
) -> usize {
    let mut config = Config::new();
    // redb's frames are large without optimisation.
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    let story = Arc::clone(story);
    Runner::new(scheduler, config).run(move || story())
}

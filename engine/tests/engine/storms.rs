//! One number decides everything: which workload runs, what goes wrong and when, whether the
//! machine or only the process starts again, and what the platter holds then. Whatever it was, the
//! store opens again with all that was answered, and takes up its work.
//!
//! A failure names its seed; `GRANARY_SEED=7` runs that one alone, and `GRANARY_SEEDS=20000` runs
//! so many.

use granary_engine::SourceAfterMerge;
use granary_engine::disk::{At, Fault, Reached, SimulatedDisk};

use crate::power_cut::{Act, End, Stop, assert_recovers, run_until_stopped};
use crate::reference::{Content, Op};
use crate::support::block_on;

/// Numbers from a seed, by Steele, Lea and Flood's generator.
struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }

    /// What goes wrong in a workload that works this much on a disk that does not fail.
    fn mishap(&mut self, all: &SimulatedDisk) -> Stop {
        let operation = At::Operation(1 + self.below(all.operations()));
        let write = At::Write(1 + self.below(all.writes()));
        let sync = At::Sync(1 + self.below(all.syncs()));
        let read = At::Read(1 + self.below(all.reads()));
        let short = Fault::Short { bytes: usize::try_from(self.below(5000)).unwrap() };
        let stop = Stop::Operation(1 + self.below(all.operations()));
        self.one_of(&[
            stop,
            Stop::Fault(operation, Fault::Io),
            Stop::Fault(operation, Fault::Full),
            Stop::Fault(write, Fault::Io),
            Stop::Fault(write, short),
            Stop::Fault(write, Fault::Full),
            Stop::Fault(sync, Fault::Io),
            Stop::Fault(sync, Fault::Io),
            Stop::Fault(read, Fault::Io),
        ])
    }

    fn reached(&mut self) -> Reached {
        let seed = self.below(u64::MAX);
        let all =
            [Reached::Nothing, Reached::Everything, Reached::Random(seed), Reached::Torn(seed)];
        self.one_of(&all)
    }
}

fn add(set: u64, name: &str, number: u64, length: usize) -> Act {
    let content = Content::numbered(number, length);
    Act::Do(Op::Add { set, name: name.into(), content })
}

/// Short, so that many can be run, and with something of everything.
fn workload() -> Vec<Act> {
    let members = |from: u64| {
        (from..from + 4).map(|number| (format!("m/{number}"), Content::numbered(number, 3000)))
    };
    let merge = Op::Merge { target: 2, source: 1, after: SourceAfterMerge::Keep };
    vec![
        Act::Do(Op::Create { name: "one".into() }),
        add(1, "a", 1, 100),
        Act::Together(
            (2..5)
                .map(|number| Op::Add {
                    set: 1,
                    name: format!("d/{number}"),
                    content: Content::numbered(number, 20_000),
                })
                .collect(),
        ),
        add(1, "large", 9, (1 << 20) + 1),
        Act::Do(Op::SetMetadata { set: 1, name: "a".into(), text: "text".into() }),
        Act::Checkpoint,
        Act::Do(Op::Copy { set: 1, new_name: None, only: None }),
        Act::Do(Op::AddTar { set: 1, members: members(20).collect() }),
        Act::Do(Op::AddZip { set: 2, members: members(30).collect() }),
        Act::Do(Op::Delete { set: 2, name: "a".into() }),
        add(2, "a", 50, 60_000),
        Act::Do(merge),
        Act::CheckpointBeside(vec![
            Op::Delete { set: 1, name: "large".into() },
            Op::Add { set: 1, name: "beside".into(), content: Content::numbered(70, 20_000) },
        ]),
        Act::Do(Op::DeleteBelow { set: 2, prefix: "d/".into() }),
        Act::Compact,
        add(1, "last", 60, 50_000),
        Act::Do(Op::HardDelete { set: 2 }),
        Act::Checkpoint,
    ]
}

async fn run_seed(number: u64, all: &SimulatedDisk) {
    let mut seed = Seed(number);
    let disk = SimulatedDisk::with_seed(number);
    let mishap = seed.mishap(all);
    let end = run_until_stopped(&workload(), mishap, &disk).await;
    let when = format!("GRANARY_SEED={number}: {mishap:?}");
    if seed.below(2) == 0 {
        let reached = seed.reached();
        assert_recovers(&disk.image(reached), &end, &format!("{when}, {reached:?}")).await;
        return;
    }
    // The process starts again, works, and then the machine stops.
    let disk = disk.restart();
    assert_recovers(&disk, &end, &format!("{when}, process restarted")).await;
}

/// Not every panic knows its seed.
struct NamedWhereItPanics(u64);

impl Drop for NamedWhereItPanics {
    #[expect(clippy::print_stderr, reason = "the test fails already")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("that was GRANARY_SEED={}", self.0);
        }
    }
}

/// How many seeds are run, and the first of them.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("GRANARY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GRANARY_SEEDS").unwrap_or(300),
    }
}

#[test]
fn whatever_a_disk_does_nothing_answered_is_lost() {
    let all = SimulatedDisk::new();
    let end: End = block_on(run_until_stopped(&workload(), Stop::Never, &all));
    assert_eq!(end.acceptable.len(), 1, "a disk that works answers everything");
    let next = std::sync::Mutex::new(seeds());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(seed) = next.lock().unwrap().next() else { break };
                    let _named = NamedWhereItPanics(seed);
                    block_on(run_seed(seed, &all));
                }
            });
        }
    });
}

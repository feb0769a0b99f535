//! Power cuts: a workload runs until the disk stops, and what a machine finds that starts again
//! is compared with what was answered.
//!
//! Threads share the disk, so a point's number does not name the same instant in every run; the
//! points together cover all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use granary_engine::disk::{Disk as _, Reached, SimulatedDisk};
use granary_engine::model::{LicenceId, ProjectId};
use granary_engine::{Engine, Health, MutationError};

use crate::driver::{Outcome, assert_same, observe, run, run_on_both};
use crate::reference::{Content, Op, Reference, Sets};
use crate::support::{block_on, project, small_segments};

/// A step of a workload.
#[derive(Debug, Clone)]
pub enum Act {
    /// One operation, and its answer is awaited.
    Do(Op),
    /// Operations that do not touch each other, all in flight at once.
    Together(Vec<Op>),
    /// The index is made durable.
    Checkpoint,
    /// Live contents leave the mostly dead segments.
    Compact,
    /// Compacts and checkpoints until so few files are in this directory of the disk; by then the background
    /// has done its work.
    Shrink { directory: &'static str, files_max: usize },
}

/// Where the disk stops.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// At its n-th operation.
    Operation(u64),
    /// At its n-th sync.
    Sync(u64),
    /// After the workload.
    Never,
}

impl Stop {
    fn arm(self, disk: &SimulatedDisk) {
        match self {
            Self::Operation(operation) => disk.stop_at(operation),
            Self::Sync(sync) => disk.stop_at_sync(sync),
            Self::Never => {}
        }
    }
}

/// How thoroughly a workload is stopped, beside once at each of its syncs.
#[derive(Debug, Clone, Copy)]
pub struct Thoroughness {
    /// Every how many operations the disk stops too; `GRANARY_CRASH_EVERY` overrides it.
    pub operations_every: u64,
    /// Every how many points recovery itself is stopped at each of its operations.
    pub recovery_every: u64,
    /// Whether none, all and some of what was not synced is found at each point, or one of these.
    pub all_images: bool,
}

impl Thoroughness {
    fn images(self, point: u64) -> Vec<Reached> {
        let images = [Reached::Nothing, Reached::Everything, Reached::Random(point)];
        let one = images.get((point % 3) as usize).copied();
        if self.all_images { images.to_vec() } else { one.into_iter().collect() }
    }
}

/// Stops a workload at all its syncs and at operations in between.
pub fn stop_everywhere(workload: &[Act], thoroughness: Thoroughness) {
    let every = std::env::var("GRANARY_CRASH_EVERY");
    let every = every.map_or(thoroughness.operations_every, |text| text.parse().unwrap());
    let (disk, acceptable) = block_on(run_until_stopped(workload, Stop::Never));
    assert_eq!(acceptable.len(), 1, "a disk that works answers everything");
    let (operations, syncs) = (disk.operations(), disk.syncs());
    let points = (1..=syncs).map(Stop::Sync);
    let points = points.chain((1..=operations).step_by(every as usize).map(Stop::Operation));
    let points: Vec<Stop> = points.chain([Stop::Never]).collect();
    println!("{} points of {operations} operations and {syncs} syncs", points.len());
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(stop) = points.get(number as usize) else { break };
                    block_on(stop_once(workload, *stop, number, thoroughness));
                }
            });
        }
    });
}

async fn stop_once(workload: &[Act], stop: Stop, number: u64, thoroughness: Thoroughness) {
    let (disk, acceptable) = run_until_stopped(workload, stop).await;
    for reached in thoroughness.images(number) {
        let when = format!("{stop:?}, {reached:?}");
        assert_recovers(&disk.image(reached), &acceptable, &when).await;
    }
    if number % thoroughness.recovery_every == thoroughness.recovery_every - 1 {
        stop_recovery(&disk.image(Reached::Random(number)), &acceptable, &format!("{stop:?}"))
            .await;
    }
}

/// Stops opening at each of its operations in turn, and opens what is left then.
async fn stop_recovery(found: &SimulatedDisk, acceptable: &[Reference], when: &str) {
    for operation in 1.. {
        let disk = found.image(Reached::Everything);
        disk.stop_at(operation);
        let opened = Engine::open_on(Arc::new(disk.clone()), &small_segments());
        let done = opened.is_ok();
        if let Ok(engine) = opened {
            disk.stop_at(disk.operations());
            engine.abandon();
        }
        let when = format!("{when}, recovery stopped at {operation}");
        assert_recovers(&disk.image(Reached::Random(operation)), acceptable, &when).await;
        if done {
            break;
        }
    }
}

/// Runs the workload; gives the disk, which has stopped, and what it may hold.
async fn run_until_stopped(workload: &[Act], stop: Stop) -> (SimulatedDisk, Vec<Reference>) {
    let disk = SimulatedDisk::new();
    stop.arm(&disk);
    let mut acceptable = vec![Reference::default()];
    if let Ok(engine) = Engine::open_on(Arc::new(disk.clone()), &small_segments()) {
        if let Ok(within) = project(&engine).await {
            for act in workload {
                let stopped;
                (acceptable, stopped) = attempt(&engine, &disk, within, &acceptable[0], act).await;
                if stopped {
                    break;
                }
            }
        }
        disk.stop_at(disk.operations());
        engine.abandon();
    }
    (disk, acceptable)
}

/// Runs one act; gives all states that the store may be in afterwards, and whether it took less
/// than it was asked.
async fn attempt(
    engine: &Engine,
    disk: &SimulatedDisk,
    within: (ProjectId, LicenceId),
    before: &Reference,
    act: &Act,
) -> (Vec<Reference>, bool) {
    let ops = match act {
        Act::Do(op) => std::slice::from_ref(op),
        Act::Together(ops) => ops,
        Act::Checkpoint => {
            // Where it fails, the next operation says so.
            engine.checkpoint().await.ok();
            return (vec![before.clone()], false);
        }
        Act::Compact => {
            engine.compact().await.ok();
            return (vec![before.clone()], false);
        }
        Act::Shrink { directory, files_max } => {
            shrink(engine, disk, directory, *files_max).await;
            return (vec![before.clone()], false);
        }
    };
    let running = ops.iter().map(|op| {
        let (engine, op) = (engine.clone(), op.clone());
        tokio::spawn(async move { run(&engine, within, &op).await })
    });
    let running: Vec<_> = running.collect();
    let mut acceptable = vec![before.clone()];
    let mut stopped = false;
    for (op, outcome) in ops.iter().zip(running) {
        match outcome.await.unwrap() {
            Outcome::Done(_) => {
                acceptable.iter_mut().for_each(|state| state.apply(op).unwrap());
            }
            Outcome::Refused(refusal) => panic!("{op:?} was refused: {refusal:?}"),
            // A large upload is refused where its own file fails; the store goes on.
            Outcome::NotTaken(MutationError::Staging { .. }) => stopped = true,
            Outcome::NotTaken(error) => {
                assert_ne!(engine.health(), Health::Ready, "{op:?}: {error}");
                stopped = true;
            }
            Outcome::Unknown => {
                stopped = true;
                let mut done = acceptable.clone();
                done.iter_mut().for_each(|state| state.apply(op).unwrap());
                acceptable.extend(done);
            }
        }
    }
    (acceptable, stopped)
}

async fn shrink(engine: &Engine, disk: &SimulatedDisk, directory: &str, files_max: usize) {
    let begun = std::time::Instant::now();
    while disk.list(directory).is_ok_and(|names| names.len() > files_max) {
        if engine.compact().await.is_err() || engine.checkpoint().await.is_err() {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "{directory} does not shrink");
        tokio::task::yield_now().await;
    }
}

/// Opens what a power cut left: it holds one of the acceptable states, its invariants hold, it
/// can be worked with, and what is answered then survives the next power cut.
async fn assert_recovers(disk: &SimulatedDisk, acceptable: &[Reference], when: &str) {
    let engine = Engine::open_on(Arc::new(disk.clone()), &small_segments());
    let engine = engine.unwrap_or_else(|error| panic!("{when}: {error:?}"));
    let observed = observe(&engine).await;
    let mut reference = find(acceptable, &observed, when);
    assert_eq!(engine.check(true).unwrap(), [], "{when}");
    work_on(&engine, &mut reference).await;
    assert_eq!(engine.check(true).unwrap(), [], "{when}, worked on");
    disk.stop_at(disk.operations());
    engine.abandon();
    drop(engine);

    let disk = disk.image(Reached::Nothing);
    let engine = Engine::open_on(Arc::new(disk), &small_segments()).unwrap();
    assert_same(&observe(&engine).await, &reference.sets, &format!("{when}, once more"));
    assert_eq!(engine.check(false).unwrap(), [], "{when}, once more");
    engine.abandon();
}

fn find(acceptable: &[Reference], observed: &Sets, when: &str) -> Reference {
    if let Some(state) = acceptable.iter().find(|state| state.sets == *observed) {
        return state.clone();
    }
    assert_same(observed, &acceptable[0].sets, &format!("{when}, {} states", acceptable.len()));
    unreachable!("it differs from the first state");
}

/// A little of everything on a store that was just opened: old contents, new ones, deletions.
async fn work_on(engine: &Engine, reference: &mut Reference) {
    let within = project(engine).await.unwrap();
    let mut ops = vec![Op::Create { name: "afterwards".into() }];
    let set = reference.made + 1;
    let contents = reference.sets.values().flat_map(|set| set.files.values());
    let known: Vec<Content> = contents.map(|file| file.content.clone()).take(2).collect();
    let fresh = Content::numbered(999, 5000);
    for (number, content) in known.into_iter().chain([fresh]).enumerate() {
        ops.push(Op::Add { set, name: format!("after/{number}"), content });
    }
    let full = reference.sets.iter().find(|(_, set)| !set.files.is_empty());
    if let Some((full, name)) = full.and_then(|(id, set)| Some((*id, set.files.keys().next()?))) {
        ops.push(Op::SetMetadata { set: full, name: name.clone(), text: "after".into() });
        ops.push(Op::Copy { set: full, new_name: Some("after copy".into()), only: None });
        ops.push(Op::Delete { set: full, name: name.clone() });
    }
    for op in &ops {
        run_on_both(engine, within, reference, op).await;
    }
    assert_same(&observe(engine).await, &reference.sets, "after working on");
}

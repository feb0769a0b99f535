//! Power cuts: a workload runs until the disk stops, and what a machine finds that starts again
//! is compared with what was answered.
//!
//! Threads share the disk, so a point's number does not name the same instant in every run; the
//! points together cover all of them.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use granary_engine::disk::{At, Disk, Fault, Reached, SimulatedDisk};
use granary_engine::model::{AccessTokenId, LicenceId, ProjectId, Subject, UserId};
use granary_engine::{
    CheckError, CheckProgress, Engine, Health, MutationError, OpenError, check_disk, make_older,
};

use crate::driver::{Outcome, assert_same, observe, run, run_on_both};
use crate::faults::wait_until;
use crate::records::{self, describe};
use crate::reference::{Content, Op, Reference, Sets};
use crate::support::{block_on, project, small_segments};
use crate::told;

/// A step of a workload.
#[derive(Debug, Clone)]
pub enum Act {
    /// One operation, and its answer is awaited.
    Do(Op),
    /// Operations that do not touch each other, all in flight at once.
    Together(Vec<Op>),
    /// The index is made durable.
    Checkpoint,
    /// The same, and operations that do not touch each other are in flight meanwhile.
    CheckpointBeside(Vec<Op>),
    /// Live contents leave the mostly dead segments.
    Compact,
    /// Checkpoints until the store has done this, as it tells by [`Engine::done`].
    Until { done: &'static str },
    /// What was remembered in memory only is written; nobody relies on it.
    Touch,
    /// The audit log is told of what changed nothing.
    Witness,
    /// The store is closed, loses the tables that the version before did not have, and is opened.
    ReopenAsOlder,
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
    /// After the workload has met an error of the disk, at the latest with its end.
    Fault(At, Fault),
    /// After the workload.
    Never,
}

impl Stop {
    fn arm(self, disk: &SimulatedDisk) {
        match self {
            Self::Operation(operation) => disk.stop_at(operation),
            Self::Sync(sync) => disk.stop_at_sync(sync),
            Self::Fault(at, fault) => disk.fail(at, fault),
            Self::Never => {}
        }
    }

    /// What `GRANARY_CRASH_AT` asks for, in the words of the failed test: `Operation(57)`.
    fn asked_for() -> Option<Self> {
        let text = std::env::var("GRANARY_CRASH_AT").ok()?;
        let (kind, number) = text.strip_suffix(')').and_then(|text| text.split_once('(')).unwrap();
        let number = number.parse().unwrap();
        Some(if kind == "Sync" { Self::Sync(number) } else { Self::Operation(number) })
    }
}

/// How thoroughly a workload is stopped, beside once at each of its syncs.
#[derive(Debug, Clone, Copy)]
pub struct Thoroughness {
    /// Every how many operations the disk stops too; `GRANARY_CRASH_EVERY` overrides it, and with
    /// 1 all images are looked at.
    pub operations_every: usize,
    /// Every how many points recovery itself is stopped at each of its operations.
    pub recovery_every: usize,
    /// Whether all of the images are looked at at each point, or one after the other.
    pub all_images: bool,
}

impl Thoroughness {
    fn with_environment(self) -> Self {
        let every = std::env::var("GRANARY_CRASH_EVERY");
        let operations_every = every.map_or(self.operations_every, |text| text.parse().unwrap());
        Self { operations_every, all_images: self.all_images || operations_every == 1, ..self }
    }

    fn images(self, point: usize) -> Vec<Reached> {
        let seed = point as u64;
        let images =
            [Reached::Nothing, Reached::Everything, Reached::Random(seed), Reached::Torn(seed)];
        if self.all_images { images.to_vec() } else { vec![images[point % images.len()]] }
    }
}

/// What was tried.
#[derive(Debug, Default)]
struct Tried {
    points: AtomicUsize,
    images: AtomicUsize,
    stopped_recoveries: AtomicUsize,
}

/// Stops a workload at all its syncs and at operations in between.
#[expect(clippy::print_stderr, reason = "the counts, for whoever asks with --nocapture")]
pub fn stop_everywhere(workload: &[Act], thoroughness: Thoroughness) {
    let thoroughness = thoroughness.with_environment();
    let disk = SimulatedDisk::new();
    let end = block_on(run_until_stopped(workload, Stop::Never, &disk));
    assert_eq!(end.acceptable.len(), 1, "a disk that works answers everything");
    let points = (1..=disk.syncs()).map(Stop::Sync);
    let every = thoroughness.operations_every;
    let points = points.chain((1..=disk.operations()).step_by(every).map(Stop::Operation));
    let points: Vec<Stop> = match Stop::asked_for() {
        None => points.chain([Stop::Never]).collect(),
        Some(stop) => vec![stop; 100],
    };
    let (next, tried) = (AtomicUsize::new(0), Tried::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(stop) = points.get(number) else { break };
                    block_on(stop_once(workload, *stop, number, thoroughness, &tried));
                }
            });
        }
    });
    eprintln!("{tried:?}");
}

async fn stop_once(
    workload: &[Act],
    stop: Stop,
    number: usize,
    thoroughness: Thoroughness,
    tried: &Tried,
) {
    tried.points.fetch_add(1, Ordering::Relaxed);
    let disk = SimulatedDisk::new();
    let end = run_until_stopped(workload, stop, &disk).await;
    for reached in thoroughness.images(number) {
        tried.images.fetch_add(1, Ordering::Relaxed);
        assert_recovers(&disk.image(reached), &end, &format!("{stop:?}, {reached:?}")).await;
    }
    if number % thoroughness.recovery_every == thoroughness.recovery_every - 1 {
        let found = disk.image(Reached::Random(number as u64));
        let stopped = stop_recovery(&found, &end, &format!("{stop:?}")).await;
        tried.stopped_recoveries.fetch_add(stopped, Ordering::Relaxed);
    }
}

/// Stops opening at each of its operations in turn, and opens what is left then; gives how often.
async fn stop_recovery(found: &SimulatedDisk, end: &End, when: &str) -> usize {
    for operation in 1.. {
        let disk = found.image(Reached::Everything);
        disk.stop_at(operation);
        let opened = Engine::open_on(Arc::new(disk.clone()), &small_segments());
        let done = opened.is_ok();
        if let Ok(engine) = opened {
            disk.stop_at(disk.operations());
            engine.abandon();
        }
        let reached = [Reached::Random(operation), Reached::Torn(operation)];
        let reached = reached[usize::from(operation % 2 == 0)];
        let when = format!("{when}, recovery stopped at {operation}, {reached:?}");
        assert_recovers(&disk.image(reached), end, &when).await;
        if done {
            return usize::try_from(operation).unwrap();
        }
    }
    unreachable!("opening ends")
}

/// How a workload ended.
#[derive(Debug)]
pub struct End {
    /// What the store may hold.
    pub acceptable: Vec<Reference>,
    /// Whether the records around datasets are as `records` says.
    with_records: bool,
    /// Kinds of what the store did.
    pub done: BTreeSet<&'static str>,
}

/// Runs the workload on an empty disk, which has stopped then.
pub async fn run_until_stopped(workload: &[Act], stop: Stop, disk: &SimulatedDisk) -> End {
    stop.arm(disk);
    let is_record = |act: &Act| matches!(act, Act::Do(Op::Record { .. }));
    let with_records = workload.iter().any(is_record);
    let acceptable = vec![Reference::default()];
    let mut end = End { acceptable, with_records: false, done: BTreeSet::new() };
    if let Ok(mut engine) = open(disk) {
        if let Ok(within) = project(&engine).await {
            end.with_records = with_records;
            for (number, act) in (0..).zip(workload) {
                if matches!(act, Act::ReopenAsOlder) {
                    end.done.append(&mut engine.done());
                    engine.shutdown().await;
                    drop(engine);
                    let older = make_older(Arc::new(disk.clone()));
                    if let Ok(Ok(opened)) = older.map(|()| open(disk)) {
                        engine = opened;
                        // That version had no audit log.
                        end.acceptable[0].told.forget();
                        continue;
                    }
                    // The disk has stopped; what was answered stays answered, and the log is there
                    // or not.
                    let mut older = end.acceptable[0].clone();
                    older.told.forget();
                    end.acceptable.push(older);
                    return end;
                }
                let stopped;
                (end.acceptable, stopped) =
                    attempt(&engine, disk, within, &end.acceptable[0], number, act).await;
                if stopped {
                    break;
                }
            }
        }
        disk.stop_at(disk.operations());
        engine.abandon();
        end.done.append(&mut engine.done());
    }
    end
}

pub fn open(disk: &SimulatedDisk) -> Result<Engine, OpenError> {
    Engine::open_on(Arc::new(disk.clone()), &small_segments())
}

/// Runs one act; gives all states that the store may be in afterwards, and whether it took less
/// than it was asked.
async fn attempt(
    engine: &Engine,
    disk: &SimulatedDisk,
    within: (ProjectId, LicenceId),
    before: &Reference,
    number: u64,
    act: &Act,
) -> (Vec<Reference>, bool) {
    let ops = match act {
        Act::Do(op) => std::slice::from_ref(op),
        Act::Together(ops) | Act::CheckpointBeside(ops) => ops,
        Act::Witness => return witness(engine, before, number).await,
        Act::Checkpoint
        | Act::Compact
        | Act::Until { .. }
        | Act::Touch
        | Act::Shrink { .. }
        | Act::ReopenAsOlder => {
            look_after(engine, disk, act).await;
            return (vec![before.clone()], false);
        }
    };
    let beside = matches!(act, Act::CheckpointBeside(_)).then(|| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.checkpoint().await })
    });
    let running = (0..).zip(ops).map(|(place, op)| {
        let (engine, op) = (engine.clone().on_behalf_of(told::origin(number, place)), op.clone());
        tokio::spawn(async move { run(&engine, within, &op).await })
    });
    let running: Vec<_> = running.collect();
    let mut acceptable = vec![before.clone()];
    let mut stopped = false;
    for ((place, op), outcome) in (0..).zip(ops).zip(running) {
        match outcome.await.unwrap() {
            Outcome::Done(_) => {
                for state in &mut acceptable {
                    apply_told(state, op, (number, place), true);
                }
            }
            Outcome::Refused(refusal) => {
                for state in &acceptable {
                    assert_eq!(state.clone().apply(op), Err(refusal), "{op:?}");
                }
            }
            // An upload is refused where its own file fails, and where there is no space; the
            // store goes on.
            Outcome::NotTaken(MutationError::Staging { .. } | MutationError::OutOfSpace) => {
                stopped = true;
            }
            // Whoever reads the index may find that it failed before its thread does.
            Outcome::NotTaken(MutationError::Read(_)) => {
                wait_until(|| engine.health() != Health::Ready).await;
                stopped = true;
            }
            Outcome::NotTaken(error) => {
                assert_ne!(engine.health(), Health::Ready, "{op:?}: {error}");
                stopped = true;
            }
            Outcome::Unknown => {
                stopped = true;
                let mut done = acceptable.clone();
                for state in &mut done {
                    apply_told(state, op, (number, place), false);
                }
                acceptable.extend(done);
            }
        }
    }
    if let Some(beside) = beside {
        // Where it fails, the next operation says so.
        beside.await.unwrap().ok();
    }
    (acceptable, stopped)
}

/// Does what changes nothing that anybody sees. Where it fails, the next operation says so.
async fn look_after(engine: &Engine, disk: &SimulatedDisk, act: &Act) {
    match act {
        Act::Checkpoint => drop(engine.checkpoint().await),
        Act::Compact => drop(engine.compact().await),
        Act::Until { done } => checkpoint_until(engine, || engine.done().contains(done)).await,
        Act::Touch => touch(engine).await,
        Act::Shrink { directory, files_max } => shrink(engine, disk, directory, *files_max).await,
        Act::Do(_) | Act::Together(_) | Act::CheckpointBeside(_) | Act::Witness => {
            unreachable!("somebody sees that")
        }
        Act::ReopenAsOlder => unreachable!("whoever holds the engine does that"),
    }
}

/// Tells the audit log of nothing in particular.
async fn witness(engine: &Engine, before: &Reference, number: u64) -> (Vec<Reference>, bool) {
    let witnessed = engine.witness(told::origin(number, 0), Subject::default()).await;
    let mut after = before.clone();
    after.told.maybe(number, 0, u64::from(witnessed.is_ok()), 1);
    (vec![after], witnessed.is_err())
}

/// Makes a change of the reference, whose log has an entry of it then.
fn apply_told(state: &mut Reference, op: &Op, (number, place): (u64, u64), is_answered: bool) {
    let before = state.sets.clone();
    state.apply(op).unwrap();
    let (least, most) = if matches!(op, Op::DestroyAll) {
        // Two changes, of which the second may be unknown.
        (if is_answered { 2 } else { 1 }, 2)
    } else if matches!(op, Op::DeleteBelow { .. }) && state.sets == before {
        // Of no file, so nothing was made.
        (0, 0)
    } else {
        (1, 1)
    };
    state.told.maybe(number, place, least, most);
}

/// Somebody logs in, and a program shows its token; both are written.
async fn touch(engine: &Engine) {
    engine.touch_login(UserId(1));
    engine.touch_access_token(AccessTokenId(2));
    engine.write_touches().await;
}

async fn shrink(engine: &Engine, disk: &SimulatedDisk, directory: &str, files_max: usize) {
    let is_large = || disk.list(directory).is_ok_and(|names| names.len() > files_max);
    let begun = Instant::now();
    while is_large() && engine.compact().await.is_ok() && engine.checkpoint().await.is_ok() {
        assert!(begun.elapsed().as_secs() < 60, "{directory} does not shrink");
        tokio::task::yield_now().await;
    }
}

async fn checkpoint_until(engine: &Engine, is_done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_done() && engine.checkpoint().await.is_ok() {
        assert!(begun.elapsed().as_secs() < 60, "it never came to that");
        tokio::task::yield_now().await;
    }
}

/// Opens what a power cut left: it holds one of the acceptable states, its invariants hold, it
/// can be worked with, and what is answered then survives the next power cut.
pub async fn assert_recovers(disk: &SimulatedDisk, end: &End, when: &str) {
    assert_sound_as_it_lies(disk, when);
    let engine = open(disk).unwrap_or_else(|error| panic!("{when}: {error:?}"));
    assert_eq!(disk.lock().unwrap_err().kind(), ErrorKind::WouldBlock, "I10, {when}");
    let observed = observe(&engine).await;
    let mut reference = find(end, &observed, &engine, when);
    assert_eq!(engine.check(true).unwrap(), [], "{when}");
    work_on(&engine, &mut reference).await;
    assert_eq!(engine.check(true).unwrap(), [], "{when}, worked on");
    let records = describe(&engine);
    disk.stop_at(disk.operations());
    engine.abandon();
    drop(engine);

    let engine = open(&disk.image(Reached::Nothing));
    let engine = engine.unwrap_or_else(|error| panic!("{when}, once more: {error:?}"));
    assert_same(&observe(&engine).await, &reference.sets, &format!("{when}, once more"));
    assert_eq!(describe(&engine), records, "{when}, once more");
    assert_eq!(engine.check(false).unwrap(), [], "{when}, once more");
    engine.abandon();
}

/// A check that changes nothing finds nothing in what a power cut left, before opening mends it.
fn assert_sound_as_it_lies(disk: &SimulatedDisk, when: &str) {
    let (operations, checked) = (disk.operations(), Arc::new(disk.clone()));
    let disk: Arc<dyn Disk> = checked.clone();
    match check_disk(&disk, true, &CheckProgress::default()) {
        Ok(report) => assert_eq!(report.findings, [], "{when}, as it lies"),
        // It had not been made to its end.
        Err(CheckError::Open(OpenError::NotAStore { .. })) => {}
        Err(error) => panic!("{when}, as it lies: {error}"),
    }
    assert_eq!(checked.operations(), operations, "{when}, nothing is changed");
}

fn find(end: &End, observed: &Sets, engine: &Engine, when: &str) -> Reference {
    let found = &describe(engine);
    let is_found = |state: &&Reference| {
        let records = !end.with_records || records::states()[state.records] == *found;
        records && state.sets == *observed && state.told.agrees(engine)
    };
    if let Some(state) = end.acceptable.iter().find(is_found) {
        return state.clone();
    }
    let acceptable = &end.acceptable;
    assert_same(observed, &acceptable[0].sets, &format!("{when}, {} states", acceptable.len()));
    let (records, told) = (acceptable[0].records, &acceptable[0].told);
    let log = told::log(engine);
    panic!("{when}: {found:?} after {records} changes of records, {log:?}, not {told:?}");
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

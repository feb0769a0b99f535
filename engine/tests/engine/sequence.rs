//! Runs a sequence of steps on an engine and on the reference: operations, alone and by several
//! clients at once, faults of the disk, and the ends of processes and machines.
//!
//! Where an answer leaves open what became of an operation, the engine may be in any state that
//! fits all answers; what it then shows says which.

use granary_engine::disk::{At, Fault, Reached, SimulatedDisk};
use granary_engine::model::{DatasetId, LicenceId, ProjectId};
use granary_engine::{Engine, Health};

use crate::driver::{Outcome, observe, run};
use crate::power_cut::open;
use crate::reference::{Op, Reference, Refusal};
use crate::support::project;

/// A step of a sequence.
#[derive(Debug, Clone)]
pub enum Step {
    Op(Op),
    /// Operations of several clients, all in flight at once.
    Clients(Vec<Op>),
    Checkpoint,
    Compact,
    /// The store is closed and opened again.
    Reopen,
    PowerCut(Reached),
    /// The disk fails once, so many of its operations from now on.
    Fault(u64, Fault),
}

/// What an operation was, and what became of it.
type Answered = (Op, Outcome);

/// Runs the steps on a new store with two datasets; panics where the engine does what the
/// reference does not.
pub async fn run_steps(steps: &[Step]) {
    let mut sequence = Sequence::begin().await;
    for step in steps {
        let when = format!("after {step:?}");
        sequence.step(step).await;
        if sequence.engine().health() != Health::Ready {
            assert!(sequence.is_faulty, "{when}: read-only, and nothing had failed");
            sequence.power_cut(Reached::Torn(sequence.disk.operations())).await;
        }
        sequence.compare(&when).await;
    }
    sequence.reopen().await;
    sequence.compare("at the end").await;
    assert_eq!(sequence.engine().check(true).unwrap(), []);
    assert!(sequence.engine().snapshot().unwrap().dataset(DatasetId(0)).unwrap().is_none());
    sequence.engine().abandon();
}

/// A sequence under way.
struct Sequence {
    disk: SimulatedDisk,
    /// Gone only while it is opened anew.
    engine: Option<Engine>,
    within: (ProjectId, LicenceId),
    /// All states that fit the answers.
    possible: Vec<Reference>,
    /// Whether the disk was told to fail since the store was opened.
    is_faulty: bool,
}

impl Sequence {
    async fn begin() -> Self {
        let disk = SimulatedDisk::new();
        let engine = open(&disk).unwrap();
        let within = project(&engine).await.unwrap();
        let possible = vec![Reference::default()];
        let mut sequence = Self { disk, engine: Some(engine), within, possible, is_faulty: false };
        for name in ["s", "t"] {
            sequence.clients(&[Op::Create { name: name.into() }]).await;
        }
        sequence
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Op(op) => self.clients(std::slice::from_ref(op)).await,
            Step::Clients(ops) => self.clients(ops).await,
            Step::Checkpoint => {
                let made = self.engine().checkpoint().await;
                assert!(made.is_ok() || self.is_faulty, "{made:?}");
            }
            Step::Compact => {
                let compacted = self.engine().compact().await;
                assert!(compacted.is_ok() || self.is_faulty, "{compacted:?}");
            }
            Step::Reopen => self.reopen().await,
            Step::PowerCut(reached) => self.power_cut(*reached).await,
            Step::Fault(after, fault) => {
                self.is_faulty = true;
                self.disk.fail(At::Operation(self.disk.operations() + 1 + after), *fault);
            }
        }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    async fn reopen(&mut self) {
        self.engine().shutdown().await;
        self.disk = self.disk.restart();
        self.open().await;
    }

    async fn power_cut(&mut self, reached: Reached) {
        self.disk.stop_at(self.disk.operations());
        self.engine().abandon();
        self.disk = self.disk.image(reached);
        self.open().await;
    }

    async fn open(&mut self) {
        // The old one closes its files before the new one opens them.
        self.engine = None;
        self.engine = Some(open(&self.disk).unwrap());
        self.is_faulty = false;
        // A destroyed project may not have been brought back.
        project(self.engine()).await.unwrap();
    }

    /// Runs operations at once, and keeps the states that fit the answers in some order.
    async fn clients(&mut self, ops: &[Op]) {
        let running = ops.iter().map(|op| {
            let (engine, within, op) = (self.engine().clone(), self.within, op.clone());
            tokio::spawn(async move { run(&engine, within, &op).await })
        });
        let running: Vec<_> = running.collect();
        let mut answered = Vec::new();
        for (op, outcome) in ops.iter().zip(running) {
            let outcome = outcome.await.unwrap();
            let is_sure = matches!(outcome, Outcome::Done(_) | Outcome::Refused(_));
            assert!(is_sure || self.is_faulty, "{op:?} came to {outcome:?}");
            answered.push((op.clone(), outcome));
        }
        let answered: Vec<&Answered> = answered.iter().collect();
        let mut after = Vec::new();
        for state in &self.possible {
            orders(state, &answered, &mut after);
        }
        assert!(!after.is_empty(), "no order of these gives {answered:?} on {:?}", self.possible);
        self.possible = after;
    }

    /// What the engine shows is one of the possible states. Several may look the same: a dataset
    /// of which nobody knows whether it was made before it was removed has taken a key or has not.
    async fn compare(&mut self, when: &str) {
        let observed = observe(self.engine()).await;
        let mut fitting: Vec<Reference> =
            self.possible.iter().filter(|state| state.sets == observed).cloned().collect();
        assert!(!fitting.is_empty(), "{when}: found {observed:#?}, not {:#?}", self.possible);
        fitting.sort_by_key(|state| (state.made, state.records));
        fitting.dedup_by_key(|state| (state.made, state.records));
        self.possible = fitting;
    }
}

/// Whether a refusal is the one that is due. While a dataset is removed for good, changes of its
/// files that were planned meanwhile are refused, and others that stood on them: these may hear of
/// a file where there is no dataset any longer.
fn is_fitting(refusal: Refusal, applied: Result<(), Refusal>) -> bool {
    let of_files = [
        Refusal::FileNotFound,
        Refusal::FilenameTaken,
        Refusal::FilenameIsDirectory,
        Refusal::DirectoryIsFile,
        Refusal::RenameToItself,
    ];
    applied == Err(refusal)
        || applied == Err(Refusal::DatasetNotFound) && of_files.contains(&refusal)
}

/// Adds all states that these answers may have led to, the operations taken in any order.
fn orders(state: &Reference, answered: &[&Answered], after: &mut Vec<Reference>) {
    if answered.is_empty() {
        if !after.contains(state) {
            after.push(state.clone());
        }
        return;
    }
    // A name may have been refused for another change that then came to nothing.
    let is_sure = |answer: &&Answered| matches!(answer.1, Outcome::Done(_) | Outcome::Refused(_));
    let is_unsure = !answered.iter().all(is_sure);
    for (number, (op, outcome)) in answered.iter().copied().enumerate() {
        let rest = [&answered[..number], &answered[number + 1..]].concat();
        let mut next = state.clone();
        let applied = next.apply(op);
        match outcome {
            Outcome::Done(key) => {
                if applied.is_ok() && key.is_none_or(|key| key == next.made) {
                    orders(&next, &rest, after);
                }
            }
            Outcome::Refused(refusal) => {
                if is_unsure || is_fitting(*refusal, applied) {
                    orders(state, &rest, after);
                }
            }
            Outcome::NotTaken(_) => orders(state, &rest, after),
            Outcome::Unknown => {
                orders(state, &rest, after);
                if applied.is_ok() {
                    orders(&next, &rest, after);
                }
            }
        }
    }
}

//! The overlay against the answers: a planner that stands on changes which are being answered.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::sync::mpsc;
use shuttle::thread;

use super::explore;
use super::rig::{Rig, SET, content, prepare};
use crate::committer::Ticket;
use crate::dataset::planner::Planner;
use crate::error::MutationError;
use crate::in_flight::{InFlight, Slot};
use crate::model::change::{CatalogueChange, Change};
use crate::model::{Filename, Quota, RequestedFilename, TeamId};
use crate::store::Store;

/// What the planner's thread is asked to do, in the order of its channel.
enum Asked {
    Add(&'static str, &'static [u8]),
    Delete(&'static str),
    Rename(&'static str, &'static str),
}

type Planned = Result<Ticket, MutationError>;

type Request = (Asked, Slot, mpsc::Sender<Planned>);

/// Plans what comes, one after the other, as an actor does.
fn serve(mut planner: Planner, store: &Arc<Store>, requests: &mpsc::Receiver<Request>) {
    while let Ok((asked, slot, answer)) = requests.recv() {
        let named = |name| RequestedFilename::Named(Filename::exact(name).unwrap());
        let outcome = match asked {
            Asked::Add(name, bytes) => planner.add_file(&named(name), content(store, bytes), slot),
            Asked::Rename(from, to) => planner.rename_file(from, &named(to), slot),
            Asked::Delete(name) => planner.delete_file(name, slot),
        };
        answer.send(outcome.map(|(_, ticket)| ticket)).unwrap();
    }
}

/// Asks a planner, as requests ask an actor.
#[derive(Clone)]
struct Client {
    requests: mpsc::Sender<Request>,
    in_flight: Arc<InFlight>,
}

impl Client {
    fn ask(&self, asked: Asked) -> mpsc::Receiver<Planned> {
        let (answer, answered) = mpsc::channel();
        let slot = self.in_flight.claim().unwrap();
        self.requests.send((asked, slot, answer)).unwrap();
        answered
    }
}

/// A client of a planner, and the thread that serves it until the last client goes.
fn planner_of(rig: &Rig) -> (Client, thread::JoinHandle<()>) {
    let (requests, incoming) = mpsc::channel();
    let planner = Planner::new(SET, Arc::clone(&rig.store), Arc::clone(&rig.committer));
    let store = Arc::clone(&rig.store);
    let serving = thread::spawn(move || serve(planner, &store, &incoming));
    (Client { requests, in_flight: Arc::default() }, serving)
}

fn redeem(answered: &mpsc::Receiver<Planned>) -> Result<(), MutationError> {
    block_on(answered.recv().unwrap()?.redeem()).map(drop)
}

/// I1: a new file is answered before it is applied only where nothing on its way could refuse it; one
/// that was answered and is refused ends the store.
#[test]
fn what_is_answered_early_is_never_refused() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        let (client, serving) = planner_of(&rig);
        let other = rig.share();
        let stricter = thread_rng().gen_bool(0.5);
        let other = thread::spawn(move || {
            if stricter {
                let quota = Quota { files: Some(1), bytes: None };
                let change = CatalogueChange::SetQuota { team: TeamId(1), quota };
                other.commit(Change::Catalogue(change)).unwrap();
            } else {
                other.commit(Change::HardDeleteDataset { dataset: SET }).unwrap();
            }
        });
        let names = ["a", "b", "c"];
        let answers = names.map(|name| client.ask(Asked::Add(name, name.as_bytes())));
        let mut added = 0;
        for answered in &answers {
            match redeem(answered) {
                Ok(()) => added += 1,
                Err(MutationError::DatasetNotFound { .. }) if !stricter => {}
                Err(MutationError::QuotaExceeded { .. }) if stricter => {}
                Err(refusal) => panic!("{refusal}"),
            }
        }
        other.join().unwrap();
        drop(client);
        serving.join().unwrap();
        assert!(rig.committer.refusal().is_none(), "{:?}", rig.committer.refusal());
        let header = rig.store.snapshot().unwrap().dataset(SET).unwrap();
        assert_eq!(header.map(|header| header.file_count), stricter.then_some(added));
        rig.close();
    });
}

/// I1 and I7: a change that is refused for want of space settles before uploads that are answered and not
/// applied; what it would have left is nothing to stand on.
#[test]
fn what_was_refused_for_space_makes_no_plan_firm() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        rig.add("a", b"a").unwrap();
        // The planner was not asked for it, so it must be there when the first is.
        assert!(rig.read("a").is_some());
        let (client, serving) = planner_of(&rig);
        // Ahead of the others, whoever awaits it.
        client.ask(Asked::Add("first", b"1")).recv().unwrap().map(drop).unwrap();
        let disk = rig.disk.clone();
        let other = thread::spawn(move || {
            disk.set_space(SPACE, 5 << 20);
            thread::yield_now();
            disk.set_space(SPACE, SPACE);
        });
        let renamed = redeem(&client.ask(Asked::Rename("a", "b")));
        let again = redeem(&client.ask(Asked::Add("a", b"again")));
        other.join().unwrap();
        drop(client);
        serving.join().unwrap();
        assert!(rig.committer.refusal().is_none(), "{:?}", rig.committer.refusal());
        let names = ["a", "b"].map(|name| rig.read(name));
        let (old, new) = (Some(b"a".to_vec()), Some(b"again".to_vec()));
        match (renamed, again) {
            (Ok(()), Ok(())) => assert_eq!(names, [new, old]),
            (Ok(()), Err(_)) => assert_eq!(names, [None, old]),
            (Err(_), again) => {
                assert!(again.is_err(), "the name was never free");
                assert_eq!(names, [old, None]);
            }
        }
        rig.close();
    });
}

/// Bytes of a disk of which so much is free that nothing is refused.
const SPACE: u64 = 1 << 30;

/// I5: each is planned on what its predecessors leave, answered or not.
#[test]
fn a_plan_misses_nothing_that_was_planned_before() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        let (one, serving) = planner_of(&rig);
        let in_flight = Arc::clone(&one.in_flight);
        let other = one.clone();
        let other = thread::spawn(move || {
            let asked = [Asked::Add("b", b"1"), Asked::Delete("b"), Asked::Add("b", b"2")];
            let answers = asked.map(|asked| other.ask(asked));
            for answered in &answers {
                redeem(answered).unwrap();
            }
        });
        let first = one.ask(Asked::Add("a", b"1"));
        let taken = one.ask(Asked::Add("a", b"2"));
        let below = one.ask(Asked::Add("a/below", b"3"));
        let gone = one.ask(Asked::Delete("a"));
        redeem(&first).unwrap();
        // Busy where the first is in flight: an actor would plan again.
        let (taken, below) = (redeem(&taken).unwrap_err(), redeem(&below).unwrap_err());
        let (is_taken, is_below) = (
            matches!(taken, MutationError::FilenameTaken { .. } | MutationError::Busy { .. }),
            matches!(below, MutationError::DirectoryIsFile { .. } | MutationError::Busy { .. }),
        );
        assert!(is_taken && is_below, "{taken} {below}");
        redeem(&gone).unwrap();
        let missing = one.ask(Asked::Delete("a"));
        assert!(matches!(redeem(&missing), Err(MutationError::FileNotFound { .. })));
        redeem(&one.ask(Asked::Add("a/below", b"3"))).unwrap();

        other.join().unwrap();
        block_on(in_flight.all_settled());
        drop(one);
        serving.join().unwrap();
        assert_eq!(rig.read("a"), None);
        assert_eq!(rig.read("a/below").unwrap(), b"3");
        assert_eq!(rig.read("b").unwrap(), b"2");
        rig.close();
        assert!(in_flight.is_unused());
    });
}

//! The overlay against the answers: a planner that stands on changes which are being answered.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::sync::mpsc;
use shuttle::thread;

use super::explore;
use super::rig::{Rig, SET, content, prepare};
use crate::committer::Ticket;
use crate::dataset::planner::Planner;
use crate::error::MutationError;
use crate::in_flight::{InFlight, Slot};
use crate::model::{FileCondition, Filename, RequestedFilename};
use crate::store::Store;

/// What the planner's thread is asked to do, in the order of its channel.
enum Asked {
    Add(&'static str, &'static [u8]),
    Delete(&'static str),
}

type Planned = Result<Ticket, MutationError>;

type Request = (Asked, Slot, mpsc::Sender<Planned>);

/// Plans what comes, one after the other, as an actor does.
fn serve(mut planner: Planner, store: &Arc<Store>, requests: &mpsc::Receiver<Request>) {
    while let Ok((asked, slot, answer)) = requests.recv() {
        let outcome = match asked {
            Asked::Add(name, bytes) => {
                let name = RequestedFilename::Named(Filename::exact(name).unwrap());
                planner.add_file(name, content(store, bytes), slot)
            }
            Asked::Delete(name) => planner.delete_file(name, &FileCondition::default(), slot),
        };
        answer.send(outcome.map(|(_, ticket)| ticket)).unwrap();
    }
}

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

fn redeem(answered: &mpsc::Receiver<Planned>) -> Result<(), MutationError> {
    block_on(answered.recv().unwrap()?.redeem()).map(drop)
}

/// I5: each is planned on what its predecessors leave, answered or not.
#[test]
fn a_plan_misses_nothing_that_was_planned_before() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        let (requests, incoming) = mpsc::channel();
        let in_flight = Arc::new(InFlight::default());
        let planner = Planner::new(SET, Arc::clone(&rig.store), Arc::clone(&rig.committer));
        let store = Arc::clone(&rig.store);
        let serving = thread::spawn(move || serve(planner, &store, &incoming));
        let client = || Client { requests: requests.clone(), in_flight: Arc::clone(&in_flight) };

        let other = client();
        let other = thread::spawn(move || {
            let asked = [Asked::Add("b", b"1"), Asked::Delete("b"), Asked::Add("b", b"2")];
            let answers = asked.map(|asked| other.ask(asked));
            for answered in &answers {
                redeem(answered).unwrap();
            }
        });
        let one = client();
        let first = one.ask(Asked::Add("a", b"1"));
        let taken = one.ask(Asked::Add("a", b"2"));
        let below = one.ask(Asked::Add("a/below", b"3"));
        let gone = one.ask(Asked::Delete("a"));
        redeem(&first).unwrap();
        assert!(matches!(redeem(&taken), Err(MutationError::FilenameTaken { .. })));
        assert!(matches!(redeem(&below), Err(MutationError::DirectoryIsFile { .. })));
        redeem(&gone).unwrap();
        let missing = one.ask(Asked::Delete("a"));
        assert!(matches!(redeem(&missing), Err(MutationError::FileNotFound { .. })));
        redeem(&one.ask(Asked::Add("a/below", b"3"))).unwrap();

        other.join().unwrap();
        block_on(in_flight.all_settled());
        drop((one, requests));
        serving.join().unwrap();
        assert!(in_flight.is_unused());
        assert_eq!(rig.read("a"), None);
        assert_eq!(rig.read("a/below").unwrap(), b"3");
        assert_eq!(rig.read("b").unwrap(), b"2");
        rig.close();
    });
}

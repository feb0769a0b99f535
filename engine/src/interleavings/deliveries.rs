//! The registry and the way to an actor that starts, retires and dies, with threads in the place
//! of actix's mailboxes.

use std::collections::VecDeque;
use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::sync::{Mutex, mpsc};
use shuttle::thread;
use tokio::sync::oneshot;

use super::explore;
use crate::committer::{Reply, Ticket};
use crate::dataset::message::{Envelope, Planned, Request};
use crate::error::MutationError;
use crate::index::apply::Applied;
use crate::model::DatasetId;
use crate::supervisor::delivery::{Address, Died, deliver};
use crate::supervisor::entry::{Entry, Registry};

const SET: DatasetId = DatasetId(1);

/// A message; the actor that handles one that breaks dies of it.
struct Probe {
    number: usize,
    breaks: bool,
}

impl Request for Probe {
    type Planned = usize;
}

type Letter = (Envelope<Probe>, oneshot::Sender<Planned<usize>>);

/// The way to an actor of this test. As with actix, what is in it when the actor dies is dropped,
/// and nothing can be put into it from then on.
#[derive(Clone)]
struct Mailbox {
    actor: usize,
    /// `None` once the actor has died.
    letters: Arc<Mutex<Option<VecDeque<Letter>>>>,
}

impl Mailbox {
    fn next(&self) -> Option<Letter> {
        self.letters.lock().unwrap().as_mut()?.pop_front()
    }

    fn close(&self) {
        let dropped = self.letters.lock().unwrap().take();
        drop(dropped);
    }
}

impl PartialEq for Mailbox {
    fn eq(&self, other: &Self) -> bool {
        self.actor == other.actor
    }
}

impl Address<Probe> for Mailbox {
    async fn send(&self, envelope: Envelope<Probe>) -> Result<Planned<usize>, Died> {
        let (answer, answered) = oneshot::channel();
        self.letters.lock().unwrap().as_mut().ok_or(Died)?.push_back((envelope, answer));
        answered.await.map_err(|_gone| Died)
    }
}

/// What all actors of the test share.
#[derive(Clone)]
struct World {
    registry: Arc<Registry<Mailbox>>,
    /// Actors that may plan now.
    planning: Arc<AtomicUsize>,
    started: Arc<AtomicUsize>,
    /// Answers what was submitted.
    submitted: mpsc::Sender<Reply>,
}

impl World {
    fn start_actor(&self, entry: &Arc<Entry<Mailbox>>) -> Mailbox {
        let actor = self.started.fetch_add(1, Ordering::SeqCst);
        let mailbox = Mailbox { actor, letters: Arc::new(Mutex::new(Some(VecDeque::new()))) };
        let (world, entry, incoming) = (self.clone(), Arc::clone(entry), mailbox.clone());
        thread::spawn(move || world.act(&entry, &incoming));
        mailbox
    }

    /// An actor's life: it waits for what its predecessor left, plans, retires when it finds
    /// nothing to do, and dies of a message that breaks it.
    fn act(&self, entry: &Arc<Entry<Mailbox>>, incoming: &Mailbox) {
        block_on(entry.in_flight().all_settled());
        loop {
            let Some((envelope, answer)) = incoming.next() else {
                if self.registry.retire(entry) {
                    // What its sender took back may lie there, and nothing else.
                    while let Some((envelope, _)) = incoming.next() {
                        assert!(!envelope.is_unopened(), "sent to one that retired");
                    }
                    return incoming.close();
                }
                thread::yield_now();
                continue;
            };
            assert_eq!(self.planning.fetch_add(1, Ordering::SeqCst), 0, "two actors plan at once");
            let opened = envelope.open();
            let Some((Probe { number, breaks }, slot)) = opened else {
                // Taken back by its sender.
                self.planning.fetch_sub(1, Ordering::SeqCst);
                drop(answer.send(Err(MutationError::Panicked)));
                continue;
            };
            slot.submitted();
            let (reply, ticket) = Reply::new(Some(slot));
            thread::yield_now();
            self.planning.fetch_sub(1, Ordering::SeqCst);
            if breaks {
                // Its change was submitted already, and it dies before it answers.
                drop(ticket);
                self.submitted.send(reply).unwrap();
                return incoming.close();
            }
            self.submitted.send(reply).unwrap();
            drop(answer.send(Ok((number, ticket))));
        }
    }

    fn ask(&self, number: usize, breaks: bool) -> Option<Planned<usize>> {
        let (entry, slot) = self.registry.claim(SET).unwrap();
        let envelope = Envelope::new(Probe { number, breaks }, slot);
        block_on(deliver(&entry, &envelope, || self.start_actor(&entry)))
    }
}

fn redeem(ticket: Ticket) {
    assert!(matches!(block_on(ticket.redeem()), Ok(Applied::Done)));
}

/// One actor of a dataset plans at a time, and each message is answered by one of them, whoever
/// starts, retires or dies meanwhile.
#[test]
fn one_actor_plans_and_every_message_has_its_answer() {
    explore(|| {
        let (submitted, to_answer) = mpsc::channel::<Reply>();
        let answering = thread::spawn(move || {
            while let Ok(reply) = to_answer.recv() {
                reply.answer(Ok(Applied::Done));
            }
        });
        let world = World {
            registry: Arc::default(),
            planning: Arc::default(),
            started: Arc::default(),
            submitted,
        };
        let clients: Vec<_> = (0..3)
            .map(|number| {
                let world = world.clone();
                thread::spawn(move || {
                    let breaks = number == 1;
                    match world.ask(number, breaks) {
                        Some(Ok((answer, ticket))) => {
                            assert!(!breaks);
                            assert_eq!(answer, number);
                            redeem(ticket);
                        }
                        Some(Err(MutationError::Busy { .. })) => {}
                        Some(Err(error)) => panic!("{error}"),
                        None => assert!(breaks, "only the message that broke its actor is lost"),
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        while world.registry.len() > 0 {
            // What died is found by the next message only.
            if let Some(Ok((_, ticket))) = world.ask(9, false) {
                redeem(ticket);
            }
            thread::yield_now();
        }
        drop(world);
        answering.join().unwrap();
    });
}

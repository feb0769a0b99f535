//! What actix does and does not do, as far as our design stands on it. An update that changes one
//! of these fails here, and the module that relies on it is named.

use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, MailboxError, Message, System,
    WrapFuture,
};
use tokio::sync::oneshot;

struct Worker;

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(4);
    }
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Echo(u32);

impl Handler<Echo> for Worker {
    type Result = u32;

    fn handle(&mut self, Echo(value): Echo, _: &mut Self::Context) -> u32 {
        value
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Break;

impl Handler<Break> for Worker {
    type Result = ();

    fn handle(&mut self, _: Break, _: &mut Self::Context) {
        panic!("broken on purpose");
    }
}

/// Waits for the sender before the next message is let in.
#[derive(Message)]
#[rtype(result = "()")]
struct StandStill(oneshot::Receiver<()>);

impl Handler<StandStill> for Worker {
    type Result = ();

    fn handle(&mut self, StandStill(released): StandStill, ctx: &mut Self::Context) {
        ctx.wait(released.into_actor(self).map(|_, _, _| ()));
    }
}

fn in_system(test: impl Future<Output = ()>) {
    System::new().block_on(test);
}

/// Relied on by `Supervisor::ask`, which forgets the address and starts a successor.
#[test]
fn a_panic_closes_one_mailbox_for_good_and_no_other() {
    in_system(async {
        let (broken, neighbour) = (Worker.start(), Worker.start());
        assert!(matches!(broken.send(Break).await, Err(MailboxError::Closed)));
        assert!(matches!(broken.send(Echo(1)).await, Err(MailboxError::Closed)));
        assert_eq!(neighbour.send(Echo(2)).await.unwrap(), 2);
    });
}

/// Relied on by `Entry`, whose counter is the bound that a mailbox is not.
#[test]
fn a_mailbox_bounds_nothing_where_every_sender_has_its_clone() {
    in_system(async {
        let worker = Worker.start();
        let (release, released) = oneshot::channel();
        worker.send(StandStill(released)).await.unwrap();
        let sends: Vec<_> = (0..100)
            .map(|value| {
                let address = worker.clone();
                actix::spawn(async move { address.send(Echo(value)).await })
            })
            .collect();
        // Every one of them is in the mailbox of four once it is let go.
        release.send(()).unwrap();
        for (value, send) in (0..100).zip(sends) {
            assert_eq!(send.await.unwrap().unwrap(), value);
        }
    });
}

/// Relied on by `clippy.toml`, which forbids `do_send`.
#[test]
#[expect(clippy::disallowed_methods, reason = "what is forbidden is shown here")]
fn do_send_ignores_the_bound() {
    in_system(async {
        let worker = Worker.start();
        let (release, released) = oneshot::channel();
        worker.send(StandStill(released)).await.unwrap();
        let refused = (0..100).filter(|value| worker.try_send(Echo(*value)).is_err()).count();
        assert!(refused > 0, "try_send respects it");
        for value in 0..100 {
            worker.do_send(Echo(value));
        }
        release.send(()).unwrap();
        assert_eq!(worker.send(Echo(7)).await.unwrap(), 7);
    });
}

/// Relied on by `HoldDataset`: no message is handled while the context waits.
#[test]
fn a_waiting_context_lets_no_message_in() {
    in_system(async {
        let worker = Worker.start();
        let (release, released) = oneshot::channel();
        worker.send(StandStill(released)).await.unwrap();
        let mut echo = Box::pin(worker.send(Echo(1)));
        let waiting = tokio::time::timeout(Duration::from_millis(1), &mut echo).await;
        assert!(waiting.is_err(), "the mailbox is held");
        release.send(()).unwrap();
        assert_eq!(echo.await.unwrap(), 1);
    });
}

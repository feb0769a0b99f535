//! Wake-ups of a connection, and of what is watched beside it, told apart.
//!
//! A task does not know which of its futures it was woken for, so each time that a connection goes on, all
//! that is watched beside it would be looked at, for which connections share a lock. Nor is it known to have
//! seen to a wake-up of its own making: the library wakes a connection for each body that was read to its
//! end, in the middle of its turn, and the runtime would have it run anew, maybe by another thread.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::Either;
use futures_util::task::AtomicWaker;

/// Turns in a row of a connection that wakes itself: the second is for what it has seen to already, and
/// others come before a third.
const TURNS_MAX: usize = 2;

/// The connection was woken.
const CONNECTION: u8 = 1;

/// Something that is watched was.
const WATCHED: u8 = 1 << 1;

/// The task has its turn, and looks at the others before it rests.
const RUNNING: u8 = 1 << 2;

/// The wake-ups of one connection, for all of its life: it may keep the waker that it was given first.
#[derive(Debug)]
pub(super) struct Wakeups {
    woken: Arc<Woken>,
    of_connection: Waker,
    of_watched: Waker,
}

impl Default for Wakeups {
    fn default() -> Self {
        let woken = Arc::<Woken>::default();
        let of_connection = Waker::from(Arc::clone(&woken));
        let of_watched = Waker::from(Arc::new(Watched(Arc::clone(&woken))));
        Self { woken, of_connection, of_watched }
    }
}

impl Wakeups {
    /// Waits for a connection or for what is watched beside it, whichever ends first; in each turn the
    /// connection goes first. What is watched has a turn only when it was woken.
    pub(super) async fn first<C: Future, W: Future>(
        &self,
        mut connection: Pin<&mut C>,
        watched: W,
    ) -> Either<C::Output, W::Output> {
        let mut watched = pin!(watched);
        let flags = &self.woken.flags;
        // It has not had a turn so far. Nobody has to be woken for it: this is the task.
        flags.note(WATCHED);
        poll_fn(|context| {
            self.woken.task.register(context.waker());
            for _turn in 0..TURNS_MAX {
                let woken = flags.take();
                let turn = connection.as_mut().poll(&mut Context::from_waker(&self.of_connection));
                if let Poll::Ready(output) = turn {
                    return Poll::Ready(Either::Left(output));
                }
                if woken & WATCHED != 0 {
                    let turn = watched.as_mut().poll(&mut Context::from_waker(&self.of_watched));
                    if let Poll::Ready(output) = turn {
                        return Poll::Ready(Either::Right(output));
                    }
                }
                if flags.rest() {
                    return Poll::Pending;
                }
            }
            flags.leave();
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }
}

/// Wakes for the connection.
#[derive(Debug, Default)]
struct Woken {
    flags: Flags,
    task: AtomicWaker,
}

impl Woken {
    fn wake_for(&self, whom: u8) {
        if self.flags.note(whom) {
            self.task.wake();
        }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_for(CONNECTION);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_for(CONNECTION);
    }
}

/// Wakes for what is watched beside it.
#[derive(Debug)]
struct Watched(Arc<Woken>);

impl Wake for Watched {
    fn wake(self: Arc<Self>) {
        self.0.wake_for(WATCHED);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_for(WATCHED);
    }
}

/// Who was woken since they had their turn. While any flag is set the task runs, or has been woken, or is just
/// about to be by who set the first; so each is seen. All are one word, whose changes have one order.
#[derive(Debug, Default)]
struct Flags(AtomicU8);

impl Flags {
    /// Notes a wake-up; whether the task is to be woken for it.
    fn note(&self, whom: u8) -> bool {
        self.0.fetch_or(whom, Ordering::AcqRel) == 0
    }

    /// Begins a turn, with who was woken before it.
    fn take(&self) -> u8 {
        self.0.swap(RUNNING, Ordering::AcqRel)
    }

    /// Ends the turns, unless somebody was woken meanwhile.
    fn rest(&self) -> bool {
        self.0.compare_exchange(RUNNING, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends the turns though somebody was woken; the task is to be woken then.
    fn leave(&self) {
        self.0.fetch_and(!RUNNING, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod flag_tests;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    /// Counts how often a task was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A future that ends when it is told, counts its turns, and wakes itself in so many of them.
    #[derive(Default)]
    struct Story {
        turns: AtomicUsize,
        wakes_itself: AtomicUsize,
        is_over: AtomicUsize,
        waker: AtomicWaker,
    }

    impl Story {
        fn waking_itself(times: usize) -> Self {
            Self { wakes_itself: times.into(), ..Self::default() }
        }

        fn future(&self) -> impl Future<Output = ()> {
            poll_fn(|context| {
                self.turns.fetch_add(1, Ordering::SeqCst);
                self.waker.register(context.waker());
                if self.wakes_itself.load(Ordering::SeqCst) > 0 {
                    self.wakes_itself.fetch_sub(1, Ordering::SeqCst);
                    context.waker().wake_by_ref();
                }
                if self.is_over.load(Ordering::SeqCst) > 0 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
        }

        fn turns(&self) -> usize {
            self.turns.load(Ordering::SeqCst)
        }

        fn ends(&self) {
            self.is_over.store(1, Ordering::SeqCst);
            self.waker.wake();
        }
    }

    /// A task whose turns are given one by one.
    struct Run<'a, T> {
        future: Pin<Box<dyn Future<Output = T> + 'a>>,
        task: Arc<Task>,
    }

    impl<'a, T> Run<'a, T> {
        fn of(future: impl Future<Output = T> + 'a) -> Self {
            Self { future: Box::pin(future), task: Arc::default() }
        }

        fn poll(&mut self) -> Poll<T> {
            let waker = Waker::from(Arc::clone(&self.task));
            self.future.as_mut().poll(&mut Context::from_waker(&waker))
        }

        /// How often it was woken so far.
        fn wakes(&self) -> usize {
            self.task.0.load(Ordering::SeqCst)
        }
    }

    async fn first<C: Future, W: Future>(
        wakeups: &Wakeups,
        connection: C,
        watched: W,
    ) -> Either<C::Output, W::Output> {
        wakeups.first(pin!(connection), watched).await
    }

    #[test]
    fn who_was_woken_has_a_turn_and_what_is_watched_has_none_for_the_connection() {
        let (wakeups, connection, watched) =
            (Wakeups::default(), Story::default(), Story::default());
        let mut run = Run::of(first(&wakeups, connection.future(), watched.future()));
        assert!(run.poll().is_pending());
        assert_eq!((connection.turns(), watched.turns(), run.wakes()), (1, 1, 0));
        connection.waker.wake();
        assert!(run.poll().is_pending());
        assert_eq!((connection.turns(), watched.turns(), run.wakes()), (2, 1, 1));
        watched.waker.wake();
        assert!(run.poll().is_pending());
        assert_eq!((watched.turns(), run.wakes()), (2, 2));
        // A turn for no reason that is known costs what is watched none.
        assert!(run.poll().is_pending());
        assert_eq!((watched.turns(), run.wakes()), (2, 2));
    }

    #[test]
    fn of_both_the_connection_ends_first() {
        let (wakeups, connection, watched) =
            (Wakeups::default(), Story::default(), Story::default());
        let mut run = Run::of(first(&wakeups, connection.future(), watched.future()));
        assert!(run.poll().is_pending());
        watched.ends();
        connection.ends();
        assert_eq!(run.wakes(), 1, "the task was woken already");
        assert!(matches!(run.poll(), Poll::Ready(Either::Left(()))));
    }

    #[test]
    fn who_is_woken_in_its_own_turn_has_another_at_once_and_the_task_is_not_woken() {
        let (wakeups, connection, watched) =
            (Wakeups::default(), Story::waking_itself(1), Story::default());
        let mut run = Run::of(first(&wakeups, connection.future(), watched.future()));
        assert!(run.poll().is_pending());
        assert_eq!((connection.turns(), watched.turns(), run.wakes()), (2, 1, 0));
        connection.ends();
        assert_eq!(run.wakes(), 1);
        assert!(run.poll().is_ready());
    }

    #[test]
    fn what_is_watched_may_wake_itself_and_the_connection() {
        let (wakeups, connection) = (Wakeups::default(), Story::default());
        let watched = Story::waking_itself(1);
        let both = async {
            connection.ends();
            watched.future().await;
        };
        let mut run = Run::of(first(&wakeups, connection.future(), both));
        assert!(matches!(run.poll(), Poll::Ready(Either::Left(()))));
        assert_eq!((connection.turns(), watched.turns(), run.wakes()), (2, 1, 0));

        let (wakeups, connection) = (Wakeups::default(), Story::default());
        let watched = Story::waking_itself(1);
        let mut run = Run::of(first(&wakeups, connection.future(), watched.future()));
        assert!(run.poll().is_pending());
        assert_eq!((watched.turns(), run.wakes()), (2, 0));
        watched.ends();
        assert!(matches!(run.poll(), Poll::Ready(Either::Right(()))));
    }

    #[test]
    fn who_wakes_itself_without_end_lets_others_come_between_and_goes_on() {
        let (wakeups, connection, watched) =
            (Wakeups::default(), Story::waking_itself(usize::MAX), Story::default());
        let mut run = Run::of(first(&wakeups, connection.future(), watched.future()));
        for round in 1..10 {
            assert!(run.poll().is_pending());
            assert_eq!((connection.turns(), run.wakes()), (round * TURNS_MAX, round));
        }
        watched.ends();
        assert_eq!(run.wakes(), 9, "it is to run anyway");
        assert!(matches!(run.poll(), Poll::Ready(Either::Right(()))));
    }

    /// A part of a connection that waits is not asked each time that the connection is.
    #[test]
    fn a_waker_of_before_wakes_the_task_though_something_else_is_watched_now() {
        let (wakeups, connection) = (Wakeups::default(), Story::default());
        let kept = AtomicWaker::new();
        let mut of_connection = pin!(poll_fn(|context| {
            if connection.turns() == 0 {
                kept.register(context.waker());
            }
            connection.future().poll_unpin(context)
        }));
        let watched = Story::default();
        let phases = async {
            let first = wakeups.first(of_connection.as_mut(), async {}).await;
            assert!(matches!(first, Either::Right(())));
            wakeups.first(of_connection.as_mut(), watched.future()).await
        };
        let mut run = Run::of(phases);
        assert!(run.poll().is_pending());
        assert_eq!((connection.turns(), watched.turns(), run.wakes()), (2, 1, 0));
        kept.wake();
        assert_eq!(run.wakes(), 1);
        connection.ends();
        assert!(matches!(run.poll(), Poll::Ready(Either::Left(()))));
    }

    /// As a runtime would: only when it was woken.
    #[test]
    fn a_wake_up_by_another_thread_is_never_lost() {
        const ROUNDS: usize = 20_000;
        /// Puts what wakes a task where the thread that runs it waits.
        struct Runs(mpsc::Sender<()>);
        impl Wake for Runs {
            fn wake(self: Arc<Self>) {
                self.0.send(()).ok();
            }
        }
        /// Ends when so much has come of one or the other, which is done by threads of their own.
        fn comes(came: &AtomicUsize, waker: &AtomicWaker) -> impl Future<Output = ()> {
            poll_fn(|context| {
                waker.register(context.waker());
                if came.load(Ordering::SeqCst) < ROUNDS { Poll::Pending } else { Poll::Ready(()) }
            })
        }
        for ends_by_connection in [true, false] {
            let (woken, wake) = mpsc::channel();
            let waker = Waker::from(Arc::new(Runs(woken)));
            let (came, ringing) = (AtomicUsize::new(0), AtomicWaker::new());
            let (never, idling) = (AtomicUsize::new(0), AtomicWaker::new());
            let wakeups = Wakeups::default();
            let (connection, watched) = if ends_by_connection {
                (comes(&came, &ringing), comes(&never, &idling))
            } else {
                (comes(&never, &idling), comes(&came, &ringing))
            };
            let mut future = pin!(first(&wakeups, connection, watched));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        idling.wake();
                        came.fetch_add(1, Ordering::SeqCst);
                        ringing.wake();
                    }
                });
                while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                    wake.recv_timeout(Duration::from_mins(1)).expect("the task is woken");
                    while wake.try_recv().is_ok() {}
                }
            });
        }
    }
}

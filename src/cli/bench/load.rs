//! The load itself: threads, connections on each, and the loops that send.
//!
//! A thread has a runtime of its own and shares with the others what each request touches for some
//! nanoseconds only, two counters and the watch for stalls (a mutex), since the load often runs on the
//! cores that the server needs. In a closed loop each connection sends
//! its next request when it has the last answer. In an open one requests become due at a rate,
//! and latency counts from the time at which a request was due: a server that stands still does
//! not keep the load from noticing (the correction of coordinated omission).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use futures_util::future::try_join_all;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

use super::connection::Connection;
use super::life::{FAILING_TIME_MAX, Failing, Moved};
use super::numbers::{float, whole};
use super::pacer::{Beat, Due, beat};
use super::plan::{Plan, Turn};
use super::recorder::{Ended, Recorder};
use super::silence::{Silence, Stalls};

/// How long a connection rests after an error, so that a dead server costs no core.
const REST_AFTER_ERROR: Duration = Duration::from_millis(5);

/// How long after the end of an open loop requests are sent that were due before it.
const BACKLOG_TIME_MAX: Duration = Duration::from_secs(10);

/// How far a part of a load goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    Time(Duration),
    Requests(u64),
}

/// How a load is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drive {
    pub(crate) connections: u32,
    pub(crate) threads: u32,
    /// Requests a second in an open loop; a closed one without.
    pub(crate) rate: Option<f64>,
    /// What is sent first and not recorded.
    pub(crate) warm_up: Extent,
    pub(crate) measured: Extent,
}

impl Drive {
    /// Number of the first request that is measured, where that is known: of a closed loop that is warmed up
    /// for a time it is not.
    fn first_measured(self) -> u64 {
        match (self.warm_up, self.rate) {
            (Extent::Requests(requests), _) => requests,
            (Extent::Time(time), Some(rate)) => due_within(time, rate),
            (Extent::Time(_), None) => 0,
        }
    }

    /// Number of the first request that is not sent any more. A time at a rate is a number of requests, so
    /// that whatever becomes of them no more are due.
    fn end(self) -> u64 {
        match (self.warm_up, self.measured, self.rate) {
            (_, Extent::Requests(requests), _) => self.first_measured().saturating_add(requests),
            (Extent::Time(before), Extent::Time(time), Some(rate)) => {
                due_within(before + time, rate)
            }
            (Extent::Requests(before), Extent::Time(time), Some(rate)) => {
                before.saturating_add(due_within(time, rate))
            }
            (_, Extent::Time(_), None) => u64::MAX,
        }
    }
}

/// Requests of a rate that are due within a time, its end not included.
fn due_within(time: Duration, rate: f64) -> u64 {
    whole((time.as_secs_f64() * rate).ceil())
}

/// Which of the plan's two actions a load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Stores what the load itself will need.
    Store,
    /// The load.
    Load,
}

/// A load's end.
#[derive(Debug)]
pub(crate) struct Driven {
    pub(crate) recorder: Recorder,
    pub(crate) stalls: Stalls,
    /// Processor time that the load's threads took, warm-up included.
    pub(crate) processor: Duration,
    /// Requests that they sent and that ended, warm-up included.
    pub(crate) sent: u64,
}

/// What the threads of one load share.
struct Shared {
    plan: Arc<Plan>,
    phase: Phase,
    drive: Drive,
    begin: Instant,
    /// Number of the next request of a closed loop.
    next: AtomicU64,
    sent: AtomicU64,
    /// Requests of the warm-up that are under way.
    warming_up: watch::Sender<u64>,
    /// When measuring began, which whoever sends the first measured request says.
    origin: OnceLock<Instant>,
    silence: Silence,
    /// Called at that moment.
    on_origin: Box<dyn Fn() + Send + Sync>,
    stop: Arc<AtomicBool>,
    failing: Failing,
    moved: Moved,
    /// Why the load was given up.
    given_up: OnceLock<String>,
}

/// Sends a load and waits for its end; blocks, so it wants a thread of its own.
///
/// # Errors
/// The first connection cannot be opened, or the server went away for good.
pub(crate) fn drive(
    plan: Arc<Plan>,
    phase: Phase,
    drive: Drive,
    stop: Arc<AtomicBool>,
    on_origin: impl Fn() + Send + Sync + 'static,
) -> anyhow::Result<Driven> {
    let shared = Arc::new(Shared::new(plan, phase, drive, stop, on_origin));
    let threads: Vec<_> = (0..drive.threads)
        .map(|number| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || thread(&shared, number))
        })
        .collect();
    let mut all: Option<(Recorder, Duration)> = None;
    for thread in threads {
        let done = thread.join().map_err(|_panic| anyhow!("a thread of the load broke"))?;
        let (recorder, processor) = done?;
        all = Some(match all {
            None => (recorder, processor),
            Some((mut whole, sum)) => {
                whole.absorb(recorder);
                (whole, sum + processor)
            }
        });
    }
    if let Some(reason) = shared.given_up.get() {
        bail!(
            "the load was given up: for {} seconds there was nothing but errors ({reason}); \
               check the server and its log",
            FAILING_TIME_MAX.as_secs()
        );
    }
    let (recorder, processor) = all.context("a load has at least one thread")?;
    let (stalls, sent) = (shared.silence.stalls(), shared.sent.load(Ordering::Relaxed));
    Ok(Driven { recorder, stalls, processor, sent })
}

/// One thread of a load: its share of the connections.
fn thread(shared: &Arc<Shared>, number: u32) -> anyhow::Result<(Recorder, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start a thread of the load")?;
    let local = LocalSet::new();
    let Drive { connections, threads, .. } = shared.drive;
    let share = connections / threads + u32::from(number < connections % threads);
    let recorder = Rc::new(RefCell::new(None));
    local.block_on(&runtime, async {
        let mut first = shared.connection();
        first.open().await?;
        let beats = |rate| Beat {
            begin: shared.begin,
            rate,
            first: u64::from(number),
            stride: u64::from(threads),
            end: shared.drive.end(),
        };
        let due = shared.drive.rate.map(|rate| Rc::new(Due::new(beats(rate))));
        let mut opened = Some(first);
        let loops: Vec<_> = (0..share.max(1))
            .map(|_| {
                let connection = opened.take().unwrap_or_else(|| shared.connection());
                let sender = Sender {
                    shared: Arc::clone(shared),
                    connection,
                    recorder: Rc::clone(&recorder),
                };
                tokio::task::spawn_local(sender.run(due.clone()))
            })
            .collect();
        if let Some(due) = &due {
            let is_stopped = || shared.stop.load(Ordering::Relaxed);
            beat(due, is_stopped).await.context("no timer")?;
        }
        let unsent = shared.ended(loops, due.as_deref()).await;
        let unsent = unsent.context("a connection's loop broke")?;
        if unsent > 0 {
            let mut recorder = recorder.borrow_mut();
            recorder.get_or_insert_with(|| shared.recorder()).leave_out(unsent);
        }
        anyhow::Ok(())
    })?;
    let processor = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
    let recorder = recorder.borrow_mut().take();
    let recorder = recorder.unwrap_or_else(|| shared.recorder());
    Ok((recorder, processor.unwrap_or_default()))
}

impl Shared {
    /// Nothing was sent yet.
    fn new(
        plan: Arc<Plan>,
        phase: Phase,
        drive: Drive,
        stop: Arc<AtomicBool>,
        on_origin: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            plan,
            phase,
            drive,
            begin: Instant::now(),
            next: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            warming_up: watch::Sender::default(),
            origin: OnceLock::new(),
            silence: Silence::default(),
            on_origin: Box::new(on_origin),
            stop,
            failing: Failing::default(),
            moved: Moved::default(),
            given_up: OnceLock::new(),
        }
    }

    /// Waits for the connections' loops; gives how many requests were due, would have been measured and
    /// could not be sent.
    async fn ended(&self, loops: Vec<JoinHandle<()>>, due: Option<&Due>) -> anyhow::Result<u64> {
        let patience = match self.drive.measured {
            Extent::Time(_) => BACKLOG_TIME_MAX,
            Extent::Requests(_) => Duration::MAX,
        };
        let mut all = std::pin::pin!(try_join_all(loops));
        if let Ok(ended) = timeout(patience, all.as_mut()).await {
            ended?;
            return Ok(0);
        }
        let unsent = due.map_or(0, |due| due.take_back(self.drive.first_measured()));
        all.await?;
        Ok(unsent)
    }

    /// For what has happened since measuring began.
    fn recorder(&self) -> Recorder {
        let origin = self.origin.get().copied().unwrap_or_else(Instant::now);
        Recorder::new(origin)
    }

    /// Whether a closed loop is over; of an open one the numbers say it.
    fn is_over(&self, now: Instant) -> bool {
        let end = match (self.drive.measured, self.origin.get()) {
            (Extent::Time(time), Some(origin)) => Some(*origin + time),
            (Extent::Time(_) | Extent::Requests(_), _) => None,
        };
        end.is_some_and(|end| end <= now) || self.stop.load(Ordering::Relaxed)
    }

    /// When a request that is due now should be sent; with what says that it is one of the warm-up, if it is.
    /// With the first that is measured measuring begins, which takes the tool a moment that in a closed loop is
    /// in no latency.
    async fn begin_of(&self, number: u64, due: Instant) -> (Instant, Option<WarmingUp<'_>>) {
        let warm_time = match (self.drive.warm_up, self.drive.rate) {
            (Extent::Time(time), None) => time,
            (Extent::Time(_) | Extent::Requests(_), _) => Duration::ZERO,
        };
        if number < self.drive.first_measured() || due < self.begin + warm_time {
            return (due, Some(WarmingUp::begin(&self.warming_up)));
        }
        let is_closed = self.drive.rate.is_none();
        if is_closed && self.origin.get().is_none() {
            // What the server still did of the warm-up would be in the time that is measured, and in no figure.
            drop(self.warming_up.subscribe().wait_for(|requests| *requests == 0).await);
        }
        let intended = || if is_closed { Instant::now() } else { due };
        self.origin.get_or_init(|| {
            (self.on_origin)();
            intended()
        });
        (intended(), None)
    }

    /// Notes whether a request, for which so many bytes moved, succeeded; gives the load up when none has for
    /// too long.
    fn note(&self, ended: &Ended, moved: u64) {
        match &ended.outcome {
            Ok(_) => self.failing.succeeded(),
            Err(trouble) => {
                if self.failing.failed(ended.answered, self.moved.so_far(), moved) {
                    let said = [trouble.kind.as_str(), trouble.said.as_str()].join(" ");
                    self.given_up.set(said.trim().to_owned()).ok();
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// A connection to the server that is not open yet.
    fn connection(&self) -> Connection {
        Connection::new(self.plan.target.address.clone(), self.moved.of_another())
    }
}

/// A request of the warm-up that is under way.
struct WarmingUp<'a>(&'a watch::Sender<u64>);

impl<'a> WarmingUp<'a> {
    fn begin(under_way: &'a watch::Sender<u64>) -> Self {
        under_way.send_modify(|requests| *requests += 1);
        Self(under_way)
    }
}

impl Drop for WarmingUp<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|requests| *requests -= 1);
    }
}

/// One connection's loop.
struct Sender {
    shared: Arc<Shared>,
    connection: Connection,
    recorder: Rc<RefCell<Option<Recorder>>>,
}

impl Sender {
    async fn run(mut self, due: Option<Rc<Due>>) {
        let mut token = self.shared.plan.target.token.clone();
        let mut current = token.as_mut().map(|token| token.borrow_and_update().clone());
        while let Some((number, at)) = self.next(due.as_deref()).await {
            if let Some(token) = &mut token
                && token.has_changed().unwrap_or(false)
            {
                current = Some(token.borrow_and_update().clone());
            }
            if self.send(number, at, current.as_ref()).await {
                tokio::time::sleep(REST_AFTER_ERROR).await;
            }
        }
    }

    /// Number of the next request and when it is due.
    async fn next(&self, due: Option<&Due>) -> Option<(u64, Instant)> {
        if let Some(due) = due {
            let next = due.next().await;
            return next.filter(|_| !self.shared.stop.load(Ordering::Relaxed));
        }
        let now = Instant::now();
        if self.shared.is_over(now) {
            return None;
        }
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        (number < self.shared.drive.end()).then_some((number, now))
    }

    /// Sends a request; whether it failed.
    async fn send(
        &mut self,
        number: u64,
        due: Instant,
        token: Option<&hyper::header::HeaderValue>,
    ) -> bool {
        let Self { shared, connection, recorder } = self;
        let (intended, warming_up) = shared.begin_of(number, due).await;
        let is_measured = warming_up.is_none();
        let mut failed = false;
        let moved = connection.moved.clone();
        let mut moved_before = moved.own();
        let record = |ended: Ended| {
            let moved_now = moved.own();
            shared.note(&ended, moved_now - std::mem::replace(&mut moved_before, moved_now));
            shared.sent.fetch_add(1, Ordering::Relaxed);
            failed |= ended.outcome.is_err();
            if is_measured {
                shared.silence.end(ended.intended, ended.sent, ended.answered);
                let mut recorder = recorder.borrow_mut();
                recorder.get_or_insert_with(|| shared.recorder()).take(ended);
            } else {
                shared.silence.end_unmeasured(ended.sent, ended.answered);
            }
        };
        let turn = Turn { connection, token, intended, record };
        match shared.phase {
            Phase::Store => shared.plan.store(number, turn).await,
            Phase::Load => shared.plan.perform(number, turn).await,
        }
        drop(warming_up);
        failed
    }
}

impl Driven {
    /// Microseconds of a processor that the load tool takes for each request.
    pub(crate) fn processor_micros(&self) -> f64 {
        super::numbers::ratio(self.processor.as_secs_f64() * 1e6, float(self.sent))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::operation::Workload;
    use super::super::sizes::Sizes;
    use super::*;

    fn plan() -> Plan {
        Plan::of_nothing(Workload::Upload, "127.0.0.1:1".parse().unwrap(), Sizes::Fixed(1))
    }

    #[test]
    fn what_beginning_to_measure_takes_is_in_no_latency_of_a_closed_loop() {
        let open = drive(100.0, Extent::Requests(1), Extent::Requests(2));
        for shape in [open, Drive { rate: None, ..open }] {
            let begun = Arc::new(OnceLock::new());
            let on_origin = Arc::clone(&begun);
            let stop = Arc::default();
            let shared = Shared::new(Arc::new(plan()), Phase::Load, shape, stop, move || {
                on_origin.set(Instant::now()).unwrap();
            });
            let due = Instant::now();
            let (intended, warming_up) = shared.begin_of(0, due).now_or_never().unwrap();
            assert_eq!((intended, warming_up.is_some(), begun.get()), (due, true, None));
            drop(warming_up);
            let (intended, warming_up) = shared.begin_of(1, due).now_or_never().unwrap();
            let (begun, origin) = (*begun.get().unwrap(), *shared.origin.get().unwrap());
            assert!(warming_up.is_none());
            if shape.rate.is_some() {
                assert_eq!((origin, intended), (due, due), "due is due");
            } else {
                assert!(begun <= origin && origin <= intended);
            }
        }
    }

    fn drive(rate: f64, warm_up: Extent, measured: Extent) -> Drive {
        Drive { connections: 1, threads: 1, rate: Some(rate), warm_up, measured }
    }

    #[test]
    fn a_closed_loop_begins_to_measure_when_the_warm_up_is_answered() {
        let requests = drive(100.0, Extent::Requests(1), Extent::Requests(2));
        let shared =
            |shape| Shared::new(Arc::new(plan()), Phase::Load, shape, Arc::default(), || ());
        let closed = shared(Drive { rate: None, ..requests });
        let begin_of = |number| closed.begin_of(number, Instant::now()).now_or_never();
        let (_, warming_up) = begin_of(0).unwrap();
        assert!(begin_of(1).is_none() && closed.origin.get().is_none());
        drop(warming_up);
        assert!(begin_of(1).is_some() && closed.origin.get().is_some());
        // Of an open one requests become due whatever the server does.
        let open = shared(requests);
        let _warming_up = open.begin_of(0, Instant::now()).now_or_never().unwrap();
        assert!(open.begin_of(1, Instant::now()).now_or_never().is_some());
    }

    #[test]
    fn an_open_loop_has_as_many_requests_as_its_time_whatever_becomes_of_them() {
        let seconds = |seconds| Extent::Time(Duration::from_secs(seconds));
        let shape = drive(1_000.0, seconds(2), seconds(10));
        assert_eq!((shape.first_measured(), shape.end()), (2_000, 12_000));
        // Due at 0, 4 and 8 seconds; the next one at the end.
        let shape = drive(0.25, seconds(2), seconds(10));
        assert_eq!((shape.first_measured(), shape.end()), (1, 3));
        let shape = drive(5.0, Extent::Requests(10), Extent::Requests(100));
        assert_eq!((shape.first_measured(), shape.end()), (10, 110));
        let closed = Drive { rate: None, ..drive(1.0, seconds(2), seconds(10)) };
        assert_eq!((closed.first_measured(), closed.end()), (0, u64::MAX));
    }
}

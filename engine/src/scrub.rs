//! The scrub: reads every content in the background, at a bounded rate, and puts what is damaged
//! into quarantine.
//!
//! A pass visits contents in order of digest, a page at a time, each page in the order in which
//! its contents lie on the disk. How far it came is a row of the index, written with its next
//! checkpoint, so a restart repeats a page or two and no more. A content that is in quarantine and
//! reads right again, since somebody put its file back, leaves the quarantine.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::check::{Page, contents_from};
use crate::committer::Committer;
use crate::engine::EngineOptions;
use crate::error::ReadError;
use crate::index::rows::BlobRow;
use crate::inspection::{Depth, Verdict, cost_of, inspect};
use crate::limits::{SCRUB_BYTES_PER_SECOND, SCRUB_PAGE_BYTES, SCRUB_PAGE_CONTENTS, SCRUB_PERIOD};
use crate::model::{Digest, Timestamp};
use crate::store::Store;

/// How often the scrub looks whether a pass is due, or goes on after a failure.
const LOOK_PERIOD: Duration = Duration::from_mins(1);

/// Time that is slept at once where the rate is held; less would be mostly overhead.
const NAP_MIN: Duration = Duration::from_millis(20);

/// What a pass has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ScrubPass {
    pub started: Timestamp,
    /// When it came to the end of the contents; `None` while it runs.
    pub finished: Option<Timestamp>,
    /// Contents that were read.
    pub contents: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Contents that were found damaged, those that were known to be included.
    pub damaged: u64,
}

/// How far the scrub came, as the index keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScrubRow {
    /// The pass under way, and the first digest that it has not seen.
    pub(crate) pass: Option<(ScrubPass, [u8; 32])>,
    /// The last pass that came to its end.
    pub(crate) last: Option<ScrubPass>,
}

/// What is known of the scrub.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScrubState {
    /// Bytes a second that it may read; 0 if it begins no pass by itself.
    pub bytes_per_second: u64,
    /// The pass under way.
    pub pass: Option<ScrubPass>,
    /// How much of all contents the pass has seen, from 0 to 1, by their names.
    pub share: f64,
    /// The last pass that came to its end.
    pub last: Option<ScrubPass>,
    /// When the next pass begins by itself, if it does.
    pub next: Option<Timestamp>,
}

/// The scrub's notes: the thread writes them, the index thread keeps them.
#[derive(Debug, Default)]
pub(crate) struct ScrubNotes {
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    row: ScrubRow,
    is_written: bool,
}

impl ScrubNotes {
    /// The notes that the index keeps.
    pub(crate) fn of(row: ScrubRow) -> Self {
        Self { notes: Mutex::new(Notes { row, is_written: true }) }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self) -> ScrubRow {
        self.notes().row
    }

    fn set(&self, row: ScrubRow) {
        *self.notes() = Notes { row, is_written: false };
    }

    /// What the index does not have yet. The caller writes it, or the store has failed.
    pub(crate) fn take_unwritten(&self) -> Option<ScrubRow> {
        let mut notes = self.notes();
        let row = (!notes.is_written).then_some(notes.row);
        notes.is_written = true;
        row
    }
}

/// Handle to the scrub's thread.
#[derive(Debug)]
pub(crate) struct Scrub {
    store: Arc<Store>,
    bytes_per_second: u64,
    /// A message begins a pass, the end ends the thread.
    orders: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Scrub {
    /// Starts the thread; with a rate of 0 it begins no pass unless it is asked to.
    pub(crate) fn start(
        store: &Arc<Store>,
        committer: &Arc<Committer>,
        options: &EngineOptions,
    ) -> io::Result<Self> {
        let bytes_per_second = options.scrub_bytes_per_second;
        let (orders, receiver) = channel();
        let rate = if bytes_per_second == 0 { SCRUB_BYTES_PER_SECOND } else { bytes_per_second };
        let scrubber = Scrubber {
            store: Arc::clone(store),
            committer: Arc::clone(committer),
            is_periodic: bytes_per_second > 0,
            continues: options.continues_scrub,
            pace: Pace { orders: receiver, rate, owed: Duration::ZERO, is_over: false },
        };
        let thread = std::thread::Builder::new().name("granary-scrub".into());
        let thread = thread.spawn(move || scrubber.run())?;
        let (orders, thread) = (Mutex::new(Some(orders)), Mutex::new(Some(thread)));
        Ok(Self { store: Arc::clone(store), bytes_per_second, orders, thread })
    }

    /// Begins a pass now, unless one is under way.
    pub(crate) fn begin(&self) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // A thread that has ended is one of a store that is stopping.
        orders.as_ref().map(|orders| orders.send(()).ok());
    }

    /// What is known of the scrub.
    pub(crate) fn state(&self) -> ScrubState {
        let row = self.store.scrub.row();
        let next = row.pass.is_none() && self.bytes_per_second > 0;
        let [first, second, third, fourth, ..] = row.pass.map_or([0; 32], |(_, next)| next);
        let seen = u32::from_be_bytes([first, second, third, fourth]);
        ScrubState {
            bytes_per_second: self.bytes_per_second,
            pass: row.pass.map(|(pass, _)| pass),
            share: f64::from(seen) / f64::from(u32::MAX),
            last: row.last,
            next: next.then(|| row.last.map_or_else(Timestamp::now, |last| due(&last))),
        }
    }

    /// Ends the thread; a pass goes on where it was with the next start. Blocks.
    pub(crate) fn stop(&self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the scrub's thread panicked");
        }
    }
}

/// When the pass after this one begins by itself.
fn due(last: &ScrubPass) -> Timestamp {
    let period = i64::try_from(SCRUB_PERIOD.as_micros()).unwrap_or(i64::MAX);
    Timestamp(last.started.0.saturating_add(period))
}

/// Holds the rate, and hears that it is to end.
#[derive(Debug)]
struct Pace {
    orders: Receiver<()>,
    /// Bytes a second.
    rate: u64,
    /// Time that reading was ahead of the rate.
    owed: Duration,
    is_over: bool,
}

impl Pace {
    /// Waits for as long as reading so many bytes may take, the time that it took aside; `false`
    /// if the scrub is to end.
    fn hold(&mut self, bytes: u64, took: Duration) -> bool {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        let allowed = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.owed = (self.owed + allowed).saturating_sub(took);
        if self.owed >= NAP_MIN {
            let slept = Instant::now();
            self.wait(self.owed);
            self.owed = self.owed.saturating_sub(slept.elapsed());
        } else {
            // Where reading is slower than the rate there is never a nap to hear of the end in.
            self.wait(Duration::ZERO);
        }
        !self.is_over
    }

    /// Waits; tells whether a pass was asked for meanwhile.
    fn wait(&mut self, time: Duration) -> bool {
        match self.orders.recv_timeout(time) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                self.is_over = true;
                false
            }
        }
    }
}

#[derive(Debug)]
struct Scrubber {
    store: Arc<Store>,
    committer: Arc<Committer>,
    is_periodic: bool,
    /// Whether it goes on with a pass of before.
    continues: bool,
    pace: Pace,
}

impl Scrubber {
    fn run(mut self) {
        // A crash may have brought marks back of what the journal has healed.
        if let Err(error) = self.forget_left() {
            tracing::error!(%error, "marks of damaged contents stay until the next scrub");
        }
        let mut is_asked = false;
        while !self.pace.is_over {
            // A store that takes no changes cannot keep what is found (I7).
            let may_work = self.committer.refusal().is_none();
            if may_work && (is_asked || self.is_due()) {
                is_asked = false;
                match self.pass() {
                    Ok(()) => continue,
                    Err(error) => tracing::error!(%error, "the scrub stopped; it goes on later"),
                }
            }
            is_asked |= self.pace.wait(LOOK_PERIOD);
        }
    }

    fn is_due(&self) -> bool {
        let row = self.store.scrub.row();
        let next_is_due = || row.last.is_none_or(|last| due(&last) <= Timestamp::now());
        match row.pass {
            Some(_) => self.continues,
            None => self.is_periodic && next_is_due(),
        }
    }

    /// Goes on with the pass under way, or begins one, to its end or the thread's.
    fn pass(&mut self) -> Result<(), ReadError> {
        let fresh = ScrubPass {
            started: Timestamp::now(),
            finished: None,
            contents: 0,
            bytes: 0,
            damaged: 0,
        };
        let (mut pass, mut from) = self.store.scrub.row().pass.unwrap_or((fresh, [0; 32]));
        tracing::info!(contents = pass.contents, "the scrub reads all contents");
        loop {
            let page = contents_from(&self.store, &from, SCRUB_PAGE_CONTENTS, SCRUB_PAGE_BYTES)?;
            if !self.read(&page, &mut pass)? {
                return Ok(());
            }
            let last = self.store.scrub.row().last;
            let Some(next) = page.next else {
                pass.finished = Some(Timestamp::now());
                self.store.scrub.set(ScrubRow { pass: None, last: Some(pass) });
                self.forget_left()?;
                let ScrubPass { contents, bytes, damaged, .. } = pass;
                tracing::info!(contents, bytes, damaged, "the scrub has read all contents");
                return Ok(());
            };
            from = next;
            self.store.scrub.set(ScrubRow { pass: Some((pass, from)), last });
        }
    }

    /// Reads the contents of a page; `false` if the scrub is to end.
    fn read(&mut self, page: &Page, pass: &mut ScrubPass) -> Result<bool, ReadError> {
        for (digest, row) in &page.rows {
            match self.inspect(digest, row)? {
                Verdict::Stopped => return Ok(false),
                Verdict::Gone => continue,
                Verdict::Sound => {
                    if self.store.quarantine.fault(digest, row.place).is_some() {
                        self.store.quarantine.release(digest, row.place);
                    }
                }
                Verdict::Faulty { place, fault, .. } => {
                    pass.damaged += 1;
                    self.store.quarantine.note(*digest, place, fault);
                }
                Verdict::WrongCrc { actual } => {
                    tracing::error!(%digest, actual, "a content's row has another CRC-32");
                }
            }
            pass.contents += 1;
            pass.bytes = pass.bytes.saturating_add(row.length);
        }
        Ok(true)
    }

    fn inspect(&mut self, digest: &Digest, row: &BlobRow) -> Result<Verdict, ReadError> {
        let mut began = Instant::now();
        let mut told = 0;
        let pace = &mut self.pace;
        let mut hold = |bytes: u64| {
            told += bytes;
            let goes_on = pace.hold(bytes, began.elapsed());
            began = Instant::now();
            goes_on
        };
        let verdict = inspect(&self.store, digest, *row, Depth::Bytes, &mut hold)?;
        let rest = cost_of(row).saturating_sub(told);
        let goes_on = pace.hold(rest, began.elapsed());
        Ok(if goes_on { verdict } else { Verdict::Stopped })
    }

    /// Takes away marks of places that their contents have left.
    fn forget_left(&self) -> Result<(), ReadError> {
        for (digest, _) in self.store.quarantine.all() {
            self.store.forget_left(&digest)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u64) -> (Sender<()>, Pace) {
        let (sender, orders) = channel();
        (sender, Pace { orders, rate, owed: Duration::ZERO, is_over: false })
    }

    #[test]
    fn what_reading_took_counts_against_the_rate() {
        let (_orders, mut pace) = pace(1 << 20);
        // A megabyte may take a second, and took two.
        assert!(pace.hold(1 << 20, Duration::from_secs(2)));
        assert_eq!(pace.owed, Duration::ZERO);
        // A nap that is too short is put off.
        assert!(pace.hold(1 << 10, Duration::ZERO));
        assert_eq!(pace.owed, Duration::from_nanos(976_562));
    }

    #[test]
    fn the_thread_ends_in_the_middle_of_a_nap() {
        let (orders, mut pace) = pace(1);
        drop(orders);
        // A nap of half an hour otherwise.
        assert!(!pace.hold(2000, Duration::ZERO));
    }

    #[test]
    fn where_reading_is_slower_than_the_rate_orders_and_the_end_are_heard_too() {
        let (orders, mut pace) = pace(1);
        orders.send(()).unwrap();
        assert!(pace.hold(1, Duration::from_secs(9)));
        // It was for the pass under way.
        assert!(!pace.wait(Duration::ZERO));
        drop(orders);
        assert!(!pace.hold(1, Duration::from_secs(9)));
    }
}

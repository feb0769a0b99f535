//! Numbers that all threads count with each request. A number that several processors write in turn costs
//! each of them a wait for its cache line; so each thread writes a cell of its own, and who reads adds
//! the cells up.

use std::array;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Counter, Gauge};

/// Cells of a number: as many threads count without each other. Beyond that they share, which is slower
/// and just as right.
const CELLS: usize = 8;

/// A cell for each thread, a cache line or more apart, as memory is fetched in pairs of lines. Takes eight
/// times the room, and 1 KiB at least: for what is counted with each request.
#[derive(Debug, Default)]
pub struct ByThread<T>([Padded<T>; CELLS]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T> ByThread<T> {
    /// As many as there are cells.
    pub fn new(mut cell: impl FnMut() -> T) -> Self {
        Self(array::from_fn(|_| Padded(cell())))
    }

    /// The cell that this thread writes.
    pub fn mine(&self) -> &T {
        let Self(cells @ [first, ..]) = self;
        let Padded(cell) = cells.get(number() % CELLS).unwrap_or(first);
        cell
    }

    /// All of them, for who reads.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|Padded(cell)| cell)
    }
}

impl ByThread<Counter> {
    /// Counts one.
    pub fn increment(&self) {
        self.mine().increment();
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.iter().map(Counter::get).sum()
    }
}

impl ByThread<Gauge> {
    /// One more.
    pub fn enter(&self) {
        self.mine().enter();
    }

    /// One less; each must have entered, on whatever thread.
    pub fn leave(&self) {
        self.mine().leave();
    }

    /// The present value; of those that enter and leave meanwhile, some may be counted and others not.
    pub fn get(&self) -> u64 {
        // A cell is below nothing where more left on its threads than entered.
        let sum = self.iter().map(Gauge::get).fold(0, u64::wrapping_add);
        // And so is the sum where one left that entered in a cell that was read before.
        u64::try_from(sum.cast_signed()).unwrap_or(0)
    }
}

/// A number of this thread: those of threads that began to count one after the other follow each other.
fn number() -> usize {
    const NONE: usize = usize::MAX;
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    }
    let number = NUMBER.get();
    if number != NONE {
        return number;
    }
    let number = THREADS.fetch_add(1, Ordering::Relaxed) % CELLS;
    NUMBER.set(number);
    number
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn what_threads_count_is_added_up_wherever_it_goes_up_and_down() {
        const THREADS: usize = 3 * CELLS;
        let (counter, gauge) = (ByThread::<Counter>::default(), ByThread::<Gauge>::default());
        gauge.enter();
        let all_are_in = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    counter.increment();
                    gauge.enter();
                    all_are_in.wait();
                    counter.increment();
                });
            }
        });
        assert_eq!((counter.get(), gauge.get()), (48, 25));
        // All that entered elsewhere leave here: this thread's cell is below nothing by then.
        for left in (0..25).rev() {
            gauge.leave();
            assert_eq!(gauge.get(), left);
        }
    }

    #[test]
    fn a_gauge_that_is_read_half_way_is_never_below_nothing() {
        let gauge = ByThread::<Gauge>::default();
        gauge.leave();
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_thread_has_one_cell_and_cells_share_no_line() {
        let cells = ByThread::<Counter>::default();
        let first: *const Counter = cells.mine();
        assert_eq!(first, std::ptr::from_ref(cells.mine()), "a thread has one");
        let bytes = size_of_val(&cells);
        assert_eq!((bytes, align_of_val(&cells)), (128 * CELLS, 128));
    }
}

//! How far a transfer is: a bar on a terminal, a plain line now and then elsewhere.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle,
};
use tokio::task::JoinHandle;

use super::complain;

/// How often the bar moves.
const BAR_INTERVAL: Duration = Duration::from_millis(200);

/// How often a plain line is written.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Numbers that the transfers keep true, and that are only shown.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    files_total: AtomicU64,
    bytes_total: AtomicU64,
    files_done: AtomicU64,
    bytes_done: AtomicU64,
    waiting: AtomicU64,
}

impl Counters {
    /// What there is to do, once it is known; zero bytes if they never are.
    pub(crate) fn expect(&self, files: u64, bytes: u64) {
        self.files_total.store(files, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
    }

    /// One more file is dealt with, however it ended.
    pub(crate) fn file_done(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more files are dealt with.
    pub(crate) fn files_done(&self, files: u64) {
        self.files_done.fetch_add(files, Ordering::Relaxed);
    }

    /// Bytes that were transferred, or need not be.
    pub(crate) fn bytes_done(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of an attempt that came to nothing.
    pub(crate) fn bytes_undone(&self, bytes: u64) {
        self.bytes_done.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Waits before another attempt, and shows that it does.
    pub(crate) async fn wait(&self, time: Duration) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(time).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn figures(&self, elapsed: Duration) -> Figures {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            files_total: load(&self.files_total),
            bytes_total: load(&self.bytes_total),
            files_done: load(&self.files_done),
            bytes_done: load(&self.bytes_done),
            waiting: load(&self.waiting),
            elapsed,
        }
    }
}

/// The numbers of one moment.
#[derive(Debug, Clone, Copy)]
struct Figures {
    files_total: u64,
    bytes_total: u64,
    files_done: u64,
    bytes_done: u64,
    waiting: u64,
    elapsed: Duration,
}

impl Figures {
    /// What is done of what there is; in bytes if these are known.
    fn share(&self) -> (u64, u64) {
        if self.bytes_total > 0 {
            (self.bytes_done, self.bytes_total)
        } else {
            (self.files_done, self.files_total)
        }
    }

    fn line(&self) -> String {
        let of_total = |total: u64, text: String| match total {
            0 => String::new(),
            _ => format!(" of {text}"),
        };
        let files = HumanCount(self.files_done);
        let of_files = of_total(self.files_total, HumanCount(self.files_total).to_string());
        let bytes = HumanBytes(self.bytes_done);
        let of_bytes = of_total(self.bytes_total, HumanBytes(self.bytes_total).to_string());
        let milliseconds = self.elapsed.as_millis().max(1);
        let rate = u128::from(self.bytes_done) * 1000 / milliseconds;
        let rate = HumanBytes(u64::try_from(rate).unwrap_or(u64::MAX));
        let mut parts = vec![
            format!("{files}{of_files} files"),
            format!("{bytes}{of_bytes}"),
            format!("{rate}/s"),
        ];
        let (done, total) = self.share();
        if done > 0 && total > done {
            let left = milliseconds * u128::from(total - done) / u128::from(done);
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX));
            parts.push(format!("{} left", HumanDuration(left)));
        }
        if self.waiting > 0 {
            parts.push(format!("{} waiting to try again", self.waiting));
        }
        parts.join(", ")
    }
}

/// Shows counters until it is finished.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    ticker: JoinHandle<()>,
}

impl Progress {
    /// Starts to show.
    pub(crate) fn start(counters: Arc<Counters>) -> Self {
        let started = Instant::now();
        let bar = io::stderr().is_terminal().then(new_bar);
        let shown_bar = bar.clone();
        let ticker = tokio::spawn(async move {
            let interval = if shown_bar.is_some() { BAR_INTERVAL } else { LINE_INTERVAL };
            let mut ticks = tokio::time::interval_at((started + interval).into(), interval);
            loop {
                ticks.tick().await;
                let figures = counters.figures(started.elapsed());
                match &shown_bar {
                    Some(bar) => {
                        let (done, total) = figures.share();
                        bar.set_length(total.max(1));
                        bar.set_position(done);
                        bar.set_message(figures.line());
                    }
                    None => complain(figures.line()),
                }
            }
        });
        Self { bar, ticker }
    }

    /// Runs something that writes to the terminal without tearing the bar.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Stops to show.
    pub(crate) fn finish(self) {
        self.ticker.abort();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    // A template that does not parse leaves the library's own.
    if let Ok(style) = ProgressStyle::with_template("[{wide_bar}]\n{wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(counters: &Counters, seconds: u64) -> String {
        counters.figures(Duration::from_secs(seconds)).line()
    }

    #[test]
    fn time_left_follows_from_the_bytes_if_they_are_known() {
        let counters = Counters::default();
        counters.expect(4, 4 << 20);
        counters.file_done();
        counters.bytes_done(1 << 20);
        assert_eq!(
            figures(&counters, 10),
            "1 of 4 files, 1.00 MiB of 4.00 MiB, 102.40 KiB/s, 30 seconds left"
        );
    }

    #[test]
    fn time_left_follows_from_the_files_otherwise() {
        let counters = Counters::default();
        counters.expect(2000, 0);
        (0..1000).for_each(|_| counters.file_done());
        counters.bytes_done(3 << 10);
        counters.bytes_undone(1 << 10);
        assert_eq!(
            figures(&counters, 2),
            "1,000 of 2,000 files, 2.00 KiB, 1.00 KiB/s, 2 seconds left"
        );
    }

    #[test]
    fn nothing_is_guessed_before_anything_is_known() {
        assert_eq!(figures(&Counters::default(), 1), "0 files, 0 B, 0 B/s");
    }
}

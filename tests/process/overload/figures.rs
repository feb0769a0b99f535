//! What answers came, and after which time.

use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::wire::Answer;
use crate::server::resident_bytes;

/// How often memory is looked at.
const LOOKED_EVERY: Duration = Duration::from_millis(100);

/// Answers of one load.
#[derive(Debug, Default)]
pub(super) struct Figures {
    span: Duration,
    /// Of the accepted ones that were answered within the span.
    in_time: u64,
    pub(super) names: BTreeSet<String>,
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
    pub(super) broken: u64,
    pub(super) not_sent: u64,
    pub(super) at_once_max: usize,
}

impl Figures {
    pub(super) fn note(&mut self, answer: Answer, time: Duration) {
        self.in_time += u64::from(matches!(answer, Answer::Done(_)));
        self.note_late(answer, time);
    }

    /// Notes an answer that came when the load was over, which is in no rate.
    pub(super) fn note_late(&mut self, answer: Answer, time: Duration) {
        match answer {
            Answer::Done(name) => {
                self.names.insert(name);
                self.accepted.push(time);
            }
            Answer::ComeBack => self.refused.push(time),
            Answer::GaveWay => self.note_broken("none, to a request that was sent late"),
            Answer::Broken(what) => self.note_broken(&what),
        }
    }

    fn note_broken(&mut self, what: &str) {
        if self.broken == 0 {
            println!("  the first broken one: {what}");
        }
        self.broken += 1;
    }

    pub(super) fn add(&mut self, other: Self) {
        self.in_time += other.in_time;
        self.names.extend(other.names);
        self.accepted.extend(other.accepted);
        self.refused.extend(other.refused);
        self.broken += other.broken;
    }

    pub(super) fn over(mut self, span: Duration) -> Self {
        self.span = span;
        self
    }

    /// Accepted and answered, a second.
    pub(super) fn rate(&self) -> f64 {
        f64::from(u32::try_from(self.in_time).unwrap()) / self.span.as_secs_f64()
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }

    pub(super) fn latencies(&self) -> String {
        quantiles(&self.accepted)
    }

    pub(super) fn refusal_latencies(&self) -> String {
        quantiles(&self.refused)
    }
}

fn quantiles(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let at = |percent: usize| {
        let time = times.get(times.len().saturating_sub(1) * percent / 100);
        time.map_or_else(|| "-".to_owned(), |time| format!("{} ms", time.as_millis()))
    };
    format!("p50 {}, p99 {}, max {}", at(50), at(99), at(100))
}

/// Looks at a process's memory while something goes on.
#[derive(Debug)]
pub(super) struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<u64>,
}

impl Sampler {
    pub(super) fn begin(pid: u32) -> Self {
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            let mut max = resident_bytes(pid);
            while stopped.recv_timeout(LOOKED_EVERY) == Err(RecvTimeoutError::Timeout) {
                max = max.max(resident_bytes(pid));
            }
            max
        });
        Self { stop, thread }
    }

    /// Bytes that it had at most.
    pub(super) fn end(self) -> u64 {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

//! From what was recorded to figures.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::checkpoints::Checkpoints;
use super::load::Driven;
use super::numbers::{float, ratio};
use super::operation::{Operation, Workload};
use super::process::{Disks, Processes, Usage};
use super::recorder::{Recorder, pairs};
use super::report::{
    ClientFigures, Latency, OperationFigures, Run, ServerFigures, SliceFigures, Stalls,
};

/// How often it is looked what the server takes.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Looks that are kept; of more every second one goes, and the interval doubles.
const LOOKS_MAX: usize = 512;

/// What was seen of them.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The first look is at the beginning, the last at the end; of those between some may be left out.
    usages: Vec<Usage>,
    /// Most bytes of memory that were resident at any look.
    resident_most: u64,
    /// Whether the processes were gone at a look. Others may have come in their place, of which nothing is known.
    is_lost: bool,
}

/// Watches what the server's processes take while a load runs; clones watch the same.
#[derive(Debug, Clone)]
pub(crate) struct Watch(Arc<Watching>);

#[derive(Debug)]
struct Watching {
    processes: Option<Processes>,
    /// Those that the server's data lie on when measuring begins.
    disks: OnceLock<Disks>,
    seen: Mutex<Watched>,
    over: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Watch {
    /// Watches these, once it is begun.
    pub(crate) fn new(processes: Option<Processes>) -> Self {
        Self(Arc::new(Watching {
            processes,
            disks: OnceLock::new(),
            seen: Mutex::default(),
            over: AtomicBool::new(false),
            thread: Mutex::default(),
        }))
    }

    /// Measuring begins.
    pub(crate) fn begin(&self) {
        if self.0.processes.is_none() {
            return;
        }
        self.0.look(LOOKS_MAX);
        let watching = Arc::clone(&self.0);
        let thread = std::thread::spawn(move || {
            let mut interval = LOOK_INTERVAL;
            loop {
                std::thread::park_timeout(interval);
                if watching.over.load(Ordering::Relaxed) {
                    return;
                }
                if watching.look(LOOKS_MAX) {
                    interval *= 2;
                }
            }
        });
        *self.0.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// Measuring is over: what was seen.
    pub(crate) fn end(self) -> Watched {
        self.0.over.store(true, Ordering::Relaxed);
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            // A watch that broke has seen less; what it saw is still true.
            thread.join().ok();
            self.0.look(LOOKS_MAX);
        }
        std::mem::take(&mut *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Watching {
    /// Looks; whether every second look before was dropped for it.
    fn look(&self, looks_max: usize) -> bool {
        let Some(processes) = &self.processes else { return false };
        let usage = processes.usage();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(usage) = usage else {
            seen.is_lost = true;
            return false;
        };
        let written = self.disks.get_or_init(|| processes.disks()).written();
        seen.note(Usage { written, ..usage }, looks_max)
    }
}

impl Watched {
    /// Whether the processes ended while they were watched, so that there are no figures of the server.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Notes a look; whether every second one before was dropped for it.
    fn note(&mut self, usage: Usage, looks_max: usize) -> bool {
        self.resident_most = self.resident_most.max(usage.resident);
        self.usages.push(usage);
        if self.usages.len() < looks_max {
            return false;
        }
        let mut number = 0;
        self.usages.retain(|_| {
            number += 1;
            // The last one is where the load ends, if it has.
            number % 2 == 1 || number == looks_max
        });
        true
    }
}

/// The figures of a run.
pub(crate) fn run_of(
    driven: &Driven,
    watched: &Watched,
    checkpoints: Option<Checkpoints>,
    workload: Workload,
) -> Run {
    let recorder = &driven.recorder;
    let seconds = recorder.length().as_secs_f64();
    let latencies = recorder.latencies();
    let requests = recorder.requests();
    Run {
        seconds,
        requests,
        per_second: ratio(float(requests), seconds),
        bytes: recorder.bytes,
        bytes_per_second: ratio(float(recorder.bytes), seconds),
        errors: recorder.errors.clone(),
        latency: Latency::of(&latencies),
        operations: operations(recorder, seconds),
        stalls: stalls(driven),
        checkpoints,
        client: ClientFigures {
            processor_per_request: driven.processor_micros(),
            sent_late_p99: float(recorder.lateness.value_at_quantile(0.99)) / 1e3,
        },
        server: server(recorder, watched, requests, workload),
        histogram: pairs(&latencies),
        slice_seconds: recorder.slice_time.as_secs_f64(),
        slices: recorder
            .slices
            .iter()
            .map(|slice| SliceFigures {
                bytes: slice.bytes,
                errors: slice.errors,
                histogram: pairs(&slice.latencies),
            })
            .collect(),
    }
}

fn operations(recorder: &Recorder, seconds: f64) -> Vec<OperationFigures> {
    let each = recorder.by_operation.iter().map(|(operation, of)| OperationFigures {
        operation: *operation,
        requests: of.latencies.len(),
        failed: Some(of.failed),
        per_second: ratio(float(of.latencies.len()), seconds),
        latency: Latency::of(&of.latencies),
    });
    each.collect()
}

fn stalls(driven: &Driven) -> Stalls {
    let Driven { recorder, stalls, .. } = driven;
    let each = stalls.each.iter().map(|stall| {
        let at = stall.begun.saturating_duration_since(recorder.origin());
        (at.as_secs_f64(), micros(stall.length))
    });
    // Those that were never sent are not known to have been in one.
    let ended = recorder.requests() + recorder.failed() - recorder.left_out();
    Stalls {
        count: stalls.count,
        longest: micros(stalls.longest),
        share_of_requests: ratio(float(stalls.requests), float(ended)),
        each: each.collect(),
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn server(
    recorder: &Recorder,
    Watched { usages, resident_most, is_lost }: &Watched,
    requests: u64,
    workload: Workload,
) -> Option<ServerFigures> {
    if *is_lost {
        return None;
    }
    let (first, last) = (usages.first()?, usages.last()?);
    let processor = last.processor.saturating_sub(first.processor).as_secs_f64();
    let seconds = last.at.saturating_duration_since(first.at).as_secs_f64();
    let written = last.written.zip(first.written).map(|(last, first)| last.saturating_sub(first));
    let uploads = recorder.by_operation.contains_key(&Operation::Upload);
    // Of a mixed load the bytes include what was fetched, so the ratio would say nothing.
    let comparable = uploads && workload == Workload::Upload && recorder.bytes > 0;
    let mut course = Vec::new();
    for two in usages.windows(2) {
        if let [before, after] = two {
            let at = after.at.saturating_duration_since(first.at).as_secs_f64();
            let time = after.at.saturating_duration_since(before.at).as_secs_f64();
            let busy = after.processor.saturating_sub(before.processor).as_secs_f64();
            course.push((at, after.resident, ratio(busy, time)));
        }
    }
    Some(ServerFigures {
        processor_per_request: ratio(processor * 1e6, float(requests)),
        cores: ratio(processor, seconds),
        resident: last.resident,
        resident_peak: usages.iter().map(|usage| usage.resident_peak).max()?,
        resident_most: Some(*resident_most),
        written,
        written_per_byte: written
            .filter(|_| comparable)
            .map(|written| ratio(float(written), float(recorder.bytes))),
        course,
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    fn usage(resident: u64) -> Usage {
        let (at, processor) = (Instant::now(), Duration::ZERO);
        // What the process once had, long before the run, is not the run's.
        Usage { at, processor, resident, resident_peak: 1_000, written: None }
    }

    #[test]
    fn of_a_server_that_ended_under_the_load_there_are_no_figures() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let watch = Watch::new(Some(Processes::one(child.id())));
        watch.begin();
        drop(child.stdin.take());
        child.wait().unwrap();
        let watched = watch.end();
        assert_eq!((watched.usages.is_empty(), watched.is_lost()), (false, true));
        let recorder = Recorder::new(Instant::now());
        assert!(server(&recorder, &watched, 1, Workload::Upload).is_none());
    }

    #[test]
    fn memory_at_most_is_that_of_the_run_and_is_kept_when_looks_are_left_out() {
        let mut watched = Watched::default();
        let residents = [300, 310, 305, 450, 304];
        let dropped = residents.map(|resident| watched.note(usage(resident), 5));
        assert_eq!(dropped, [false, false, false, false, true]);
        let kept: Vec<u64> = watched.usages.iter().map(|usage| usage.resident).collect();
        assert_eq!(kept, [300, 305, 304]);
        let recorder = Recorder::new(Instant::now());
        let figures = server(&recorder, &watched, 1, Workload::Upload).unwrap();
        assert_eq!((figures.resident, figures.resident_most), (304, Some(450)));
        assert_eq!(figures.resident_peak, 1_000);
    }
}

//! When the server made its index durable, as its metrics tell while a load runs, so that the latency
//! of the rest of the time can be told apart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::super::client::Client;
use super::super::server_url::ServerUrl;
use super::numbers::{float, ratio};
use super::recorder::{Recorder, pairs};
use super::report::{Latency, quantile};

/// How often the server is asked; rarely enough to cost it nothing that shows.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Time that is remembered; of a longer load it is not told.
const LOOKS_MAX: usize = 50 * 60 * 10;

/// Checkpoints of a run. Times are in microseconds, as in the rest of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoints {
    /// Those that were begun.
    pub(crate) count: u64,
    /// How long changes waited for one to begin, as the server says; the mean.
    pub(crate) stop: f64,
    /// Share of the time in which one was begun or written.
    pub(crate) share_of_time: f64,
    /// Share of the requests that were answered meanwhile.
    pub(crate) share_of_requests: f64,
    /// Latency of all others, to a hundredth.
    pub(crate) others: Latency,
    /// Seconds since the run began, and the length, of each time in which there was one.
    pub(crate) each: Vec<(f64, f64)>,
}

/// What the server said at some time between two instants.
#[derive(Debug, Clone, Copy)]
struct Look {
    asked: Instant,
    answered: Instant,
    said: Said,
}

/// What its metrics say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Said {
    begun: u64,
    /// Seconds that changes waited for them.
    stopped: f64,
    is_settling: bool,
}

/// Asks the server until it is dropped.
pub(crate) struct CheckpointWatch {
    looks: Arc<Mutex<Vec<Look>>>,
    task: JoinHandle<()>,
}

impl CheckpointWatch {
    /// Begins to ask. A server that has no such metrics, or does not show them, is asked once.
    pub(crate) fn begin(client: &Client) -> Self {
        let looks = Arc::<Mutex<Vec<Look>>>::default();
        let (http, url, seen) = (client.http.clone(), client.url.clone(), Arc::clone(&looks));
        let task = tokio::spawn(async move {
            while let Some(look) = look(&http, &url).await {
                if !remember(&seen, look) {
                    break;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        });
        Self { looks, task }
    }

    /// What was seen of the run; nothing if the server does not tell.
    pub(crate) fn end(self, recorder: &Recorder) -> Option<Checkpoints> {
        let looks = std::mem::take(&mut *self.looks.lock().unwrap_or_else(PoisonError::into_inner));
        figures(&looks, recorder)
    }
}

impl Drop for CheckpointWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Adds a look; `false` where there are too many, and then none is left.
fn remember(looks: &Mutex<Vec<Look>>, look: Look) -> bool {
    let mut looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
    if looks.len() == LOOKS_MAX {
        looks.clear();
        return false;
    }
    looks.push(look);
    true
}

async fn look(http: &reqwest::Client, url: &ServerUrl) -> Option<Look> {
    let asked = Instant::now();
    let response =
        http.get(format!("{}/metrics", url.as_str().trim_end_matches('/'))).send().await.ok()?;
    let text = response.error_for_status().ok()?.text().await.ok()?;
    Some(Look { asked, answered: Instant::now(), said: said(&text)? })
}

/// Reads the metrics; nothing if those in question are not among them.
fn said(text: &str) -> Option<Said> {
    let value = |name: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.next()?.trim().parse::<f64>().ok()
    };
    Some(Said {
        begun: super::numbers::whole(value("granary_checkpoint_duration_seconds_count")?),
        stopped: value("granary_checkpoint_duration_seconds_sum")?,
        is_settling: value("granary_checkpoint_settling")? > 0.0,
    })
}

/// Times in which there was a checkpoint, or may have been, in their order.
fn spans(looks: &[Look]) -> Vec<(Instant, Instant)> {
    let mut spans: Vec<(Instant, Instant)> = Vec::new();
    for two in looks.windows(2) {
        let [before, after] = two else { continue };
        let is_quiet = before.said.begun == after.said.begun
            && !before.said.is_settling
            && !after.said.is_settling;
        if is_quiet {
            continue;
        }
        match spans.last_mut() {
            Some((_, end)) if *end >= before.asked => *end = after.answered,
            Some(_) | None => spans.push((before.asked, after.answered)),
        }
    }
    spans
}

fn figures(looks: &[Look], recorder: &Recorder) -> Option<Checkpoints> {
    let within = |look: &&Look| look.answered >= recorder.origin();
    let (first, last) = (looks.iter().find(within)?, looks.last()?);
    let since = |at: Instant| at.saturating_duration_since(recorder.origin());
    let spans: Vec<(Duration, Duration)> = spans(looks)
        .into_iter()
        .map(|(start, end)| (since(start), since(end)))
        .filter(|(_, end)| !end.is_zero())
        .collect();
    let mut others = Vec::new();
    let (mut requests, mut meanwhile) = (0, 0);
    let mut from = Duration::ZERO;
    for slice in &recorder.slices {
        let to = from + recorder.slice_time;
        let latencies = pairs(&slice.latencies);
        let answered: u64 = latencies.iter().map(|(_, times)| times).sum();
        requests += answered;
        if spans.iter().any(|(start, end)| *start < to && *end > from) {
            meanwhile += answered;
        } else {
            others.extend(latencies);
        }
        from = to;
    }
    let length = |(start, end): &(Duration, Duration)| end.saturating_sub(*start).as_secs_f64();
    let under_way: f64 = spans.iter().map(length).sum();
    let count = last.said.begun.saturating_sub(first.said.begun);
    Some(Checkpoints {
        count,
        stop: ratio((last.said.stopped - first.said.stopped) * 1e6, float(count)),
        share_of_time: ratio(under_way, recorder.length().as_secs_f64()).min(1.0),
        share_of_requests: ratio(float(meanwhile), float(requests)),
        others: latency_of(others),
        each: spans.iter().map(|span| (span.0.as_secs_f64(), length(span) * 1e6)).collect(),
    })
}

/// The percentiles of latencies and how often each was.
fn latency_of(mut pairs: Vec<(f64, u64)>) -> Latency {
    pairs.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let times: u64 = pairs.iter().map(|(_, times)| times).sum();
    let sum: f64 = pairs.iter().map(|(latency, times)| latency * float(*times)).sum();
    let at = |share| quantile(&pairs, share);
    Latency {
        mean: ratio(sum, float(times)),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: at(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::operation::Operation;
    use super::super::recorder::Ended;
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn metrics_are_read_and_a_server_without_them_is_no_error() {
        let text = "# TYPE granary_checkpoint_settling gauge\n\
                    granary_checkpoint_duration_seconds_bucket{le=\"0.01\"} 2\n\
                    granary_checkpoint_duration_seconds_sum 0.025\n\
                    granary_checkpoint_duration_seconds_count 3\n\
                    granary_checkpoint_settling 1\n";
        let expected = Said { begun: 3, stopped: 0.025, is_settling: true };
        assert_eq!(said(text), Some(expected));
        assert_eq!(said("granary_checkpoint_settling 1\n"), None);
        assert_eq!(said("<html>no such page</html>"), None);
    }

    fn look(origin: Instant, at: u32, begun: u64, is_settling: bool) -> Look {
        let asked = origin + at * MILLI;
        let said = Said { begun, stopped: 0.01 * float(begun), is_settling };
        Look { asked, answered: asked + MILLI, said }
    }

    #[test]
    fn what_is_answered_beside_a_checkpoint_is_told_apart() {
        let origin = Instant::now();
        let mut recorder = Recorder::new(origin);
        // Ten a slice of 100 ms, for a second; slow ones from 300 to 500 ms.
        for number in 0..100 {
            let sent = origin + number * 10 * MILLI;
            let answered = sent + if (30..50).contains(&number) { 9 * MILLI } else { MILLI };
            let operation = Operation::Upload;
            recorder.take(Ended { operation, intended: sent, sent, answered, outcome: Ok(1) });
        }
        let looks = [(0, 5, false), (300, 5, false), (320, 6, true), (480, 6, false)]
            .map(|(at, begun, is_settling)| look(origin, at, begun, is_settling));
        let figures = figures(&looks, &recorder).unwrap();
        assert_eq!(figures.count, 1);
        assert!((figures.stop - 10_000.0).abs() < 1.0);
        assert!((figures.share_of_requests - 0.2).abs() < 1e-9);
        assert!(figures.others.max < 1_100.0, "{:?}", figures.others);
        assert_eq!(figures.each.len(), 1);
        let (start, length) = figures.each[0];
        assert!((start - 0.3).abs() < 1e-6 && (length - 181_000.0).abs() < 1.0);
    }

    #[test]
    fn a_checkpoint_that_came_and_went_between_two_looks_is_seen() {
        let origin = Instant::now();
        let looks = [(0, 1), (20, 1), (40, 2), (60, 2), (80, 4), (100, 4)]
            .map(|(at, begun)| look(origin, at, begun, false));
        let millis = |at: Instant| (at - origin).as_millis();
        let spans: Vec<_> =
            spans(&looks).iter().map(|(start, end)| (millis(*start), millis(*end))).collect();
        assert_eq!(spans, [(20, 41), (60, 81)]);
    }

    #[test]
    fn without_a_look_nothing_is_told() {
        assert_eq!(figures(&[], &Recorder::new(Instant::now())), None);
    }
}

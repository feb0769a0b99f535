//! When the server made its index durable, as its metrics tell while a load runs, so that the
//! latency of the rest of the time can be told apart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::client::Client;
use super::super::complain;
use super::numbers::{float, ratio, whole};
use super::recorder::{Recorder, pairs};
use super::report::{Latency, quantile};

/// Requests of an open loop beside which a look counts little, which costs the server as much as a few.
const REQUESTS_A_LOOK: f64 = 20.0;

/// How often the server is asked at most, which costs it a hundredth of a core.
const LOOK_INTERVAL: Duration = Duration::from_millis(40);

/// The server answers for a twentieth of the time at most, however long it takes.
const REST_FACTOR: u32 = 19;

/// How long an answer may take, and how long it is until the next try where none came.
const LOOK_TIME_MAX: Duration = Duration::from_secs(1);

/// Bytes of a server's metrics at most.
const METRICS_BYTES_MAX: usize = 4 << 20;

/// Time that is remembered; of a longer load it is not told.
const LOOKS_MAX: usize = 25 * 60 * 20;

/// Share of the requests that must have been answered beside no checkpoint for anything to be said
/// of them.
const OTHERS_SHARE_MIN: f64 = 0.2;

/// Checkpoints of a run. Times are in microseconds, as in the rest of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoints {
    /// Those that were begun.
    pub(crate) count: u64,
    /// How long changes waited for one to begin, as the server says: the mean, and the longest. Of several
    /// between two looks the longest is not known, and their mean stands for it.
    pub(crate) stop: f64,
    #[serde(default)]
    pub(crate) stop_longest: f64,
    /// Share of the time in which one was begun or written.
    pub(crate) share_of_time: f64,
    /// Share of the requests that were answered meanwhile.
    pub(crate) share_of_requests: f64,
    /// Latency of all others, to a hundredth; nothing if they are too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) others: Option<Latency>,
    /// Seconds since the run began, and the length, of each time in which there was one.
    pub(crate) each: Vec<(f64, f64)>,
}

/// Asks the server until it is dropped.
pub(crate) struct CheckpointWatch {
    seen: Arc<Mutex<Seen>>,
    /// The run is over, so the last look is not put off.
    is_over: Arc<Notify>,
    task: JoinHandle<()>,
}

/// What the server said, in order.
#[derive(Debug, Default)]
struct Seen {
    looks: Vec<Look>,
    /// More than is remembered.
    is_full: bool,
}

/// What the server said at some time between two instants.
#[derive(Debug, Clone, Copy)]
struct Look {
    asked: Instant,
    answered: Instant,
    said: Said,
    /// It gave no answer since the look before.
    follows_gap: bool,
}

/// What its metrics say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Said {
    begun: u64,
    /// Seconds that changes waited for them.
    stopped: f64,
    is_settling: bool,
}

impl CheckpointWatch {
    /// Begins to ask. A server that has no such metrics, or does not show them, is asked once.
    ///
    /// Of the processor time a request this is to be the small part, so a load of few requests a second, if
    /// their rate is known, has fewer looks.
    /// Waits for the first look, so that there is one from before the load.
    pub(crate) async fn begin(client: &Client, rate: Option<f64>) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (http, address, noted) = (client.http.clone(), client.url.metrics(), Arc::clone(&seen));
        let interval = interval(rate);
        let is_over = Arc::new(Notify::new());
        let over = Arc::clone(&is_over);
        let (has_looked, first_look) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut follows_gap = false;
            let mut is_first = Some(has_looked);
            loop {
                let began = Instant::now();
                let found = timeout(LOOK_TIME_MAX, look(&http, &address)).await.ok().flatten();
                match found {
                    Some(look) if !noted_in(&noted, Look { follows_gap, ..look }) => break,
                    None if is_first.is_some() => break,
                    Some(_) | None => {}
                }
                follows_gap = found.is_none();
                drop(is_first.take());
                let took = (!follows_gap).then(|| began.elapsed());
                rest(rest_after(took, interval), &over).await;
            }
        });
        // Told by the end of its sender, whatever came of the look.
        first_look.await.unwrap_or(());
        Self { seen, is_over, task }
    }

    /// What was seen of the run; nothing if the server does not tell, and where it began to and too little
    /// was seen, that is said. Waits for a last look, which bounds the run.
    pub(crate) async fn end(self, recorder: &Recorder) -> Option<Checkpoints> {
        let ended = Instant::now();
        let deadline = ended + 2 * LOOK_TIME_MAX;
        self.is_over.notify_one();
        while !self.is_over_since(ended) && Instant::now() < deadline && !self.task.is_finished() {
            tokio::time::sleep(LOOK_INTERVAL / 4).await;
        }
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let found = figures(&seen.looks, recorder).filter(|_| !seen.is_full);
        // A short one may be over before the server has told anything.
        let is_lacking = found.is_none() && !seen.looks.is_empty();
        if seen.is_full {
            complain(
                "the load was longer than checkpoints are watched for, so nothing is said of them",
            );
        } else if is_lacking && recorder.length() > LOOK_TIME_MAX {
            complain(
                "the server did not tell of its checkpoints for the whole load, so nothing is said of them",
            );
        }
        found
    }

    fn is_over_since(&self, ended: Instant) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.looks.last().is_some_and(|last| last.asked >= ended)
    }
}

impl Drop for CheckpointWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long the server is left in peace after an answer that took so long, or after none.
fn rest_after(took: Option<Duration>, interval: Duration) -> Duration {
    took.map_or(LOOK_TIME_MAX, |took| interval.max(took * REST_FACTOR))
}

/// From a look to the next beside a load with so many requests a second.
fn interval(rate: Option<f64>) -> Duration {
    let wanted = rate.and_then(|rate| Duration::try_from_secs_f64(REQUESTS_A_LOOK / rate).ok());
    wanted.unwrap_or_default().clamp(LOOK_INTERVAL, LOOK_TIME_MAX)
}

/// Rests for so long, or until the run is over.
async fn rest(time: Duration, is_over: &Notify) {
    timeout(time, is_over.notified()).await.ok();
}

/// Adds a look; `false` where there are too many.
fn noted_in(seen: &Mutex<Seen>, look: Look) -> bool {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.is_full = seen.looks.len() == LOOKS_MAX;
    if !seen.is_full {
        seen.looks.push(look);
    }
    !seen.is_full
}

async fn look(http: &reqwest::Client, address: &str) -> Option<Look> {
    let asked = Instant::now();
    let mut response = http.get(address).send().await.ok()?.error_for_status().ok()?;
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if text.len() + chunk.len() > METRICS_BYTES_MAX {
            return None;
        }
        text.extend_from_slice(&chunk);
    }
    let said = said(std::str::from_utf8(&text).ok()?)?;
    Some(Look { asked, answered: Instant::now(), said, follows_gap: false })
}

/// Reads the metrics; nothing if those in question are not among them.
fn said(text: &str) -> Option<Said> {
    let value = |name: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.next()?.trim().parse::<f64>().ok()
    };
    Some(Said {
        begun: whole(value("granary_checkpoint_duration_seconds_count")?),
        stopped: value("granary_checkpoint_duration_seconds_sum")?,
        is_settling: value("granary_checkpoint_settling")? > 0.0,
    })
}

/// Seconds that changes were stopped between two looks; none if the server began anew.
fn stopped_between(before: &Look, after: &Look) -> f64 {
    (after.said.stopped - before.said.stopped).max(0.0)
}

/// Times in which there was a checkpoint, or may have been, in their order.
fn spans(looks: &[Look]) -> Vec<(Instant, Instant)> {
    let mut spans: Vec<(Instant, Instant)> = Vec::new();
    for two in looks.windows(2) {
        let [before, after] = two else { continue };
        let is_quiet = before.said.begun == after.said.begun
            && !before.said.is_settling
            && !after.said.is_settling
            && !after.follows_gap;
        if is_quiet {
            continue;
        }
        // One is counted when it has been begun, which is when changes go on.
        let stop = Duration::try_from_secs_f64(stopped_between(before, after)).unwrap_or_default();
        let start = before.asked.checked_sub(stop).unwrap_or(before.asked);
        match spans.last_mut() {
            Some((_, end)) if *end >= start => *end = after.answered,
            Some(_) | None => spans.push((start, after.answered)),
        }
    }
    spans
}

fn figures(looks: &[Look], recorder: &Recorder) -> Option<Checkpoints> {
    let (origin, length) = (recorder.origin(), recorder.length());
    let begin = looks.iter().rposition(|look| look.answered <= origin)?;
    let looks = looks.get(begin..)?;
    let (first, last) = (looks.first()?, looks.last()?);
    if last.asked < origin + length {
        return None;
    }
    let since = |at: Instant| at.saturating_duration_since(origin).min(length);
    let spans: Vec<(Duration, Duration)> = spans(looks)
        .into_iter()
        .map(|(start, end)| (since(start), since(end)))
        .filter(|(start, end)| start < end)
        .collect();
    let (requests, meanwhile, others) = told_apart(recorder, &spans);
    let span_length =
        |(start, end): &(Duration, Duration)| end.saturating_sub(*start).as_secs_f64();
    let under_way: f64 = spans.iter().map(span_length).sum();
    let count = last.said.begun.saturating_sub(first.said.begun);
    let stops = looks.windows(2).filter_map(|two| {
        let [before, after] = two else { return None };
        let more = after.said.begun.saturating_sub(before.said.begun);
        (more > 0).then(|| stopped_between(before, after) / float(more))
    });
    let share_of_requests = ratio(float(meanwhile), float(requests));
    Some(Checkpoints {
        count,
        stop: ratio(stopped_between(first, last) * 1e6, float(count)),
        stop_longest: stops.fold(0.0, f64::max) * 1e6,
        share_of_time: ratio(under_way, length.as_secs_f64()),
        share_of_requests,
        others: (1.0 - share_of_requests >= OTHERS_SHARE_MIN).then(|| latency_of(others)),
        each: spans.iter().map(|span| (span.0.as_secs_f64(), span_length(span) * 1e6)).collect(),
    })
}

/// All requests, those that were answered in slices beside these times, and the others' latencies.
fn told_apart(recorder: &Recorder, spans: &[(Duration, Duration)]) -> (u64, u64, Vec<(f64, u64)>) {
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
    (requests, meanwhile, others)
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
        Look { asked, answered: asked, said, follows_gap: false }
    }

    /// Ten requests a slice of 100 ms, for a second; slow ones from 300 to 500 ms.
    fn recorded(origin: Instant) -> Recorder {
        let mut recorder = Recorder::new(origin);
        for number in 0..100 {
            let sent = origin + number * 10 * MILLI;
            let answered = sent + if (30..50).contains(&number) { 9 * MILLI } else { MILLI };
            let operation = Operation::Upload;
            recorder.take(Ended { operation, intended: sent, sent, answered, outcome: Ok(1) });
        }
        recorder
    }

    #[test]
    fn what_is_answered_beside_a_checkpoint_is_told_apart() {
        let origin = Instant::now();
        let recorder = recorded(origin);
        let looks = [
            (0, 5, false),
            (310, 5, false),
            (320, 6, true),
            (480, 6, false),
            (900, 6, false),
            (1000, 6, false),
        ]
        .map(|(at, begun, is_settling)| look(origin, at, begun, is_settling));
        let told = figures(&looks, &recorder).unwrap();
        assert_eq!(told.count, 1);
        assert!((told.stop - 10_000.0).abs() < 1.0 && (told.stop_longest - told.stop).abs() < 1.0);
        assert!((told.share_of_requests - 0.2).abs() < 1e-9);
        assert!(told.others.unwrap().max < 1_100.0, "{:?}", told.others);
        assert_eq!(told.each.len(), 1);
        let (start, length) = told.each[0];
        // With the 10 ms for which it stopped changes before it was counted.
        assert!((start - 0.3).abs() < 1e-6 && (length - 180_000.0).abs() < 1.0);

        let mut several = looks;
        for later in &mut several[3..] {
            later.said = Said { begun: 8, stopped: 0.24, is_settling: false };
        }
        let told = figures(&several, &recorder).unwrap();
        // One of 10 ms, then two of 180 ms together between two looks.
        assert!((told.stop_longest - 90_000.0).abs() < 1.0, "{told:?}");

        let mut with_gap = looks;
        with_gap[4].follows_gap = true;
        let told = figures(&with_gap, &recorder).unwrap();
        assert!((told.share_of_requests - 0.6).abs() < 1e-9, "{told:?}");
        let all = looks.map(|look| Look { said: Said { is_settling: true, ..look.said }, ..look });
        let told = figures(&all, &recorder).unwrap();
        assert_eq!(told.others, None);
        assert_eq!(figures(&looks[..5], &recorder), None, "the end was not seen");
        assert_eq!(figures(&looks[1..], &recorder), None, "the beginning was not seen");
        assert_eq!(figures(&[], &recorder), None);
    }

    #[test]
    fn a_server_that_is_slow_is_asked_less_and_one_that_gave_no_answer_is_soon_asked_again() {
        assert_eq!(rest_after(Some(MILLI), LOOK_INTERVAL), LOOK_INTERVAL);
        assert_eq!(rest_after(Some(10 * MILLI), LOOK_INTERVAL), 190 * MILLI);
        assert_eq!(rest_after(None, LOOK_INTERVAL), LOOK_TIME_MAX);
    }

    #[test]
    fn beside_few_requests_the_server_is_asked_less() {
        assert_eq!(interval(None), LOOK_INTERVAL);
        assert_eq!(interval(Some(5_000.0)), LOOK_INTERVAL);
        assert_eq!(interval(Some(100.0)), 200 * MILLI);
        assert_eq!(interval(Some(0.001)), LOOK_TIME_MAX);
    }

    #[tokio::test]
    async fn a_load_that_ends_while_the_server_is_left_in_peace_has_its_last_look() {
        let is_over = Notify::new();
        // Told before it rests, or while it does.
        is_over.notify_one();
        rest(Duration::MAX, &is_over).await;
        tokio::join!(rest(Duration::MAX, &is_over), async { is_over.notify_one() });
    }

    #[test]
    fn a_checkpoint_that_came_and_went_between_two_looks_is_seen() {
        let origin = Instant::now() + Duration::from_secs(1);
        let looks = [(0, 1), (20, 1), (40, 2), (60, 2), (80, 4), (100, 4), (120, 0), (140, 0)]
            .map(|(at, begun)| look(origin, at, begun, false));
        let begin = origin.checked_sub(Duration::from_secs(1)).unwrap();
        let millis = |at: Instant| (at - begin).as_millis();
        let spans: Vec<_> =
            spans(&looks).iter().map(|(start, end)| (millis(*start), millis(*end))).collect();
        // Each with the 10 ms before; the last one is a server that began anew.
        assert_eq!(spans, [(1010, 1080), (1100, 1120)]);
    }
}

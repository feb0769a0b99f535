//! The plots of one run.

use super::super::numbers::{count, float, ratio};
use super::super::report::{Run, SliceFigures, quantile};
use super::plot::{Axis, Plot};

/// Bars of a histogram in a factor of ten.
const BARS_PER_DECADE: f64 = 20.0;

/// Curves of quantiles end at this one, or where the run has too few requests.
const QUANTILE_LAST: f64 = 0.9999;

/// All plots of a run, each with a title and a key.
pub(super) fn plots(run: &Run) -> String {
    let mut plots = vec![latency(run), throughput(run), histogram(run), percentiles(run)];
    plots.extend(server(run));
    plots.concat()
}

/// Colours and what they stand for.
type Key<'a> = &'a [(&'a str, &'a str)];

fn figure(title: &str, key: Key<'_>, plot: Plot) -> String {
    let key = key.iter().map(|(colour, name)| format!("<i class=\"{colour}\"></i>{name}"));
    let key = key.collect::<Vec<_>>().concat();
    format!(
        "<figure><figcaption><h3>{title}</h3><span class=\"key\">{key}</span></figcaption>\n{}\
         </figure>\n",
        plot.svg()
    )
}

/// So many times what lies between two answers on average is no chance any more: nobody was answered.
const SILENCE_FACTOR: f64 = 10.0;

/// The middle of each slice that has requests, in seconds, and something of it; in pieces where nobody was
/// answered in between, or only with errors. The last slice ends with the run.
fn course(run: &Run, of: impl Fn(&SliceFigures) -> f64) -> Vec<Vec<(f64, f64)>> {
    let usual = ratio(run.seconds, float(run.requests)) * SILENCE_FACTOR;
    let middle = |number: usize| f64::midpoint(edge(run, number), edge(run, number + 1));
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let (mut empty, mut has_errors) = (0_usize, false);
    for (number, slice) in run.slices.iter().enumerate() {
        if slice.requests() == 0 {
            empty += 1;
            has_errors |= slice.errors > 0;
            continue;
        }
        let point = (middle(number), of(slice));
        let is_broken = has_errors || float(count(empty)) * run.slice_seconds > usual;
        match pieces.last_mut().filter(|_| !is_broken) {
            Some(piece) => piece.push(point),
            None => pieces.push(vec![point]),
        }
        (empty, has_errors) = (0, false);
    }
    pieces
}

/// Where a slice begins, in seconds: the last one ends with the run.
fn edge(run: &Run, number: usize) -> f64 {
    (float(count(number)) * run.slice_seconds).min(run.seconds)
}

fn latency(run: &Run) -> String {
    let at = |share: f64| course(run, |slice| quantile(&slice.histogram, share) / 1e3);
    let (middle, upper, most) = (at(0.5), at(0.99), at(1.0));
    let all = middle.iter().chain(&most).flatten().map(|(_, millis)| *millis);
    let (low, high) = all.fold((f64::INFINITY, 0.0), |(low, high), millis| {
        (f64::min(low, millis), f64::max(high, millis))
    });
    let low = if low.is_finite() { low } else { 1.0 };
    let mut plot = Plot::new(
        "Latency against time",
        Axis::even(run.seconds, "seconds"),
        Axis::by_decades(low * 0.8, high * 1.2, "ms"),
    );
    for piece in &most {
        plot = plot.dots("red", piece);
    }
    for (colour, pieces) in [("amber", &upper), ("blue", &middle)] {
        for piece in pieces {
            // A line of one point would not be seen.
            let is_alone = piece.len() == 1;
            plot = if is_alone { plot.dots(colour, piece) } else { plot.line(colour, piece) };
        }
    }
    figure("Latency against time", &[("blue", "p50"), ("amber", "p99"), ("red", "max")], plot)
}

fn throughput(run: &Run) -> String {
    // The last of several may be too short for a rate.
    let whole = run.slices.len().saturating_sub(1).max(1);
    let of = |of: &dyn Fn(&SliceFigures) -> u64| -> Vec<(f64, f64)> {
        let slices = run.slices.iter().take(whole).enumerate();
        let rates = slices.map(|(number, slice)| {
            let (begin, end) = (edge(run, number), edge(run, number + 1));
            (f64::midpoint(begin, end), ratio(float(of(slice)), end - begin))
        });
        rates.collect()
    };
    let (requests, errors) = (of(&SliceFigures::requests), of(&|slice| slice.errors));
    let highest = requests.iter().chain(&errors).map(|(_, rate)| *rate).fold(0.0, f64::max);
    let plot = Plot::new(
        "Throughput against time",
        Axis::even(run.seconds, "seconds"),
        Axis::even(highest * 1.1, "requests per second"),
    );
    let plot = plot.area("green", &requests);
    if errors.iter().all(|(_, rate)| *rate == 0.0) {
        return figure("Throughput", &[("green", "succeeded")], plot);
    }
    let key = [("green", "succeeded"), ("red", "failed")];
    figure("Throughput", &key, plot.area("red", &errors))
}

fn histogram(run: &Run) -> String {
    let all: u64 = run.histogram.iter().map(|(_, times)| times).sum();
    let lowest = run.histogram.first().map_or(1.0, |(micros, _)| micros / 1e3);
    let highest = run.histogram.last().map_or(10.0, |(micros, _)| micros / 1e3);
    let width = 10_f64.powf(1.0 / BARS_PER_DECADE);
    let mut bars: Vec<(f64, f64, f64)> = Vec::new();
    let mut edge = 10_f64.powf((lowest.log10() * BARS_PER_DECADE).floor() / BARS_PER_DECADE);
    let first = edge;
    let mut pairs = run.histogram.iter().peekable();
    while edge <= highest && bars.len() < 400 {
        let mut within = 0;
        while let Some((_, times)) = pairs.next_if(|(micros, _)| micros / 1e3 < edge * width) {
            within += times;
        }
        if within > 0 {
            bars.push((edge, edge * width, ratio(float(within), float(all)) * 100.0));
        }
        edge *= width;
    }
    let tallest = bars.iter().map(|(_, _, share)| *share).fold(0.0, f64::max);
    let mut plot = Plot::new(
        "Histogram of latencies",
        Axis::by_decades(first, edge, "ms"),
        Axis::even(tallest * 1.15, "% of requests"),
    );
    plot = plot.bars("blue", &bars);
    let latency = &run.latency;
    let marks =
        [("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("p99.9", latency.p999)];
    for (row, (name, micros)) in (0..).zip(marks) {
        plot = plot.marker(micros / 1e3, name, row);
    }
    figure("Histogram of latencies", &[], plot)
}

fn percentiles(run: &Run) -> String {
    // Across is one over the share that is slower: each factor of ten is another nine.
    let requests = float(run.requests).max(10.0);
    let last = (1.0 / (1.0 - QUANTILE_LAST)).min(requests);
    let steps = 120_u32;
    let points: Vec<(f64, f64)> = (0..=steps)
        .map(|step| {
            let slower = last.powf(f64::from(step) / f64::from(steps));
            (slower, quantile(&run.histogram, 1.0 - 1.0 / slower) / 1e3)
        })
        .collect();
    let low = points.first().map_or(1.0, |(_, millis)| *millis);
    let high = points.last().map_or(1.0, |(_, millis)| *millis);
    let plot = Plot::new(
        "Latency by how many are slower",
        Axis::by_decades(1.0, last, "one request in so many is slower"),
        Axis::by_decades(low * 0.8, high * 1.2, "ms"),
    );
    figure("Latency by how many are slower", &[], plot.line("blue", &points))
}

fn server(run: &Run) -> Vec<String> {
    let Some(server) = run.server.as_ref().filter(|server| server.course.len() > 1) else {
        return Vec::new();
    };
    let mebibytes: Vec<(f64, f64)> =
        server.course.iter().map(|(at, bytes, _)| (*at, float(*bytes) / float(1 << 20))).collect();
    let cores: Vec<(f64, f64)> = server.course.iter().map(|(at, _, cores)| (*at, *cores)).collect();
    let most = |points: &[(f64, f64)]| points.iter().map(|(_, up)| *up).fold(0.0, f64::max);
    let plot = |title: &str, points: &[(f64, f64)], colour: &str, unit: &'static str| {
        let across = Axis::even(run.seconds, "seconds");
        let plot = Plot::new(title, across, Axis::even(most(points) * 1.15, unit));
        figure(title, &[], plot.area(colour, points))
    };
    vec![
        plot("The server's memory", &mebibytes, "amber", "MiB resident"),
        plot("The server's processors", &cores, "red", "cores busy"),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::super::compare::tests::run;
    use super::*;

    /// How many points each piece has after these slices have lost their requests.
    fn pieces(mut run: Run, empty: &[usize], errors: u64) -> Vec<usize> {
        for number in empty {
            run.slices[*number] = SliceFigures { bytes: 0, errors, histogram: Vec::new() };
        }
        run.requests = run.slices.iter().map(SliceFigures::requests).sum();
        course(&run, |_| 1.0).iter().map(Vec::len).collect()
    }

    #[test]
    fn the_last_slice_is_drawn_within_the_run() {
        let mut run = run(100, 40);
        run.seconds = 9.85;
        let points = course(&run, |_| 1.0);
        let last = points.last().and_then(|piece| piece.last()).unwrap();
        assert!((last.0 - 9.8).abs() < 1e-9, "{last:?}");
    }

    #[test]
    fn no_line_is_drawn_across_an_outage() {
        assert_eq!(pieces(run(100, 40), &[], 0), [40]);
        assert_eq!(pieces(run(100, 40), &[10, 11, 12], 0), [10, 27]);
        assert_eq!(pieces(run(1, 40), &[10], 3), [10, 29]);
        // With one request in half a second every second slice has none, and that is no outage.
        let empty: Vec<usize> = (1..40).step_by(2).collect();
        assert_eq!(pieces(run(1, 40), &empty, 0), [20]);
    }
}

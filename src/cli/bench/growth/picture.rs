//! The plots of growth, each a picture of its own.

use super::super::html::plot::{Axis, Plot};
use super::super::numbers::float;
use super::super::report::Run;
use super::Step;

/// Names of files and what they hold.
pub(super) fn all(steps: &[Step]) -> Vec<(&'static str, String)> {
    let processor =
        |run: &Run| run.server.as_ref().map_or(0.0, |server| server.processor_per_request);
    let points = |of: &dyn Fn(&Step) -> f64| -> Vec<(f64, f64)> {
        steps.iter().map(|step| (float(step.files), of(step))).collect()
    };
    let rates = [
        ("blue", points(&|step| step.upload.per_second)),
        ("green", points(&|step| step.download.per_second)),
    ];
    let times = [
        ("blue", points(&|step| processor(&step.upload))),
        ("green", points(&|step| processor(&step.download))),
    ];
    let memory = [
        ("blue", points(&|step| float(step.resident) / MIB)),
        ("amber", points(&|step| float(step.resident_peak) / MIB)),
    ];
    let opening = [("blue", points(&|step| step.opened.as_secs_f64()))];
    vec![
        (
            "growth-rates.svg",
            picture(
                "Uploads (blue) and gets (green) as more is stored",
                "requests a second",
                &rates,
            ),
        ),
        (
            "growth-processor.svg",
            picture(
                "Processor time of an upload (blue) and a get (green) as more is stored",
                "microseconds",
                &times,
            ),
        ),
        (
            "growth-memory.svg",
            picture(
                "Resident memory after opening (blue) and at most (amber) as more is stored",
                "MiB",
                &memory,
            ),
        ),
        (
            "growth-opening.svg",
            picture("Time until a server listens as more is stored", "seconds", &opening),
        ),
    ]
}

const MIB: f64 = 1_048_576.0;

fn picture(title: &str, unit: &'static str, lines: &[(&str, Vec<(f64, f64)>)]) -> String {
    let values = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let across = values()
        .fold((f64::MAX, 0.0_f64), |(least, most), (files, _)| (least.min(files), most.max(files)));
    let most = values().fold(0.0_f64, |most, (_, value)| most.max(value));
    let across = Axis::by_decades(across.0, across.1, "files stored");
    let mut plot = Plot::new(title, across, Axis::even(most * 1.15, unit));
    for (colour, points) in lines {
        plot = plot.line(colour, points).dots(colour, points);
    }
    plot.standalone(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_stands_alone() {
        let line = ("blue", vec![(1e3, 5.0), (1e6, 4.0)]);
        let svg = picture("Rates & times", "per second", &[line]);
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox="));
        assert!(svg.contains("Rates &amp; times") && svg.contains("<style>"), "{svg}");
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}

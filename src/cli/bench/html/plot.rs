//! Plots as SVG: axes, lines, areas, bars. Colours are names of the page's style.

use std::fmt::Write;

use super::escaped;

/// Of a plot, in the units of its own picture.
const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 38.0;

/// Marks on an even axis, about.
const TICKS: f64 = 8.0;

/// Decades of an uneven axis above which only every decade has a mark.
const DECADES_FINE: f64 = 2.5;

/// Of a picture that stands alone: the page's style is not there.
const COLOURS: &str = "text{font:11.5px system-ui,sans-serif;fill:#667085}\
    .name{fill:#1b2330;font-weight:600}.grid{stroke:#e3e7ee}.axis{stroke:#667085;opacity:.6}\
    .line{fill:none;stroke-width:1.7}.line.blue{stroke:#2563eb}.dot.blue{fill:#2563eb}\
    .line.green{stroke:#0d9467}.dot.green{fill:#0d9467}.line.amber{stroke:#c2740a}\
    .dot.amber{fill:#c2740a}";

/// One axis: which values it shows, and how.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    from: f64,
    to: f64,
    logarithmic: bool,
    unit: &'static str,
}

impl Axis {
    /// An axis from zero up to a value, which need not be round.
    pub(crate) fn even(to: f64, unit: &'static str) -> Self {
        Self { from: 0.0, to: if to > 0.0 { to } else { 1.0 }, logarithmic: false, unit }
    }

    /// An axis on which every factor of ten has the same length.
    pub(crate) fn by_decades(from: f64, to: f64, unit: &'static str) -> Self {
        let from = if from > 0.0 { from } else { 1e-3 };
        Self { from, to: to.max(from * 1.5), logarithmic: true, unit }
    }

    /// Where a value is: 0 at the beginning, 1 at the end.
    fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }

    fn marks(&self) -> Vec<f64> {
        if self.logarithmic { self.marks_by_decades() } else { self.even_marks() }
    }

    fn even_marks(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0];
        let step = steps.iter().map(|step| step * power).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let marks = (0_u32..).map(|number| self.from + step * f64::from(number));
        marks.take_while(|mark| *mark <= self.to * 1.000_001).collect()
    }

    fn marks_by_decades(&self) -> Vec<f64> {
        let fine = (self.to / self.from).log10() <= DECADES_FINE;
        let within: &[f64] = if fine { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let first = 10_f64.powf(self.from.log10().floor());
        let decades = (0..24).map(|number| first * 10_f64.powi(number));
        let marks = decades.flat_map(|decade| within.iter().map(move |factor| factor * decade));
        marks.filter(|mark| *mark >= self.from * 0.999 && *mark <= self.to * 1.001).collect()
    }
}

/// One plot on its way.
#[derive(Debug)]
pub(crate) struct Plot {
    across: Axis,
    up: Axis,
    svg: String,
}

impl Plot {
    /// Axes with nothing between them; the title is what is read out of it.
    pub(crate) fn new(title: &str, across: Axis, up: Axis) -> Self {
        let mut plot = Self { across, up, svg: String::new() };
        let title = escaped(title);
        plot.put(format_args!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
        ));
        plot.draw_axes();
        plot
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        // A string takes whatever is written to it.
        self.svg.write_fmt(what).ok();
        self.svg.push('\n');
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.across.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.up.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn draw_axes(&mut self) {
        for mark in self.up.marks() {
            let y = self.y(mark);
            self.put(format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 7.0,
                y + 4.0,
                short(mark)
            ));
        }
        let base = HEIGHT - BOTTOM;
        for mark in self.across.marks() {
            let x = self.x(mark);
            self.put(format_args!(
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{base}\" y2=\"{}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                base + 4.0,
                base + 17.0,
                short(mark)
            ));
        }
        let (across, up) = (self.across.unit, self.up.unit);
        self.put(format_args!(
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{base}\" y2=\"{base}\"/>\
             <text class=\"unit\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text class=\"unit\" x=\"6\" y=\"11\">{}</text>",
            WIDTH - RIGHT,
            WIDTH - RIGHT,
            HEIGHT - 5.0,
            across,
            up
        ));
    }

    /// A line through the points.
    pub(crate) fn line(mut self, colour: &str, points: &[(f64, f64)]) -> Self {
        let path = self.path(points);
        if !points.is_empty() {
            self.put(format_args!("<path class=\"line {colour}\" d=\"{path}\"/>"));
        }
        self
    }

    /// A line through the points, and all below it filled.
    pub(crate) fn area(mut self, colour: &str, points: &[(f64, f64)]) -> Self {
        if let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) {
            let base = HEIGHT - BOTTOM;
            let (path, left, right) = (self.path(points), self.x(*first), self.x(*last));
            self.put(format_args!(
                "<path class=\"fill {colour}\" d=\"{path}L{right:.1} {base}L{left:.1} {base}Z\"/>"
            ));
        }
        self.line(colour, points)
    }

    /// A dot at each of the points.
    pub(crate) fn dots(mut self, colour: &str, points: &[(f64, f64)]) -> Self {
        for (across, up) in points {
            let (x, y) = (self.x(*across), self.y(*up));
            self.put(format_args!(
                "<circle class=\"dot {colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.8\"/>"
            ));
        }
        self
    }

    /// A bar from each first value to its second one, as high as the third.
    pub(crate) fn bars(mut self, colour: &str, bars: &[(f64, f64, f64)]) -> Self {
        for (from, to, up) in bars {
            let (left, right, y) = (self.x(*from), self.x(*to), self.y(*up));
            let base = HEIGHT - BOTTOM;
            self.put(format_args!(
                "<rect class=\"bar {colour}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
                 height=\"{:.1}\"><title>{} to {}: {}</title></rect>",
                left + 0.5,
                (right - left - 1.0).max(0.8),
                base - y,
                short(*from),
                short(*to),
                short(*up)
            ));
        }
        self
    }

    /// An upright line with a name at its top, `row` lines of text down.
    pub(crate) fn marker(mut self, at: f64, name: &str, row: u32) -> Self {
        let x = self.x(at);
        let down = TOP + 9.0 + 14.0 * f64::from(row);
        // Names of what is far right stand to the left of their line.
        let right = x > WIDTH * 0.8;
        let (anchor, beside) = if right { ("end", x - 4.0) } else { ("start", x + 4.0) };
        self.put(format_args!(
            "<line class=\"marker\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text class=\"name\" x=\"{beside:.1}\" y=\"{down:.1}\" text-anchor=\"{anchor}\">{name}</text>",
            HEIGHT - BOTTOM
        ));
        self
    }

    /// The picture.
    pub(crate) fn svg(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }

    /// The picture as a file of its own: with its title in it, and with colours.
    pub(crate) fn standalone(mut self, title: &str) -> String {
        let title = escaped(title);
        self.put(format_args!(
            "<text class=\"name\" x=\"{}\" y=\"11\" text-anchor=\"middle\">{title}</text>",
            WIDTH / 2.0
        ));
        let svg = self.svg();
        let (_, behind) = svg.split_once("<svg ").unwrap_or_default();
        let (attributes, rest) = behind.split_once('>').unwrap_or_default();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" {attributes}>\n<style>{COLOURS}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>{rest}"
        )
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (number, (across, up)) in points.iter().enumerate() {
            let letter = if number == 0 { 'M' } else { 'L' };
            write!(path, "{letter}{:.1} {:.1}", self.x(*across), self.y(*up)).ok();
        }
        path
    }
}

/// A number as short as a mark on an axis has to be.
pub(crate) fn short(number: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = units.iter().find(|(unit, _)| number.abs() >= *unit);
    let (number, name) = unit.map_or((number, ""), |(unit, name)| (number / unit, *name));
    let digits = match number.abs() {
        large if large >= 100.0 => 0,
        small if small < 0.1 => 3,
        middle if middle < 1.0 => 2,
        _ => 1,
    };
    let text = format!("{number:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    format!("{text}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_within_the_axis() {
        assert_eq!(Axis::even(33.0, "s").marks(), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        let marks: Vec<String> =
            Axis::by_decades(0.3, 40.0, "ms").marks().into_iter().map(short).collect();
        assert_eq!(marks, ["0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(Axis::by_decades(1.0, 1e6, "ms").marks().len(), 7);
    }

    #[test]
    fn nothing_is_drawn_outside_of_the_picture() {
        let plot = Plot::new("t", Axis::even(10.0, "s"), Axis::by_decades(1.0, 10.0, "ms"));
        for value in [-5.0, 0.0, 5.0, 1e9, f64::INFINITY] {
            assert!((LEFT..=WIDTH - RIGHT).contains(&plot.x(value)), "{value}");
            assert!((TOP..=HEIGHT - BOTTOM).contains(&plot.y(value)), "{value}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let short: Vec<String> = [0.0, 0.025, 0.5, 12.0, 12.5, 1500.0, 2e6].map(short).into();
        assert_eq!(short, ["0", "0.025", "0.5", "12", "12.5", "1.5k", "2M"]);
    }
}

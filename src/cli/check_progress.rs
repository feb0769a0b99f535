//! How far a check or a pass of the scrub is: a bar on a terminal, nothing elsewhere.

use std::io::{self, IsTerminal};
use std::time::Duration;

use granary::store_shapes::CheckProgressShape;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that goes away when it is dropped.
#[derive(Debug)]
pub(crate) struct CheckBar(Option<ProgressBar>);

impl CheckBar {
    /// How often it is to be moved.
    pub(crate) const INTERVAL: Duration = Duration::from_millis(200);

    /// Shows an empty bar if somebody sits there.
    pub(crate) fn start() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            match ProgressStyle::with_template("{wide_bar} {percent:>3}%\n{msg}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self(bar)
    }

    /// Moves the bar.
    pub(crate) fn show(&self, progress: &CheckProgressShape) {
        if let Some(bar) = &self.0 {
            bar.set_length(progress.total.max(1));
            bar.set_position(progress.done.min(progress.total.max(1)));
            bar.set_message(line(progress));
        }
    }
}

impl Drop for CheckBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn line(progress: &CheckProgressShape) -> String {
    let CheckProgressShape { stage, done, total, bytes_read } = progress;
    let mut parts = vec![stage.clone()];
    if *total > 0 {
        parts.push(format!("{} of {}", HumanCount(*done), HumanCount(*total)));
    }
    if *bytes_read > 0 {
        parts.push(format!("{} read", HumanBytes(*bytes_read)));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_only_what_is_known() {
        let progress = |total, bytes_read| CheckProgressShape {
            stage: "looking".into(),
            done: 1,
            total,
            bytes_read,
        };
        assert_eq!(line(&progress(0, 0)), "looking");
        assert_eq!(line(&progress(2000, 1 << 20)), "looking, 1 of 2,000, 1.00 MiB read");
    }
}

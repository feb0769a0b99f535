//! The terminal that standard output goes to: how wide it is, and texts that fit.

use std::env;
use std::io::{self, IsTerminal};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Stands for what was cut.
const CUT: char = '…';

/// Columns of the terminal that standard output goes to, or what `COLUMNS` says of it; `None` where
/// it goes elsewhere, so that programs read all of everything.
pub(crate) fn width() -> Option<usize> {
    let output = io::stdout();
    if !output.is_terminal() {
        return None;
    }
    let said = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let said = said.filter(|columns| *columns > 0);
    said.or_else(|| {
        let size = rustix::termios::tcgetwinsize(&output).ok()?;
        (size.ws_col > 0).then_some(size.ws_col.into())
    })
}

/// The beginning of a text, so much of it as fits.
pub(crate) fn cut(text: &str, width_max: usize) -> String {
    if text.width() <= width_max {
        return text.to_owned();
    }
    let mut kept = fitting(text.chars(), width_max);
    kept.push(CUT);
    kept
}

/// The end of a text, so much of it as fits: what tells files apart whose names are long.
pub(crate) fn cut_start(text: &str, width_max: usize) -> String {
    if text.width() <= width_max {
        return text.to_owned();
    }
    let kept = fitting(text.chars().rev(), width_max);
    let kept = std::iter::once(CUT).chain(kept.chars().rev());
    kept.collect()
}

/// The first letters that leave room for what stands for the others.
fn fitting(letters: impl Iterator<Item = char>, width_max: usize) -> String {
    let mut width = 1;
    let fits = letters.take_while(|letter| {
        width += letter.width().unwrap_or(0);
        width <= width_max
    });
    fits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_fits_whatever_the_letters_are() {
        assert_eq!((cut("cats/1.jpg", 10), cut_start("cats/1.jpg", 10)), {
            ("cats/1.jpg".to_owned(), "cats/1.jpg".to_owned())
        });
        assert_eq!((cut("cats/1.jpg", 6), cut_start("cats/1.jpg", 6)), {
            ("cats/…".to_owned(), "…1.jpg".to_owned())
        });
        // Of letters two columns wide half as many.
        assert_eq!(
            (cut("日本語", 4), cut_start("日本語", 4)),
            ("日…".to_owned(), "…語".to_owned())
        );
    }
}

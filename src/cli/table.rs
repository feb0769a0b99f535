//! Tables for people: columns as wide as what stands in them, cut where a terminal is narrower.
//!
//! What is written elsewhere than to a terminal is never cut, so that programs read all of it.

use std::io;

use unicode_width::UnicodeWidthStr;

use super::output::Output;
use super::shown;
use super::style::{HEAD, Painted};
use super::terminal::{self, cut};

/// Blanks between two columns.
const GAP: &str = "  ";

/// Columns that a text keeps where there is no room for all of it.
const CUT_WIDTH_MIN: usize = 8;

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// A head and rows below it.
#[derive(Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    /// The head is the first of them.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&str, Side)]) -> Self {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { sides: columns.iter().map(|(_, side)| *side).collect(), rows: vec![head] }
    }

    /// Adds a row; control characters in it are escaped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| shown(&cell)).collect());
    }

    /// Writes the table to standard output. Whoever closed it has had enough, which is no error.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn print(&self) -> io::Result<()> {
        match self.write(&mut Output::new(), true) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes one table of many, the first of which has a head.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn write(&self, output: &mut Output, with_head: bool) -> io::Result<()> {
        let lines = self.lines(terminal::width());
        let mut lines = lines.iter();
        if let Some(head) = lines.next().filter(|_| with_head) {
            output.line(Painted(HEAD, head))?;
        }
        lines.try_for_each(|line| output.line(line))?;
        output.flush()
    }

    fn lines(&self, width_max: Option<usize>) -> Vec<String> {
        let widths = self.widths(width_max);
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&self.sides).zip(&widths);
            let cells =
                cells.map(|((cell, side), width)| padded(&cut(cell, *width), *side, *width));
            cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Widths of the columns; the widest texts give way, and numbers never do.
    fn widths(&self, width_max: Option<usize>) -> Vec<usize> {
        let mut widths = vec![0; self.sides.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let Some(width_max) = width_max else { return widths };
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width_max {
            let texts = widths.iter_mut().zip(&self.sides).filter(|(_, side)| **side == Side::Left);
            let widest = texts.map(|(width, _)| width).max();
            match widest {
                Some(width) if *width > CUT_WIDTH_MIN => *width -= 1,
                // There is no room for what cannot be cut: lines are longer then.
                Some(_) | None => break,
            }
        }
        widths
    }
}

fn padded(text: &str, side: Side, width: usize) -> String {
    let blanks = " ".repeat(width.saturating_sub(text.width()));
    match side {
        Side::Left => format!("{text}{blanks}"),
        Side::Right => format!("{blanks}{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table =
            Table::new(&[("PK", Side::Right), ("NAME", Side::Left), ("OF", Side::Left)]);
        table.row(["7".to_owned(), "a name of some length".to_owned(), "b".to_owned()]);
        table.row(["1234".to_owned(), "日本\u{1b}[2J".to_owned(), "c".to_owned()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        assert_eq!(
            table().lines(None),
            [
                "  PK  NAME                   OF",
                "   7  a name of some length  b",
                "1234  日本\\u{1b}[2J          c",
            ]
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_texts_and_no_numbers() {
        let lines = table().lines(Some(20));
        assert_eq!(lines, ["  PK  NAME        OF", "   7  a name of…  b", "1234  日本\\u{1b…  c"]);
        assert!(lines.iter().all(|line| line.width() <= 20));
        // Below that nothing more is cut.
        assert_eq!(table().lines(Some(3))[1], "   7  a name …  b");
    }
}

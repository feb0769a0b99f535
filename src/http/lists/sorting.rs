//! Places in an order, sorted in bounded memory: all of them, or the first of a page.

use std::collections::BinaryHeap;

use crate::http::error::ApiError;
use crate::http::limits::ORDER_BYTES_MAX;

/// Bytes that a place takes beside its own.
const OVERHEAD: usize = 40;

/// Collects places; see [`crate::filter::Filter::place`].
#[derive(Debug)]
pub(super) struct Sorting<'a> {
    /// The last one is on top.
    places: BinaryHeap<Vec<u8>>,
    bytes: usize,
    rows: Option<usize>,
    after: Option<&'a [u8]>,
    /// Whether a place was left out behind the page.
    more: bool,
}

impl<'a> Sorting<'a> {
    /// Begins; with a number of rows only so many are kept, those that come first after a place.
    pub(super) fn new(rows: Option<usize>, after: Option<&'a [u8]>) -> Self {
        Self { places: BinaryHeap::new(), bytes: 0, rows, after, more: false }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// There are too many for the memory that one list may have.
    pub(super) fn take(&mut self, place: Vec<u8>) -> Result<(), ApiError> {
        if self.after.is_some_and(|after| place.as_slice() <= after) {
            return Ok(());
        }
        self.bytes += place.len() + OVERHEAD;
        self.places.push(place);
        if self.rows.is_some_and(|rows| self.places.len() > rows) {
            self.more = true;
            let dropped = self.places.pop().map_or(0, |place| place.len() + OVERHEAD);
            self.bytes -= dropped;
        }
        if self.bytes > ORDER_BYTES_MAX {
            return Err(ApiError::bad_request(format!(
                "Too many rows to sort: 'order_by' has {} MiB for their keys. Narrow the list \
                 down with 'expressions', read it in pages (?limit=…), or leave 'order_by' out.",
                ORDER_BYTES_MAX >> 20
            )));
        }
        Ok(())
    }

    /// The places in order, and whether there are more behind them.
    pub(super) fn finish(self) -> (Vec<Vec<u8>>, bool) {
        (self.places.into_sorted_vec(), self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(rows: Option<usize>, after: Option<&[u8]>, texts: &[&str]) -> (Vec<String>, bool) {
        let mut sorting = Sorting::new(rows, after);
        for text in texts {
            sorting.take(text.as_bytes().to_vec()).unwrap();
        }
        let (places, more) = sorting.finish();
        (places.into_iter().map(|place| String::from_utf8(place).unwrap()).collect(), more)
    }

    #[test]
    fn a_page_is_what_comes_first_behind_the_cursor() {
        let texts = ["d", "b", "a", "e", "c"];
        let all = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(sorted(None, None, &texts), (all.to_vec(), false));
        assert_eq!(sorted(Some(2), None, &texts), (all[..2].to_vec(), true));
        assert_eq!(sorted(Some(2), Some(b"b"), &texts), (all[2..4].to_vec(), true));
        assert_eq!(sorted(Some(2), Some(b"c"), &texts), (all[3..].to_vec(), false));
        assert_eq!(sorted(Some(2), Some(b"e"), &texts), (Vec::new(), false));
    }

    #[test]
    fn more_than_fits_is_refused_and_a_page_of_it_is_not() {
        let place = |number: u32| {
            let mut place = vec![0; 4096];
            place.extend(number.to_be_bytes());
            place
        };
        let places = u32::try_from(ORDER_BYTES_MAX / 4096).unwrap();
        let mut all = Sorting::new(None, None);
        assert!((0..places).try_for_each(|number| all.take(place(number))).is_err());
        let mut page = Sorting::new(Some(2), None);
        (0..places).rev().try_for_each(|number| page.take(place(number))).unwrap();
        assert_eq!(page.finish(), (vec![place(0), place(1)], true));
    }
}

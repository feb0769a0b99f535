//! Headers of datasets that a state has shown, for who asks for the same again.
//!
//! A state never changes, so what was decoded stays true as long as it is there. A request asks for its
//! dataset's header several times, and so do those beside it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::{HEADER_KEPT_BYTES_MAX, HEADERS_KEPT_MAX};
use crate::model::{Dataset, DatasetId};

/// A place for each of some datasets; of those with the same place, the last one has it.
///
/// A store makes a state every few milliseconds, and an empty one is no allocation.
#[derive(Default)]
pub(super) struct KeptHeaders([Mutex<Option<Arc<Dataset>>>; HEADERS_KEPT_MAX]);

impl KeptHeaders {
    pub(super) fn get(&self, id: DatasetId) -> Option<Arc<Dataset>> {
        let kept = self.place(id)?.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|header| header.id == id).cloned()
    }

    /// Keeps a header, unless it is so long that many states with such ones would take much memory.
    pub(super) fn keep(&self, header: &Arc<Dataset>) {
        let bytes = header.name.len() + header.text_bytes() + size_of_val(header.stack.as_slice());
        if let Some(place) = self.place(header.id).filter(|_| bytes <= HEADER_KEPT_BYTES_MAX) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(header));
        }
    }

    fn place(&self, id: DatasetId) -> Option<&Mutex<Option<Arc<Dataset>>>> {
        let Self(places) = self;
        let number = usize::try_from(id.0).unwrap_or(usize::MAX);
        places.get(number % HEADERS_KEPT_MAX)
    }
}

//! The places for uploads that go on: how many there may be, and of how many bytes together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{ResumableId, ResumableTerms};
use crate::error::MutationError;
use crate::limits::RESUMABLE_PER_USER_MAX;
use crate::model::UserId;

/// How long and how large uploads that go on may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResumableLimits {
    pub(crate) expire_after: Duration,
    /// Uploads that are not done.
    pub(crate) uploads_max: usize,
    /// Bytes of all of them, as they were announced; one user may have half of it.
    pub(crate) bytes_max: u64,
}

impl ResumableLimits {
    /// Refuses one more upload where there are too many, of its owner or in all; of each that is
    /// there, its owner and its length are known.
    pub(super) fn expect_place(
        &self,
        terms: &ResumableTerms,
        known: impl Iterator<Item = (UserId, u64)>,
    ) -> Result<(), MutationError> {
        let (mut all, mut own) = (Held::default(), Held::default());
        for (owner, length) in known {
            all.add(length);
            if owner == terms.owner {
                own.add(length);
            }
        }
        // Where there are few, one user must not have all.
        let own_count_max = RESUMABLE_PER_USER_MAX.min((self.uploads_max / 2).max(1));
        own.expect_room("you have", terms.length, own_count_max, self.bytes_max / 2)?;
        all.expect_room("the server has", terms.length, self.uploads_max, self.bytes_max)
    }
}

/// What uploads take together.
#[derive(Debug, Default)]
struct Held {
    count: usize,
    bytes: u64,
}

impl Held {
    fn add(&mut self, length: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(length);
    }

    /// Refuses one more of such a length.
    fn expect_room(
        self,
        whose: &'static str,
        length: u64,
        count_max: usize,
        bytes_max: u64,
    ) -> Result<(), MutationError> {
        let Self { count, bytes } = self;
        if count < count_max && bytes.saturating_add(length) <= bytes_max {
            return Ok(());
        }
        Err(MutationError::TooManyUploads { whose, count, bytes, count_max, bytes_max })
    }
}

/// Uploads whose files are being made: whose they are, and their lengths.
pub(super) type Begun = HashMap<ResumableId, (UserId, u64)>;

/// The place of an upload whose files are being made; given back with it, if nothing came of that.
#[derive(Debug)]
pub(super) struct Place<'a> {
    begun: &'a Mutex<Begun>,
    id: ResumableId,
}

impl<'a> Place<'a> {
    pub(super) fn new(begun: &'a Mutex<Begun>, id: ResumableId) -> Self {
        Self { begun, id }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(self.begun).remove(&self.id);
    }
}

pub(super) fn lock(begun: &Mutex<Begun>) -> MutexGuard<'_, Begun> {
    begun.lock().unwrap_or_else(PoisonError::into_inner)
}

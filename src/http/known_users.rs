//! Users' records that were read for a request not long ago, for the requests that follow.
//!
//! A fixed number of places, each with one user: who comes later takes the place of who was there.
//! A record is good as long as no right has changed since before it was read; the number of changes
//! grows once a change can be seen, and before it is answered.

use std::sync::{Arc, Mutex, PoisonError};

use granary_engine::model::{User, UserId};

use crate::auth::Bearer;
use crate::permission::AsOf;

/// Users, at most: more than there are at work at a time, as a rule.
const PLACES: u64 = 256;

/// The records; nothing in them is newer than the last change of rights, so the times of logins are not
/// to be read from here.
#[derive(Debug)]
pub(super) struct KnownUsers(Box<[Mutex<Option<Known>>]>);

#[derive(Debug)]
struct Known {
    user: Arc<User>,
    /// What their token said of them, which was so.
    bearer: Bearer,
    /// Before what change of rights the record was read.
    as_of: AsOf,
}

impl KnownUsers {
    /// Nobody yet.
    pub(super) fn nobody() -> Self {
        Self((0..PLACES).map(|_| Mutex::default()).collect())
    }

    /// The active user with this token, if that is known and nothing has changed.
    pub(super) fn get(&self, bearer: &Bearer, as_of: AsOf) -> Option<Arc<User>> {
        let place = self.place(bearer.user)?.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            place.as_ref().filter(|known| known.as_of == as_of && known.bearer == *bearer)?;
        Some(Arc::clone(&known.user))
    }

    /// Notes an active user whose token is in force; `as_of` was read before their record.
    pub(super) fn note(&self, user: &Arc<User>, bearer: Bearer, as_of: AsOf) {
        if let Some(place) = self.place(bearer.user) {
            let known = Known { user: Arc::clone(user), bearer, as_of };
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        }
    }

    fn place(&self, user: UserId) -> Option<&Mutex<Option<Known>>> {
        self.0.get(usize::try_from(user.0 % PLACES).ok()?)
    }
}

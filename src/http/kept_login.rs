//! The login that was shown last over a connection, kept with it: who sends many requests over one is not
//! looked for with each.
//!
//! It was found as every login is (`caller.rs`), and is good as long as its token's time is not over and
//! neither a key nor a right has changed since before it was looked for ([`AsOf`]). So what ends a token ends
//! it here too, and who is not kept, or not for this state, is looked for anew: nobody is refused here.
//!
//! The token itself is kept, in memory and no longer than its connection. A proxy's connection carries many
//! users' tokens, of which none may be learnt by time; so they are compared in constant time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderValue;
use granary_engine::model::User;

use super::limits::KEPT_LOGIN_BYTES_MAX;
use crate::auth::{Expiry, is_same_secret};
use crate::permission::AsOf;

/// The login of one connection; clones are handles to the same.
#[derive(Clone, Default)]
pub(super) struct KeptLogin(Arc<Mutex<Option<Login>>>);

struct Login {
    /// The value of the `Authorization` header.
    shown: Box<[u8]>,
    expiry: Expiry,
    as_of: AsOf,
    user: Arc<User>,
}

impl fmt::Debug for KeptLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeptLogin(..)")
    }
}

impl KeptLogin {
    /// The user whose login this header shows, if it is the one that is kept and still good.
    pub(super) fn user(&self, shown: &HeaderValue, as_of: AsOf) -> Option<Arc<User>> {
        let kept = self.lock();
        let login = kept.as_ref().filter(|login| {
            let is_shown = is_same_secret(&login.shown, shown.as_bytes());
            is_shown && login.as_of == as_of && !login.expiry.is_over()
        })?;
        Some(Arc::clone(&login.user))
    }

    /// Keeps a login in place of the one before: an active user, whose token in this header is in force;
    /// `as_of` was read before either was looked for.
    pub(super) fn keep(&self, shown: &HeaderValue, expiry: Expiry, as_of: AsOf, user: &Arc<User>) {
        let shown = shown.as_bytes();
        if shown.len() <= KEPT_LOGIN_BYTES_MAX {
            // Copied, since the header's bytes may be a part of all that came with it.
            let (shown, user) = (shown.into(), Arc::clone(user));
            *self.lock() = Some(Login { shown, expiry, as_of, user });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Login>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig;
    use super::*;

    #[tokio::test]
    async fn a_login_is_kept_for_its_header_its_state_and_its_time() {
        let (_directory, engine, app) = rig::server();
        let (user, _) = rig::administrator(&engine, &app).await;
        let (kept, as_of) = (KeptLogin::default(), app.as_of());
        let [shown, shorter, other] =
            ["Bearer secret", "Bearer secre", "Bearer secreT"].map(HeaderValue::from_static);
        assert!(kept.user(&shown, as_of).is_none());

        kept.keep(&shown, Expiry::in_seconds(60), as_of, &user);
        assert!(kept.clone().user(&shown, as_of).is_some_and(|kept| Arc::ptr_eq(&kept, &user)));
        assert!(kept.user(&shorter, as_of).is_none() && kept.user(&other, as_of).is_none());
        let rotated = AsOf { key: as_of.key + 1, ..as_of };
        let changed = AsOf { rights: as_of.rights + 1, ..as_of };
        assert!(kept.user(&shown, rotated).is_none() && kept.user(&shown, changed).is_none());
        assert_eq!(format!("{kept:?}"), "KeptLogin(..)");

        kept.keep(&shown, Expiry::in_seconds(0), as_of, &user);
        assert!(kept.user(&shown, as_of).is_none(), "its time is over");
    }

    #[tokio::test]
    async fn one_login_is_kept_and_none_that_is_too_long() {
        let (_directory, engine, app) = rig::server();
        let (user, _) = rig::administrator(&engine, &app).await;
        let (kept, as_of, soon) = (KeptLogin::default(), app.as_of(), Expiry::in_seconds(60));
        let [first, second] = ["Bearer first", "Bearer second"].map(HeaderValue::from_static);
        kept.keep(&first, soon, as_of, &user);
        kept.keep(&second, soon, as_of, &user);
        assert!(kept.user(&first, as_of).is_none() && kept.user(&second, as_of).is_some());
        let long = HeaderValue::from_str(&"x".repeat(KEPT_LOGIN_BYTES_MAX + 1)).unwrap();
        kept.keep(&long, soon, as_of, &user);
        assert!(kept.user(&long, as_of).is_none() && kept.user(&second, as_of).is_some());
    }
}

//! What was found out of a token or a password before, so that it is not found out with each request.
//!
//! A table of a fixed number of places, each with one entry: what comes later takes the place of what
//! was there. So it is bounded whatever is asked. Texts are compared as keyed digests: nobody learns by
//! time what is in the table, and no token is.

use std::sync::{Mutex, PoisonError};

/// Places of a table: more than there are logins at work at a time, as a rule.
const PLACES: usize = 1024;

type Digest = [u8; blake3::OUT_LEN];

/// What is known of the text that came last, if any did.
type Place<V> = Mutex<Option<(Digest, V)>>;

/// What is known of texts.
pub(super) struct Known<V> {
    secret: [u8; blake3::KEY_LEN],
    places: Box<[Place<V>]>,
}

impl<V: Clone> Known<V> {
    /// Nothing yet. Without randomness nothing is ever known.
    pub(super) fn nothing() -> Self {
        let mut secret = [0; blake3::KEY_LEN];
        let places = if getrandom::fill(&mut secret).is_ok() { PLACES } else { 0 };
        Self { secret, places: (0..places).map(|_| Mutex::default()).collect() }
    }

    /// What is known of this, or what `find` finds, which is known from then on.
    pub(super) fn get_or_find<E>(
        &self,
        of: &str,
        find: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        let digest = self.digest(of);
        let Some(place) = self.place(&digest) else { return find() };
        let known = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, value)) = known.filter(|(of, _)| *of == digest) {
            return Ok(value);
        }
        let value = find()?;
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some((digest, value.clone()));
        Ok(value)
    }

    /// Nothing is known from now on.
    pub(super) fn forget(&self) {
        for place in &self.places {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn digest(&self, of: &str) -> Digest {
        blake3::keyed_hash(&self.secret, of.as_bytes()).into()
    }

    fn place(&self, digest: &Digest) -> Option<&Place<V>> {
        let [first, second, ..] = *digest;
        let number = usize::from(u16::from_le_bytes([first, second]));
        self.places.get(number.checked_rem(self.places.len())?)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn length(known: &Known<usize>, text: &str, found: &mut u32) -> usize {
        let find = || {
            *found += 1;
            Ok::<_, Infallible>(text.len())
        };
        known.get_or_find(text, find).unwrap()
    }

    #[test]
    fn what_was_found_once_is_known_until_it_is_forgotten() {
        let (known, mut found) = (Known::nothing(), 0);
        for _ in 0..3 {
            assert_eq!(length(&known, "four", &mut found), 4);
        }
        assert_eq!(found, 1);
        known.forget();
        assert_eq!(length(&known, "four", &mut found), 4);
        assert_eq!(found, 2);
    }

    #[test]
    fn many_texts_in_few_places_are_never_taken_for_each_other() {
        let (known, mut found) = (Known::nothing(), 0);
        for number in 0..10 * PLACES {
            let text = "x".repeat(number % 37) + &number.to_string();
            assert_eq!(length(&known, &text, &mut found), text.len());
        }
    }

    #[test]
    fn what_could_not_be_found_is_looked_for_again() {
        let known = Known::nothing();
        assert_eq!(known.get_or_find("text", || Err::<(), _>("no")), Err("no"));
        assert_eq!(known.get_or_find("text", || Ok::<_, &str>(())), Ok(()));
    }
}

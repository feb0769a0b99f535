//! What teams hold, and how much they may hold.

use serde::{Deserialize, Serialize};

/// Files and their bytes. A file counts as often as a dataset names it, whatever it shares with
/// others on the disk: so a copy counts in full, and nobody's figure changes with what others do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Usage {
    pub files: u64,
    pub bytes: u64,
}

impl Usage {
    /// Both together.
    pub(crate) fn plus(self, more: Self) -> Self {
        Self {
            files: self.files.saturating_add(more.files),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }

    /// What is left; nothing is less than nothing.
    pub(crate) fn minus(self, less: Self) -> Self {
        Self {
            files: self.files.saturating_sub(less.files),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }
}

/// How much all datasets of a team may hold, the soft-deleted ones too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Files; `None` is no bound.
    pub files: Option<u64>,
    /// Bytes; `None` is no bound.
    pub bytes: Option<u64>,
}

impl Quota {
    /// Whether somebody who holds `used` may have `added` more, or what is in the way.
    ///
    /// # Errors
    /// The first bound that would be exceeded. What does not grow is never in the way.
    pub fn expect_room(&self, used: Usage, added: Usage) -> Result<(), Exceeded> {
        let bounds = [
            (Held::Files, self.files, used.files, added.files),
            (Held::Bytes, self.bytes, used.bytes, added.bytes),
        ];
        for (held, quota, used, asked) in bounds {
            let Some(quota) = quota else { continue };
            if asked > 0 && used.saturating_add(asked) > quota {
                return Err(Exceeded { held, quota, used, asked });
            }
        }
        Ok(())
    }
}

/// A bound that would be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Exceeded {
    pub held: Held,
    pub quota: u64,
    pub used: u64,
    pub asked: u64,
}

/// What a quota bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Held {
    Files,
    Bytes,
}

impl std::fmt::Display for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Files => "files",
            Self::Bytes => "bytes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_must_fit_behind_what_is_used() {
        let quota = Quota { files: Some(10), bytes: Some(100) };
        let usage = |files, bytes| Usage { files, bytes };
        assert_eq!(quota.expect_room(usage(9, 90), usage(1, 10)), Ok(()));
        let exceeded = |held, quota, used, asked| Err(Exceeded { held, quota, used, asked });
        let files = exceeded(Held::Files, 10, 10, 1);
        assert_eq!(quota.expect_room(usage(10, 0), usage(1, 0)), files);
        let bytes = exceeded(Held::Bytes, 100, 90, 11);
        assert_eq!(quota.expect_room(usage(0, 90), usage(1, 11)), bytes);
        // Who is beyond a bound that was lowered may do what does not grow.
        assert_eq!(quota.expect_room(usage(5, 500), usage(1, 0)), Ok(()));
        assert_eq!(quota.expect_room(usage(50, 500), usage(0, 0)), Ok(()));
        let most = usage(u64::MAX, u64::MAX);
        assert!(quota.expect_room(most, usage(1, 1)).is_err());
        assert_eq!(Quota::default().expect_room(most, most), Ok(()));
    }
}

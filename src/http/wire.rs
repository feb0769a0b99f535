//! The shapes of requests and answers: the API's field names live here and in the submodules only.
//!
//! What the API calls a *handle* is the engine's digest; nothing else has that name.

pub(crate) mod access_tokens;

pub(crate) mod audit;

pub(crate) mod auth;

pub(crate) mod backups;

pub(crate) mod bodies;

pub(crate) mod catalogue;

pub(crate) mod claims;

pub(crate) mod datasets;

pub(crate) mod files;

pub(crate) mod filter;

pub(crate) mod list;

pub(crate) mod quotas;

pub mod space;

pub(crate) mod status;

pub mod store;

pub(crate) mod uploads;

use std::fmt;

use granary_engine::model::{Digest, StoredFile, Timestamp};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// A point in time: UTC, always six digits of microseconds.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = String, format = DateTime, examples("2026-11-22T21:36:34.338973Z"))]
pub(crate) struct Time(pub(crate) Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_microsecond(self.0.0).unwrap_or(jiff::Timestamp::MAX);
        time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").fmt(formatter)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A content's name: its BLAKE3 digest in lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(
    value_type = String,
    pattern = "^[0-9a-f]{64}$",
    examples("af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
)]
pub(crate) struct Handle(pub(crate) Digest);

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The bytes of a file or archive.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct Content(());

/// A multipart form with exactly one file, under whatever name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes bodies that are streams")]
pub(crate) struct FileForm {
    file: Content,
}

/// A file that was added or deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct File<'a> {
    #[schema(examples("images/cat.png"))]
    filename: &'a str,
    handle: Handle,
}

impl<'a> From<&'a StoredFile> for File<'a> {
    fn from(file: &'a StoredFile) -> Self {
        Self { filename: file.filename.as_str(), handle: Handle(file.digest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_six_digits_whatever_they_are() {
        let shown = |time| Time(Timestamp(time)).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(shown(1_700_000_000_000_100), "2023-11-14T22:13:20.000100Z");
        assert_eq!(shown(i64::MAX).len(), shown(0).len());
    }
}

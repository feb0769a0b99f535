//! What a request's path names: primary keys and names of files.
//!
//! Read from the raw path, since the names of files are percent-decoded exactly once, keep a slash
//! at their end, and may hold `//` or begin with `%2F`; the engine, not the router, says what that
//! means. Query text is no part of a name.

use axum::http::Uri;
use granary_engine::model::{
    AccessTokenId, DatasetId, LicenceId, NodeId, ProjectId, TeamId, UserId,
};
use percent_encoding::percent_decode_str;

use super::error::ApiError;

/// Places of the parts of `/v1/datasets/PK/files/NAME`, split at the slashes.
const PK: usize = 3;
const NAME: usize = 5;

/// The dataset of `/v1/datasets/PK…`.
pub(crate) fn dataset(uri: &Uri) -> Result<DatasetId, ApiError> {
    pk(uri, PK, "Dataset").map(DatasetId)
}

/// The source of `/v1/datasets/PK/merge/OTHER`.
pub(crate) fn other_dataset(uri: &Uri) -> Result<DatasetId, ApiError> {
    pk(uri, NAME, "Dataset").map(DatasetId)
}

/// The team of `/v1/teams/PK…`.
pub(crate) fn team(uri: &Uri) -> Result<TeamId, ApiError> {
    pk(uri, PK, "Team").map(TeamId)
}

/// The project of `/v1/projects/PK…`.
pub(crate) fn project(uri: &Uri) -> Result<ProjectId, ApiError> {
    pk(uri, PK, "Project").map(ProjectId)
}

/// The licence of `/v1/licences/PK…`.
pub(crate) fn licence(uri: &Uri) -> Result<LicenceId, ApiError> {
    pk(uri, PK, "Licence").map(LicenceId)
}

/// The node of `/v1/nodes/PK…`.
pub(crate) fn node(uri: &Uri) -> Result<NodeId, ApiError> {
    pk(uri, PK, "Node").map(NodeId)
}

/// The access token of `/v1/access-tokens/PK`.
pub(crate) fn access_token(uri: &Uri) -> Result<AccessTokenId, ApiError> {
    pk(uri, PK, "AccessToken").map(AccessTokenId)
}

/// The backup of `/v1/backups/PK…`.
pub(crate) fn backup(uri: &Uri) -> Result<u64, ApiError> {
    pk(uri, PK, "Backup")
}

/// The user of `/v1/users/PK`; anything but digits names none.
pub(crate) fn user(uri: &Uri) -> Result<UserId, ApiError> {
    let name = username(uri)?;
    let digits = name.strip_suffix('/').unwrap_or(&name);
    parse_pk(digits).map(UserId).ok_or_else(|| ApiError::no_record("User"))
}

/// Whether it is `/v1/datasets/PK/files/NAME`, whatever the key and the name.
pub(crate) fn is_file(uri: &Uri) -> bool {
    let mut parts = uri.path().split('/');
    parts.by_ref().take(PK).eq(["", "v1", "datasets"])
        && parts.nth(1) == Some("files")
        && parts.next().is_some()
}

/// The rest of `/v1/datasets/PK/files/NAME`, or of another path with a name in that place, decoded
/// once and otherwise untouched.
pub(crate) fn name(uri: &Uri) -> Result<String, ApiError> {
    rest(uri, NAME)
}

/// The rest of `/v1/users/NAME`.
pub(crate) fn username(uri: &Uri) -> Result<String, ApiError> {
    rest(uri, PK)
}

fn pk(uri: &Uri, place: usize, kind: &str) -> Result<u64, ApiError> {
    let part = uri.path().split('/').nth(place).unwrap_or_default();
    parse_pk(part).ok_or_else(|| ApiError::no_record(kind))
}

/// A primary key as paths spell it: digits, as many zeros before them as one likes.
pub(crate) fn parse_pk(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    // A number beyond 64 bits names nothing.
    digits.then(|| text.parse().ok()).flatten()
}

fn rest(uri: &Uri, place: usize) -> Result<String, ApiError> {
    let raw = uri.path().splitn(place + 1, '/').nth(place).unwrap_or_default();
    match percent_decode_str(raw).decode_utf8() {
        Ok(name) => Ok(name.into_owned()),
        Err(_) => Err(ApiError::bad_name(raw, "Must be valid UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_in(path: &str) -> Option<String> {
        name(&path.parse().unwrap()).ok()
    }

    #[test]
    fn names_are_decoded_once_and_left_alone() {
        let cases = [
            ("/v1/datasets/1/files/a/b.txt", "a/b.txt"),
            ("/v1/datasets/1/files/sub/", "sub/"),
            ("/v1/datasets/1/files//a//b", "/a//b"),
            ("/v1/datasets/1/files/%2Fabs", "/abs"),
            ("/v1/datasets/1/files/100%2525", "100%25"),
            ("/v1/datasets/1/files/a+b%20c", "a+b c"),
            ("/v1/datasets/1/files/a?b", "a"),
            ("/v1/datasets/1/files/a%3Fb%23", "a?b#"),
            ("/v1/datasets/1/files/%C3%A9", "é"),
            ("/v1/datasets/1/files/", ""),
        ];
        for (path, expected) in cases {
            assert_eq!(name_in(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(name_in("/v1/datasets/1/files/%FF"), None);
    }

    #[test]
    fn primary_keys_are_digits_within_64_bits() {
        assert_eq!(parse_pk("01"), Some(1));
        assert_eq!(parse_pk("18446744073709551615"), Some(u64::MAX));
        for text in ["", "-1", "+1", "1.0", "x", "18446744073709551616", "١"] {
            assert_eq!(parse_pk(text), None, "{text}");
        }
    }
}

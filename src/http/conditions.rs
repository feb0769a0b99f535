//! The headers by which a request says what it has already: `If-Match`, `If-None-Match`,
//! `If-Range`.
//!
//! A tag that begins with `W/` says no more than that the meaning is the same; it never lets a
//! range be joined with what the client has. Dates are not used here, so one that is sent matches
//! nothing.

use axum::http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use axum::http::{HeaderMap, HeaderName};
use granary_engine::model::{FileCondition, Tags};

/// A header as text.
pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether the client wants an answer only if it has another state than this one (`If-None-Match`).
pub(crate) fn has_it_already(headers: &HeaderMap, etag: &str) -> bool {
    tags(headers, &IF_NONE_MATCH).any(|tag| tag == "*" || weakened(tag) == weakened(etag))
}

/// Whether the client wants an answer only from another state than this one (`If-Match`).
pub(crate) fn wants_another(headers: &HeaderMap, etag: &str) -> bool {
    headers.contains_key(IF_MATCH)
        && !tags(headers, &IF_MATCH).any(|tag| tag == "*" || is_the_same(tag, etag))
}

/// Whether a range is of what the client has the beginning of (`If-Range`); otherwise the whole is
/// sent.
pub(crate) fn range_applies(headers: &HeaderMap, etag: &str) -> bool {
    headers.get(IF_RANGE).is_none_or(|tag| tag.to_str().is_ok_and(|tag| is_the_same(tag, etag)))
}

/// What a request asks of a file that it changes: `If-Match` and `If-None-Match`.
///
/// Tags are digests in quotes; what is none is the tag of no state. `If-Match` wants strong ones.
pub(crate) fn write_condition(headers: &HeaderMap) -> FileCondition {
    let read = |name: &HeaderName, is_strong: bool| {
        headers.contains_key(name).then(|| {
            if tags(headers, name).any(|tag| tag == "*") {
                return Tags::Any;
            }
            let named = tags(headers, name).filter_map(|tag| {
                let tag = if is_strong { tag } else { weakened(tag) };
                tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
            });
            Tags::These(named.collect())
        })
    };
    FileCondition { matches: read(&IF_MATCH, true), matches_none: read(&IF_NONE_MATCH, false) }
}

fn tags<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn weakened(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn is_the_same(tag: &str, etag: &str) -> bool {
    tag == etag && !etag.starts_with("W/")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn whoever_has_it_is_known_by_any_of_its_tags() {
        for value in ["\"a\"", "W/\"a\"", "*", "\"x\", \"a\""] {
            assert!(has_it_already(&with(IF_NONE_MATCH, value), "\"a\""), "{value}");
            assert!(has_it_already(&with(IF_NONE_MATCH, value), "W/\"a\""), "{value}");
        }
        assert!(!has_it_already(&with(IF_NONE_MATCH, "\"b\""), "\"a\""));
        assert!(!has_it_already(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn whoever_continues_is_told_that_the_state_is_another() {
        for value in ["\"a\"", "*", "\"x\", \"a\""] {
            assert!(!wants_another(&with(IF_MATCH, value), "\"a\""), "{value}");
        }
        assert!(!wants_another(&HeaderMap::new(), "\"a\""));
        for (value, etag) in [("\"b\"", "\"a\""), ("W/\"a\"", "\"a\""), ("W/\"a\"", "W/\"a\"")] {
            assert!(wants_another(&with(IF_MATCH, value), etag), "{value}");
        }
    }

    #[test]
    fn changes_ask_for_digests_and_nothing_else_is_the_tag_of_a_file() {
        let digest = granary_engine::model::Digest::of(b"x");
        let these = |digests: &[_]| Some(Tags::These(digests.to_vec()));
        let quoted =
            |before: &str| HeaderValue::try_from(format!("\"y\", {before}\"{digest}\"")).unwrap();
        let with = |name, value| write_condition(&HeaderMap::from_iter([(name, value)]));
        assert_eq!(with(IF_MATCH, quoted("")).matches, these(&[digest]));
        assert_eq!(with(IF_MATCH, quoted("W/")).matches, these(&[]));
        assert_eq!(with(IF_NONE_MATCH, quoted("W/")).matches_none, these(&[digest]));
        let any = HeaderValue::from_static("\"y\", *");
        assert_eq!(with(IF_NONE_MATCH, any).matches_none, Some(Tags::Any));
        assert!(write_condition(&HeaderMap::new()).is_empty());
    }

    #[test]
    fn a_range_is_joined_with_the_same_bytes_only() {
        assert!(range_applies(&HeaderMap::new(), "\"a\""));
        assert!(range_applies(&with(IF_RANGE, "\"a\""), "\"a\""));
        for (value, etag) in
            [("\"b\"", "\"a\""), ("W/\"a\"", "W/\"a\""), ("Sun, 22 Nov 2026 00:00:00 GMT", "\"a\"")]
        {
            assert!(!range_applies(&with(IF_RANGE, value), etag), "{value}");
        }
    }
}

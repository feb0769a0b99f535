//! What a request's query asks for: parameters by name, each of one type.
//!
//! Of several of one name the first counts, and what has no meaning is passed over, as the API has
//! it. A value that is wrong is told like a wrong field of a body; nothing was done then.

use std::ops::RangeInclusive;

use axum::http::Uri;
use percent_encoding::percent_decode_str;

use super::error::ApiError;

/// Whether a parameter is there, be it empty.
pub(crate) fn has(uri: &Uri, name: &str) -> bool {
    raw(uri, name).is_some()
}

/// A text; a plus is a blank, as forms have it.
pub(crate) fn text(uri: &Uri, name: &'static str) -> Result<Option<String>, ApiError> {
    let Some(raw) = raw(uri, name) else {
        return Ok(None);
    };
    let raw = raw.replace('+', " ");
    match percent_decode_str(&raw).decode_utf8() {
        Ok(text) => Ok(Some(text.into_owned())),
        Err(_) => Err(wrong(name, "Must be valid UTF-8.")),
    }
}

/// Yes or no.
pub(crate) fn boolean(uri: &Uri, name: &'static str) -> Result<Option<bool>, ApiError> {
    match raw(uri, name) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(wrong(name, "Must be true or false.")),
    }
}

/// A whole number within bounds.
pub(crate) fn number(
    uri: &Uri,
    name: &'static str,
    bounds: RangeInclusive<usize>,
) -> Result<Option<usize>, ApiError> {
    let Some(raw) = raw(uri, name) else {
        return Ok(None);
    };
    let is_digits = raw.bytes().all(|letter| letter.is_ascii_digit());
    let number = is_digits.then(|| raw.parse().ok()).flatten();
    let number = number.filter(|number| bounds.contains(number));
    number.map(Some).ok_or_else(|| {
        let (first, last) = bounds.into_inner();
        wrong(name, format!("Must be a whole number from {first} to {last}."))
    })
}

/// Whether the answer is to hold the map of a dataset's files; `?files=false` leaves it out.
pub(crate) fn with_files(uri: &Uri) -> Result<bool, ApiError> {
    Ok(boolean(uri, "files")?.unwrap_or(true))
}

/// Whether a content's type is to be guessed from its name; `?content_type=guess` asks for it.
pub(crate) fn wants_guess(uri: &Uri) -> Result<bool, ApiError> {
    match raw(uri, "content_type") {
        None => Ok(false),
        Some("guess") => Ok(true),
        Some(_) => Err(wrong("content_type", "Must be 'guess'.")),
    }
}

/// 400 for a parameter.
pub(crate) fn wrong(name: &'static str, text: impl Into<String>) -> ApiError {
    ApiError::fields(vec![(name, vec![text.into()])])
}

/// A parameter's value as it is spelled.
fn raw<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let pairs = uri.query()?.split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(query: &str) -> Uri {
        format!("/v1/datasets/1{query}").parse().unwrap()
    }

    #[test]
    fn the_first_of_a_name_counts_and_others_are_passed_over() {
        let uri = uri("?x=1&files=false&files=true&limit");
        assert!(!with_files(&uri).unwrap());
        assert!(has(&uri, "limit"));
        assert!(!has(&uri, "file"));
        assert_eq!(text(&uri, "limit").unwrap().as_deref(), Some(""));
    }

    #[test]
    fn texts_are_decoded_once_and_must_be_utf_8() {
        let read = |query| text(&uri(query), "prefix");
        assert_eq!(read("?prefix=a+b%2Bc%2520").unwrap().as_deref(), Some("a b+c%20"));
        assert_eq!(read("").unwrap(), None);
        assert!(read("?prefix=%FF").is_err());
    }

    #[test]
    fn booleans_have_one_spelling() {
        assert!(with_files(&uri("")).unwrap());
        assert!(with_files(&uri("?files=true")).unwrap());
        for wrong in ["?files", "?files=", "?files=False", "?files=0", "?files=no"] {
            assert!(with_files(&uri(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_are_digits_within_their_bounds() {
        let read = |query| number(&uri(query), "limit", 1..=10).ok().flatten();
        assert_eq!(read("?limit=1"), Some(1));
        assert_eq!(read("?limit=010"), Some(10));
        for wrong in ["", "0", "11", "-1", "+1", "1.0", "x", "99999999999999999999"] {
            assert!(number(&uri(&format!("?limit={wrong}")), "limit", 1..=10).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_type_is_guessed_or_it_is_not() {
        assert!(!wants_guess(&uri("")).unwrap());
        assert!(wants_guess(&uri("?content_type=guess")).unwrap());
        assert!(wants_guess(&uri("?content_type=text/html")).is_err());
    }
}

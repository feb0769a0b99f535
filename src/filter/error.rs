//! What is wrong with a filter, in words that say what would be right.

/// Letters of a caller's text that an error repeats.
const ECHO_LETTERS_MAX: usize = 100;

/// Why a filter was not taken: a field, an operator or a value is not right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Bad filter: {0}")]
pub(crate) struct FilterError(String);

impl FilterError {
    /// Says what is wrong and what would be right.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A caller's text between quotes, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(ECHO_LETTERS_MAX) {
        None => format!("'{text}'"),
        Some((end, _)) => format!("'{}…'", text.get(..end).unwrap_or_default()),
    }
}

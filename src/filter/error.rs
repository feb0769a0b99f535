//! What is wrong with a filter, in words that say what would be right.

/// Letters of a caller's text that an error repeats.
const ECHO_LETTERS_MAX: usize = 100;

/// Why a filter was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    /// The JSON has not the shape of a filter.
    #[error("Unable to parse JSON: {0}")]
    Shape(String),
    /// The shape is right; a field, an operator or a value is not.
    #[error("Bad filter: {0}")]
    Meaning(String),
}

impl FilterError {
    /// The JSON has not the shape of a filter.
    pub(super) fn shape(text: impl Into<String>) -> Self {
        Self::Shape(text.into())
    }

    /// A field, an operator or a value is not right.
    pub(super) fn meaning(text: impl Into<String>) -> Self {
        Self::Meaning(text.into())
    }
}

/// A caller's text between quotes, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(ECHO_LETTERS_MAX) {
        None => format!("'{text}'"),
        Some((end, _)) => format!("'{}…'", text.get(..end).unwrap_or_default()),
    }
}

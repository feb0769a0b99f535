//! Bodies that are strict: an object of known keys with values of one type each, anything else
//! is refused.

use serde_json::{Map, Value};

use super::error::ApiError;

/// An object whose keys are taken one by one.
#[derive(Debug)]
pub(crate) struct Strict(Map<String, Value>);

impl Strict {
    /// Opens a body.
    ///
    /// # Errors
    /// It is no object.
    pub(crate) fn of(body: Value) -> Result<Self, ApiError> {
        match body {
            Value::Object(values) => Ok(Self(values)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(refusal("an object is expected")),
        }
    }

    /// Takes a key's value, null included.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// Takes a boolean.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn boolean(&mut self, key: &str) -> Result<Option<bool>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(refusal(&format!("'{key}' must be a boolean"))),
        }
    }

    /// Takes a text, exactly as it is.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => text_of(value, key).map(Some),
        }
    }

    /// Takes an array of anything.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn array(&mut self, key: &str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(refusal(&format!("'{key}' must be an array"))),
        }
    }

    /// Passes over the keys of empty arrays.
    pub(crate) fn forget_empty_arrays(&mut self) {
        self.0.retain(|_, value| value.as_array().is_none_or(|values| !values.is_empty()));
    }

    /// Whether every value that is left is a text.
    pub(crate) fn has_only_texts(&self) -> bool {
        self.0.values().all(Value::is_string)
    }

    /// The keys that nobody took, as `key=value` texts.
    pub(crate) fn left_over(&self) -> Option<String> {
        let shown = self.0.iter().map(|(key, value)| match value {
            Value::String(text) => format!("{key}={text}"),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => format!("{key}={value}"),
        });
        (!self.0.is_empty()).then(|| shown.collect::<Vec<_>>().join(", "))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Keys are left that mean nothing.
    pub(crate) fn check(self) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => Err(refusal(&format!("unknown key '{key}'"))),
        }
    }
}

/// A text.
///
/// # Errors
/// It is something else.
pub(crate) fn text_of(value: Value, key: &str) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(refusal(&format!("'{key}' must be a string")))
        }
    }
}

/// 400 in the words that the API has for such bodies.
pub(crate) fn refusal(reason: &str) -> ApiError {
    ApiError::bad_request(format!("Unable to parse JSON: {reason}"))
}

//! The body of a list: which records are wanted.

use serde_json::Value;

use crate::http::error::ApiError;
use crate::http::strict::{Strict, refusal};

/// What a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListBody {
    /// Whether the soft-deleted, or deactivated, are shown too.
    pub(crate) include_inactive: bool,
}

impl ListBody {
    /// Reads a body. Expressions and orders other than none are refused, never passed over.
    pub(crate) fn read(body: Value) -> Result<Self, ApiError> {
        let mut body = Strict::of(body)?;
        for key in ["expressions", "order_by"] {
            if body.array(key)?.is_some_and(|values| !values.is_empty()) {
                return Err(refusal(&format!(
                    "'{key}' must be empty: this server lists everything, in order of pk"
                )));
            }
        }
        let include_inactive = body.boolean("include_inactive")?.unwrap_or(false);
        body.check()?;
        Ok(Self { include_inactive })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_evaluated_is_accepted() {
        let read = |body| ListBody::read(body).map(|body| body.include_inactive).ok();
        assert_eq!(read(json!({})), Some(false));
        assert_eq!(
            read(json!({"expressions": [], "include_inactive": true})),
            Some(true)
        );
        for body in [
            json!([1]),
            json!("x"),
            json!(null),
            json!({"expressions": [{"type": "exact"}]}),
            json!({"order_by": [{"field": "name"}]}),
            json!({"expressions": null}),
            json!({"include_inactive": 1}),
            json!({"limit": 1}),
        ] {
            assert_eq!(read(body.clone()), None, "{body}");
        }
    }
}

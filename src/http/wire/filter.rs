//! The JSON of a filter; strict at every level.

mod body;

use serde_json::Value;

use crate::filter::quoted;
use crate::filter::spec::{Asked, Condition, Expression, Operator, OrderBy, Spec};
use crate::http::error::ApiError;
use crate::http::limits::{FILTER_EXPRESSIONS_MAX, FILTER_TEXT_BYTES_MAX, ORDER_FIELDS_MAX};
use crate::http::strict::{Strict, refusal};
pub(crate) use body::FilterBody;

/// The types of expressions about one field.
const FIELD_TYPES: &str = "exact, contains, is_null, isnull, compare";

/// Reads the body of a list; an empty object asks for everything.
///
/// # Errors
/// It has not the shape of a filter.
pub(crate) fn read_filter(body: Value) -> Result<Spec, ApiError> {
    let mut body = Strict::of(body)?;
    let mut count = 0;
    let expressions = body.array("expressions")?.unwrap_or_default();
    let expressions = expressions
        .into_iter()
        .map(|expression| expression_of(expression, Place::Top, &mut count))
        .collect::<Result<_, _>>()?;
    let order_by = body.array("order_by")?.unwrap_or_default();
    if order_by.len() > ORDER_FIELDS_MAX {
        return Err(refusal(&format!(
            "'order_by' has {} fields; {ORDER_FIELDS_MAX} are possible",
            order_by.len()
        )));
    }
    let order_by = order_by.into_iter().map(order_of).collect::<Result<_, _>>()?;
    let include_inactive = body.boolean("include_inactive")?.unwrap_or(false);
    body.check()?;
    Ok(Spec { expressions, order_by, include_inactive })
}

/// Where an expression stands, which says what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    InOr,
    InAnd,
}

/// Reads an expression. It goes no deeper than a field in an `and` in an `or`, as the places say.
fn expression_of(value: Value, place: Place, count: &mut usize) -> Result<Expression, ApiError> {
    *count += 1;
    if *count > FILTER_EXPRESSIONS_MAX {
        return Err(refusal(&format!(
            "there are more than {FILTER_EXPRESSIONS_MAX} expressions, which is the most possible"
        )));
    }
    let mut keys = Strict::of(value)?;
    let kind = required_text(&mut keys, "type")?;
    let invert = keys.boolean("invert")?.unwrap_or(false);
    let condition = match (kind.as_str(), place) {
        ("or", Place::Top) => Condition::Or(subexpressions(&mut keys, Place::InOr, count)?),
        ("and", Place::Top | Place::InOr) => {
            Condition::And(subexpressions(&mut keys, Place::InAnd, count)?)
        }
        _ => {
            let test = asked(&kind, place, &mut keys)?;
            Condition::Field { field: filled_text(&mut keys, "field")?, test }
        }
    };
    keys.check()?;
    Ok(Expression { invert, condition })
}

fn subexpressions(
    keys: &mut Strict,
    place: Place,
    count: &mut usize,
) -> Result<Vec<Expression>, ApiError> {
    let values = keys.array("sub_expressions")?;
    let values = values.ok_or_else(|| refusal("'sub_expressions' is required"))?;
    if values.len() < 2 {
        return Err(refusal("'sub_expressions' must have at least two elements"));
    }
    values.into_iter().map(|value| expression_of(value, place, count)).collect()
}

fn asked(kind: &str, place: Place, keys: &mut Strict) -> Result<Asked, ApiError> {
    Ok(match kind {
        "exact" => Asked::Exact {
            value: scalar(keys, true)?,
            ignore_case: keys.boolean("case_insensitive")?.unwrap_or(false),
        },
        "contains" => Asked::Contains {
            sub_string: filled_text(keys, "sub_string")?,
            ignore_case: keys.boolean("case_insensitive")?.unwrap_or(false),
        },
        "is_null" | "isnull" => Asked::IsNull,
        "compare" => Asked::Compare { operator: operator(keys)?, value: scalar(keys, false)? },
        other => {
            let (within, possible) = match place {
                Place::Top => ("'expressions'", format!("and, or, {FIELD_TYPES}")),
                Place::InOr => ("'or'", format!("and, {FIELD_TYPES}")),
                Place::InAnd => ("'and'", FIELD_TYPES.to_owned()),
            };
            let other = quoted(other);
            return Err(refusal(&format!(
                "type {other} is not possible in {within}; possible are {possible}"
            )));
        }
    })
}

fn operator(keys: &mut Strict) -> Result<Operator, ApiError> {
    Ok(match required_text(keys, "operator")?.as_str() {
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        other => {
            let other = quoted(other);
            return Err(refusal(&format!("'operator' is {other}; it is <, <=, > or >=")));
        }
    })
}

fn order_of(value: Value) -> Result<OrderBy, ApiError> {
    let mut keys = Strict::of(value)?;
    let order = OrderBy {
        field: filled_text(&mut keys, "field")?,
        ascending: keys.boolean("ascending")?.unwrap_or(true),
        nulls_first: keys.boolean("nulls_first")?.unwrap_or(false),
    };
    keys.check()?;
    Ok(order)
}

fn required_text(keys: &mut Strict, key: &str) -> Result<String, ApiError> {
    let text = keys.text(key)?.ok_or_else(|| refusal(&format!("'{key}' is required")))?;
    if text.len() > FILTER_TEXT_BYTES_MAX {
        return Err(too_long(key, &text));
    }
    Ok(text)
}

fn filled_text(keys: &mut Strict, key: &str) -> Result<String, ApiError> {
    let text = required_text(keys, key)?;
    if text.is_empty() {
        return Err(refusal(&format!("'{key}' must not be empty")));
    }
    Ok(text)
}

/// The value that a field is held against: a text, a number or, where that is possible, a boolean.
fn scalar(keys: &mut Strict, with_boolean: bool) -> Result<Value, ApiError> {
    match keys.take("value") {
        None => Err(refusal("'value' is required")),
        Some(Value::String(text)) if text.len() > FILTER_TEXT_BYTES_MAX => {
            Err(too_long("value", &text))
        }
        Some(value @ (Value::String(_) | Value::Number(_))) => Ok(value),
        Some(boolean @ Value::Bool(_)) if with_boolean => Ok(boolean),
        Some(_) => {
            let or_boolean = if with_boolean { ", a boolean" } else { "" };
            Err(refusal(&format!("'value' must be a string{or_boolean} or a number")))
        }
    }
}

fn too_long(key: &str, text: &str) -> ApiError {
    let length = text.len();
    refusal(&format!("'{key}' has {length} bytes; {FILTER_TEXT_BYTES_MAX} are possible"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text_of(body: Value) -> String {
        format!("{:?}", read_filter(body).unwrap_err())
    }

    #[test]
    fn nothing_asks_for_everything() {
        assert_eq!(read_filter(json!({})).unwrap(), Spec::default());
        let body = json!({"expressions": [], "order_by": [], "include_inactive": false});
        assert_eq!(read_filter(body).unwrap(), Spec::default());
    }

    #[test]
    fn both_names_of_the_null_test_are_the_same() {
        let read = |kind| read_filter(json!({"expressions": [{"type": kind, "field": "f"}]}));
        assert_eq!(read("is_null").unwrap(), read("isnull").unwrap());
    }

    #[test]
    fn an_order_is_ascending_with_nulls_last_unless_it_says_otherwise() {
        let body = json!({"order_by": [{"field": "f"}, {"field": "g", "ascending": false,
            "nulls_first": true}]});
        let field = |field: &str, ascending, nulls_first| OrderBy {
            field: field.into(),
            ascending,
            nulls_first,
        };
        let expected = [field("f", true, false), field("g", false, true)];
        assert_eq!(read_filter(body).unwrap().order_by, expected);
    }

    #[test]
    fn every_level_is_strict() {
        let field = json!({"type": "is_null", "field": "f"});
        let with = |key: &str, value: Value| {
            let mut expression = json!({"type": "exact", "field": "f", "value": 1});
            expression[key] = value;
            json!({"expressions": [expression]})
        };
        for body in [
            json!(null),
            json!([1]),
            json!("x"),
            json!({"expressions": null}),
            json!({"expressions": {}}),
            json!({"expressions": [1]}),
            json!({"order_by": [1]}),
            json!({"order_by": [{}]}),
            json!({"order_by": [{"field": ""}]}),
            json!({"order_by": [{"field": "f", "ascending": null}]}),
            json!({"order_by": [{"field": "f", "nulls_first": 1}]}),
            json!({"order_by": [{"field": "f", "descending": true}]}),
            json!({"include_inactive": null}),
            json!({"include_inactive": 1}),
            json!({"limit": 1}),
            json!({"expressions": [{"field": "f"}]}),
            json!({"expressions": [{"type": "regex", "field": "f"}]}),
            json!({"expressions": [{"type": "exact", "field": "f"}]}),
            json!({"expressions": [{"type": "contains", "field": "f", "sub_string": ""}]}),
            json!({"expressions": [{"type": "contains", "field": "f", "sub_string": 1}]}),
            json!({"expressions": [{"type": "contains", "field": "f", "value": "v"}]}),
            json!({"expressions": [{"type": "isnull", "field": "f", "value": true}]}),
            json!({"expressions": [{"type": "compare", "field": "f", "operator": "=", "value": 1}]}),
            json!({"expressions": [
                {"type": "compare", "field": "f", "operator": "<", "value": true}
            ]}),
            json!({"expressions": [{"type": "or", "sub_expressions": [field]}]}),
            json!({"expressions": [{"type": "and", "sub_expressions": []}]}),
            json!({"expressions": [{"type": "and"}]}),
            with("field", json!("")),
            with("field", json!(null)),
            with("value", json!(null)),
            with("value", json!([1])),
            with("invert", json!("yes")),
            with("case_insensitive", json!(null)),
            with("other", json!(1)),
        ] {
            let text = text_of(body.clone());
            assert!(text.contains("Unable to parse JSON: "), "{body}: {text}");
        }
    }

    #[test]
    fn an_or_holds_ands_and_an_and_holds_fields() {
        let field = json!({"type": "is_null", "field": "f"});
        let and = json!({"type": "and", "sub_expressions": [field, field], "invert": true});
        let or = json!({"type": "or", "sub_expressions": [and, field]});
        assert!(read_filter(json!({"expressions": [or, and, field]})).is_ok());
        for (kind, inner) in [("or", &or), ("and", &or), ("and", &and)] {
            let outer = json!({"type": kind, "sub_expressions": [inner, field]});
            let text = text_of(json!({"expressions": [outer]}));
            assert!(text.contains(&format!("is not possible in '{kind}'")), "{text}");
        }
    }

    #[test]
    fn the_number_of_expressions_and_the_length_of_texts_are_bounded() {
        let field = json!({"type": "is_null", "field": "f"});
        let many = |count| json!({"expressions": vec![field.clone(); count]});
        assert!(read_filter(many(FILTER_EXPRESSIONS_MAX)).is_ok());
        assert!(text_of(many(FILTER_EXPRESSIONS_MAX + 1)).contains("more than"));
        let fields = |count| json!({"order_by": vec![json!({"field": "f"}); count]});
        assert!(read_filter(fields(ORDER_FIELDS_MAX)).is_ok());
        assert!(text_of(fields(ORDER_FIELDS_MAX + 1)).contains("are possible"));
        let long = "x".repeat(FILTER_TEXT_BYTES_MAX + 1);
        let body = json!({"expressions": [{"type": "contains", "field": "f", "sub_string": long}]});
        assert!(text_of(body).contains("are possible"));
    }
}

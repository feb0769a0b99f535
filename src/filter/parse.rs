//! The JSON of a filter as a value; strict at every level.

use serde_json::{Map, Value};

use super::error::{FilterError, quoted};
use crate::http::limits::{FILTER_EXPRESSIONS_MAX, FILTER_TEXT_BYTES_MAX, ORDER_FIELDS_MAX};

/// The types of expressions about one field.
const FIELD_TYPES: &str = "exact, contains, is_null, isnull, compare";

/// What a list is asked to show.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Spec {
    /// All must hold.
    pub(super) expressions: Vec<Expression>,
    /// The first counts most.
    pub(super) order_by: Vec<OrderBy>,
    /// Whether the soft-deleted, or deactivated, are shown too.
    pub(crate) include_inactive: bool,
}

/// A condition on a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expression {
    /// Whether it is to hold where it would not.
    pub(super) invert: bool,
    pub(super) condition: Condition,
}

/// What an expression says before it is inverted.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Field { field: String, test: Asked },
}

/// What is asked of a field, not yet held against its type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    Exact { value: Value, ignore_case: bool },
    Contains { sub_string: String, ignore_case: bool },
    IsNull,
    Compare { operator: Operator, value: Value },
}

/// How a field compares with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One field of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderBy {
    pub(super) field: String,
    pub(super) ascending: bool,
    pub(super) nulls_first: bool,
}

/// Where an expression stands, which says what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    InOr,
    InAnd,
}

impl Spec {
    /// Reads a body; an empty object asks for everything.
    ///
    /// # Errors
    /// It has not the shape of a filter.
    pub(crate) fn parse(body: Value) -> Result<Self, FilterError> {
        let mut body = Keys::of(body, "a filter")?;
        let mut count = 0;
        let expressions = body.array("expressions")?.unwrap_or_default();
        let expressions = expressions
            .into_iter()
            .map(|expression| expression_of(expression, Place::Top, &mut count))
            .collect::<Result<_, _>>()?;
        let order_by = body.array("order_by")?.unwrap_or_default();
        if order_by.len() > ORDER_FIELDS_MAX {
            return Err(FilterError::shape(format!(
                "'order_by' has {} fields; {ORDER_FIELDS_MAX} are possible",
                order_by.len()
            )));
        }
        let order_by = order_by.into_iter().map(order_of).collect::<Result<_, _>>()?;
        let include_inactive = body.boolean("include_inactive")?.unwrap_or(false);
        body.end()?;
        Ok(Self { expressions, order_by, include_inactive })
    }
}

/// Reads an expression. It goes no deeper than a field in an `and` in an `or`, as the places say.
fn expression_of(value: Value, place: Place, count: &mut usize) -> Result<Expression, FilterError> {
    *count += 1;
    if *count > FILTER_EXPRESSIONS_MAX {
        return Err(FilterError::shape(format!(
            "there are more than {FILTER_EXPRESSIONS_MAX} expressions, which is the most possible"
        )));
    }
    let mut keys = Keys::of(value, "an expression")?;
    let kind = keys.required_text("type")?;
    let invert = keys.boolean("invert")?.unwrap_or(false);
    let condition = match (kind.as_str(), place) {
        ("or", Place::Top) => Condition::Or(subexpressions(&mut keys, Place::InOr, count)?),
        ("and", Place::Top | Place::InOr) => {
            Condition::And(subexpressions(&mut keys, Place::InAnd, count)?)
        }
        _ => {
            let test = asked(&kind, place, &mut keys)?;
            Condition::Field { field: keys.filled_text("field")?, test }
        }
    };
    keys.end()?;
    Ok(Expression { invert, condition })
}

fn subexpressions(
    keys: &mut Keys,
    place: Place,
    count: &mut usize,
) -> Result<Vec<Expression>, FilterError> {
    let values = keys.array("sub_expressions")?;
    let values = values.ok_or_else(|| FilterError::shape("'sub_expressions' is required"))?;
    if values.len() < 2 {
        return Err(FilterError::shape("'sub_expressions' must have at least two elements"));
    }
    values.into_iter().map(|value| expression_of(value, place, count)).collect()
}

fn asked(kind: &str, place: Place, keys: &mut Keys) -> Result<Asked, FilterError> {
    Ok(match kind {
        "exact" => Asked::Exact {
            value: keys.scalar("value", true)?,
            ignore_case: keys.boolean("case_insensitive")?.unwrap_or(false),
        },
        "contains" => Asked::Contains {
            sub_string: keys.filled_text("sub_string")?,
            ignore_case: keys.boolean("case_insensitive")?.unwrap_or(false),
        },
        "is_null" | "isnull" => Asked::IsNull,
        "compare" => {
            Asked::Compare { operator: operator(keys)?, value: keys.scalar("value", false)? }
        }
        other => {
            let (within, possible) = match place {
                Place::Top => ("'expressions'", format!("and, or, {FIELD_TYPES}")),
                Place::InOr => ("'or'", format!("and, {FIELD_TYPES}")),
                Place::InAnd => ("'and'", FIELD_TYPES.to_owned()),
            };
            let other = quoted(other);
            return Err(FilterError::shape(format!(
                "type {other} is not possible in {within}; possible are {possible}"
            )));
        }
    })
}

fn operator(keys: &mut Keys) -> Result<Operator, FilterError> {
    Ok(match keys.required_text("operator")?.as_str() {
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        other => {
            let other = quoted(other);
            return Err(FilterError::shape(format!("'operator' is {other}; it is <, <=, > or >=")));
        }
    })
}

fn order_of(value: Value) -> Result<OrderBy, FilterError> {
    let mut keys = Keys::of(value, "an element of 'order_by'")?;
    let order = OrderBy {
        field: keys.filled_text("field")?,
        ascending: keys.boolean("ascending")?.unwrap_or(true),
        nulls_first: keys.boolean("nulls_first")?.unwrap_or(false),
    };
    keys.end()?;
    Ok(order)
}

/// The keys of an object, taken one by one.
struct Keys(Map<String, Value>);

impl Keys {
    fn of(value: Value, what: &str) -> Result<Self, FilterError> {
        match value {
            Value::Object(keys) => Ok(Self(keys)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(FilterError::shape(format!("{what} must be an object"))),
        }
    }

    fn boolean(&mut self, key: &str) -> Result<Option<bool>, FilterError> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(FilterError::shape(format!("'{key}' must be a boolean"))),
        }
    }

    fn array(&mut self, key: &str) -> Result<Option<Vec<Value>>, FilterError> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(FilterError::shape(format!("'{key}' must be an array"))),
        }
    }

    fn required_text(&mut self, key: &str) -> Result<String, FilterError> {
        match self.0.remove(key) {
            None => Err(FilterError::shape(format!("'{key}' is required"))),
            Some(Value::String(text)) => short(text, key),
            Some(_) => Err(FilterError::shape(format!("'{key}' must be a string"))),
        }
    }

    fn filled_text(&mut self, key: &str) -> Result<String, FilterError> {
        let text = self.required_text(key)?;
        if text.is_empty() {
            return Err(FilterError::shape(format!("'{key}' must not be empty")));
        }
        Ok(text)
    }

    /// A text or a number, or a boolean where that is possible.
    fn scalar(&mut self, key: &str, with_boolean: bool) -> Result<Value, FilterError> {
        match self.0.remove(key) {
            None => Err(FilterError::shape(format!("'{key}' is required"))),
            Some(Value::String(text)) => Ok(Value::String(short(text, key)?)),
            Some(number @ Value::Number(_)) => Ok(number),
            Some(boolean @ Value::Bool(_)) if with_boolean => Ok(boolean),
            Some(_) => {
                let or_boolean = if with_boolean { ", a boolean" } else { "" };
                Err(FilterError::shape(format!("'{key}' must be a string{or_boolean} or a number")))
            }
        }
    }

    fn end(self) -> Result<(), FilterError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => Err(FilterError::shape(format!("unknown key {}", quoted(key)))),
        }
    }
}

fn short(text: String, key: &str) -> Result<String, FilterError> {
    if text.len() > FILTER_TEXT_BYTES_MAX {
        return Err(FilterError::shape(format!(
            "'{key}' has {} bytes; {FILTER_TEXT_BYTES_MAX} are possible",
            text.len()
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text_of(body: Value) -> String {
        Spec::parse(body).unwrap_err().to_string()
    }

    #[test]
    fn nothing_asks_for_everything() {
        assert_eq!(Spec::parse(json!({})), Ok(Spec::default()));
        let body = json!({"expressions": [], "order_by": [], "include_inactive": false});
        assert_eq!(Spec::parse(body), Ok(Spec::default()));
    }

    #[test]
    fn both_names_of_the_null_test_are_the_same() {
        let read = |kind| Spec::parse(json!({"expressions": [{"type": kind, "field": "f"}]}));
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
        assert_eq!(Spec::parse(body).unwrap().order_by, expected);
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
            assert!(text.starts_with("Unable to parse JSON: "), "{body}: {text}");
        }
    }

    #[test]
    fn an_or_holds_ands_and_an_and_holds_fields() {
        let field = json!({"type": "is_null", "field": "f"});
        let and = json!({"type": "and", "sub_expressions": [field, field], "invert": true});
        let or = json!({"type": "or", "sub_expressions": [and, field]});
        assert!(Spec::parse(json!({"expressions": [or, and, field]})).is_ok());
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
        assert!(Spec::parse(many(FILTER_EXPRESSIONS_MAX)).is_ok());
        assert!(text_of(many(FILTER_EXPRESSIONS_MAX + 1)).contains("more than"));
        let fields = |count| json!({"order_by": vec![json!({"field": "f"}); count]});
        assert!(Spec::parse(fields(ORDER_FIELDS_MAX)).is_ok());
        assert!(text_of(fields(ORDER_FIELDS_MAX + 1)).contains("are possible"));
        let long = "x".repeat(FILTER_TEXT_BYTES_MAX + 1);
        let body = json!({"expressions": [{"type": "contains", "field": "f", "sub_string": long}]});
        assert!(text_of(body).contains("are possible"));
    }
}

//! From a parsed filter to one that is held against the fields of a kind, once a request.

use serde_json::{Number, Value};

use super::error::{FilterError, quoted};
use super::order::OrderKey;
use super::schema::{Column, Field, Hop, Kind, Many, Part, Type};
use super::spec::{Asked, Condition, Expression, Operator, OrderBy, Spec};
use super::test::{Test, folded};
use super::time;
use crate::http::limits::FILTER_SCANS_MAX;

/// A filter and an order over the records of one kind.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(super) kind: Kind,
    /// All must hold.
    pub(super) conditions: Vec<Check>,
    pub(super) order: Vec<OrderKey>,
    /// Whether the soft-deleted, or deactivated, are shown too.
    pub(crate) include_inactive: bool,
}

/// A condition, compiled.
#[derive(Debug, Clone)]
pub(super) enum Check {
    All(Vec<Check>),
    Any(Vec<Check>),
    Not(Box<Check>),
    /// A column of the record itself or of a related one.
    Column {
        hops: Vec<Hop>,
        column: Column,
        test: Test,
    },
    /// One of many things passes all of these tests.
    Some {
        hops: Vec<Hop>,
        many: Many,
        tests: Vec<(Part, Test)>,
    },
    /// There is none of many things.
    Empty {
        hops: Vec<Hop>,
        many: Many,
    },
}

/// Where a name leads.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) hops: Vec<Hop>,
    pub(super) end: End,
}

/// What is at the end of a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Column(Type, Column),
    Part(Many, Type, Part),
}

impl Filter {
    /// Compiles a filter for a kind of record.
    ///
    /// # Errors
    /// A field is unknown, or an operator or a value does not go with its type.
    pub(crate) fn compile(spec: &Spec, kind: Kind) -> Result<Self, FilterError> {
        let conditions = checks(&spec.expressions, kind)?;
        let scans: usize = conditions.iter().map(Check::scans).sum();
        if scans > FILTER_SCANS_MAX {
            return Err(FilterError::new(format!(
                "{scans} conditions look through files or members; {FILTER_SCANS_MAX} are possible"
            )));
        }
        let order = spec.order_by.iter().map(|order| order_key(order, kind));
        Ok(Self {
            kind,
            conditions,
            order: order.collect::<Result<_, _>>()?,
            include_inactive: spec.include_inactive,
        })
    }

    /// Whether another order than that of primary keys is asked for.
    pub(crate) fn is_ordered(&self) -> bool {
        !self.order.is_empty()
    }
}

impl Check {
    /// How often it may look through things of which a record has any number.
    fn scans(&self) -> usize {
        match self {
            Self::All(checks) | Self::Any(checks) => checks.iter().map(Self::scans).sum(),
            Self::Not(check) => check.scans(),
            Self::Some { many: Many::Files, tests, .. } if exact_name(tests).is_some() => 0,
            Self::Some { many: Many::Files | Many::Members, .. } => 1,
            Self::Some { .. } | Self::Column { .. } | Self::Empty { .. } => 0,
        }
    }
}

/// The name of the one file that can pass all of these tests, if they say it.
pub(super) fn exact_name(tests: &[(Part, Test)]) -> Option<&str> {
    tests.iter().find_map(|test| match test {
        (Part::FileName, Test::Text(name)) => Some(name.as_str()),
        _ => None,
    })
}

fn check(expression: &Expression, kind: Kind) -> Result<Check, FilterError> {
    let plain = match &expression.condition {
        Condition::And(parts) => Check::All(joined(checks(parts, kind)?)),
        Condition::Or(parts) => Check::Any(checks(parts, kind)?),
        Condition::Field { field, test } => field_check(field, test, kind)?,
    };
    Ok(if expression.invert { Check::Not(Box::new(plain)) } else { plain })
}

fn checks(parts: &[Expression], kind: Kind) -> Result<Vec<Check>, FilterError> {
    parts.iter().map(|part| check(part, kind)).collect()
}

/// Within an `and`, conditions on the same many things speak of one and the same of them.
fn joined(checks: Vec<Check>) -> Vec<Check> {
    let mut kept: Vec<Check> = Vec::with_capacity(checks.len());
    for check in checks {
        if let Check::Some { hops, many, tests } = &check && let Some(Check::Some {
            tests: others,
            ..
        }) = kept.iter_mut().find(
            |other| matches!(other, Check::Some { hops: h, many: m, .. } if h == hops && m == many),
        ) {
            others.extend(tests.iter().cloned());
            continue;
        }
        kept.push(check);
    }
    kept
}

fn field_check(field: &str, asked: &Asked, kind: Kind) -> Result<Check, FilterError> {
    let Path { hops, end } = path(field, kind)?;
    Ok(match (end, asked) {
        (End::Part(many, ..), Asked::IsNull) => Check::Empty { hops, many },
        (End::Part(many, kind, part), asked) => {
            Check::Some { hops, many, tests: vec![(part, test(field, kind, asked)?)] }
        }
        (End::Column(kind, column), asked) => {
            Check::Column { hops, column, test: test(field, kind, asked)? }
        }
    })
}

fn order_key(order: &OrderBy, kind: Kind) -> Result<OrderKey, FilterError> {
    let Path { hops, end } = path(&order.field, kind)?;
    match end {
        End::Column(_, column) => Ok(OrderKey {
            hops,
            column,
            name: order.field.clone(),
            ascending: order.ascending,
            nulls_first: order.nulls_first,
        }),
        End::Part(..) => Err(FilterError::new(format!(
            "{} has any number of values, and only a field with one can be ordered by",
            quoted(&order.field)
        ))),
    }
}

/// Follows a name with dots, or `__`, to its column.
fn path(name: &str, kind: Kind) -> Result<Path, FilterError> {
    let dotted = name.replace("__", ".");
    let mut parts = dotted.split('.').peekable();
    let (mut hops, mut kind) = (Vec::new(), kind);
    let mut end = None;
    while let Some(part) = parts.next() {
        if end.is_some() {
            return Err(no_record(name));
        }
        if let Some((kind, key)) = kind.key_column(part) {
            end = Some(End::Column(kind, key));
            continue;
        }
        match kind.field(part).ok_or_else(|| unknown(name, kind))? {
            Field::Column(kind, column) => end = Some(End::Column(kind, column)),
            // The key of a related record is a column of this one, and visible as such.
            Field::One(key, hop, next) => match parts.peek() {
                None => end = Some(End::Column(Type::Integer, key)),
                Some(&("pk" | "id")) => {
                    parts.next();
                    end = Some(End::Column(Type::Integer, key));
                }
                Some(_) => {
                    hops.push(hop);
                    kind = next;
                }
            },
            Field::Nowhere(key, known) => {
                if parts.next().is_some_and(|part| !known.contains(&part)) {
                    return Err(unknown_part(name, "it", known));
                }
                end = Some(End::Column(Type::Absent, key));
            }
            Field::Many(many, known) => {
                let wanted = parts.next();
                let part = known.iter().find(|(name, ..)| wanted.is_none_or(|it| it == *name));
                let &(_, kind, part) = part.ok_or_else(|| {
                    let names: Vec<_> = known.iter().map(|(name, ..)| *name).collect();
                    unknown_part(name, "them", &names)
                })?;
                end = Some(End::Part(many, kind, part));
            }
        }
    }
    end.map(|end| Path { hops, end }).ok_or_else(|| unknown(name, kind))
}

fn unknown(name: &str, kind: Kind) -> FilterError {
    let fields: Vec<_> = kind.fields().iter().map(|(name, _)| *name).collect();
    FilterError::new(format!(
        "unknown field {}: {} has {}",
        quoted(name),
        kind.name(),
        fields.join(", ")
    ))
}

fn unknown_part(name: &str, of: &str, known: &[&str]) -> FilterError {
    let (name, known) = (quoted(name), known.join(", "));
    FilterError::new(format!("unknown field {name}: of {of} there is {known}"))
}

fn no_record(name: &str) -> FilterError {
    let name = quoted(name);
    FilterError::new(format!("unknown field {name}: nothing is related to a plain value"))
}

/// Holds what is asked against the type of the field.
fn test(field: &str, kind: Type, asked: &Asked) -> Result<Test, FilterError> {
    let wrong = |value: &Value| wrong_value(field, kind, value);
    Ok(match (asked, kind) {
        (Asked::IsNull, _) => Test::IsNull,
        (Asked::Exact { value, ignore_case }, Type::Text) => {
            let text = value.as_str().ok_or_else(|| wrong(value))?;
            if *ignore_case { Test::TextFolded(folded(text)) } else { Test::Text(text.into()) }
        }
        (Asked::Exact { value, .. }, Type::Boolean) => {
            Test::Boolean(value.as_bool().ok_or_else(|| wrong(value))?)
        }
        (Asked::Exact { value, .. }, Type::Integer) => {
            let (floor, whole) = number(value).ok_or_else(|| wrong(value))?;
            if whole { Test::Integer(floor) } else { Test::Never }
        }
        (Asked::Exact { value, .. }, Type::Time) => {
            Test::Integer(time_of(value).ok_or_else(|| wrong(value))?)
        }
        (Asked::Contains { sub_string, ignore_case }, Type::Text) => {
            if *ignore_case {
                Test::ContainsFolded(folded(sub_string))
            } else {
                Test::Contains(sub_string.clone())
            }
        }
        (Asked::Compare { operator, value }, Type::Text) => {
            let text = value.as_str().ok_or_else(|| wrong(value))?;
            Test::CompareText(*operator, text.into())
        }
        (Asked::Compare { operator, value }, Type::Integer) => {
            let (floor, whole) = number(value).ok_or_else(|| wrong(value))?;
            Test::CompareInteger(around(*operator, whole), floor)
        }
        (Asked::Compare { operator, value }, Type::Time) => {
            Test::CompareInteger(*operator, time_of(value).ok_or_else(|| wrong(value))?)
        }
        // Whatever a client takes a record's key for, none that is not there has it.
        (Asked::Exact { value, .. } | Asked::Compare { value, .. }, Type::Absent) => {
            if !value.is_number() && !value.is_string() {
                return Err(wrong(value));
            }
            Test::Never
        }
        (Asked::Contains { .. }, Type::Absent) => Test::Never,
        (Asked::Contains { .. }, Type::Integer | Type::Boolean | Type::Time) => {
            return Err(wrong_operator(field, kind, "contains"));
        }
        (Asked::Compare { .. }, Type::Boolean) => {
            return Err(wrong_operator(field, kind, "compare"));
        }
    })
}

/// The greatest integer that is not above a number, and whether it is the number. `None` for what
/// is no number, or beyond 64 bits.
///
/// The digits of an integer as a text are that integer, for the original takes them so, and the
/// published Java client asks for versions in no other way.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "below 2^64 in size")]
fn number(value: &Value) -> Option<(i128, bool)> {
    if let Value::String(text) = value {
        let integer: i128 = text.trim().parse().ok()?;
        let within = (i64::MIN.into()..=u64::MAX.into()).contains(&integer);
        return within.then_some((integer, true));
    }
    let number: &Number = value.as_number()?;
    if let Some(number) = number.as_i64() {
        return Some((number.into(), true));
    }
    if let Some(number) = number.as_u64() {
        return Some((number.into(), true));
    }
    let number = number.as_f64().filter(|number| number.abs() < 18_446_744_073_709_551_616.0)?;
    let floor = number.floor();
    // A fraction's floor and the fraction differ by bits, whatever their size.
    Some((floor as i128, number.fract() == 0.0))
}

/// An operator that says of an integer's bound rounded down what was said of the bound.
fn around(operator: Operator, whole: bool) -> Operator {
    match operator {
        Operator::Less | Operator::LessOrEqual if !whole => Operator::LessOrEqual,
        Operator::Greater | Operator::GreaterOrEqual if !whole => Operator::Greater,
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            operator
        }
    }
}

fn time_of(value: &Value) -> Option<i128> {
    time::parse(value.as_str()?)
}

fn wrong_value(field: &str, kind: Type, value: &Value) -> FilterError {
    let right = match kind {
        Type::Integer => "a number within 64 bits",
        Type::Boolean => "true or false",
        Type::Text => "a string",
        Type::Time => "an ISO 8601 text such as 2026-11-23T06:52:39Z or 2026-11-23",
        Type::Absent => "a number or a string",
    };
    let sent = match value {
        Value::String(text) => format!("the string {}", quoted(text)),
        Value::Bool(_) | Value::Number(_) => format!("{value}"),
        Value::Null | Value::Array(_) | Value::Object(_) => "no such value".to_owned(),
    };
    let field = quoted(field);
    let is = kind.name();
    FilterError::new(format!("field {field} is {is} and was given {sent}; send {right}"))
}

fn wrong_operator(field: &str, kind: Type, operator: &str) -> FilterError {
    let possible = match kind {
        Type::Text | Type::Absent => "exact, contains, compare, is_null",
        Type::Integer | Type::Time => "exact, compare, is_null",
        Type::Boolean => "exact, is_null",
    };
    let field = quoted(field);
    let is = kind.name();
    FilterError::new(format!(
        "field {field} is {is}, which '{operator}' does not go with; possible are {possible}"
    ))
}

#[cfg(test)]
mod tests;

//! A filter as it is asked for: whatever its shape allows, not yet held against any fields.

use serde_json::Value;

/// What a list is asked to show.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Spec {
    /// All must hold.
    pub(crate) expressions: Vec<Expression>,
    /// The first counts most.
    pub(crate) order_by: Vec<OrderBy>,
    /// Whether the soft-deleted, or deactivated, are shown too.
    pub(crate) include_inactive: bool,
}

/// A condition on a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expression {
    /// Whether it is to hold where it would not.
    pub(crate) invert: bool,
    pub(crate) condition: Condition,
}

/// What an expression says before it is inverted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Field { field: String, test: Asked },
}

/// What is asked of a field, not yet held against its type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    Exact { value: Value, ignore_case: bool },
    Contains { sub_string: String, ignore_case: bool },
    IsNull,
    Compare { operator: Operator, value: Value },
}

/// How a field compares with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One field of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderBy {
    pub(crate) field: String,
    pub(crate) ascending: bool,
    pub(crate) nulls_first: bool,
}

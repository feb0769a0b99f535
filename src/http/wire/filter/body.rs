//! What the OpenAPI document says of a filter: the shapes that the readers beside this file take.
//!
//! Where something stands says what it may be, so that there is no recursion: a filter holds
//! anything, an `or` holds `and`s and conditions, an `and` holds conditions.

use utoipa::ToSchema;

/// What a list shows and in which order; without it everything, in order of primary key.
#[derive(ToSchema)]
#[schema(as = Filter, examples(json!({
    "expressions": [
        {"type": "contains", "field": "name", "sub_string": "cat", "case_insensitive": true},
        {"type": "or", "sub_expressions": [
            {"type": "exact", "field": "project.team.name", "value": "vision"},
            {"type": "is_null", "field": "creator", "invert": true},
        ]},
    ],
    "order_by": [{"field": "creation_time", "ascending": false}],
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
pub(crate) struct FilterBody {
    /// All must hold. There may be 1,000 in all, those within others counted too.
    #[schema(required = false, max_items = 1000)]
    expressions: Vec<Expression>,
    #[schema(required = false, max_items = 8)]
    order_by: Vec<OrderBy>,
    /// Whether the soft-deleted, or deactivated, are shown too.
    #[schema(required = false, default = false)]
    include_inactive: bool,
}

/// A field by which rows are in order.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
struct OrderBy {
    #[schema(min_length = 1, examples("name"))]
    field: String,
    #[schema(required = false, default = true)]
    ascending: bool,
    #[schema(required = false, default = false)]
    nulls_first: bool,
}

/// What must hold of a row.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
enum Expression {
    Or(Or),
    And(And),
    Exact(Exact),
    Contains(Contains),
    IsNull(IsNull),
    Compare(Compare),
}

/// What an `or` holds.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
enum ExpressionInOr {
    And(And),
    Exact(Exact),
    Contains(Contains),
    IsNull(IsNull),
    Compare(Compare),
}

/// What an `and` holds.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
enum ExpressionInAnd {
    Exact(Exact),
    Contains(Contains),
    IsNull(IsNull),
    Compare(Compare),
}

/// One of several must hold.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
struct Or {
    #[schema(pattern = "^or$", examples("or"))]
    r#type: String,
    #[schema(min_items = 2)]
    sub_expressions: Vec<ExpressionInOr>,
    /// Whether the opposite must hold.
    #[schema(required = false, default = false)]
    invert: bool,
}

/// All of several must hold; those about one file or member, of one and the same.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
struct And {
    #[schema(pattern = "^and$", examples("and"))]
    r#type: String,
    #[schema(min_items = 2)]
    sub_expressions: Vec<ExpressionInAnd>,
    #[schema(required = false, default = false)]
    invert: bool,
}

/// The field has this value.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
struct Exact {
    #[schema(pattern = "^exact$", examples("exact"))]
    r#type: String,
    /// A field of the row, or with dots one of a related thing: `project.team.name`. The key
    /// of a related thing has three names: `project`, `project.pk`, `project_id`.
    #[schema(min_length = 1, examples("name"))]
    field: String,
    value: TextNumberOrBoolean,
    #[schema(required = false, default = false)]
    case_insensitive: bool,
    #[schema(required = false, default = false)]
    invert: bool,
}

/// The text of the field holds this one.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
struct Contains {
    #[schema(pattern = "^contains$", examples("contains"))]
    r#type: String,
    #[schema(min_length = 1, examples("files.name"))]
    field: String,
    #[schema(min_length = 1, examples(".png"))]
    sub_string: String,
    #[schema(required = false, default = false)]
    case_insensitive: bool,
    #[schema(required = false, default = false)]
    invert: bool,
}

/// The field is null, or there is none of many things.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
struct IsNull {
    /// One of two spellings.
    #[schema(pattern = "^(is_null|isnull)$", examples("is_null"))]
    r#type: String,
    #[schema(min_length = 1, examples("creator"))]
    field: String,
    #[schema(required = false, default = false)]
    invert: bool,
}

/// The field is below or above this value.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
struct Compare {
    #[schema(pattern = "^compare$", examples("compare"))]
    r#type: String,
    #[schema(min_length = 1, examples("creation_time"))]
    field: String,
    operator: Operator,
    value: TextOrNumber,
    #[schema(required = false, default = false)]
    invert: bool,
}

/// How a field and a value are compared.
#[derive(ToSchema)]
#[schema(as = CompareOperator)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
enum Operator {
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    #[serde(rename = ">")]
    Greater,
    #[serde(rename = ">=")]
    GreaterOrEqual,
}

/// A value of the field's type; times are ISO 8601 texts.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
enum TextNumberOrBoolean {
    Text(String),
    Number(f64),
    Boolean(bool),
}

/// A value of the field's type; times are ISO 8601 texts.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `read_filter` reads")]
enum TextOrNumber {
    Text(String),
    Number(f64),
}

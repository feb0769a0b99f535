//! Names, operators and values against the types of fields.

use serde_json::json;

use super::*;
use Hop::{Creator, Licence, Project, Team};

fn compiled(kind: Kind, expression: Asked, field: &str) -> Result<Filter, FilterError> {
    let condition = Condition::Field { field: field.into(), test: expression };
    let expressions = vec![Expression { invert: false, condition }];
    Filter::compile(&Spec { expressions, ..Spec::default() }, kind)
}

fn exact(value: Value) -> Asked {
    Asked::Exact { value, ignore_case: false }
}

fn test_of(field: &str, asked: Asked) -> Result<Test, String> {
    let filter = compiled(Kind::Dataset, asked, field).map_err(|error| error.to_string())?;
    match filter.conditions.into_iter().next() {
        Some(Check::Column { test, .. }) => Ok(test),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_lead_through_dots_and_double_underscores() {
    let hops_of = |kind, field| match path(field, kind) {
        Ok(Path { hops, end: End::Column(kind, _) }) => Some((hops, kind)),
        Ok(_) | Err(_) => None,
    };
    for (kind, field, expected) in [
        (Kind::Dataset, "pk", (vec![], Type::Integer)),
        (Kind::Dataset, "id", (vec![], Type::Integer)),
        (Kind::Dataset, "project", (vec![], Type::Integer)),
        // A key of a related record is a column of this one.
        (Kind::Dataset, "project.pk", (vec![], Type::Integer)),
        (Kind::Dataset, "creator__id", (vec![], Type::Integer)),
        (Kind::Dataset, "project_id", (vec![], Type::Integer)),
        (Kind::Dataset, "licence_id", (vec![], Type::Integer)),
        (Kind::Dataset, "creator_id", (vec![], Type::Integer)),
        (Kind::Project, "team_id", (vec![], Type::Integer)),
        (Kind::Team, "creator_id", (vec![], Type::Integer)),
        (Kind::Dataset, "project.team_id", (vec![Project], Type::Integer)),
        (Kind::Dataset, "domain", (vec![], Type::Absent)),
        (Kind::Dataset, "domain_id", (vec![], Type::Absent)),
        (Kind::Dataset, "domain.pk", (vec![], Type::Absent)),
        (Kind::Dataset, "domain__id", (vec![], Type::Absent)),
        (Kind::Dataset, "project.name", (vec![Project], Type::Text)),
        (Kind::Dataset, "project.team", (vec![Project], Type::Integer)),
        (Kind::Dataset, "project.team.name", (vec![Project, Team], Type::Text)),
        (
            Kind::Dataset,
            "project__team.creator__username",
            (vec![Project, Team, Creator], Type::Text),
        ),
        (Kind::Dataset, "licence.url", (vec![Licence], Type::Text)),
        (Kind::Project, "team.creation_time", (vec![Team], Type::Time)),
        (Kind::Team, "creator.username", (vec![Creator], Type::Text)),
        (Kind::User, "is_staff", (vec![], Type::Boolean)),
        (Kind::Node, "last_seen", (vec![], Type::Time)),
    ] {
        assert_eq!(hops_of(kind, field), Some(expected), "{field}");
    }
}

#[test]
fn what_is_no_field_is_named_and_the_fields_there_are_told() {
    for (kind, field) in [
        (Kind::Dataset, "password"),
        (Kind::Dataset, "creator.password"),
        (Kind::Dataset, "creator.password_hash"),
        (Kind::Dataset, "creator__email"),
        (Kind::Dataset, "creator.is_staff"),
        (Kind::Dataset, "project.team.members.email"),
        (Kind::Dataset, "project.team.members.username.x"),
        (Kind::Dataset, "name.length"),
        (Kind::Dataset, "name__startswith"),
        (Kind::Dataset, "creation_time__gt"),
        (Kind::Dataset, "project.pk.name"),
        (Kind::Dataset, "project_id.name"),
        (Kind::Dataset, "name_id"),
        (Kind::Dataset, "files_id"),
        (Kind::Dataset, "project."),
        (Kind::Dataset, ".project"),
        (Kind::Dataset, "project..name"),
        (Kind::Dataset, "files.digest"),
        (Kind::Dataset, "domain.colour"),
        (Kind::Dataset, "domain.name.length"),
        (Kind::Dataset, "domain_id.name"),
        (Kind::Dataset, "domain."),
        (Kind::Project, "domain"),
        (Kind::Dataset, "revision"),
        (Kind::Dataset, "Name"),
        (Kind::Dataset, " name"),
        (Kind::User, "password"),
        (Kind::User, "password_hash"),
        (Kind::Team, "members.password"),
        (Kind::Team, "creator.first_name"),
        (Kind::Node, "creator"),
    ] {
        let error = compiled(kind, Asked::IsNull, field).unwrap_err().to_string();
        assert!(error.starts_with(&format!("Bad filter: unknown field '{field}'")), "{error}");
    }
    let error = path("creator.email", Kind::Dataset).unwrap_err().to_string();
    assert!(error.ends_with("a related user has pk, id, username"), "{error}");
    let long = "x".repeat(100_000);
    assert!(path(&long, Kind::Dataset).unwrap_err().to_string().len() < 1000);
}

#[test]
fn a_value_of_another_type_is_refused_with_what_would_be_right() {
    let compare = |value| Asked::Compare { operator: Operator::Less, value };
    let contains = Asked::Contains { sub_string: "x".into(), ignore_case: false };
    for (field, asked, told) in [
        ("version", exact(json!("one")), "'version' is an integer and was given the string 'one'"),
        (
            "version",
            exact(json!("1.0")),
            "an integer and was given the string '1.0'; send a number",
        ),
        ("version", exact(json!("")), "an integer and was given the string ''"),
        ("version", compare(json!("99999999999999999999")), "send a number within 64 bits"),
        ("version", exact(json!(true)), "was given true; send a number within 64 bits"),
        ("version", exact(json!(1e30)), "send a number within 64 bits"),
        ("version", compare(json!(-1e30)), "send a number within 64 bits"),
        ("name", exact(json!(5)), "'name' is a text and was given 5; send a string"),
        ("name", compare(json!(5)), "send a string"),
        ("is_public", exact(json!(1)), "'is_public' is a boolean and was given 1; send true"),
        ("is_public", compare(json!(1)), "possible are exact, is_null"),
        ("is_public", contains.clone(), "'contains' does not go with"),
        ("version", contains.clone(), "possible are exact, compare, is_null"),
        ("creation_time", contains, "possible are exact, compare, is_null"),
        ("creation_time", exact(json!("yesterday")), "send an ISO 8601 text such as"),
        ("creation_time", compare(json!(1_700_000_000)), "send an ISO 8601 text such as"),
    ] {
        let error = test_of(field, asked).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn fractions_equal_no_integer_and_bound_it_all_the_same() {
    let compare = |operator, value| test_of("version", Asked::Compare { operator, value }).unwrap();
    assert_eq!(test_of("version", exact(json!(2.5))), Ok(Test::Never));
    assert_eq!(test_of("version", exact(json!(2.0))), Ok(Test::Integer(2)));
    assert_eq!(test_of("version", exact(json!(u64::MAX))), Ok(Test::Integer(u64::MAX.into())));
    for (operator, bound, passing) in [
        (Operator::Less, json!(2.5), [true, true, false]),
        (Operator::LessOrEqual, json!(2.5), [true, true, false]),
        (Operator::Greater, json!(2.5), [false, false, true]),
        (Operator::GreaterOrEqual, json!(2.5), [false, false, true]),
        (Operator::Less, json!(2.0), [true, false, false]),
        (Operator::GreaterOrEqual, json!(2), [false, true, true]),
        (Operator::Greater, json!(-0.5), [true, true, true]),
        (Operator::Less, json!(-0.5), [false, false, false]),
    ] {
        let test = compare(operator, bound.clone());
        let found = [1_u64, 2, 3].map(|it| test.passes(it.into(), &mut String::new()));
        assert_eq!(found, passing, "{operator:?} {bound}");
    }
}

#[test]
fn the_digits_of_an_integer_are_that_integer() {
    for (text, integer) in [("1", 1), ("+2", 2), (" 3 ", 3), ("-4", -4), ("005", 5)] {
        assert_eq!(test_of("version", exact(json!(text))), Ok(Test::Integer(integer)));
    }
    let less = Asked::Compare { operator: Operator::Less, value: json!("3") };
    assert_eq!(test_of("version", less), Ok(Test::CompareInteger(Operator::Less, 3)));
}

#[test]
fn within_an_and_files_are_one_and_the_same() {
    let field = |field: &str| Expression {
        invert: false,
        condition: Condition::Field { field: field.into(), test: exact(json!("x")) },
    };
    let and = Condition::And(vec![field("files.name"), field("name"), field("files.handle")]);
    let expressions = vec![Expression { invert: false, condition: and }, field("files.name")];
    let spec = Spec { expressions, ..Spec::default() };
    let filter = Filter::compile(&spec, Kind::Dataset).unwrap();
    let [Check::All(checks), Check::Some { tests: alone, .. }] = filter.conditions.as_slice()
    else {
        panic!("{filter:?}");
    };
    let [Check::Some { tests: both, .. }, Check::Column { .. }] = checks.as_slice() else {
        panic!("{checks:?}");
    };
    assert_eq!((both.len(), alone.len()), (2, 1));
}

#[test]
fn conditions_that_look_through_many_things_are_few() {
    let filter = |field: &str, asked: &Asked, count| {
        let condition = Condition::Field { field: field.into(), test: asked.clone() };
        let expressions = vec![Expression { invert: true, condition }; count];
        Filter::compile(&Spec { expressions, ..Spec::default() }, Kind::Dataset).is_ok()
    };
    let contains = Asked::Contains { sub_string: "x".into(), ignore_case: false };
    for field in ["files.name", "files.handle", "project.team.members.username"] {
        assert!(filter(field, &contains, FILTER_SCANS_MAX));
        assert!(!filter(field, &contains, FILTER_SCANS_MAX + 1));
    }
    for (field, asked) in
        [("files.name", exact(json!("x"))), ("licence.domains", contains), ("files", Asked::IsNull)]
    {
        assert!(filter(field, &asked, FILTER_SCANS_MAX + 1), "{field}");
    }
}

#[test]
fn an_order_takes_fields_with_one_value() {
    let order = |field: &str| {
        let order_by = vec![OrderBy { field: field.into(), ascending: true, nulls_first: false }];
        Filter::compile(&Spec { order_by, ..Spec::default() }, Kind::Dataset)
    };
    assert!(order("project.team.name").is_ok());
    for field in ["files.name", "project.team.members.username", "licence.permissions"] {
        let error = order(field).unwrap_err().to_string();
        assert!(error.contains(&format!("'{field}' has any number of values")), "{error}");
    }
    assert!(order("creator.password").is_err());
}

//! Random filters over random nodes, held against an evaluator that does nothing but what the
//! language says, in the plainest way.

use std::sync::OnceLock;

use granary_engine::model::{Node, NodeId, Timestamp};
use granary_engine::{Engine, EngineOptions, Snapshot};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::filter::Kind;
use crate::filter::spec::{Asked, Condition, Expression, Operator, Spec};
use crate::permission::Principal;

/// The state of an empty store, since nodes are related to nothing.
fn snapshot() -> &'static Snapshot {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let options = EngineOptions { arbiters: 1, ..EngineOptions::default() };
        let engine = Engine::open(directory.path().to_owned(), &options).unwrap();
        engine.snapshot().unwrap()
    })
}

fn node() -> impl Strategy<Value = Node> {
    let small = || proptest::option::of(-2_i64..3);
    let driver = proptest::option::of("[aAbß]{0,3}");
    let seen = proptest::option::of((-2_i64..3).prop_map(|it| Timestamp(it * 1_000_000)));
    ("[aAbß]{0,3}", -2_i64..3, driver, small(), seen).prop_map(
        |(ip, index, driver_version, gpu_mem, last_seen)| Node {
            id: NodeId(1),
            ip,
            index,
            driver_version,
            hardware_generation: None,
            gpu_mem,
            cpu_mem: 1,
            last_seen,
            current_job: None,
        },
    )
}

fn operator() -> impl Strategy<Value = Operator> {
    use Operator::{Greater, GreaterOrEqual, Less, LessOrEqual};
    prop_oneof![Just(Less), Just(LessOrEqual), Just(Greater), Just(GreaterOrEqual)]
}

fn text_field() -> impl Strategy<Value = (String, Asked)> {
    let field = prop_oneof![Just("ip".to_owned()), Just("driver_version".to_owned())];
    let asked = prop_oneof![
        ("[aAbß]{0,2}", any::<bool>())
            .prop_map(|(text, ignore_case)| Asked::Exact { value: text.into(), ignore_case }),
        ("[aAbß]{1,2}", any::<bool>())
            .prop_map(|(sub_string, ignore_case)| Asked::Contains { sub_string, ignore_case }),
        (operator(), "[aAb]{0,2}")
            .prop_map(|(operator, text)| Asked::Compare { operator, value: text.into() }),
        Just(Asked::IsNull),
    ];
    (field, asked)
}

fn number_field() -> impl Strategy<Value = (String, Asked)> {
    let fields = ["index", "gpu_mem", "hardware_generation"];
    let field = proptest::sample::select(fields.to_vec()).prop_map(str::to_owned);
    let number = || {
        prop_oneof![
            (-2_i64..3).prop_map(Json::from),
            (-5_i32..6).prop_map(|half| { json!(f64::from(half) / 2.0) })
        ]
    };
    let asked = prop_oneof![
        number().prop_map(|value| Asked::Exact { value, ignore_case: false }),
        (operator(), number()).prop_map(|(operator, value)| Asked::Compare { operator, value }),
        Just(Asked::IsNull),
    ];
    (field, asked)
}

fn time_field() -> impl Strategy<Value = (String, Asked)> {
    let time = || (0_u32..3).prop_map(|second| json!(format!("1970-01-01T00:00:0{second}Z")));
    let asked = prop_oneof![
        time().prop_map(|value| Asked::Exact { value, ignore_case: true }),
        (operator(), time()).prop_map(|(operator, value)| Asked::Compare { operator, value }),
        Just(Asked::IsNull),
    ];
    (Just("last_seen".to_owned()), asked)
}

fn expression() -> impl Strategy<Value = Expression> {
    let field = prop_oneof![text_field(), number_field(), time_field()];
    let field = field.prop_map(|(field, test)| Condition::Field { field, test });
    let inverted = |condition: BoxedStrategy<Condition>| {
        (condition, any::<bool>()).prop_map(|(condition, invert)| Expression { invert, condition })
    };
    inverted(field.boxed()).prop_recursive(3, 24, 4, move |inner| {
        let parts = proptest::collection::vec(inner, 2..5);
        let either = (parts, any::<bool>()).prop_map(|(parts, and)| {
            if and { Condition::And(parts) } else { Condition::Or(parts) }
        });
        inverted(either.boxed())
    })
}

/// What a field holds, as JSON; times as seconds.
fn plain(node: &Node, field: &str) -> Json {
    match field {
        "ip" => json!(node.ip),
        "index" => json!(node.index),
        "driver_version" => json!(node.driver_version),
        "gpu_mem" => json!(node.gpu_mem),
        "hardware_generation" => Json::Null,
        "last_seen" => json!(node.last_seen.map(|time| time.0 / 1_000_000)),
        other => panic!("{other}"),
    }
}

/// A value that is asked for; times as seconds.
fn plain_asked(field: &str, value: &Json) -> Json {
    match (field, value.as_str()) {
        ("last_seen", Some(text)) => {
            json!(text.trim_end_matches('Z').rsplit(':').next().unwrap().parse::<i64>().unwrap())
        }
        _ => value.clone(),
    }
}

fn naive(expression: &Expression, node: &Node) -> bool {
    let holds = match &expression.condition {
        Condition::And(parts) => parts.iter().all(|part| naive(part, node)),
        Condition::Or(parts) => parts.iter().any(|part| naive(part, node)),
        Condition::Field { field, test } => {
            let held = plain(node, field);
            let lower = |text: &str| text.to_lowercase();
            match test {
                Asked::IsNull => held.is_null(),
                Asked::Exact { value, ignore_case } => {
                    match (held.as_str(), plain_asked(field, value).as_str()) {
                        (Some(a), Some(b)) if *ignore_case => lower(a) == lower(b),
                        (Some(a), Some(b)) => a == b,
                        _ => held.as_f64().is_some_and(|number| {
                            Some(number) == plain_asked(field, value).as_f64()
                        }),
                    }
                }
                Asked::Contains { sub_string, ignore_case } => held.as_str().is_some_and(|text| {
                    if *ignore_case {
                        lower(text).contains(&lower(sub_string))
                    } else {
                        text.contains(sub_string.as_str())
                    }
                }),
                Asked::Compare { operator, value } => {
                    let asked = plain_asked(field, value);
                    let order = match (held.as_str(), asked.as_str()) {
                        (Some(a), Some(b)) => Some(a.cmp(b)),
                        _ => held.as_f64().zip(asked.as_f64()).map(|(a, b)| a.total_cmp(&b)),
                    };
                    order.is_some_and(|order| match operator {
                        Operator::Less => order.is_lt(),
                        Operator::LessOrEqual => order.is_le(),
                        Operator::Greater => order.is_gt(),
                        Operator::GreaterOrEqual => order.is_ge(),
                    })
                }
            }
        }
    };
    holds != expression.invert
}

proptest! {
    #[test]
    fn filters_want_what_the_language_says(
        expressions in proptest::collection::vec(expression(), 0..3),
        node in node(),
    ) {
        let expected = expressions.iter().all(|expression| naive(expression, &node));
        let spec = Spec { expressions, ..Spec::default() };
        let filter = Filter::compile(&spec, Kind::Node).unwrap();
        let mut scope = Scope::of(snapshot(), &Principal::Anonymous);
        prop_assert_eq!(filter.wants(&mut scope, &Record::Node(&node)).unwrap(), expected);
    }
}

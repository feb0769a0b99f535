//! Examples are of their schemas: held against the part of JSON Schema that the document uses.

use serde_json::Value;

use super::{document, each_value, resolved};

/// Keywords of JSON Schema that [`fits`] knows, and those that say nothing of a value.
const KNOWN: [&str; 21] = [
    "$ref",
    "additionalProperties",
    "anyOf",
    "default",
    "description",
    "enum",
    "examples",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "oneOf",
    "pattern",
    "properties",
    "propertyNames",
    "required",
    "type",
];

/// Whether a value is of a schema; patterns and formats are taken on trust.
fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    let schema = resolved(document, schema);
    let keys = schema.as_object().unwrap().keys();
    keys.for_each(|key| assert!(KNOWN.contains(&key.as_str()), "unknown keyword {key}"));
    let any = |schemas: &Value| {
        schemas.as_array().unwrap().iter().any(|schema| fits(document, schema, value))
    };
    let bound = |key: &str| schema[key].as_f64();
    let within = |least: &str, most: &str, count: f64| {
        bound(least).is_none_or(|least| count >= least)
            && bound(most).is_none_or(|most| count <= most)
    };
    let whole = |count: usize| f64::from(u32::try_from(count).unwrap());
    let kind = &schema["type"];
    let kinds = kind.as_array().map_or(std::slice::from_ref(kind), Vec::as_slice);
    let types: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
    (types.is_empty() || types.iter().any(|kind| is_of(kind, value)))
        && schema["enum"].as_array().is_none_or(|values| values.contains(value))
        && ["oneOf", "anyOf"].iter().all(|key| schema[*key].is_null() || any(&schema[*key]))
        && match value {
            Value::String(text) => within("minLength", "maxLength", whole(text.chars().count())),
            Value::Number(number) => within("minimum", "maximum", number.as_f64().unwrap()),
            Value::Array(values) => {
                within("minItems", "maxItems", whole(values.len()))
                    && values.iter().all(|value| {
                        schema["items"].is_null() || fits(document, &schema["items"], value)
                    })
            }
            Value::Object(_) => has_its_properties(document, schema, value),
            Value::Null | Value::Bool(_) => true,
        }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

fn has_its_properties(document: &Value, schema: &Value, value: &Value) -> bool {
    let required = schema["required"].as_array().into_iter().flatten();
    let others = &schema["additionalProperties"];
    required.into_iter().all(|name| value.get(name.as_str().unwrap()).is_some())
        && value.as_object().unwrap().iter().all(|(name, value)| {
            match schema["properties"].get(name) {
                Some(schema) => fits(document, schema, value),
                None if others.is_object() => fits(document, others, value),
                None => others != &Value::Bool(false),
            }
        })
}

#[tokio::test]
async fn every_example_fits_its_schema() {
    let document = document().await;
    let mut examples = 0;
    each_value(&document, &mut |part| {
        for example in part["examples"].as_array().into_iter().flatten() {
            assert!(fits(&document, part, example), "{example} is not of {part}");
            examples += 1;
        }
        if part["schema"].is_object() && !part["example"].is_null() {
            let (schema, example) = (&part["schema"], &part["example"]);
            assert!(fits(&document, schema, example), "{example} is not of {schema}");
            examples += 1;
        }
    });
    assert!(examples > 100, "{examples}");
}

#[tokio::test]
async fn a_value_of_another_schema_does_not_fit() {
    let document = document().await;
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    for (name, value) in [
        ("Detail", serde_json::json!({})),
        ("Detail", serde_json::json!({"detail": 1})),
        ("Merge", serde_json::json!({"delete": true, "more": 1})),
        ("FieldErrors", serde_json::json!({"name": "text"})),
        ("Level", serde_json::json!("Z")),
        ("TeamFields", serde_json::json!({"name": ""})),
        ("Filter", serde_json::json!({"expressions": [{"type": "is_null"}]})),
    ] {
        assert!(!fits(&document, &schema(name), &value), "{value} fits {name}");
    }
}

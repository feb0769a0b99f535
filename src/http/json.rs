//! JSON that anybody may send, as a value: no deeper than its parser goes, and no heavier than a body may be.
//!
//! `serde_json`'s own way to a [`Value`] takes an object whose first key is a name of its own for JSON within
//! a text, and begins anew with it, as deep as before: texts within texts would use up any stack. Here a key is a
//! key. And a map of one entry takes a hundred times the bytes that its text has, so what a value takes is added
//! up while it is made.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::ApiError;
use super::limits::JSON_WEIGHT_MAX;

/// Bytes that the first entry of a map takes, which comes with room for ten more.
const MAP_WEIGHT: usize = 640;

/// Bytes that each entry of a map takes at most, its texts left out: nodes are at least half full.
const ENTRY_WEIGHT: usize = 128;

/// Bytes that each value in an array takes at most, while the array grows.
const ELEMENT_WEIGHT: usize = 3 * size_of::<Value>();

/// Bytes that a value takes at most for each of its text: maps of one entry within each other.
const WEIGHT_RATIO_MAX: usize = (MAP_WEIGHT + ENTRY_WEIGHT).div_ceil(r#"{"":}"#.len());

/// Bytes that the value of a text of so many may take.
pub(super) fn weight_max(text_bytes: usize) -> usize {
    text_bytes.saturating_mul(WEIGHT_RATIO_MAX).min(JSON_WEIGHT_MAX)
}

/// Reads a JSON text; tells how many bytes of memory its value takes.
///
/// # Errors
/// It is none, too deep, or takes too much memory.
pub(super) fn parse(text: &[u8]) -> Result<(Value, usize), ApiError> {
    parse_within(text, JSON_WEIGHT_MAX)
}

fn parse_within(text: &[u8], weight_max: usize) -> Result<(Value, usize), ApiError> {
    let left = Cell::new(Some(weight_max));
    let mut parser = serde_json::Deserializer::from_slice(text);
    let parsed = Within { left: &left }.deserialize(&mut parser);
    let parsed = parsed.and_then(|value| parser.end().map(|()| value));
    match (parsed, left.get()) {
        (Ok(value), left) => Ok((value, weight_max - left.unwrap_or_default())),
        (Err(_), None) => Err(ApiError::json_too_large(weight_max)),
        (Err(error), Some(_)) => Err(ApiError::bad_request(format!("JSON parse error - {error}"))),
    }
}

/// Makes a value of at most so many bytes.
#[derive(Clone, Copy)]
struct Within<'a> {
    /// Nothing once it was too much.
    left: &'a Cell<Option<usize>>,
}

impl Within<'_> {
    fn take<E: serde::de::Error>(self, weight: usize) -> Result<(), E> {
        self.left.set(self.left.get().and_then(|left| left.checked_sub(weight)));
        self.left.get().map(drop).ok_or_else(|| E::custom("it takes too much memory"))
    }
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).into())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.take(text.len())?;
        Ok(text.into())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Value, E> {
        self.take(text.len())?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = elements.next_element_seed(self)? {
            self.take(ELEMENT_WEIGHT)?;
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let map_weight = if values.is_empty() { MAP_WEIGHT } else { 0 };
            self.take(map_weight + ENTRY_WEIGHT + key.len())?;
            let value = entries.next_value_seed(self)?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_what_the_library_reads(value in any_json()) {
            let text = value.to_string();
            let theirs: Value = serde_json::from_str(&text).unwrap();
            let (ours, weight) = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(ours, theirs);
            prop_assert!(weight <= weight_max(text.len()));
        }
    }

    #[test]
    fn a_key_of_the_library_is_a_key() {
        let value = json!({"$serde_json::private::RawValue": "[1]"});
        assert_eq!(parse(value.to_string().as_bytes()).unwrap().0, value);
        let value = json!({"$serde_json::private::Number": "1"});
        assert_eq!(parse(value.to_string().as_bytes()).unwrap().0, value);
    }

    #[test]
    fn what_follows_a_value_is_an_error_and_the_last_of_equal_keys_counts() {
        for text in ["", "{} {}", "[1,]", "nul", "\"\\ud800\"", "1e999"] {
            let error = format!("{:?}", parse(text.as_bytes()).unwrap_err());
            assert!(error.contains("JSON parse error - "), "{text}: {error}");
        }
        assert_eq!(parse(br#"{"a": 1, "a": [2]}"#).unwrap().0, json!({"a": [2]}));
    }

    #[test]
    fn what_takes_more_memory_than_allowed_is_too_large_whatever_it_is_made_of() {
        for (text, weight) in [
            (r#"{"a":{"b":0}}"#, 2 * (MAP_WEIGHT + ENTRY_WEIGHT + 1)),
            (r#"{"a":1,"b":"1234"}"#, MAP_WEIGHT + 2 * ENTRY_WEIGHT + 6),
            ("[[],0,null]", 3 * ELEMENT_WEIGHT),
            (r#""12\u0033""#, 3),
        ] {
            assert_eq!(parse_within(text.as_bytes(), weight).unwrap().1, weight);
            let error = parse_within(text.as_bytes(), weight - 1).unwrap_err();
            assert_eq!(error.into_response().status(), 413, "{text}");
        }
    }

    #[test]
    fn no_text_takes_more_memory_than_its_length_may() {
        for (start, end) in [(r#"{"":"#, "}"), ("[", "]"), (r#"[{"":"#, "}]")] {
            let text = format!("{}0{}", start.repeat(60), end.repeat(60));
            let (_, weight) = parse(text.as_bytes()).unwrap();
            assert!(weight <= weight_max(text.len()), "{text}: {weight}");
        }
        assert_eq!(weight_max(1 << 20), 154 << 20);
        assert_eq!(weight_max(2 << 20), JSON_WEIGHT_MAX);
    }
}

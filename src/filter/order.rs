//! Orders: what is asked for as bytes that sort so, the primary key last.
//!
//! Sorting, keeping the first of many, and telling a later request where to go on are then one
//! comparison of bytes.

use granary_engine::ReadError;

use super::compile::Filter;
use super::record::{Record, Value};
use super::schema::{Column, Hop};
use super::scope::Scope;
use crate::http::limits::ORDER_TEXT_BYTES_MAX;

/// One field of an order.
#[derive(Debug, Clone)]
pub(super) struct OrderKey {
    pub(super) hops: Vec<Hop>,
    pub(super) column: Column,
    /// As the caller wrote it.
    pub(super) name: String,
    pub(super) ascending: bool,
    pub(super) nulls_first: bool,
}

impl Filter {
    /// A record's place in the order.
    ///
    /// # Errors
    /// A related record could not be read.
    pub(crate) fn place(
        &self,
        scope: &mut Scope<'_>,
        record: &Record<'_>,
        pk: u64,
    ) -> Result<Vec<u8>, ReadError> {
        let mut place = Vec::new();
        for key in &self.order {
            let related = scope.follow(record, &key.hops)?;
            let value = related.as_ref().map_or(Value::Null, |related| key.column.read(related));
            push(&mut place, value, key);
        }
        place.extend(pk.to_be_bytes());
        Ok(place)
    }

    /// What tells this order from every other.
    pub(crate) fn order_name(&self) -> String {
        let mut name = format!("{:?}", self.kind);
        for OrderKey { name: field, ascending, nulls_first, .. } in &self.order {
            // No field's name has a line break.
            name = format!("{name}\n{field} {ascending} {nulls_first}");
        }
        name
    }
}

/// The primary key at the end of a place.
pub(crate) fn pk_of(place: &[u8]) -> Option<u64> {
    place.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

fn push(place: &mut Vec<u8>, value: Value<'_>, key: &OrderKey) {
    let is_null = value == Value::Null;
    place.push(if key.nulls_first { u8::from(!is_null) } else { u8::from(is_null) });
    let start = place.len();
    match value {
        Value::Null => {}
        Value::Boolean(boolean) => place.push(boolean.into()),
        Value::Integer(number) => {
            // Negative numbers come before the others.
            let shifted = number.cast_unsigned() ^ (1 << 127);
            place.extend(shifted.to_be_bytes());
        }
        Value::Text(text) => {
            for byte in text.bytes().take(ORDER_TEXT_BYTES_MAX) {
                place.push(byte);
                if byte == 0 {
                    place.push(u8::MAX);
                }
            }
            // Before every letter that might follow, a zero included.
            place.extend([0, 0]);
        }
    }
    if !key.ascending {
        for byte in place.iter_mut().skip(start) {
            *byte = !*byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn bytes(value: Value<'_>, ascending: bool, nulls_first: bool) -> Vec<u8> {
        let key = OrderKey {
            hops: Vec::new(),
            column: Column::Node(|_| Value::Null),
            name: String::new(),
            ascending,
            nulls_first,
        };
        let mut place = Vec::new();
        push(&mut place, value, &key);
        place
    }

    /// What the order of two values is, said plainly.
    fn plain<T: Ord>(a: Option<&T>, b: Option<&T>, ascending: bool, first: bool) -> Ordering {
        match (a, b) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) if first => Ordering::Less,
            (Some(_), None) if !first => Ordering::Less,
            (None, Some(_)) | (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) if ascending => a.cmp(b),
            (Some(a), Some(b)) => b.cmp(a),
        }
    }

    proptest! {
        #[test]
        fn bytes_sort_as_their_integers_do(
            a: Option<i64>, b: Option<i64>, ascending: bool, nulls_first: bool,
        ) {
            let [first, second] = [a, b].map(|it| bytes(it.into(), ascending, nulls_first));
            prop_assert_eq!(first.cmp(&second), plain(a.as_ref(), b.as_ref(), ascending, nulls_first));
        }

        #[test]
        fn bytes_sort_as_their_texts_do_whatever_follows(
            a in proptest::option::of("[\0\u{1}a\u{10ffff}]{0,4}"),
            b in proptest::option::of("[\0\u{1}a\u{10ffff}]{0,4}"),
            after: [u8; 2],
            ascending: bool,
            nulls_first: bool,
        ) {
            let expected = plain(a.as_ref(), b.as_ref(), ascending, nulls_first);
            let [mut first, mut second] =
                [&a, &b].map(|it| bytes(it.as_ref().into(), ascending, nulls_first));
            first.push(after[0]);
            second.push(after[1]);
            prop_assert_eq!(first.cmp(&second), expected.then(after[0].cmp(&after[1])));
        }
    }
}

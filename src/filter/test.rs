//! A test of one value, its right side ready for use.
//!
//! Null passes no test but the null test; an inverted test passes wherever the plain one does not,
//! so null passes every other test that is inverted.

use super::record::Value;
use super::spec::Operator;

/// A test of one value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    IsNull,
    /// Passes nothing: an integer is asked to equal a fraction, or a record that is not there anything.
    Never,
    Integer(i128),
    Boolean(bool),
    Text(String),
    /// The text is folded already.
    TextFolded(String),
    Contains(String),
    /// The text is folded already.
    ContainsFolded(String),
    CompareInteger(Operator, i128),
    CompareText(Operator, String),
}

impl Test {
    /// Whether a value passes. `scratch` is room that is used again from row to row.
    pub(super) fn passes(&self, value: Value<'_>, scratch: &mut String) -> bool {
        match (self, value) {
            (Self::IsNull, value) => value == Value::Null,
            (Self::Integer(wanted), Value::Integer(number)) => number == *wanted,
            (Self::Boolean(wanted), Value::Boolean(boolean)) => boolean == *wanted,
            (Self::Text(wanted), Value::Text(text)) => text == wanted,
            (Self::TextFolded(wanted), Value::Text(text)) => fold_into(scratch, text) == wanted,
            (Self::Contains(wanted), Value::Text(text)) => text.contains(wanted.as_str()),
            (Self::ContainsFolded(wanted), Value::Text(text)) => {
                fold_into(scratch, text).contains(wanted.as_str())
            }
            (Self::CompareInteger(operator, bound), Value::Integer(number)) => {
                operator.holds(&number, bound)
            }
            (Self::CompareText(operator, bound), Value::Text(text)) => {
                operator.holds(text, bound.as_str())
            }
            _ => false,
        }
    }
}

impl Operator {
    fn holds<T: Ord + ?Sized>(self, value: &T, bound: &T) -> bool {
        match self {
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
        }
    }
}

/// A text without the difference of cases.
pub(super) fn folded(text: &str) -> String {
    let mut folded = String::new();
    fold_into(&mut folded, text);
    folded
}

fn fold_into<'a>(scratch: &'a mut String, text: &str) -> &'a str {
    scratch.clear();
    if text.is_ascii() {
        scratch.push_str(text);
        scratch.make_ascii_lowercase();
    } else {
        // Greek writes one small letter in two ways, by its place in the word.
        let lower = text.chars().flat_map(char::to_lowercase);
        scratch.extend(lower.map(|letter| if letter == 'ς' { 'σ' } else { letter }));
    }
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(test: &Test, value: impl Into<Value<'static>>) -> bool {
        test.passes(value.into(), &mut String::from("left over"))
    }

    #[test]
    fn null_passes_the_null_test_only() {
        assert!(passes(&Test::IsNull, None::<u64>));
        assert!(!passes(&Test::IsNull, ""));
        for test in [
            Test::Never,
            Test::Integer(0),
            Test::Boolean(false),
            Test::Text(String::new()),
            Test::ContainsFolded(String::new()),
            Test::CompareInteger(Operator::GreaterOrEqual, i128::MIN),
        ] {
            assert!(!passes(&test, None::<u64>), "{test:?}");
        }
    }

    #[test]
    fn case_is_ignored_in_every_alphabet_when_asked() {
        for (text, other) in [("Robert", "rOBERT"), ("ÉCOLE", "école"), ("ΟΔΟΣ", "οδος")]
        {
            assert!(!passes(&Test::Text(other.into()), text));
            assert!(passes(&Test::TextFolded(folded(other)), text));
            assert!(passes(&Test::ContainsFolded(folded(&other[..4])), text));
        }
        assert!(!passes(&Test::ContainsFolded(folded("x")), "Robert"));
    }

    #[test]
    fn signs_that_mean_something_elsewhere_are_plain_letters() {
        assert!(passes(&Test::Contains("%_".into()), "100%_"));
        assert!(!passes(&Test::Contains("%".into()), "100"));
        assert!(!passes(&Test::Contains(".*".into()), "100"));
    }

    #[test]
    fn comparisons_hold_at_their_bounds_as_they_say() {
        use Operator::{Greater, GreaterOrEqual, Less, LessOrEqual};
        for (operator, expected) in [
            (Less, [true, false, false]),
            (LessOrEqual, [true, true, false]),
            (Greater, [false, false, true]),
            (GreaterOrEqual, [false, true, true]),
        ] {
            let numbers = [1_u64, 2, 3].map(|it| passes(&Test::CompareInteger(operator, 2), it));
            assert_eq!(numbers, expected);
            let texts =
                ["a", "b", "ba"].map(|it| passes(&Test::CompareText(operator, "b".into()), it));
            assert_eq!(texts, expected);
        }
    }
}

//! Fields of a record in a body: every wrong one is found and told at once, in the wire's words.
//!
//! Read a record field by field, then call [`Fields::check`]; a field that is wrong or not there
//! reads as `None`. What is not read is ignored, as the API does with read-only fields.

use std::fmt::Display;

use granary_engine::Turn;
use serde_json::{Map, Number, Value};

use super::error::ApiError;

/// Whether a field must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Its absence is an error.
    Required,
    /// Its absence says nothing.
    Optional,
}

/// The rule of a text field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text {
    /// Letters at most.
    pub(crate) letters_max: usize,
    /// Bytes at most.
    pub(crate) bytes_max: usize,
    /// Whether nothing (or only blanks) will do.
    pub(crate) blank: bool,
    /// What becomes of blanks at both ends.
    blanks: Blanks,
}

/// What becomes of blanks at both ends of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blanks {
    Cut,
    /// They stay around what is said.
    Kept,
    /// They are said.
    Count,
}

impl Text {
    /// A text that says something, without blanks around it.
    pub(crate) const fn upto(letters_max: usize) -> Self {
        Self { letters_max, bytes_max: usize::MAX, blank: false, blanks: Blanks::Cut }
    }

    /// The same, of up to so many bytes in UTF-8, however many letters they are.
    pub(crate) const fn upto_bytes(bytes_max: usize) -> Self {
        Self { letters_max: usize::MAX, bytes_max, blank: false, blanks: Blanks::Cut }
    }

    /// The same, or nothing at all.
    pub(crate) const fn or_blank(self) -> Self {
        Self { blank: true, ..self }
    }

    /// The same, blanks kept.
    pub(crate) const fn untrimmed(self) -> Self {
        Self { blanks: Blanks::Kept, ..self }
    }

    /// The same, where blanks alone say something, too.
    pub(crate) const fn verbatim(self) -> Self {
        Self { blanks: Blanks::Count, ..self }
    }
}

/// The fields of a body and what was found wrong with them so far.
#[derive(Debug)]
pub(crate) struct Fields {
    values: Map<String, Value>,
    /// Forms have nothing but texts.
    is_form: bool,
    wrong: Vec<(&'static str, Vec<String>)>,
    /// What lets a large body be in memory.
    _turn: Option<Turn>,
}

/// The text for a primary key that names nothing.
pub(crate) fn no_object(pk: impl Display) -> String {
    format!("Invalid pk \"{pk}\" - object does not exist.")
}

impl Fields {
    /// The fields of a JSON body.
    ///
    /// # Errors
    /// It is no object.
    pub(crate) fn of_json(value: Value) -> Result<Self, ApiError> {
        let kind = kind_of(&value);
        let text = match value {
            Value::Object(values) => {
                return Ok(Self { values, is_form: false, wrong: Vec::new(), _turn: None });
            }
            Value::Null => "No data provided".to_owned(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                format!("Invalid data. Expected a dictionary, but got {kind}.")
            }
        };
        Err(ApiError::fields(vec![("non_field_errors", vec![text])]))
    }

    /// The fields of a form; of several values of one field the last counts.
    pub(crate) fn of_form(pairs: impl Iterator<Item = (String, String)>) -> Self {
        Self {
            values: pairs.map(|(key, value)| (key, value.into())).collect(),
            is_form: true,
            wrong: Vec::new(),
            _turn: None,
        }
    }

    /// The same, which hold a turn for as long as they are there.
    pub(crate) fn holding(self, turn: Option<Turn>) -> Self {
        Self { _turn: turn, ..self }
    }

    /// Whether a field was sent, be it null, and not read yet.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.values.contains_key(field)
    }

    /// Says that a field is wrong.
    pub(crate) fn refuse(&mut self, field: &'static str, text: impl Into<String>) {
        match self.wrong.iter_mut().find(|(name, _)| *name == field) {
            Some((_, texts)) => texts.push(text.into()),
            None => self.wrong.push((field, vec![text.into()])),
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All wrong fields.
    pub(crate) fn check(self) -> Result<(), ApiError> {
        if self.wrong.is_empty() { Ok(()) } else { Err(ApiError::fields(self.wrong)) }
    }

    /// Ends the reading of a body in which a misspelt field would do harm.
    ///
    /// # Errors
    /// All wrong fields, or one that was not read and is none of those that are ignored.
    pub(crate) fn refuse_unread(self, ignored: &[&str], known: &str) -> Result<(), ApiError> {
        let unread = self.values.keys().find(|name| !ignored.contains(&name.as_str()));
        if let Some(name) = unread.filter(|_| self.wrong.is_empty()) {
            return Err(ApiError::bad_request(format!("Unknown field {name:?}: {known}.")));
        }
        self.check()
    }

    /// A field that is there and not null.
    fn value(&mut self, field: &'static str, need: Need) -> Option<Value> {
        match self.values.remove(field) {
            None => {
                if need == Need::Required {
                    self.refuse(field, "This field is required.");
                }
                None
            }
            Some(Value::Null) => {
                self.refuse(field, "This field may not be null.");
                None
            }
            Some(value) => Some(value),
        }
    }

    /// A field that may be null; null reads as absent.
    fn forget_null(&mut self, field: &'static str) {
        let null = match self.values.get(field) {
            Some(Value::Null) => true,
            Some(Value::String(text)) => self.is_form && text.is_empty(),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => {
                false
            }
        };
        if null {
            self.values.remove(field);
        }
    }

    /// A text; a number counts as its digits.
    pub(crate) fn text(&mut self, field: &'static str, need: Need, rule: Text) -> Option<String> {
        let text = match self.value(field, need)? {
            Value::String(text) => text,
            // Read as a float, which has lost digits.
            Value::Number(number) if has_lost_digits(&number) => {
                self.refuse(field, "Not a valid string: so long a number must be in quotes.");
                return None;
            }
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                self.refuse(field, "Not a valid string.");
                return None;
            }
        };
        let (text, said) = match rule.blanks {
            Blanks::Cut => (text.trim(), text.trim()),
            Blanks::Kept => (text.as_str(), text.trim()),
            Blanks::Count => (text.as_str(), text.as_str()),
        };
        if said.is_empty() {
            if rule.blank {
                return Some(String::new());
            }
            self.refuse(field, "This field may not be blank.");
            return None;
        }
        let mut good = true;
        if text.contains('\0') {
            self.refuse(field, "Null characters are not allowed.");
            good = false;
        }
        if text.chars().nth(rule.letters_max).is_some() {
            let max = rule.letters_max;
            let text = format!("Ensure this field has no more than {max} characters.");
            self.refuse(field, text);
            good = false;
        }
        if text.len() > rule.bytes_max {
            let (max, length) = (rule.bytes_max, text.len());
            let text = format!("Ensure this field has no more than {max} bytes (it has {length}).");
            self.refuse(field, text);
            good = false;
        }
        good.then(|| text.to_owned())
    }

    /// A text or null.
    pub(crate) fn nullable_text(&mut self, field: &'static str, rule: Text) -> Option<String> {
        self.forget_null(field);
        self.text(field, Need::Optional, rule)
    }

    /// Yes or no, in JSON's words or in any of those that forms have for it.
    pub(crate) fn boolean(&mut self, field: &'static str, need: Need) -> Option<bool> {
        let known = match self.value(field, need)? {
            Value::Bool(known) => Some(known),
            Value::String(text) => yes_or_no(&text),
            Value::Number(number) => yes_or_no(&number.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        if known.is_none() {
            self.refuse(field, "Must be a valid boolean.");
        }
        known
    }

    /// Yes, no or nothing; a form says nothing with a blank, too.
    pub(crate) fn optional_boolean(&mut self, field: &'static str) -> Option<bool> {
        if self.is_form && self.values.get(field).is_some_and(|value| value == "") {
            self.values.remove(field);
        }
        self.boolean(field, Need::Optional)
    }

    /// The same in a whole record: a form does not send a box that is not ticked.
    pub(crate) fn tick(&mut self, field: &'static str) -> Option<bool> {
        if self.is_form && !self.has(field) {
            return Some(false);
        }
        self.optional_boolean(field)
    }

    /// A whole number, be it written with a point.
    pub(crate) fn integer(&mut self, field: &'static str, need: Need) -> Option<i64> {
        let number = match self.value(field, need).map(without_point)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        if number.is_none() {
            self.refuse(field, "A valid integer is required.");
        }
        number
    }

    /// A whole number or null.
    pub(crate) fn nullable_integer(&mut self, field: &'static str) -> Option<i64> {
        self.forget_null(field);
        self.integer(field, Need::Optional)
    }

    /// A primary key, which may be a text and, as forms have it, an empty one for null; whether it
    /// names something is for the caller to see, and to refuse with [`no_object`].
    pub(crate) fn pk(&mut self, field: &'static str, need: Need) -> Option<u64> {
        if let Some(value) = self.values.get_mut(field).filter(|value| **value == "") {
            *value = Value::Null;
        }
        let value = self.value(field, need).map(without_point)?;
        let kind = kind_of(&value);
        let (pk, shown) = match value {
            // Fractions, and what is beyond 64 bits, are floats here and no primary keys.
            Value::Number(number) if !number.is_f64() => (number.as_u64(), number.to_string()),
            Value::String(text) if is_integer(text.trim()) => (text.trim().parse().ok(), text),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => {
                let text = format!("Incorrect type. Expected pk value, received {kind}.");
                self.refuse(field, text);
                return None;
            }
        };
        if pk.is_none() {
            self.refuse(field, no_object(shown));
        }
        pk
    }
}

/// The words that the original's framework takes, in letters of any case.
fn yes_or_no(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Whether a number may have had more digits than a float has: beyond 64 bits it is one.
fn has_lost_digits(number: &Number) -> bool {
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    number.is_f64() && number.as_f64().is_some_and(|value| value.abs() >= BEYOND)
}

/// A float without a fraction as the integer that it is, which some clients write so. From 2^53 on
/// it may have been another one.
fn without_point(value: Value) -> Value {
    const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
    let whole = value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT_BELOW);
    let integer = whole.and_then(|float| format!("{float:.0}").parse::<i64>().ok());
    integer.map_or(value, Value::from)
}

/// Whether a text is an integer, of however many digits.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|letter| letter.is_ascii_digit())
}

/// What the original, being Python, calls a value's type.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(fields: Fields) -> Vec<(&'static str, Vec<String>)> {
        fields.wrong
    }

    #[test]
    fn all_wrong_fields_are_told_at_once() {
        let body = json!({"name": "x".repeat(6), "tags": ["a"], "flag": "so", "owner": "bob"});
        let mut fields = Fields::of_json(body).unwrap();
        assert_eq!(fields.text("name", Need::Required, Text::upto(5)), None);
        assert_eq!(fields.text("tags", Need::Required, Text::upto(5)), None);
        assert_eq!(fields.text("title", Need::Required, Text::upto(5)), None);
        assert_eq!(fields.text("note", Need::Optional, Text::upto(5)), None);
        assert_eq!(fields.boolean("flag", Need::Required), None);
        assert_eq!(fields.pk("owner", Need::Required), None);
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            wrong(fields),
            [
                ("name", texts(&["Ensure this field has no more than 5 characters."])),
                ("tags", texts(&["Not a valid string."])),
                ("title", texts(&["This field is required."])),
                ("flag", texts(&["Must be a valid boolean."])),
                ("owner", texts(&["Incorrect type. Expected pk value, received str."])),
            ]
        );
    }

    #[test]
    fn texts_are_trimmed_and_numbers_become_texts() {
        let body =
            json!({"a": "  x ", "b": 12, "c": " ", "d": " ", "e": "a\u{0}b", "f": " y ", "g": " "});
        let mut fields = Fields::of_json(body).unwrap();
        let rule = Text::upto(3);
        let mut read = |field, rule| fields.text(field, Need::Required, rule);
        assert_eq!(read("a", rule).as_deref(), Some("x"));
        assert_eq!(read("b", rule).as_deref(), Some("12"));
        assert_eq!(read("c", rule.or_blank()).as_deref(), Some(""));
        assert_eq!(read("d", rule), None);
        assert_eq!(read("e", rule), None);
        assert_eq!(read("f", rule.untrimmed()).as_deref(), Some(" y "));
        assert_eq!(read("g", rule.verbatim()).as_deref(), Some(" "));
        let wrong = wrong(fields);
        assert_eq!(wrong[0], ("d", vec!["This field may not be blank.".to_owned()]));
        assert_eq!(wrong[1], ("e", vec!["Null characters are not allowed.".to_owned()]));
    }

    #[test]
    fn forms_spell_booleans_and_numbers_as_texts() {
        let pairs = [("yes", "True"), ("no", "0"), ("number", "7"), ("pk", "8")];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut fields = Fields::of_form(pairs.into_iter());
        assert_eq!(fields.boolean("yes", Need::Required), Some(true));
        assert_eq!(fields.boolean("no", Need::Required), Some(false));
        assert_eq!(fields.integer("number", Need::Required), Some(7));
        assert_eq!(fields.pk("pk", Need::Required), Some(8));
        fields.check().unwrap();
    }

    #[test]
    fn yes_and_no_have_the_same_words_in_json_and_in_forms() {
        let words = |words: &str| words.split(' ').map(Value::from).collect::<Vec<_>>();
        let yes =
            [words("t T y Y yes Yes YES true True TRUE on On ON 1"), vec![json!(true), json!(1)]];
        let no = [
            words("f F n N no No NO false False FALSE off Off OFF 0"),
            vec![json!(false), json!(0)],
        ];
        let neither =
            [words("maybe 2 10 tru yes! null"), vec![json!(2), json!(-1), json!(0.5), json!([])]];
        for (values, expected) in [(yes, Some(true)), (no, Some(false)), (neither, None)] {
            for value in values.concat() {
                let mut fields = Fields::of_json(json!({"flag": value})).unwrap();
                assert_eq!(fields.boolean("flag", Need::Required), expected, "{value}");
                let Value::String(text) = value else { continue };
                let mut fields = Fields::of_form([("flag".to_owned(), text)].into_iter());
                assert_eq!(fields.boolean("flag", Need::Required), expected);
            }
        }
    }

    #[test]
    fn a_box_that_is_not_ticked_is_not_sent_and_a_blank_says_nothing() {
        let form = |text: Option<&str>| {
            Fields::of_form(text.map(|text| ("flag".to_owned(), text.to_owned())).into_iter())
        };
        for (text, whole, part) in [
            (None, Some(false), None),
            (Some(""), None, None),
            (Some("on"), Some(true), Some(true)),
            (Some("0"), Some(false), Some(false)),
        ] {
            let (mut fields, mut others) = (form(text), form(text));
            assert_eq!(fields.tick("flag"), whole, "{text:?}");
            assert_eq!(others.optional_boolean("flag"), part, "{text:?}");
            fields.check().and(others.check()).unwrap();
        }
        let mut json = Fields::of_json(json!({"blank": "", "null": null})).unwrap();
        assert_eq!(json.tick("absent"), None);
        assert_eq!((json.tick("blank"), json.tick("null")), (None, None));
        assert_eq!(wrong(json).len(), 2);
        let mut blanks = form(Some(" "));
        assert_eq!(blanks.optional_boolean("flag"), None);
        assert_eq!(wrong(blanks).len(), 1);
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        for (value, integer) in [
            (json!(1.0), Some(1)),
            (json!(-0.0), Some(0)),
            (json!(-64.0), Some(-64)),
            (json!(9_007_199_254_740_991.0), Some(9_007_199_254_740_991)),
            (json!(9_007_199_254_740_993_i64), Some(9_007_199_254_740_993)),
            (json!(i64::MIN), Some(i64::MIN)),
            (json!(9_007_199_254_740_992.0), None),
            (json!(1.5), None),
            (json!(1e300), None),
        ] {
            let mut fields = Fields::of_json(json!({"number": value, "pk": value})).unwrap();
            assert_eq!(fields.integer("number", Need::Required), integer, "{value}");
            let pk = integer.and_then(|integer| u64::try_from(integer).ok());
            assert_eq!(fields.pk("pk", Need::Required), pk, "{value}");
        }
        let mut fields = Fields::of_json(json!({"pk": u64::MAX})).unwrap();
        assert_eq!(fields.pk("pk", Need::Required), Some(u64::MAX));
    }

    #[test]
    fn a_primary_key_may_be_a_text() {
        let null = "This field may not be null.".to_owned();
        let no_key = "Incorrect type. Expected pk value, received str.".to_owned();
        for (text, pk) in [
            ("7", Ok(7)),
            (" 7 ", Ok(7)),
            ("+7", Ok(7)),
            ("-1", Err(no_object("-1"))),
            (" -1 ", Err(no_object(" -1 "))),
            ("99999999999999999999", Err(no_object("99999999999999999999"))),
            ("", Err(null)),
            (" ", Err(no_key.clone())),
            ("-", Err(no_key.clone())),
            ("+-1", Err(no_key.clone())),
            ("1.0", Err(no_key.clone())),
            ("1 2", Err(no_key)),
        ] {
            let form = Fields::of_form([("pk".to_owned(), text.to_owned())].into_iter());
            for mut fields in [form, Fields::of_json(json!({"pk": text})).unwrap()] {
                let read = fields.pk("pk", Need::Optional);
                assert_eq!(read, pk.as_ref().ok().copied(), "{text:?}");
                let texts = pk.as_ref().err().map(|told| ("pk", vec![told.clone()]));
                assert_eq!(wrong(fields), Vec::from_iter(texts), "{text:?}");
            }
        }
    }

    #[test]
    fn numbers_that_name_nothing_are_told_as_such() {
        let body = json!({"a": -1, "b": 1.5, "c": true, "d": "99999999999999999999", "e": null});
        let mut fields = Fields::of_json(body).unwrap();
        for field in ["a", "b", "c", "d", "e"] {
            assert_eq!(fields.pk(field, Need::Required), None, "{field}");
        }
        let texts: Vec<String> = wrong(fields).into_iter().flat_map(|(_, texts)| texts).collect();
        assert_eq!(
            texts,
            [
                "Invalid pk \"-1\" - object does not exist.",
                "Incorrect type. Expected pk value, received float.",
                "Incorrect type. Expected pk value, received bool.",
                "Invalid pk \"99999999999999999999\" - object does not exist.",
                "This field may not be null.",
            ]
        );
    }
}

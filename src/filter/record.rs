//! Records as filters see them, and what a column holds.

use std::ops::Deref;
use std::rc::Rc;

use granary_engine::model::{Dataset, Licence, Node, Project, Team, User, UserId};

/// A record: the listed one, or one that is related to it.
#[derive(Debug, Clone)]
pub(crate) enum Record<'a> {
    Dataset(&'a Dataset),
    Project(Held<'a, Project>),
    Team(Held<'a, Team>),
    /// A user as administrators list them.
    User(&'a User),
    /// A user whom another record names.
    Person(Rc<Person>),
    Licence(Held<'a, Licence>),
    Node(&'a Node),
}

/// What may be known of a user whom another record names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) username: String,
}

/// The listed record itself, or a related one that is remembered for further rows.
#[derive(Debug, Clone)]
pub(crate) enum Held<'a, T> {
    Listed(&'a T),
    Related(Rc<T>),
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Listed(record) => record,
            Self::Related(record) => record,
        }
    }
}

/// What a column holds in one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Null,
    /// A number, or a time in nanoseconds since 1970, so that a caller's time of any precision can
    /// be held against it.
    Integer(i128),
    Boolean(bool),
    Text(&'a str),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Integer(number.into())
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number.into())
    }
}

impl From<granary_engine::model::Timestamp> for Value<'_> {
    fn from(time: granary_engine::model::Timestamp) -> Self {
        Self::Integer(i128::from(time.0) * 1_000)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

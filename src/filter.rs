//! The filter language of lists: which records are wanted, and in which order.
//!
//! A body is read strictly (`http::wire::filter`) as a [`spec::Spec`], compiled once a request against the fields of the
//! listed kind ([`Filter::compile`]), and evaluated record by record within a [`Scope`], which
//! reaches related records. Nothing here knows HTTP: what is wrong is a [`error::FilterError`].
//!
//! What filters promise about secrets: passwords and tokens are no fields; of a user reached
//! through another record only the primary key and the username are; and a related record that
//! the caller may not retrieve counts as null, so that no filter and no order tells anything that
//! the caller could not read directly.

mod compile;

mod error;

mod evaluate;

mod order;

mod record;

mod schema;

mod scope;

pub(crate) mod spec;

mod test;

mod time;

pub(crate) use compile::Filter;
pub(crate) use error::quoted;
pub(crate) use order::pk_of;
pub(crate) use record::{Held, Record};
pub(crate) use schema::Kind;
pub(crate) use scope::Scope;

//! Shapes of uploads that go on where they stopped.

use granary_engine::ResumableState;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Handle, Time};

/// How far an upload has come.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Upload<'a> {
    #[schema(examples("images/all.tar"))]
    filename: &'a str,
    /// Bytes of the whole.
    #[schema(examples(5_000_000_000_u64))]
    length: u64,
    /// Bytes that have come and are durable; all of them only once the file was added.
    #[schema(examples(1_048_576))]
    offset: u64,
    /// The file's content, once it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Handle, required = false)]
    handle: Option<Handle>,
    expires: Time,
}

impl<'a> From<&'a ResumableState> for Upload<'a> {
    fn from(state: &'a ResumableState) -> Self {
        Self {
            filename: &state.terms.filename,
            length: state.terms.length,
            offset: state.offset,
            handle: state.added.map(Handle),
            expires: Time(state.expires),
        }
    }
}

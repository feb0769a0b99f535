//! Shapes of quotas.

use granary_engine::model::{Quota, Usage};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::fields::Fields;

/// How much a team may hold, and what it holds.
#[derive(Serialize, ToSchema)]
#[schema(as = Quota)]
pub(crate) struct QuotaShape {
    /// Files that it may hold; null is no bound.
    #[schema(required = true, examples(1_000_000))]
    files: Option<u64>,
    /// Bytes that it may hold; null is no bound.
    #[schema(required = true, examples(1_099_511_627_776_u64))]
    bytes: Option<u64>,
    /// Files that it holds.
    #[schema(examples(7_618))]
    used_files: u64,
    /// Bytes that it holds.
    #[schema(examples(177_227_264))]
    used_bytes: u64,
}

impl QuotaShape {
    /// Both together.
    pub(crate) fn of(quota: Quota, usage: Usage) -> Self {
        let Quota { files, bytes } = quota;
        Self { files, bytes, used_files: usage.files, used_bytes: usage.bytes }
    }
}

/// The fields of a quota.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `read_quota` reads")]
pub(crate) struct QuotaFields {
    /// Files that the team may hold; null or left out is no bound.
    #[schema(required = false, maximum = 9_223_372_036_854_775_807_i64, examples(1_000_000))]
    files: Option<u64>,
    /// Bytes that the team may hold; null or left out is no bound.
    #[schema(
        required = false,
        maximum = 9_223_372_036_854_775_807_i64,
        examples(1_099_511_627_776_u64)
    )]
    bytes: Option<u64>,
}

/// Reads the body of a quota's update.
pub(crate) fn read_quota(mut fields: Fields) -> Result<Quota, ApiError> {
    let mut bound = |field| {
        let number = fields.nullable_integer(field)?;
        let bound = u64::try_from(number).ok();
        if bound.is_none() {
            fields.refuse(field, "Ensure this value is greater than or equal to 0.");
        }
        bound
    };
    let (files, bytes) = (bound("files"), bound("bytes"));
    // What a quota shows beside them may come back.
    fields.refuse_unread(&["used_files", "used_bytes"], "a quota has files and bytes")?;
    Ok(Quota { files, bytes })
}

//! Shapes of backups under way.

use granary_engine::backup::Backup;
use granary_engine::limits::BACKUP_BATCH_CONTENTS_MAX;
use granary_engine::model::Digest;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Handle;
use crate::http::error::ApiError;
use crate::http::strict::{Strict, refusal, text_of};

/// A backup under way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backup)]
pub(crate) struct BackupShape {
    #[schema(examples(1))]
    pk: u64,
    /// Bytes of its state.
    #[schema(examples(65_536))]
    state_bytes: u64,
    /// Rows of the state.
    #[schema(examples(300))]
    rows: u64,
    /// Contents that these rows name, each counted once.
    #[schema(examples(200))]
    contents: u64,
    /// Bytes of these contents.
    #[schema(examples(1_048_576))]
    content_bytes: u64,
}

impl BackupShape {
    pub(crate) fn of(pk: u64, backup: &Backup) -> Self {
        Self {
            pk,
            state_bytes: backup.state().len(),
            rows: backup.rows(),
            contents: backup.contents(),
            content_bytes: backup.content_bytes(),
        }
    }
}

/// Contents by handle.
#[derive(ToSchema)]
#[schema(examples(json!({"handles": ["af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"]})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_handles` reads")]
pub(crate) struct Handles {
    #[schema(max_items = 1024)]
    handles: Vec<Handle>,
}

/// Reads which contents are wanted.
///
/// # Errors
/// The body is something else, or wants too many.
pub(crate) fn read_handles(body: Value) -> Result<Vec<Digest>, ApiError> {
    let mut body = Strict::of(body)?;
    let handles = body.array("handles")?;
    body.check()?;
    let handles = handles.ok_or_else(|| refusal("'handles' is expected"))?;
    if handles.len() > BACKUP_BATCH_CONTENTS_MAX {
        let most = format!("'handles' may name {BACKUP_BATCH_CONTENTS_MAX} contents at most");
        return Err(refusal(&most));
    }
    let read = |handle: Value| {
        let handle = text_of(handle, "handles")?;
        handle.parse().map_err(|error| refusal(&format!("'{handle}' is {error}")))
    };
    handles.into_iter().map(read).collect()
}

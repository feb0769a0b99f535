//! Shapes of what a client says of files that it has, and of what it hears of them.

use granary_engine::model::Digest;
use granary_engine::{ClaimedFile, Presence};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Handle;
use crate::http::error::{ApiError, refusal_text};
use crate::http::limits::CLAIMED_FILES_MAX;
use crate::http::strict::{Strict, refusal};

/// Files that a client has.
#[derive(ToSchema)]
#[schema(as = ClaimedFiles)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_claims` reads")]
pub(crate) struct Claims {
    #[schema(max_items = 100_000)]
    files: Vec<Claim>,
}

/// A file that a client has: the name that it has or is to get, and its content.
#[derive(ToSchema)]
#[schema(as = ClaimedFile)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_claims` reads")]
pub(crate) struct Claim {
    #[schema(examples("images/cat.png"))]
    filename: String,
    handle: Handle,
    /// Bytes.
    #[schema(examples(48213))]
    size: u64,
}

/// Reads what a client says of its files.
pub(crate) fn read_claims(body: Value) -> Result<Vec<ClaimedFile>, ApiError> {
    let mut body = Strict::of(body)?;
    let files = body.array("files")?.ok_or_else(|| refusal("'files' is required"))?;
    body.check()?;
    if files.len() > CLAIMED_FILES_MAX {
        let count = files.len();
        return Err(refusal(&format!(
            "'files' has {count} entries, and {CLAIMED_FILES_MAX} are allowed in one request"
        )));
    }
    files.into_iter().map(read_claim).collect()
}

fn read_claim(file: Value) -> Result<ClaimedFile, ApiError> {
    let mut file = Strict::of(file)?;
    let filename = file.text("filename")?.ok_or_else(|| refusal("'filename' is required"))?;
    let handle = file.text("handle")?.ok_or_else(|| refusal("'handle' is required"))?;
    let digest: Option<Digest> = handle.parse().ok();
    let digest =
        digest.ok_or_else(|| refusal("'handle' must be a BLAKE3 digest: 64 digits from 0 to f"))?;
    let length = file.take("size").and_then(|size| size.as_u64());
    let length = length.ok_or_else(|| refusal("'size' must be the number of bytes"))?;
    file.check()?;
    Ok(ClaimedFile { filename, digest, length })
}

/// What is to be done with a file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckedFile<'a> {
    /// As the request has it.
    #[schema(examples("images/cat.png"))]
    filename: &'a str,
    status: Status,
    /// The content that is there; only with `differs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Handle, required = false)]
    handle: Option<Handle>,
    /// Why no file can have the name; only with `refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    detail: Option<String>,
}

/// What is to be done with a file: nothing (`present`), something else than adding it (`differs`,
/// `refused`), adding it without its bytes (`attach`) or with them (`send`).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FileStatus)]
#[serde(rename_all = "lowercase")]
enum Status {
    Present,
    Differs,
    Attach,
    Send,
    Refused,
}

impl<'a> CheckedFile<'a> {
    /// What is said of a claimed file.
    pub(crate) fn new(claim: &'a ClaimedFile, presence: &Presence) -> Self {
        let (status, handle, detail) = match presence {
            Presence::Present => (Status::Present, None, None),
            Presence::Differs(digest) => (Status::Differs, Some(Handle(*digest)), None),
            Presence::Attachable => (Status::Attach, None, None),
            Presence::Unknown => (Status::Send, None, None),
            Presence::Refused(reason) => {
                (Status::Refused, None, Some(refusal_text(reason.clone())))
            }
        };
        Self { filename: &claim.filename, status, handle, detail }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_names_handles_and_sizes() {
        let digest = Digest::of(b"x");
        let file = json!({"filename": "a", "handle": digest.to_string(), "size": 1});
        let claim = ClaimedFile { filename: "a".into(), digest, length: 1 };
        let read = |body| read_claims(body).ok();
        assert_eq!(read(json!({"files": [file]})), Some(vec![claim]));
        assert_eq!(read(json!({"files": []})), Some(vec![]));
        for body in [
            json!({}),
            json!({"files": {}}),
            json!({"files": [{"filename": "a", "handle": digest.to_string()}]}),
            json!({"files": [{"filename": "a", "handle": "00", "size": 1}]}),
            json!({"files": [{"filename": "a", "handle": digest.to_string(), "size": -1}]}),
            json!({"files": [{"filename": "a", "handle": digest.to_string(), "size": "1"}]}),
            json!({"files": [{"handle": digest.to_string(), "size": 1}]}),
            json!({"files": [file], "more": 1}),
        ] {
            assert_eq!(read(body.clone()), None, "{body}");
        }
    }
}

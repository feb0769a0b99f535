//! Doors into the engine for the fuzz targets and the tests that replay their seeds. Not for
//! anybody else: nothing here keeps still from one version to the next.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::index::rows::{AppliedRow, BlobRow, FileRow, LayerRow, SetRow};
pub use crate::journal::fuzzing::{Alteration, Record, alter_and_open};
use crate::model::audit::AuditRow;
use crate::model::change::Change;
use crate::model::{Dataset, Licence, Membership, Node, Project, Team, User};
use crate::noted::NotedChange;

/// Reads bytes as one kind of value and writes it again; an error says what was not kept.
pub type Recode = fn(&[u8]) -> Result<(), String>;

/// Every kind of value that the index or the journal keeps.
pub const KINDS: [(&str, Recode); 15] = [
    ("change", recode::<Change>),
    ("file row", recode_file_row),
    ("layer row", recode::<LayerRow>),
    ("blob row", recode::<BlobRow>),
    ("set row", recode::<SetRow>),
    ("applied row", recode::<AppliedRow>),
    ("dataset", recode::<Dataset>),
    ("user", recode::<User>),
    ("team", recode::<Team>),
    ("membership", recode::<Membership>),
    ("project", recode::<Project>),
    ("licence", recode::<Licence>),
    ("node", recode::<Node>),
    ("audit row", recode::<AuditRow>),
    ("noted change", recode_noted_change),
];

fn recode_noted_change(bytes: &[u8]) -> Result<(), String> {
    let Ok(noted) = NotedChange::decode(bytes) else {
        return Ok(());
    };
    let encoded = NotedChange::encode(&noted.change, noted.note.as_ref());
    let encoded = encoded.map_err(|error| error.to_string())?;
    match NotedChange::decode(&encoded) {
        Ok(again) if again == noted => Ok(()),
        other => Err(format!("{noted:?} was written, and {other:?} read back")),
    }
}

fn recode<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Result<(), String> {
    let Ok(value) = codec::decode::<T>(bytes) else {
        return Ok(());
    };
    let encoded = codec::encode(&value).map_err(|error| format!("{value:?}: {error}"))?;
    // The shortest form is the one that we write.
    if encoded.len() > bytes.len() {
        return Err(format!("{value:?} grew from {} to {} bytes", bytes.len(), encoded.len()));
    }
    match codec::decode::<T>(&encoded) {
        Ok(again) if again == value => Ok(()),
        other => Err(format!("{value:?} reads back as {other:?}")),
    }
}

/// The one kind with a faster reader of its own, which must say the same of all bytes.
fn recode_file_row(bytes: &[u8]) -> Result<(), String> {
    let (fast, plain) = (FileRow::decode(bytes).ok(), codec::decode::<FileRow>(bytes).ok());
    if fast != plain {
        return Err(format!("read as {fast:?} and as {plain:?}"));
    }
    recode::<FileRow>(bytes)
}

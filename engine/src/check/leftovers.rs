//! Files that the index does not name: no harm, and worth knowing.

use std::io;

use super::Scope;
use super::findings::Findings;
use crate::blobs::{BLOBS, STAGING};
use crate::error::ReadError;
use crate::resumable::is_resumable_name;
use crate::store::Store;

/// Looks at the names in the directories. Beside a running store only what earlier starts left
/// counts: all else may be on its way.
pub(super) fn check_leftovers(
    store: &Store,
    scope: Scope,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let mut orphans = 0u64;
    for name in list(store, BLOBS)? {
        match store.blobs.earlier_large_file(&name, scope.is_alone) {
            Err(()) => {
                findings.note(format!("{BLOBS}/{name} is not granary's; it stays where it is"));
            }
            Ok(None) => {}
            Ok(Some((digest, file))) => {
                orphans +=
                    u64::from(!store.snapshot_as_applied()?.names_large_file(&digest, file)?);
            }
        }
    }
    if orphans > 0 {
        findings.note(format!(
            "{orphans} files in {BLOBS} are left of interrupted uploads or removals; the server \
             removes them soon after it is started"
        ));
    }
    if scope.is_alone {
        let mut staged = list(store, STAGING)?;
        // Those of uploads that go on are not left over.
        staged.retain(|name| !is_resumable_name(name));
        let staged = staged.len();
        if staged > 0 {
            findings.note(format!(
                "{staged} files in {STAGING} are left of interrupted uploads; the server removes \
                 them soon after it is started"
            ));
        }
    }
    Ok(())
}

fn list(store: &Store, directory: &'static str) -> Result<Vec<String>, ReadError> {
    match store.disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|source| ReadError::Io { what: directory, source }),
    }
}

//! The audit log: every entry can be read, none is missing between the first and the last, and the
//! numbers that rotation and the next entry rely on are those of the rows.

use redb::ReadableTable;

use super::Halt;
use super::findings::Findings;
use super::progress::CheckProgress;
use crate::codec;
use crate::index::audit::{BYTES, NUMBER, row_bytes};
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::limits::CHECK_FINDINGS_MAX;
use crate::model::audit::AuditRow;

/// Entries between two looks at whether the check is to stop.
const ROWS_A_LOOK: u64 = 4096;

/// Reads all entries, oldest first.
pub(super) fn check_audit(
    snapshot: &Snapshot,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let mut before = None;
    let (mut rows, mut bytes) = (0u64, 0u64);
    let mut wrong = 0;
    for entry in snapshot.table(tables::AUDIT)?.iter().map_err(IndexError::from)? {
        let (sequence, value) = entry.map_err(IndexError::from)?;
        let sequence = sequence.value();
        rows += 1;
        if rows.is_multiple_of(ROWS_A_LOOK) {
            progress.advance(0)?;
        }
        bytes = bytes.saturating_add(row_bytes(value.value()));
        let mut fault = None;
        if let Err(error) = codec::decode::<AuditRow>(value.value()) {
            fault = Some(format!("entry {sequence} of the audit log cannot be read: {error}"));
        } else if let Some(before) = before.filter(|before| before + 1 != sequence) {
            fault = Some(format!("the audit log goes from entry {before} to entry {sequence}"));
        }
        before = Some(sequence);
        if let Some(fault) = fault.filter(|_| wrong < CHECK_FINDINGS_MAX) {
            wrong += 1;
            findings.rows("I6", fault);
        }
    }
    let numbers = snapshot.table(tables::NUMBERS)?;
    let number = |kind| -> Result<u64, IndexError> {
        Ok(numbers.get(kind)?.map_or(0, |number| number.value()))
    };
    let (given, noted) = (number(NUMBER)?, number(BYTES)?);
    if let Some(last) = before.filter(|last| *last != given) {
        let what = format!("the audit log ends with entry {last}, and {given} were numbered");
        findings.rows("I4", what);
    }
    if bytes != noted {
        let what = format!("the audit log takes {bytes} bytes, and {noted} are noted");
        findings.rows("I4", what);
    }
    Ok(())
}

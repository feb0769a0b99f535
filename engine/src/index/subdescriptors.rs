//! The subdescriptors of licences: found by name or number, made when a name is new.

use redb::{ReadableTable, WriteTransaction};

use super::apply::next_number;
use super::{IndexError, tables};
use crate::model::{Licence, SubdescriptorId, SubdescriptorKind};

/// The name of a subdescriptor, if it is there.
pub(crate) fn name_of(
    txn: &WriteTransaction,
    kind: SubdescriptorKind,
    id: SubdescriptorId,
) -> Result<Option<String>, IndexError> {
    let table = txn.open_table(tables::SUBDESCRIPTORS)?;
    let row = table.get((kind.code(), id.0))?;
    Ok(row.map(|row| row.value().to_owned()))
}

/// Makes the names that are not there yet, in their order.
pub(crate) fn register<'a>(
    txn: &WriteTransaction,
    kind: SubdescriptorKind,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(), IndexError> {
    let mut ids = txn.open_table(tables::SUBDESCRIPTOR_NAMES)?;
    let mut rows = txn.open_table(tables::SUBDESCRIPTORS)?;
    for name in names {
        if ids.get((kind.code(), name.as_str()))?.is_some() {
            continue;
        }
        let id = next_number(txn, kind.name())?;
        ids.insert((kind.code(), name.as_str()), id)?;
        rows.insert((kind.code(), id), name.as_str())?;
    }
    Ok(())
}

/// Makes what a licence says and is not there yet.
pub(crate) fn register_all(txn: &WriteTransaction, licence: &Licence) -> Result<(), IndexError> {
    for kind in SubdescriptorKind::ALL {
        register(txn, kind, licence.subdescriptors(kind))?;
    }
    Ok(())
}

//! Backups: one committed state of the whole store in a directory of its own, and back.
//!
//! A [`Backup`] is what a store gives: the rows of one state (I8), copied into a spool in one
//! short transaction, and a lease on the contents that they name. A [`BackupDirectory`] is what
//! takes it; it copies only contents that it lacks. [`restore()`] makes a data directory of it.
//! Between the first two lie only bytes, so a server and its backups may be on different machines.
//!
//! # The directory
//!
//! ```text
//! granary-backup       text: format version, and whose backups these are
//! states/*.state       one committed state each, named by time and last change; written last
//! packs/*.pack         contents, each one once, named by the digest of the pack's table
//! LOCK                 held while a backup is made
//! ```
//!
//! Everything is of mode 600 and as secret as the data directory: states hold password hashes and
//! the key that signs tokens. Numbers are little endian.
//!
//! A *pack* is 16 bytes (`granpack`, format version as four bytes, four zeros), contents one behind
//! the other, a table of rows in order of digest (digest, offset and length as eight bytes each),
//! and an end of 56 bytes: offset of the table, number of rows, BLAKE3 of the table and these two
//! numbers, `granpack`. A pack gets its name when it is whole and synced, so what an interrupted
//! backup had packed is not copied again.
//!
//! A *state* is 16 bytes (`granstat`, format version, zeros); blocks of a kind (one byte), a length
//! (four bytes) and so many bytes; the contents that the rows name, in order of digest
//! (68 bytes each: digest, length, CRC-32, rows that name it, place in the store
//! that was backed up, by which they are copied in an order that disks like); and an end of 72
//! bytes: where the contents begin, how many, their bytes, number of rows, BLAKE3 of everything
//! before, `granstat`. The blocks: 1 a header (`state::StateHeader`), 2 rows of a table (its
//! name, then keys and values as `tables` writes them), 3 a file beside the tables. A state gets
//! its name last, when every content of it is in a pack.
//!
//! Rows of what only says where bytes lie are left out and made again when restoring: places of
//! contents, live bytes of segments, what is to be removed. All others are kept as they are, with
//! the layers that datasets share, so a restored store answers the same, shares the same, and goes
//! on counting where the old one stood.

mod builder;

mod directory;

mod error;

mod frames;

mod pack;

mod pending;

mod restore;

mod session;

mod state;

mod state_file;

mod states;

mod tables;

mod window;

#[cfg(test)]
mod tests;

pub use directory::BackupDirectory;
pub use error::BackupError;
pub use pending::{BackupReport, PendingBackup, StateDownload, Wanted};
pub use restore::{RestoreOptions, Restored, restore};
pub use session::{Backup, ContentFrames};
pub use state_file::StateSummary;
pub use states::{States, UnreadableState};

pub(crate) use restore::RESTORING_PATH;
pub(crate) use session::begin;

#[cfg(test)]
pub(crate) use state::StateHeader;

/// The store's key on its way into a backup; never shown.
pub(crate) struct StoreKey(pub(crate) [u8; 32]);

impl std::fmt::Debug for StoreKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StoreKey")
    }
}

/// Format version of states, packs and the directory.
const FORMAT_VERSION: u32 = 1;

/// Progress of a long copy: contents and bytes that were dealt with since the last call.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

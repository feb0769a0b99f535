//! The tables that a state holds, and their keys and values as bytes that do not depend on redb.
//!
//! Integers are little endian, texts and byte strings carry their length in four bytes, tuples are
//! their parts one behind the other.

use redb::{Key, TableDefinition, Value};

use crate::index::tables;

/// A part of a key or a value as bytes.
pub(super) trait Part: Value + 'static {
    /// Appends the bytes.
    fn put(part: &Self::SelfType<'_>, bytes: &mut Vec<u8>);

    /// Takes a part from the front; `None` if the bytes are none.
    fn take<'a>(bytes: &mut &'a [u8]) -> Option<Self::SelfType<'a>>;
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

macro_rules! integer_part {
    ($($integer:ty),*) => {$(
        impl Part for $integer {
            fn put(part: &Self, bytes: &mut Vec<u8>) {
                bytes.extend(part.to_le_bytes());
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                let (taken, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(Self::from_le_bytes(*taken))
            }
        }
    )*};
}
integer_part!(u8, u32, u64, i64);

fn put_bytes(part: &[u8], bytes: &mut Vec<u8>) {
    // No row of the index is that long; one that was would not read back, which is damage.
    bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(part);
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32::take(bytes)?).ok()?;
    take(bytes, length)
}

impl Part for &'static [u8] {
    fn put(part: &&[u8], bytes: &mut Vec<u8>) {
        put_bytes(part, bytes);
    }

    fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        take_bytes(bytes)
    }
}

impl Part for &'static str {
    fn put(part: &&str, bytes: &mut Vec<u8>) {
        put_bytes(part.as_bytes(), bytes);
    }

    fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(take_bytes(bytes)?).ok()
    }
}

impl Part for () {
    fn put((): &(), _: &mut Vec<u8>) {}

    fn take<'a>(_: &mut &'a [u8]) -> Option<Self::SelfType<'a>> {
        Some(())
    }
}

impl<A: Part, B: Part> Part for (A, B) {
    fn put(part: &Self::SelfType<'_>, bytes: &mut Vec<u8>) {
        A::put(&part.0, bytes);
        B::put(&part.1, bytes);
    }

    fn take<'a>(bytes: &mut &'a [u8]) -> Option<Self::SelfType<'a>> {
        Some((A::take(bytes)?, B::take(bytes)?))
    }
}

impl<A: Part, B: Part, C: Part> Part for (A, B, C) {
    fn put(part: &Self::SelfType<'_>, bytes: &mut Vec<u8>) {
        A::put(&part.0, bytes);
        B::put(&part.1, bytes);
        C::put(&part.2, bytes);
    }

    fn take<'a>(bytes: &mut &'a [u8]) -> Option<Self::SelfType<'a>> {
        Some((A::take(bytes)?, B::take(bytes)?, C::take(bytes)?))
    }
}

/// Something that is done to every table of a state.
pub(super) trait Visitor {
    type Error;

    fn visit<K: Key + Part, V: Part>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), Self::Error>;
}

/// Visits the tables whose rows a state holds as they are.
pub(super) fn visit_tables<V: Visitor>(visitor: &mut V) -> Result<(), V::Error> {
    visitor.visit(tables::DATASETS)?;
    visitor.visit(tables::DATASET_NAMES)?;
    visitor.visit(tables::LAYERS)?;
    visitor.visit(tables::FILES)?;
    visitor.visit(tables::METADATA)?;
    visitor.visit(tables::DROPPED_LAYERS)?;
    visitor.visit(tables::SETS)?;
    visitor.visit(tables::USERS)?;
    visitor.visit(tables::USERNAMES)?;
    visitor.visit(tables::TEAMS)?;
    visitor.visit(tables::TEAM_NAMES)?;
    visitor.visit(tables::MEMBERSHIPS)?;
    visitor.visit(tables::PROJECTS)?;
    visitor.visit(tables::PROJECT_NAMES)?;
    visitor.visit(tables::LICENCES)?;
    visitor.visit(tables::LICENCE_NAMES)?;
    visitor.visit(tables::SUBDESCRIPTORS)?;
    visitor.visit(tables::SUBDESCRIPTOR_NAMES)?;
    visitor.visit(tables::TEAM_PROJECTS)?;
    visitor.visit(tables::PROJECT_DATASETS)?;
    visitor.visit(tables::LICENCE_DATASETS)?;
    visitor.visit(tables::NODES)?;
    visitor.visit(tables::NODE_ADDRESSES)?;
    visitor.visit(tables::ACCESS_TOKENS)?;
    visitor.visit(tables::TEAM_USAGE)?;
    visitor.visit(tables::TEAM_QUOTAS)?;
    visitor.visit(tables::AUDIT)?;
    visitor.visit(tables::NUMBERS)
}

/// Tables that a restore makes anew: those that say where bytes lie (contents, what is dead or
/// damaged of them, and how far the index reaches into the journal), and those that lead from
/// contents to datasets and from users and teams to access tokens, which the first opening fills.
#[cfg(test)]
pub(super) const MADE_ANEW: [&str; 10] = [
    "blobs.v1",
    "dead_blobs.v1",
    "large_removals.v1",
    "layer_datasets.v1",
    "namings.v1",
    "quarantine.v1",
    "segments.v1",
    "state.v1",
    "team_access_tokens.v1",
    "user_access_tokens.v1",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use redb::TableHandle;

    use super::*;
    use crate::blobs::memory_disk::MemoryDisk;
    use crate::disk::{Disk, OpenMode};
    use crate::index::{Index, create_tables};

    #[derive(Default)]
    struct Names(BTreeSet<String>);

    impl Visitor for Names {
        type Error = ();

        fn visit<K: Key + Part, V: Part>(
            &mut self,
            table: TableDefinition<'static, K, V>,
        ) -> Result<(), ()> {
            self.0.insert(table.name().to_owned());
            Ok(())
        }
    }

    /// Whoever adds a table decides here whether backups hold it.
    #[test]
    fn every_table_is_in_a_backup_or_said_to_be_made_anew() {
        let disk: Arc<dyn Disk> = MemoryDisk::prepared();
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        index.apply(create_tables).unwrap();
        let txn = index.read().unwrap();
        let all: BTreeSet<String> =
            txn.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
        let mut names = Names::default();
        visit_tables(&mut names).unwrap();
        names.0.extend(MADE_ANEW.map(str::to_owned));
        assert_eq!(names.0, all);
    }

    fn reads_back<P: Part>(part: &P::SelfType<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        P::put(part, &mut bytes);
        let kept = bytes.clone();
        let mut rest = kept.as_slice();
        let back = P::take(&mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!(P::as_bytes(&back).as_ref(), P::as_bytes(part).as_ref());
        for end in 0..bytes.len() {
            assert!(P::take(&mut &bytes[..end]).is_none(), "{end} bytes are too few");
        }
        bytes
    }

    #[test]
    fn parts_read_back_and_have_these_bytes() {
        assert_eq!(reads_back::<u64>(&0x0102), [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(reads_back::<(u8, &str)>(&(7, "ab")), [7, 2, 0, 0, 0, b'a', b'b']);
        assert_eq!(reads_back::<(&str, i64)>(&("", -1))[4..], [255; 8]);
        let three = reads_back::<(u64, &str, u64)>(&(1, "n", 2));
        assert_eq!(three.len(), 8 + 5 + 8);
        assert_eq!(reads_back::<&[u8]>(&[9, 9].as_slice()), [2, 0, 0, 0, 9, 9]);
        assert_eq!(reads_back::<()>(&()), [0; 0]);
        assert!(<&str>::take(&mut [1, 0, 0, 0, 255].as_slice()).is_none());
    }
}

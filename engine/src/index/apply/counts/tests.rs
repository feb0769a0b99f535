//! Counts and namings against a model of both.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, OpenMode, SimulatedDisk};
use crate::index::{Index, create_tables};
use crate::limits::{NAMINGS_IN_ROW_BYTES_MAX, NAMINGS_IN_ROW_MAX};
use crate::model::SetId;
use crate::model::change::{Change, LargeFileId};

/// A content, a layer and a name.
type Named = (u8, u64, String);

/// A row of a file comes or goes, whichever is possible, or moves to another layer.
#[derive(Debug, Clone)]
enum Step {
    Toggle(Named),
    Move(Named, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e", "long", "longer"]);
    let name = name.prop_map(|name| match name {
        "long" => "l".repeat(NAMINGS_IN_ROW_BYTES_MAX / 2),
        "longer" => "L".repeat(NAMINGS_IN_ROW_BYTES_MAX + 1),
        short => short.to_owned(),
    });
    let named = (0..2u8, 1..4u64, name);
    prop_oneof![
        4 => named.clone().prop_map(Step::Toggle),
        1 => (named, 1..4u64).prop_map(|(named, to)| Step::Move(named, to)),
    ]
}

fn digest(content: u8) -> Digest {
    Digest([content; 32])
}

fn blob(content: u8) -> NamedBlob {
    let place = BlobPlace::Segment { segment: SegmentId(1), offset: u64::from(content) };
    let row = BlobRow { place, length: 1, crc32: 0, count: 0, died: Sequence::ZERO };
    NamedBlob { row, namings: Vec::new() }
}

fn perform(counts: &mut Counts<'_>, model: &mut BTreeSet<Named>, step: Step, at: Sequence) {
    match step {
        Step::Toggle(named) => {
            let (content, layer, name) = named.clone();
            if model.remove(&named) {
                counts.down(&digest(content), (LayerId(layer), &name), at).unwrap();
            } else {
                assert!(counts.up(&digest(content), LayerId(layer), &name).unwrap());
                model.insert(named);
            }
        }
        Step::Move((content, from, name), to) => {
            let (old, new) = ((content, from, name.clone()), (content, to, name.clone()));
            if model.contains(&old) && !model.contains(&new) {
                let layers = (LayerId(from), LayerId(to));
                counts.relabel(&digest(content), layers, &name).unwrap();
                model.remove(&old);
                model.insert(new);
            }
        }
    }
}

/// Each row of a file is told once, in the content's row or beside it, and some in the row if any.
fn expect_told(txn: &WriteTransaction, model: &BTreeSet<Named>) {
    let mut told = Vec::new();
    for entry in txn.open_table(tables::BLOBS).unwrap().iter().unwrap() {
        let (digest, row) = entry.unwrap();
        let content = digest.value()[0];
        let NamedBlob { row, namings } = NamedBlob::decode(row.value()).unwrap();
        let count = model.iter().filter(|(named, ..)| *named == content).count();
        assert_eq!(row.count, u64::try_from(count).unwrap());
        assert_eq!(namings.is_empty(), count == 0);
        assert!(namings.len() <= NAMINGS_IN_ROW_MAX);
        let bytes: usize = namings.iter().map(|naming| naming.name.len()).sum();
        assert!(namings.len() <= 1 || bytes <= NAMINGS_IN_ROW_BYTES_MAX);
        told.extend(namings.into_iter().map(|naming| (content, naming.layer.0, naming.name)));
    }
    for entry in txn.open_table(tables::NAMINGS).unwrap().iter().unwrap() {
        let (key, ()) = entry.map(|(key, value)| (key, value.value())).unwrap();
        let (digest, layer, name) = key.value();
        told.push((digest[0], layer, name.to_owned()));
    }
    told.sort();
    assert!(told.iter().eq(model), "{told:?} {model:?}");
}

proptest! {
    #[test]
    fn a_content_tells_each_file_that_names_it_once(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        let mut model = BTreeSet::new();
        let performed = index.apply(|txn| {
            create_tables(txn)?;
            {
                let mut counts = Counts::of(txn)?;
                for content in 0..2 {
                    counts.put(&digest(content), &blob(content))?;
                }
            }
            for (at, step) in (1..).zip(steps) {
                {
                    let mut counts = Counts::of(txn)?;
                    perform(&mut counts, &mut model, step, Sequence(at));
                }
                expect_told(txn, &model);
            }
            Ok(())
        });
        performed.unwrap();
    }
}

/// A content in a file of this number.
fn large(content: u8, number: u64) -> NewBlob {
    let place = BlobPlace::Large(LargeFileId { start: 1, number });
    NewBlob { digest: digest(content), length: 2 << 20, crc32: 0, place }
}

/// Files that go after the next checkpoint.
fn removals(txn: &WriteTransaction) -> Vec<(u8, u64)> {
    let removals = txn.open_table(tables::LARGE_REMOVALS).unwrap();
    let rows = removals.iter().unwrap().map(|row| row.unwrap().0);
    rows.map(|key| (key.value().0[0], key.value().2)).collect()
}

#[test]
fn of_a_content_that_comes_twice_every_file_but_the_one_that_counts_is_removed() {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
    let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
    let applied = index.apply(|txn| {
        create_tables(txn)?;
        let mut group = Group::begin(txn)?;
        // It names nothing: what comes with it stays as it came.
        let change = Change::AbortSet { set: SetId(1) };
        let first = [large(1, 1), large(2, 2), large(1, 3)];
        drop(group.apply(Sequence(1), &change, None, &first)?);
        assert_eq!(removals(txn), [(1, 1)]);
        // A file that comes again, in the middle and at the end, is the one that counts.
        let second = [large(2, 4), large(2, 5), large(2, 4)];
        drop(group.apply(Sequence(2), &change, None, &second)?);
        assert_eq!(removals(txn), [(1, 1), (2, 2), (2, 5)]);
        for (content, number) in [(1, 3), (2, 4)] {
            let row = group.blob(&digest(content))?.unwrap().row;
            assert_eq!(row.place, large(content, number).place);
        }
        group.finish()
    });
    applied.unwrap();
}

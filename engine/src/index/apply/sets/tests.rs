use std::sync::Arc;

use super::*;
use crate::codec;
use crate::disk::{Disk, OpenMode, SimulatedDisk};
use crate::error::MutationError;
use crate::index::{Index, create_tables};
use crate::model::change::Change;
use crate::model::{DatasetId, Filename, Sequence};

const SET: SetId = SetId(7);
const DATASET: DatasetId = DatasetId(1);

/// A dataset that holds no file.
fn index() -> Index {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
    let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
    let made = index.apply(|txn| {
        create_tables(txn)?;
        let mut group = Group::begin(txn)?;
        let layer = group.new_layer()?;
        let stack = vec![StackEntry { layer, metadata_void: false }];
        group.put_header(Dataset::with_stack(stack));
        group.finish()
    });
    made.unwrap();
    index
}

fn apply(index: &Index, change: &Change) -> Result<Applied, MutationError> {
    let applied = index.apply(|txn| {
        let mut group = Group::begin(txn)?;
        let verdict = group.apply(Sequence(1), change, None, &[])?;
        group.finish()?;
        Ok(verdict)
    });
    applied.unwrap()
}

fn stage() -> Change {
    let filename = Filename::exact("a").unwrap();
    Change::StageMetadata {
        set: SET,
        entries: vec![FileMetadata { filename, metadata: "x".into() }],
    }
}

fn commit(revision: u64) -> Change {
    let purpose = SetPurpose::SetMetadata { dataset: DATASET, revision };
    Change::CommitSet { set: SET, files: 1, purpose }
}

fn stored(index: &Index) -> (Option<SetRow>, Dataset) {
    let txn = index.read().unwrap();
    let set = txn.open_table(tables::SETS).unwrap().get(SET.0).unwrap();
    let header = txn.open_table(tables::DATASETS).unwrap().get(DATASET.0).unwrap().unwrap();
    let set = set.map(|row| codec::decode(row.value()).unwrap());
    (set, codec::decode(header.value()).unwrap())
}

#[test]
fn a_set_that_is_refused_stays_until_it_is_given_up() {
    let index = index();
    apply(&index, &stage()).unwrap();
    let (set, before) = stored(&index);
    let refusal = apply(&index, &commit(before.revision + 1)).unwrap_err();
    assert!(matches!(refusal, MutationError::Moved { dataset: DATASET }), "{refusal:?}");
    assert_eq!(stored(&index), (set, before));
    apply(&index, &Change::AbortSet { set: SET }).unwrap();
    assert_eq!(stored(&index).0, None);
}

#[test]
fn a_set_that_is_refused_may_be_tried_again() {
    let index = index();
    apply(&index, &stage()).unwrap();
    let (set, before) = stored(&index);
    apply(&index, &commit(before.revision + 1)).unwrap_err();
    apply(&index, &commit(before.revision)).unwrap();
    let (gone, after) = stored(&index);
    assert_eq!(gone, None);
    assert!(after.stack.iter().any(|entry| Some(entry.layer) == set.map(|set| set.layer)));
}

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proptest::prelude::*;
use redb::{ReadableTable, WriteTransaction};

use super::*;
use crate::codec;
use crate::disk::{Disk, OpenMode, SimulatedDisk};
use crate::index::file_tree::FileTree;
use crate::index::rows::{BlobRow, NamedBlob};
use crate::index::{Index, create_tables, tables};
use crate::model::change::{BlobPlace, SegmentId};
use crate::model::{Digest, FileRecord, Timestamp};

fn counted(rows: u64, metadata_rows: u64) -> LayerRow {
    LayerRow { stacks: 1, rows, metadata_rows }
}

fn entry(layer: u64) -> StackEntry {
    StackEntry { layer: LayerId(layer), metadata_void: false }
}

/// A stack of layers with so many rows, below an empty top.
fn stack_of(rows: &[LayerRow]) -> (Vec<StackEntry>, Vec<LayerRow>) {
    let rows: Vec<LayerRow> = [LayerRow::default()].iter().chain(rows).copied().collect();
    let stack = (0..).take(rows.len()).map(entry).collect();
    (stack, rows)
}

fn chosen(rows: &[LayerRow]) -> Option<(u64, u64, Direction)> {
    let (stack, rows) = stack_of(rows);
    let pair = choose(&stack, &rows)?;
    Some((pair.upper.layer.0, pair.lower.layer.0, pair.direction))
}

#[test]
fn the_smaller_of_two_neighbours_goes_to_the_other() {
    let large = counted(1_000_000, 0);
    assert_eq!(chosen(&[counted(50_000, 0), large]), Some((1, 2, Direction::Down)));
    assert_eq!(chosen(&[large, counted(50_000, 0)]), Some((1, 2, Direction::Up)));
    assert_eq!(
        chosen(&[large, counted(50, 0), counted(40, 0), large]),
        Some((2, 3, Direction::Up))
    );
    assert_eq!(chosen(&[large]), None);
    // The texts of all files, above the files.
    assert_eq!(chosen(&[counted(0, 400_000), counted(400_000, 0)]), Some((1, 2, Direction::Down)));
}

#[test]
fn what_others_have_too_is_left_alone() {
    let shared = LayerRow { stacks: 2, ..counted(10, 0) };
    assert_eq!(chosen(&[counted(10, 0), shared]), None);
    assert_eq!(chosen(&[shared, counted(10, 0)]), None);
}

#[test]
fn void_metadata_is_never_brought_back() {
    let (mut stack, mut rows) = stack_of(&[counted(10, 0), counted(1_000, 5), counted(10, 5)]);
    rows[1].metadata_rows = 2;
    stack[2].metadata_void = true;
    stack[3].metadata_void = true;
    let pair = choose(&stack, &rows).unwrap();
    assert_eq!((pair.upper, pair.lower), (stack[2], stack[3]));
    // The lower one would have to go, which is much the larger.
    stack.pop();
    rows.pop();
    assert_eq!(choose(&stack, &rows), None);
    rows[1].metadata_rows = 0;
    assert_eq!(choose(&stack, &rows).unwrap().direction, Direction::Down);
}

/// Rows that go from layer to layer until no neighbours are left.
fn moved(rows: &mut Vec<LayerRow>) -> u64 {
    let mut moved = 0;
    loop {
        let (stack, with_top) = stack_of(rows);
        let Some(pair) = choose(&stack, &with_top) else { return moved };
        let at = usize::try_from(pair.upper.layer.0).unwrap() - 1;
        let all = rows[at].rows + rows[at + 1].rows;
        rows.splice(at..at + 2, [counted(all, 0)]);
        moved += pair.rows;
    }
}

#[test]
fn a_row_goes_once_where_much_comes_in_parts() {
    let layers = 500;
    for each in [100, 50_000] {
        let all = layers * each;
        let mut at_once = vec![counted(each, 0); usize::try_from(layers).unwrap()];
        assert!(moved(&mut at_once) <= all);
        let mut one_by_one = Vec::new();
        let mut in_all = 0;
        for _ in 0..layers {
            one_by_one.insert(0, counted(each, 0));
            in_all += moved(&mut one_by_one);
            assert_eq!(one_by_one.len(), 1);
        }
        assert!(in_all <= all, "{in_all} rows of {all}");
    }
}

/// What a layer says: by name a content, or no file, or nothing; and perhaps a text.
type Says = BTreeMap<String, (Option<Option<u8>>, Option<String>)>;

#[derive(Debug, Clone)]
struct Layer {
    says: Says,
    is_void: bool,
    stacks: u64,
}

fn layer() -> impl Strategy<Value = Layer> {
    let name = "[a-f]";
    let row = prop::option::weighted(0.7, prop::option::weighted(0.7, 0..4u8));
    let says = prop::collection::btree_map(name, (row, prop::option::of("[xy]")), 0..6);
    let stacks = prop_oneof![9 => Just(1u64), 1 => Just(2u64)];
    (says, prop::bool::weighted(0.3), stacks).prop_map(|(says, is_void, stacks)| Layer {
        says,
        is_void,
        stacks,
    })
}

fn record(content: u8) -> FileRecord {
    FileRecord {
        digest: Digest([content; 32]),
        length: 1,
        crc32: 0,
        creation_time: Timestamp(0),
        compressible: true,
    }
}

/// Writes the layers, the top one first, as changes would have left them.
fn write(txn: &WriteTransaction, layers: &[Layer]) {
    create_tables(txn).unwrap();
    let mut files = txn.open_table(tables::FILES).unwrap();
    let mut texts = txn.open_table(tables::METADATA).unwrap();
    let mut rows = txn.open_table(tables::LAYERS).unwrap();
    let mut namings = txn.open_table(tables::NAMINGS).unwrap();
    let mut blobs: BTreeMap<u8, NamedBlob> = BTreeMap::new();
    let mut stack = Vec::new();
    for (id, layer) in (1..).zip(layers) {
        stack.push(StackEntry { layer: LayerId(id), metadata_void: layer.is_void });
        let mut row = LayerRow { stacks: layer.stacks, ..LayerRow::default() };
        for (name, (file, text)) in &layer.says {
            let key = (id, name.as_str());
            if let Some(file) = file {
                let value =
                    file.map_or(FileRow::Tombstone, |content| FileRow::File(record(content)));
                files.insert(key, codec::encode(&value).unwrap().as_slice()).unwrap();
                row.rows += 1;
            }
            if let Some(content) = file.flatten() {
                let place = BlobPlace::Segment { segment: SegmentId(1), offset: 0 };
                let row = BlobRow { place, length: 1, crc32: 0, count: 0, died: Sequence::ZERO };
                let blob = blobs.entry(content).or_insert(NamedBlob { row, namings: Vec::new() });
                blob.row.count += 1;
                if !blob.enter(LayerId(id), name) {
                    let digest = record(content).digest;
                    namings.insert((digest.as_bytes(), id, name.as_str()), ()).unwrap();
                }
            }
            if let Some(text) = text {
                texts.insert(key, codec::encode(text).unwrap().as_slice()).unwrap();
                row.metadata_rows += 1;
            }
        }
        rows.insert(id, codec::encode(&row).unwrap().as_slice()).unwrap();
    }
    let mut table = txn.open_table(tables::BLOBS).unwrap();
    for (content, blob) in blobs {
        let digest = record(content).digest;
        table.insert(digest.as_bytes(), blob.encode().unwrap().as_slice()).unwrap();
    }
    let header = codec::encode(&Dataset::with_stack(stack)).unwrap();
    txn.open_table(tables::DATASETS).unwrap().insert(1, header.as_slice()).unwrap();
}

/// What readers see: by name the content and the text.
fn shown(index: &Index) -> BTreeMap<String, (Digest, String)> {
    let txn = index.read().unwrap();
    let (files, texts) =
        (txn.open_table(tables::FILES).unwrap(), txn.open_table(tables::METADATA).unwrap());
    let header = stored_header(index);
    let tree = FileTree::new(&files, &texts, &header.stack);
    let mut shown = BTreeMap::new();
    for file in tree.files_from(Bound::Unbounded).unwrap() {
        let (name, record) = file.unwrap();
        shown.insert(name.clone(), (record.digest, tree.metadata(&name).unwrap().unwrap()));
    }
    shown
}

fn stored_header(index: &Index) -> Dataset {
    let txn = index.read().unwrap();
    let row = txn.open_table(tables::DATASETS).unwrap().get(1).unwrap().unwrap();
    codec::decode(row.value()).unwrap()
}

/// Layers count their rows, contents theirs, and each says where it is named (I4).
fn assert_counted(index: &Index) {
    let txn = index.read().unwrap();
    let mut rows: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut named: BTreeMap<[u8; 32], Vec<(u64, String)>> = BTreeMap::new();
    for entry in txn.open_table(tables::FILES).unwrap().iter().unwrap() {
        let (key, row) = entry.unwrap();
        let (layer, name) = key.value();
        rows.entry(layer).or_default().0 += 1;
        if let FileRow::File(record) = FileRow::decode(row.value()).unwrap() {
            named.entry(record.digest.0).or_default().push((layer, name.to_owned()));
        }
    }
    for entry in txn.open_table(tables::METADATA).unwrap().iter().unwrap() {
        rows.entry(entry.unwrap().0.value().0).or_default().1 += 1;
    }
    for entry in txn.open_table(tables::LAYERS).unwrap().iter().unwrap() {
        let (id, row) = entry.unwrap();
        let row: LayerRow = codec::decode(row.value()).unwrap();
        let found = rows.remove(&id.value()).unwrap_or_default();
        assert_eq!((row.rows, row.metadata_rows), found, "layer {}", id.value());
    }
    assert!(rows.is_empty());
    let mut said: BTreeMap<[u8; 32], Vec<(u64, String)>> = BTreeMap::new();
    for entry in txn.open_table(tables::BLOBS).unwrap().iter().unwrap() {
        let (digest, row) = entry.unwrap();
        let blob = NamedBlob::decode(row.value()).unwrap();
        let found = named.get(digest.value()).map_or(0, Vec::len);
        assert_eq!(blob.row.count, u64::try_from(found).unwrap());
        said.entry(*digest.value())
            .or_default()
            .extend(blob.namings.into_iter().map(|first| (first.layer.0, first.name)));
    }
    for entry in txn.open_table(tables::NAMINGS).unwrap().iter().unwrap() {
        let (key, _) = entry.unwrap();
        let (digest, layer, name) = key.value();
        said.entry(*digest).or_default().push((layer, name.to_owned()));
    }
    said.retain(|_, files| !files.is_empty());
    for files in said.values_mut() {
        files.sort();
    }
    assert_eq!(said, named);
}

/// Whether the lowest layer of a stack still deletes one of these names.
fn deletes_any(index: &Index, header: &Dataset, says: &Says) -> bool {
    let txn = index.read().unwrap();
    let files = txn.open_table(tables::FILES).unwrap();
    let lowest = header.stack.last().unwrap().layer.0;
    says.iter().filter(|(_, (file, _))| file.flatten().is_some()).any(|(name, _)| {
        let row = files.get((lowest, name.as_str())).unwrap();
        row.is_some_and(|row| FileRow::decode(row.value()).unwrap() == FileRow::Tombstone)
    })
}

/// Does a step; `false` if there was nothing to do.
fn step(index: &Index, budget: Budget) -> bool {
    let step = index.apply(|txn| {
        let mut group = Group::begin(txn)?;
        let header = group.header_if_any(DatasetId(1))?.unwrap();
        let rows = group.layer_rows(&header)?;
        let job = AbsorbJob::of(&header, &rows);
        if let Some(job) = &job {
            group.continue_absorbing(job, Sequence(7), budget)?;
        }
        group.finish()?;
        Ok(job.is_some())
    });
    step.unwrap()
}

proptest! {
    #[test]
    fn what_is_shown_stays_the_same_whatever_the_stack(
        layers in prop::collection::vec(layer(), 1..6), rows in 1..4usize, bytes in 1..8usize,
    ) {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        index.apply(|txn| { write(txn, &layers); Ok(()) }).unwrap();
        assert_counted(&index);
        let before = shown(&index);
        let mut steps = 0;
        let budget = Budget { rows, bytes };
        while step(&index, budget) {
            prop_assert_eq!(&shown(&index), &before);
            assert_counted(&index);
            steps += 1;
            prop_assert!(steps < 100, "it goes on and on");
        }
        let header = stored_header(&index);
        if layers.iter().all(|layer| layer.stacks == 1 && !layer.is_void) {
            prop_assert!(header.stack.len() <= 2, "{:?}", header.stack);
            if let [_, _, lowest] = layers.as_slice() {
                prop_assert!(!deletes_any(&index, &header, &lowest.says));
            }
        }
    }
}

//! What stands where in a computed zip, and in which width.

use super::*;
use crate::model::Digest;
use crate::model::Timestamp;

fn record(length: u64) -> FileRecord {
    FileRecord {
        digest: Digest::of(b""),
        length,
        crc32: 0x1234_5678,
        creation_time: Timestamp(0),
        compressible: false,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

#[test]
fn an_empty_archive_is_the_end_record_alone() {
    let layout = Layout::default();
    assert_eq!(layout.end().len(), 22);
    assert_eq!(layout.length(), 22);
}

/// Sizes and offsets around 4 GiB, in an order that puts each before and behind the bound.
#[test]
fn wide_sizes_and_offsets_go_to_zip64_fields_and_nothing_else_does() {
    const MARK: u64 = 0xffff_ffff;
    for lengths in [
        vec![1, 2],
        vec![MARK - 1, 5],
        vec![MARK, 5],
        vec![5, MARK + 1, 5, 0],
        vec![MARK - 100, 100 - 68, 7],
        vec![10 << 30, 20 << 30, 1],
    ] {
        let mut layout = Layout::default();
        let (mut at, mut directory_bytes) = (0, 0);
        for &length in &lengths {
            let record = record(length);
            let offset = layout.place("name", length);
            assert_eq!(offset, at, "{lengths:?}");
            let local = local_header("name", &record, &Packing::stored(&record));
            at += length_of(&local) + length;
            if length >= MARK {
                assert_eq!(local.len(), 34 + 20);
                assert_eq!((u32_at(&local, 18), u32_at(&local, 22)), (u32::MAX, u32::MAX));
                assert_eq!((u64_at(&local, 38), u64_at(&local, 46)), (length, length));
            } else {
                assert_eq!(local.len(), 34);
                assert_eq!(u64::from(u32_at(&local, 18)), length);
            }
            let central = central_header("name", &record, &Packing::stored(&record), offset);
            directory_bytes += length_of(&central);
            let wide_values = usize::from(length >= MARK) * 2 + usize::from(offset >= MARK);
            let extra = if wide_values == 0 { 0 } else { 4 + 8 * wide_values };
            assert_eq!(central.len(), 50 + extra, "{lengths:?}");
            if offset >= MARK {
                assert_eq!(u32_at(&central, 42), u32::MAX);
                assert_eq!(u64_at(&central, central.len() - 8), offset);
            } else {
                assert_eq!(u64::from(u32_at(&central, 42)), offset);
            }
        }
        let end = layout.end();
        assert_eq!(layout.length(), at + directory_bytes + length_of(&end), "{lengths:?}");
        assert_eq!(end.len(), if at >= MARK { 98 } else { 22 }, "{lengths:?}");
        if at >= MARK {
            assert_eq!((u64_at(&end, 40), u64_at(&end, 48)), (directory_bytes, at));
            assert_eq!(u64_at(&end, 64), at + directory_bytes);
        }
    }
}

#[test]
fn the_count_alone_can_ask_for_zip64() {
    let mut layout = Layout::default();
    for _ in 0..65_534 {
        layout.place("", 0);
    }
    assert_eq!(layout.end().len(), 22);
    layout.place("", 0);
    let end = layout.end();
    assert_eq!(end.len(), 98);
    assert_eq!((u64_at(&end, 24), u64_at(&end, 32)), (65_535, 65_535));
    assert_eq!(end[76 + 8..76 + 12], [0xff; 4]);
}

#[test]
fn a_content_that_is_streamed_has_its_sizes_behind_it_in_the_width_that_its_header_says() {
    for (length, is_wide) in [(5, false), ((1 << 31) - 1, false), (1 << 31, true), (9 << 30, true)]
    {
        let record = record(length);
        let packing = Packing::streamed(length / 2);
        assert_eq!(Packing::from_bytes(packing.to_bytes()), packing);
        let local = local_header("name", &record, &packing);
        assert_eq!(local[6], 8);
        assert_eq!(u32_at(&local, 14), 0, "no CRC-32 yet");
        assert_eq!(local.len(), if is_wide { 54 } else { 34 });
        let behind = descriptor(&record, &packing);
        let central = central_header("name", &record, &packing, 0);
        if is_wide {
            assert_eq!((u64_at(&behind, 8), u64_at(&behind, 16)), (length / 2, length));
            assert_eq!((u64_at(&central, 54), u64_at(&central, 62)), (length, length / 2));
        } else {
            assert_eq!(behind.len(), 16);
            assert_eq!(u64::from(u32_at(&behind, 8)), length / 2);
            assert_eq!(u64::from(u32_at(&central, 20)), length / 2);
            assert_eq!(u64::from(u32_at(&central, 24)), length);
        }
        assert_eq!(u32_at(&central, 16), record.crc32);
    }
}

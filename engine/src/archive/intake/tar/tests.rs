//! Tars of common programs, and hostile ones.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::*;
use crate::archive::tests::{Tree, trees};

fn read_whole(tar: &[u8]) -> Result<Vec<(String, Vec<u8>)>, IntakeError> {
    let mut reader = TarReader::new(tar);
    let mut files = Vec::new();
    while let Some(member) = reader.next()? {
        let mut content = Vec::new();
        let read = reader.read_to_end(&mut content);
        read.map_err(|error| TarReader::<&[u8]>::unreadable(&member, &error))?;
        files.push((member.filename.to_string(), content));
    }
    Ok(files)
}

fn refusal(tar: &[u8]) -> String {
    read_whole(tar).unwrap_err().to_string()
}

/// An entry whose name stands in the header's own field.
fn entry(kind: EntryType, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(content.len().try_into().unwrap());
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(EntryType::Regular, name.as_bytes(), content)
}

fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 2 * BLOCK_BYTES]].concat()
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        content.extend(format!("{length} {key}={value}\n").bytes());
    }
    entry(EntryType::XHeader, b"pax", &content)
}

fn written_by_the_tar_crate(tree: &Tree, with_pax: bool) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in tree {
        let mut header = if with_pax { Header::new_ustar() } else { Header::new_gnu() };
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o644);
        if with_pax {
            let records = [("path", name.as_bytes()), ("SCHILY.xattr.user.x", b"a=b\n")];
            builder.append_pax_extensions(records).unwrap();
            header.set_cksum();
            builder.append(&header, content.as_slice()).unwrap();
        } else {
            builder.append_data(&mut header, name, content.as_slice()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_others_have_written_is_read(tree in trees(), with_pax: bool) {
        let tar = written_by_the_tar_crate(&tree, with_pax);
        let files: Tree = read_whole(&tar).unwrap().into_iter().collect();
        prop_assert_eq!(files, tree);
    }

    #[test]
    fn damage_anywhere_is_an_error_or_leaves_a_tar(
        tree in trees(), at: prop::sample::Index, bit in 0u8..8,
    ) {
        let mut tar = written_by_the_tar_crate(&tree, false);
        let place = at.index(tar.len());
        tar[place] ^= 1 << bit;
        // A tar has no checksum over its contents, so no more can be said than their lengths.
        if let Ok(files) = read_whole(&tar) {
            let lengths: Vec<usize> = files.iter().map(|file| file.1.len()).collect();
            prop_assert_eq!(lengths, tree.values().map(Vec::len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn bytes_that_are_no_tar_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(read_whole(&bytes).is_err());
    }
}

#[test]
fn an_archive_that_is_cut_anywhere_is_refused() {
    let long = "long/".repeat(40) + "name";
    let tree =
        Tree::from([("a".into(), vec![1; 700]), (long, b"2".to_vec()), ("c".into(), vec![])]);
    for with_pax in [false, true] {
        let tar = written_by_the_tar_crate(&tree, with_pax);
        assert_eq!(read_whole(&tar).unwrap().len(), 3);
        for length in 0..tar.len() {
            assert!(read_whole(&tar[..length]).is_err(), "cut at {length}");
        }
    }
    assert_eq!(read_whole(&tar_of(&[])).unwrap(), []);
}

#[test]
fn directories_are_left_out_and_names_normalised() {
    let tar = tar_of(&[
        entry(EntryType::Directory, b"dir/", b""),
        file("./dir//b", b"1"),
        entry(EntryType::new(0), b"old/", b""),
        entry(EntryType::new(0), b"old/file", b"2"),
        file("/abs", b"3"),
    ]);
    let names: Vec<String> = read_whole(&tar).unwrap().into_iter().map(|file| file.0).collect();
    assert_eq!(names, ["dir/b", "old/file", "abs"]);
}

#[test]
fn links_devices_and_other_specials_are_refused_by_name() {
    for (kind, word) in [
        (EntryType::Link, "link"),
        (EntryType::Symlink, "link"),
        (EntryType::Char, "device"),
        (EntryType::Block, "device"),
        (EntryType::Fifo, "pipe"),
        (EntryType::GNUSparse, "sparse"),
        (EntryType::new(b'M'), "regular"),
        (EntryType::new(b'V'), "regular"),
        (EntryType::new(b'D'), "regular"),
    ] {
        let text = refusal(&tar_of(&[file("ok", b""), entry(kind, b"special", b"")]));
        assert!(text.contains("special") && text.contains(word), "{text}");
    }
    for key in ["GNU.sparse.map", "GNU.sparse.major"] {
        let text = refusal(&tar_of(&[pax(&[(key, "1")]), file("special", b"")]));
        assert!(text.contains("special") && text.contains("sparse"), "{text}");
    }
    let text = refusal(&tar_of(&[entry(EntryType::Directory, b"dir/", b"content")]));
    assert!(text.contains("directory"), "{text}");
}

#[test]
fn names_that_leave_the_dataset_or_clash_are_refused() {
    for name in ["../x", "a/../../x", ".", "..\\x", "C:\\x"] {
        let outcome = read_whole(&tar_of(&[file("ok", b""), file(name, b"")]));
        assert!(matches!(outcome, Err(IntakeError::BadFilename { .. })), "{name:?}");
    }
    let with_nul = tar_of(&[pax(&[("path", "a\0b")]), file("x", b"")]);
    assert!(matches!(read_whole(&with_nul), Err(IntakeError::BadFilename { .. })));
    let twice = read_whole(&tar_of(&[file("a", b"1"), file("b", b""), file("./a", b"2")]));
    assert!(matches!(twice, Err(IntakeError::DuplicateFilename { filename }) if filename == "a"));
    let below = read_whole(&tar_of(&[file("a/b/c", b""), file("z", b""), file("a", b"")]));
    assert!(matches!(below, Err(IntakeError::FileAndDirectory { filename }) if filename == "a"));
    let latin = tar_of(&[entry(EntryType::Regular, b"\xe9", b"")]);
    assert!(refusal(&latin).contains("UTF-8"));
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let good = file("a", b"content");
    let lone = [good.clone(), vec![0; BLOCK_BYTES], file("b", b""), vec![0; 1024]].concat();
    assert!(refusal(&lone).contains("empty block"));
    let behind = [tar_of(std::slice::from_ref(&good)), file("b", b"")].concat();
    assert!(refusal(&behind).contains("follows its end"));
    let filled = [tar_of(std::slice::from_ref(&good)), vec![0; 10_240]].concat();
    assert_eq!(read_whole(&filled).unwrap().len(), 1);
    let mut wrong = good.clone();
    wrong[0] = b'b';
    assert!(refusal(&tar_of(&[wrong])).contains("checksum"));
    let global = |records: &[u8]| entry(EntryType::XGlobalHeader, b"g", records);
    let comment = tar_of(&[global(b"20 comment=abcdefgh\n"), good.clone()]);
    assert_eq!(read_whole(&comment).unwrap().len(), 1);
    let named = tar_of(&[global(b"10 path=b\n"), good]);
    assert!(refusal(&named).contains("global header"));
}

#[test]
fn damaged_extended_headers_are_refused() {
    for records in
        [&b"x"[..], b"8 path=b\n", b"99 path=b\n", b"10 path-b\n", b"0 path=b\n", b"11 size=-1\n\n"]
    {
        let tar = tar_of(&[entry(EntryType::XHeader, b"x", records), file("a", b"")]);
        assert!(refusal(&tar).contains("extended header"), "{records:?}");
    }
}

#[test]
fn sizes_beyond_the_bounds_are_refused_before_the_content_comes() {
    let huge = (FILE_BYTES_MAX + 1).to_string();
    let outcome = read_whole(&tar_of(&[pax(&[("size", &huge)]), file("a", b"")]));
    assert!(matches!(outcome, Err(IntakeError::TooLarge { limit: FILE_BYTES_MAX, .. })));
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let outcome = read_whole(header.as_bytes());
    assert!(matches!(outcome, Err(IntakeError::TooLarge { what: "the size of a header", .. })));
    // Together they are too much, although none of them is.
    let half = (FILE_BYTES_MAX / 2 + 1).to_string();
    let mut reader = TarReader::new(io::empty());
    let header = Header::new_ustar();
    let mut add = |number: u32| {
        let length = half.parse().ok();
        let name = Some(number.to_string().into_bytes());
        let extended = Extended { name, length, is_sparse: false };
        reader.member(&header, 0, extended)
    };
    assert!(add(1).is_ok());
    assert!(matches!(add(2), Err(IntakeError::TooLarge { what: "the size of its files", .. })));
}

#[test]
fn a_size_of_the_extended_header_counts() {
    let content = vec![7; 1000];
    let mut entry = file("a", &content);
    let mut header = Header::from_byte_slice(&entry[..BLOCK_BYTES]).clone();
    header.set_size(0);
    header.set_cksum();
    entry[..BLOCK_BYTES].copy_from_slice(header.as_bytes());
    let tar = tar_of(&[pax(&[("size", "1000")]), entry, file("b", b"")]);
    let files: BTreeMap<String, Vec<u8>> = read_whole(&tar).unwrap().into_iter().collect();
    assert_eq!((files["a"].len(), files["b"].len()), (1000, 0));
}

#[test]
fn members_are_counted_and_not_the_headers_that_describe_them() {
    let described = |name: &str| [pax(&[("mtime", "1.5")]), file(name, b"")].concat();
    let tar = tar_of(&[described("a"), described("b"), described("c")]);
    let mut reader = TarReader::new(tar.as_slice());
    reader.members = count(INTAKE_FILES_MAX) - 2;
    assert!(reader.next().unwrap().is_some());
    assert!(reader.next().unwrap().is_some());
    let refused = reader.next().unwrap_err().to_string();
    assert!(refused.contains("the number of its members"), "{refused}");
}

#[test]
fn headers_without_a_member_behind_them_are_refused() {
    let described = |headers: usize| {
        let mut entries = vec![pax(&[("mtime", "1.5")]); headers];
        entries.push(file("a", b""));
        tar_of(&[entries.concat(), file("b", b"")])
    };
    assert_eq!(read_whole(&described(INTAKE_TAR_DESCRIPTIONS_MAX)).unwrap().len(), 2);
    let refused = refusal(&described(INTAKE_TAR_DESCRIPTIONS_MAX + 1));
    assert!(refused.contains("the number of headers before a member"), "{refused}");
}

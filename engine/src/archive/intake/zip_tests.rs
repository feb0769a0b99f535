//! Hostile, damaged and odd archives, most of them put together byte by byte.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use proptest::prelude::*;

use super::room::Pool;
use super::*;
use crate::archive::tests::{Tree, trees};
use crate::limits::{FILE_BYTES_MAX, INTAKE_FILE_MEMORY_BYTES, INTAKE_FILES_MAX};
use crate::spool::Spooled;

/// A member as it stands in an archive, lies included.
#[derive(Clone)]
struct Member {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    made_by: u16,
    attributes: u32,
    crc32: u32,
    length: u32,
    packed: Vec<u8>,
    extra: Vec<u8>,
}

fn stored(name: &str, content: &[u8]) -> Member {
    Member {
        name: name.into(),
        flags: 1 << 11,
        method: 0,
        made_by: 3 << 8,
        attributes: 0o100_644 << 16,
        crc32: crc32fast::hash(content),
        length: u32::try_from(content.len()).unwrap(),
        packed: content.to_vec(),
        extra: vec![],
    }
}

fn packed(method: u16, packed: &[u8], content: &[u8]) -> Member {
    Member { method, packed: packed.to_vec(), ..stored("member", content) }
}

fn deflated(content: &[u8]) -> Member {
    let mut encoder = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::best());
    encoder.write_all(content).unwrap();
    packed(8, &encoder.finish().unwrap(), content)
}

/// The word `granary ` forty times, by the program `zstd`.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x00\x58\x7d\x00\x00\x40\x67\x72\x61\x6e\x61\x72\x79\x20\x01\x00\x35\x53\x0b\x17";

fn zip_of(members: &[Member]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    let short = |length: usize| u16::try_from(length).unwrap().to_le_bytes();
    let long = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    for member in members {
        let mut common = [20, member.flags, member.method, 0, 0].map(u16::to_le_bytes).concat();
        common.extend(member.crc32.to_le_bytes());
        common.extend(long(member.packed.len()));
        common.extend(member.length.to_le_bytes());
        common.extend(short(member.name.len()));
        directory.extend(b"PK\x01\x02");
        directory.extend(member.made_by.to_le_bytes());
        directory.extend(&common);
        directory.extend(short(member.extra.len()));
        directory.extend([0; 6]);
        directory.extend(member.attributes.to_le_bytes());
        directory.extend(long(zip.len()));
        directory.extend(&member.name);
        directory.extend(&member.extra);
        zip.extend(b"PK\x03\x04");
        zip.extend(&common);
        zip.extend([0; 2]);
        zip.extend(&member.name);
        zip.extend(&member.packed);
    }
    let directory_offset = zip.len();
    zip.extend(&directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend(short(members.len()).repeat(2));
    zip.extend(long(directory.len()));
    zip.extend(long(directory_offset));
    zip.extend([0; 2]);
    zip
}

fn read_whole(zip: &[u8]) -> Result<Vec<(String, Vec<u8>)>, IntakeError> {
    let read = read_from(&mut Cursor::new(zip));
    // As an archive that is kept in memory lies there.
    let read_in_pieces = read_from(&mut Spooled::in_pieces(zip, 13).reader());
    assert_eq!(format!("{read_in_pieces:?}"), format!("{read:?}"));
    read
}

fn read_from(reader: &mut (impl Read + Seek)) -> Result<Vec<(String, Vec<u8>)>, IntakeError> {
    let members = read_directory(reader, &mut Rooms::default().whole.begin())?;
    let mut files = Vec::new();
    for member in &members {
        let mut content = Vec::new();
        open_member(reader, member)?
            .read_to_end(&mut content)
            .map_err(|error| member.unreadable(error))?;
        files.push((member.filename.to_string(), content));
    }
    Ok(files)
}

fn refusal(members: &[Member]) -> String {
    read_whole(&zip_of(members)).unwrap_err().to_string()
}

fn written_by_the_zip_crate(tree: &Tree, method: ::zip::CompressionMethod) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = ::zip::write::SimpleFileOptions::default().compression_method(method);
    writer.add_directory("directories/are/left/out", options).unwrap();
    for (name, content) in tree {
        writer.start_file(name.as_str(), options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_others_have_written_is_read(tree in trees(), is_stored: bool, before in 0usize..9) {
        let method = if is_stored {
            ::zip::CompressionMethod::Stored
        } else {
            ::zip::CompressionMethod::Deflated
        };
        let zip = written_by_the_zip_crate(&tree, method);
        let with_bytes_before = [vec![7; before], zip].concat();
        let files: Tree = read_whole(&with_bytes_before).unwrap().into_iter().collect();
        prop_assert_eq!(files, tree);
    }

    #[test]
    fn damage_anywhere_is_an_error_or_changes_no_content(
        tree in trees(), at: prop::sample::Index, bit in 0u8..8,
    ) {
        let mut zip = written_by_the_zip_crate(&tree, ::zip::CompressionMethod::Deflated);
        let place = at.index(zip.len());
        zip[place] ^= 1 << bit;
        for (_, content) in read_whole(&zip).unwrap_or_default() {
            prop_assert!(tree.values().any(|original| *original == content));
        }
    }

    #[test]
    fn an_archive_that_is_cut_is_refused(tree in trees(), at: prop::sample::Index) {
        let zip = written_by_the_zip_crate(&tree, ::zip::CompressionMethod::Stored);
        prop_assert!(read_whole(&zip[..at.index(zip.len())]).is_err());
    }
}

#[test]
fn bodies_that_are_no_archive_are_refused() {
    for body in [&b""[..], b"PK", b"not a zip at all, and quite long enough to be one"] {
        assert!(matches!(read_whole(body), Err(IntakeError::NotAnArchive { .. })));
    }
    assert_eq!(read_whole(&zip_of(&[])).unwrap(), []);
}

#[test]
fn members_come_in_the_order_of_the_archive_and_normalised() {
    let names = ["b", "a/../c", "./x//y", "/abs"];
    let zip = zip_of(&names.map(|name| stored(name, name.as_bytes())));
    let read: Vec<String> = read_whole(&zip).unwrap().into_iter().map(|file| file.0).collect();
    assert_eq!(read, ["b", "c", "x/y", "abs"]);
}

#[test]
fn names_are_in_code_page_437_unless_they_say_otherwise_or_come_from_unix() {
    let mut old = stored("", b"");
    old.flags = 0;
    old.name = vec![0x9b, 0x81, b'x', 0xe1, 0xff, 0x80];
    assert_eq!(read_whole(&zip_of(&[old.clone()])).unwrap()[0].0, "¢üxß\u{a0}Ç");

    let mut extra = vec![0x75, 0x70, 7, 0, 1];
    extra.extend(crc32fast::hash(&old.name).to_le_bytes());
    extra.extend("é".as_bytes());
    old.extra = extra;
    assert_eq!(read_whole(&zip_of(&[old.clone()])).unwrap()[0].0, "é");

    old.name = "é".into();
    old.extra = vec![];
    assert_eq!(read_whole(&zip_of(&[old.clone()])).unwrap()[0].0, "é");
    old.made_by = 0;
    assert_eq!(read_whole(&zip_of(&[old.clone()])).unwrap()[0].0, "├⌐");

    old.flags = 1 << 11;
    old.name = vec![0xff];
    assert!(refusal(&[old]).contains("is not"));
}

#[test]
fn memory_is_counted_of_names_as_they_are_kept() {
    let mut old = stored("", b"");
    (old.flags, old.made_by) = (0, 0);
    old.name = vec![0xb0; 100];
    let zip = zip_of(&[old]);
    let kept = INTAKE_FILE_MEMORY_BYTES + 2 * 300;
    let read = |bytes_max| {
        read_directory(&mut Cursor::new(&zip), &mut Pool::new(bytes_max, bytes_max).begin())
    };
    assert_eq!(read(kept).unwrap()[0].filename.as_str(), "░".repeat(100));
    let refused = read(kept - 1).unwrap_err();
    assert!(matches!(refused, IntakeError::TooLarge { .. }), "{refused}");
}

#[test]
fn names_that_leave_the_dataset_or_clash_are_refused() {
    for name in ["../x", "a/../../x", "", ".", "a\0b"] {
        let outcome = read_whole(&zip_of(&[stored("ok", b""), stored(name, b"")]));
        assert!(matches!(outcome, Err(IntakeError::BadFilename { .. })), "{name:?}");
    }
    let twice = read_whole(&zip_of(&[stored("a", b"1"), stored("b", b""), stored("./a", b"2")]));
    assert!(matches!(twice, Err(IntakeError::DuplicateFilename { filename }) if filename == "a"));
    let same_bytes = read_whole(&zip_of(&[stored("a", b"1"), stored("a", b"2")]));
    assert!(matches!(same_bytes, Err(IntakeError::DuplicateFilename { .. })));
    let below = read_whole(&zip_of(&[stored("a/b/c", b""), stored("z", b""), stored("a", b"")]));
    assert!(matches!(below, Err(IntakeError::FileAndDirectory { filename }) if filename == "a"));
}

#[test]
fn members_that_are_no_plain_files_are_refused() {
    let mut encrypted = stored("secret", b"");
    encrypted.flags |= 1;
    assert!(refusal(&[encrypted]).contains("encrypted"));
    let mut link = stored("link", b"/etc/passwd");
    link.attributes = 0o120_777 << 16;
    assert!(refusal(&[link.clone()]).contains("regular"));
    link.attributes = 0o020_666 << 16;
    assert!(refusal(&[link]).contains("regular"));
    assert!(refusal(&[stored("directory/", b"content")]).contains("directory"));
    let strange = packed(98, b"ppmd", b"");
    let text = refusal(&[strange]);
    assert!(text.contains("member") && text.contains("98 (ppmd)") && text.contains("deflate"));
    for name in ["..\\x", "C:\\x"] {
        let outcome = read_whole(&zip_of(&[stored("ok", b""), stored(name, b"")]));
        assert!(matches!(outcome, Err(IntakeError::BadFilename { .. })), "{name:?}");
    }
}

/// The zip of two members whose directory says that the second begins elsewhere.
fn with_second_header_at(offset: u32) -> Vec<u8> {
    let mut zip = zip_of(&[stored("a", &[1; 100]), stored("b", &[2; 100])]);
    let directory = zip.windows(4).position(|magic| magic == b"PK\x01\x02").unwrap();
    let second = directory + 46 + 1;
    zip[second + 42..second + 46].copy_from_slice(&offset.to_le_bytes());
    zip
}

/// A bomb without nested archives is made of members that share what they unpack to.
#[test]
fn members_that_lie_upon_each_other_are_refused() {
    assert!(read_whole(&with_second_header_at(131)).is_ok());
    for offset in [0, 1, 50, 100, 130] {
        let text = read_whole(&with_second_header_at(offset)).unwrap_err().to_string();
        assert!(text.contains("lies upon") || text.contains("runs into"), "{offset}: {text}");
    }
    // The local header's own lengths, which the directory does not tell, lead into the next one.
    let mut zip = zip_of(&[stored("a", &[1; 100]), stored("b", &[2; 100])]);
    zip[28] = 5;
    let text = read_whole(&zip).unwrap_err().to_string();
    assert!(text.contains("runs into the next"), "{text}");
}

/// By the count alone, although they are all there.
#[test]
fn more_than_a_million_members_are_refused_unread() {
    struct Counting<'z>(Cursor<&'z [u8]>, usize);
    impl Read for Counting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1 += count;
            Ok(count)
        }
    }
    impl Seek for Counting<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let one = zip_of(&[stored("a", b"")]);
    let entry = one[31..31 + 47].to_vec();
    let count = u64::try_from(INTAKE_FILES_MAX + 1).unwrap();
    let mut zip = [&one[..31], &entry.repeat(INTAKE_FILES_MAX + 1)].concat();
    let directory_bytes: u64 = 47 * count;
    zip.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0");
    zip.extend(count.to_le_bytes().repeat(2));
    zip.extend(directory_bytes.to_le_bytes());
    zip.extend(31u64.to_le_bytes());
    zip.extend(b"PK\x06\x07\0\0\0\0");
    zip.extend((31 + directory_bytes).to_le_bytes());
    zip.extend(b"\x01\0\0\0");
    zip.extend(&one[one.len() - 22..]);
    let mut reader = Counting(Cursor::new(&zip), 0);
    let outcome = read_directory(&mut reader, &mut Rooms::default().whole.begin());
    assert!(matches!(outcome, Err(IntakeError::TooLarge { actual, .. }) if actual == count));
    assert!(reader.1 < 200_000, "only its end was read: {} bytes", reader.1);
}

#[test]
fn an_archive_that_is_cut_anywhere_is_refused() {
    let zip = zip_of(&[stored("a", b"content"), deflated(&[7; 500]), stored("d/e", b"")]);
    assert_eq!(read_whole(&zip).unwrap().len(), 3);
    for length in 0..zip.len() {
        assert!(read_whole(&zip[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn every_method_of_the_wire_is_unpacked() {
    let content = b"granary ".repeat(40);
    let bzip2 = b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x5a\x03\xb3\x99\x00\x00\
        \x4f\x91\x80\x40\x00\x20\x81\x10\x20\x20\x00\x30\xc0\x02\x95\x0c\
        \x9a\x26\x89\xa2\x78\x4c\x13\x44\xe0\x98\x27\xc5\xdc\x91\x4e\x14\
        \x24\x16\x80\xec\xe6\x40";
    let lzma = b"\x09\x04\x05\x00\x5d\x00\x00\x80\x00\x00\x33\x9c\x88\x46\x94\x1f\
        \xfe\x49\x27\x6c\x11\x79\x8e\x63\x1d\x2f\xff\xff\x8a\x2c\x00\x00";
    let mut with_lzma = packed(14, lzma, &content);
    with_lzma.flags |= 1 << 1;
    let mut members = vec![deflated(&content), packed(12, bzip2, &content), with_lzma];
    if cfg!(feature = "zstd") {
        members.push(packed(93, ZSTD, &content));
    }
    for member in members {
        let read = read_whole(&zip_of(std::slice::from_ref(&member))).unwrap();
        assert_eq!(read[0].1, content, "method {}", member.method);

        // Less, more and other bytes than declared are refused, whatever the method.
        for (length, crc32) in [
            (member.length - 1, member.crc32),
            (member.length + 1, member.crc32),
            (member.length, member.crc32 ^ 1),
            (0, member.crc32),
        ] {
            let lie = Member { crc32, length, ..member.clone() };
            let outcome = read_whole(&zip_of(&[lie]));
            assert!(matches!(outcome, Err(IntakeError::BadMember { .. })), "{length}");
        }
        let half = member.packed[..member.packed.len() / 2].to_vec();
        let cut = Member { packed: half, ..member };
        assert!(matches!(read_whole(&zip_of(&[cut])), Err(IntakeError::BadMember { .. })));
    }
    // A dictionary of 4 GiB for a content that claims to be as long.
    let greedy = Member {
        length: u32::MAX - 1,
        ..packed(14, b"\x09\x04\x05\0\x5d\xff\xff\xff\xff\0\0\0\0\0", b"")
    };
    let zip = [vec![0; 32 << 20], zip_of(&[greedy])].concat();
    assert!(read_whole(&zip).unwrap_err().to_string().contains("dictionary"));
}

/// One raw block after another of so many bytes, in a frame that has a window, or the length of its content in its place.
#[cfg(feature = "zstd")]
fn zstd_frame(head: &[u8], blocks: &[usize]) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd".to_vec();
    frame.extend(head);
    for (at, length) in blocks.iter().enumerate() {
        let is_last = usize::from(at + 1 == blocks.len());
        frame.extend(&(length << 3 | is_last).to_le_bytes()[..3]);
        frame.resize(frame.len() + length, b'g');
    }
    frame
}

#[cfg(feature = "zstd")]
#[test]
fn a_zstd_member_waits_for_much_memory_if_its_frame_asks_for_much() {
    let window = |log: u8| [0, (log - 10) << 3];
    let whole = |bytes: u32| [&[0b1010_0000], bytes.to_le_bytes().as_slice()].concat();
    let block = 128 << 10;
    let large = [vec![block; 64], vec![1]].concat();
    for (frame, length, is_large) in [
        (zstd_frame(&window(26), &[1]), 1, true),
        (zstd_frame(&window(26), &[0, 0, 1]), 1, true),
        (zstd_frame(&whole(64 << 20), &[1]), 1, true),
        (zstd_frame(&window(23), &[1]), 1, false),
        (zstd_frame(&whole(1), &[1]), 1, false),
        (zstd_frame(&window(20), &large), 64 * block + 1, false),
    ] {
        let member = packed(93, &frame, &vec![b'g'; length]);
        let mut reader = Cursor::new(zip_of(&[member]));
        let members = read_directory(&mut reader, &mut Rooms::default().whole.begin()).unwrap();
        let mut opened = open_member(&mut reader, &members[0]).unwrap();
        assert_eq!(opened.has_large_memory(), is_large, "{:?} of {length}", &frame[..9]);
        assert_eq!(opened.read_to_end(&mut Vec::new()).unwrap(), length);
    }
    let beyond = zstd_frame(&window(27), &[1]);
    assert!(refusal(&[packed(93, &beyond, b"g")]).contains("cannot be read"));
}

#[test]
fn a_wrong_crc_is_told_before_the_last_byte() {
    let lie = Member { crc32: 1, ..stored("a", b"content") };
    let zip = zip_of(&[lie]);
    let mut reader = Cursor::new(&zip);
    let members = read_directory(&mut reader, &mut Rooms::default().whole.begin()).unwrap();
    let mut content = open_member(&mut reader, &members[0]).unwrap();
    assert!(content.read_exact(&mut [0; 7]).is_err());
}

#[test]
fn archives_that_declare_too_much_are_refused_before_they_are_unpacked() {
    let bomb = Member { length: 0xffff_0000, ..deflated(b"small") };
    let outcome = read_whole(&zip_of(&[bomb]));
    assert!(matches!(outcome, Err(IntakeError::TooLarge { actual: 0xffff_0000, .. })));

    // A true one, of one long run; a shorter one hurts nobody.
    let zeros = vec![0; 65 << 20];
    let text = refusal(&[deflated(&zeros)]);
    assert!(text.contains("for so few bytes"), "{text}");
    assert!(read_whole(&zip_of(&[deflated(&zeros[..1 << 20])])).is_ok());

    let mut huge = deflated(b"small");
    huge.length = u32::MAX;
    huge.extra = [vec![1, 0, 8, 0], (FILE_BYTES_MAX + 1).to_le_bytes().to_vec()].concat();
    let outcome = read_whole(&zip_of(&[huge.clone()]));
    assert!(matches!(outcome, Err(IntakeError::TooLarge { limit: FILE_BYTES_MAX, .. })));
    huge.extra = vec![];
    assert!(refusal(&[huge]).contains("extra fields"));

    // As many members as an end record of ZIP64 can claim; none of them is there.
    let mut zip = b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0".to_vec();
    zip.extend([0xff; 16]);
    zip.extend([0; 16]);
    zip.extend(b"PK\x06\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0");
    zip.extend(zip_of(&[]));
    let outcome = read_whole(&zip);
    assert!(matches!(outcome, Err(IntakeError::TooLarge { actual: u64::MAX, .. })));
}

#[test]
fn a_directory_that_holds_more_or_less_than_it_says_is_refused() {
    let zip = zip_of(&[stored("a", b""), stored("b", b"")]);
    let count_at = zip.len() - 14;
    for count in [1, 3] {
        let mut zip = zip.clone();
        zip[count_at] = count;
        zip[count_at + 2] = count;
        assert!(matches!(read_whole(&zip), Err(IntakeError::NotAnArchive { .. })));
    }
}

#[test]
fn a_failure_of_our_disk_is_not_the_archives_fault() {
    struct Failing(Cursor<Vec<u8>>, bool);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.1 {
                return Err(io::Error::other("the disk"));
            }
            self.0.read(buffer)
        }
    }
    impl Seek for Failing {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let mut members = vec![stored("a", b"content"), deflated(b"content")];
    if cfg!(feature = "zstd") {
        members.push(packed(93, ZSTD, &b"granary ".repeat(40)));
    }
    for member in members {
        let mut reader = Failing(Cursor::new(zip_of(&[member])), false);
        let members = read_directory(&mut reader, &mut Rooms::default().whole.begin()).unwrap();
        reader.1 = true;
        let outcome = open_member(&mut reader, &members[0]).map(|_| ());
        assert!(matches!(outcome, Err(IntakeError::Mutation(MutationError::Staging { .. }))));
    }
}

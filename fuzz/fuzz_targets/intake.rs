//! Any bytes as an archive: never a panic, and what is accepted keeps the rules of names.
#![no_main]

use std::collections::BTreeSet;

use granary_engine::model::Filename;
use granary_engine::read_archive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(files) = read_archive(bytes) else {
        return;
    };
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), files.len(), "two files have one name");
    for name in &names {
        let filename = Filename::exact(name).expect("a name is not in normal form");
        let below_a_file = filename.directories().any(|directory| names.contains(directory));
        assert!(!below_a_file, "{name:?} lies below a file");
    }
});

//! Any bytes as a zip, tar or tar.gz: never a panic, and what is accepted keeps the rules of names.

use std::collections::BTreeSet;

use granary_engine::model::Filename;
use granary_engine::read_archive;

/// Reads an archive to its end.
pub fn run(bytes: &[u8]) {
    let Ok(files) = read_archive(bytes) else {
        return;
    };
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), files.len(), "two files have one name");
    for name in &names {
        let filename = Filename::exact(name).expect("a name in normal form");
        let below_a_file = filename.directories().any(|directory| names.contains(directory));
        assert!(!below_a_file, "{name:?} lies below a file");
    }
}

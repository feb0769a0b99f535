//! Files of the repository that are made from the code, and the test that keeps them true.

use std::path::Path;

/// Asserts that a file of the repository has this text. With `GRANARY_WRITE_GENERATED=1` in the
/// environment the file is written instead.
#[track_caller]
pub(crate) fn assert_same(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("GRANARY_WRITE_GENERATED").is_some() {
        #[expect(clippy::disallowed_methods, reason = "a file of the repository, by hand")]
        std::fs::write(&path, text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "{file} is not what the code says; write it anew: \
         GRANARY_WRITE_GENERATED=1 cargo test -p granary --lib"
    );
}

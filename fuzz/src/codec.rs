//! Any bytes as any value that the index or the journal keeps: an error or a value, and what was
//! read once reads the same after it was written again.

use granary_engine::fuzzing;

/// The first byte chooses the kind of value, the rest is to be one.
pub fn run(bytes: &[u8]) {
    let Some((&kind, encoded)) = bytes.split_first() else {
        return;
    };
    let kinds = fuzzing::KINDS;
    let (name, recode) = kinds[usize::from(kind) % kinds.len()];
    if let Err(broken) = recode(encoded) {
        panic!("{name}: {broken}");
    }
}

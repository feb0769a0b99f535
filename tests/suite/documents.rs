//! What the documents name is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Names of tests and of files that a page gives in backquotes.
fn named(page: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let code = page.split('`').skip(1).step_by(2);
    let (paths, words): (BTreeSet<_>, BTreeSet<_>) =
        code.filter(|code| !code.contains(' ')).partition(|code| code.contains('.'));
    let is_name = |word: &str| {
        let letters = word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        letters && word.matches('_').count() >= 3
    };
    let plain = words.into_iter().filter(|word| is_name(&word.replace(char::is_numeric, "")));
    (plain.collect(), paths.into_iter().filter(|path| !path.starts_with('/')).collect())
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_tests_that_the_page_on_durability_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/durability.md")).unwrap();
    let (tests, paths) = named(&page);
    assert!(tests.len() > 40, "the page names its tests: {tests:?}");
    let mut found = Vec::new();
    for directory in ["engine/src", "engine/tests", "src", "tests"] {
        sources(&root.join(directory), &mut found);
    }
    let text: String = found.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let gone: Vec<_> = tests.iter().filter(|name| !text.contains(&format!("fn {name}("))).collect();
    assert!(gone.is_empty(), "no such tests: {gone:?}");
    let gone: Vec<_> = paths.iter().filter(|path| !root.join(path).exists()).collect();
    assert!(gone.is_empty(), "no such files: {gone:?}");
}

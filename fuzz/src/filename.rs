//! Any text as a file's name: what is accepted is in normal form, stays so, and leads nowhere
//! above its dataset.

use granary_engine::limits::FILENAME_BYTES_MAX;
use granary_engine::model::{Filename, FilenameError, RequestedFilename};

/// Normalises a name.
pub fn run(bytes: &[u8]) {
    // What is no text does not reach this far; the rest of it may.
    let name = String::from_utf8_lossy(bytes);
    let (filename, is_numbered) = match RequestedFilename::parse(&name) {
        Ok(RequestedFilename::Named(filename)) => (filename, false),
        Ok(RequestedFilename::Numbered(filename)) => (filename, true),
        // A file that was made before may have it.
        Err(FilenameError::TooLong) => return,
        Err(_) => {
            assert_eq!(Filename::exact(&name), None, "{name:?} is refused, and in normal form");
            return;
        }
    };
    assert_eq!(is_numbered, name.ends_with('/'), "{name:?}");
    let text = filename.as_str();
    assert!(text.len() <= name.len() && text.len() <= FILENAME_BYTES_MAX, "{name:?} grew");
    assert_eq!(Filename::exact(text).as_ref(), Some(&filename), "{name:?} is normalised twice");
    assert_eq!(Filename::exact(&name).is_some(), name == text, "{name:?}");
    check_parts(&filename);
    check_unpacked(text);
}

/// No part leads anywhere but down, and the directories are the beginnings of the name.
fn check_parts(filename: &Filename) {
    let text = filename.as_str();
    for part in text.split('/') {
        assert!(!matches!(part, "" | "." | ".."), "{text:?} has the part {part:?}");
        assert!(!part.contains('\0'), "{text:?}");
    }
    let directories: Vec<&str> = filename.directories().collect();
    assert_eq!(directories.len(), text.matches('/').count());
    // Thousands of them cost more than they tell.
    for directory in directories.iter().take(8).chain(directories.last()) {
        let rest = text.strip_prefix(*directory).expect("a beginning");
        assert!(rest.starts_with('/') && rest.len() > 1, "{directory:?} of {text:?}");
        assert!(Filename::exact(directory).is_some(), "{directory:?} of {text:?}");
    }
}

/// Where the system itself would put it is below the directory that it is unpacked to.
fn check_unpacked(text: &str) {
    let top = std::path::Path::new("/top");
    let path = top.join(text);
    assert!(path.starts_with(top) && path != top, "{text:?} leads to {}", path.display());
    let only_down = path.components().skip(1);
    for component in only_down {
        assert!(matches!(component, std::path::Component::Normal(_)), "{text:?}: {component:?}");
    }
}

//! The store of a stopped server, opened by a command.

use std::path::PathBuf;

use granary_engine::{Engine, EngineOptions, OpenError};

use super::open_files::OpenFiles;

/// Opens a store without taking anything away that its server's settings may keep. Blocks.
///
/// # Errors
/// As [`Engine::open`].
pub(crate) fn open_offline(directory: PathBuf) -> Result<Engine, OpenError> {
    // Each upload that goes on has a file open, and one that cannot be opened is given up.
    let segments_open_max = OpenFiles::granted().segments();
    Engine::open(directory, &EngineOptions { segments_open_max, ..EngineOptions::offline() })
}

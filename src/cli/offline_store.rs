//! The store of a stopped server, opened by a command.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, ensure};
use granary_engine::{Engine, EngineOptions, OpenError};

use super::open_files::OpenFiles;

/// Opens a store without taking anything away that its server's settings may keep. Blocks.
///
/// Opening writes, so it is for the user of the system whose the store is: what another one makes
/// there, as root above all, the server could not open.
///
/// # Errors
/// There is none, it is another user's, a server uses it (then `if_in_use` says what to do), or as
/// [`Engine::open`].
pub(crate) fn open_offline(directory: &Path, if_in_use: &'static str) -> anyhow::Result<Engine> {
    open_as(rustix::process::geteuid().as_raw(), directory, if_in_use)
}

/// Looks whether a directory holds a store that this user of the system may open, before anything else of
/// it is read.
///
/// # Errors
/// There is none, or it is another user's.
pub(crate) fn expect_own_store(directory: &Path) -> anyhow::Result<()> {
    expect_store_of(rustix::process::geteuid().as_raw(), directory)
}

fn expect_store_of(user: u32, directory: &Path) -> anyhow::Result<()> {
    let store = std::fs::metadata(directory.join("store"));
    let owner = match store {
        Ok(store) => store.uid(),
        Err(error) => owner_of_closed(directory, error)?,
    };
    ensure!(
        owner == user,
        "{} belongs to the user {owner} of the system; run this as that user, as its server does",
        directory.display()
    );
    Ok(())
}

/// Whose a directory is of which the store cannot be seen, if that is for want of a right.
fn owner_of_closed(directory: &Path, error: io::Error) -> anyhow::Result<u32> {
    let closed = std::fs::metadata(directory).ok();
    let closed = closed.filter(|_| error.kind() == io::ErrorKind::PermissionDenied);
    closed.map(|closed| closed.uid()).ok_or(error).with_context(|| {
        let shown = directory.display();
        format!("there is no store in {shown}; it is no data directory of a granary server")
    })
}

fn open_as(user: u32, directory: &Path, if_in_use: &'static str) -> anyhow::Result<Engine> {
    // Opening would make a store where there is none.
    expect_store_of(user, directory)?;
    // Each upload that goes on has a file open, and one that cannot be opened is given up.
    let segments_open_max = OpenFiles::granted().segments();
    let options = EngineOptions { segments_open_max, ..EngineOptions::offline() };
    Engine::open(directory.to_owned(), &options).map_err(|error| match error {
        OpenError::Locked { .. } => {
            anyhow::Error::new(error).context(format!("a server uses the directory; {if_in_use}"))
        }
        OpenError::Io { .. }
        | OpenError::NotAStore { .. }
        | OpenError::NewerFormat { .. }
        | OpenError::JournalDamaged { .. }
        | OpenError::IndexDamaged { .. } => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_is_opened_by_its_own_user_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(directory.path().to_owned(), &EngineOptions::offline()).unwrap();
        engine.shutdown().await;
        drop(engine);
        let files = || std::fs::read_dir(directory.path().join("journal")).unwrap().count();
        let (ours, before) = (rustix::process::geteuid().as_raw(), files());
        let refused = open_as(ours + 1, directory.path(), "").unwrap_err().to_string();
        let expected = format!("belongs to the user {ours} of the system");
        assert!(refused.contains(&expected), "{refused}");
        assert_eq!(files(), before);
        open_offline(directory.path(), "").unwrap().shutdown().await;
    }

    #[test]
    fn the_owner_of_a_store_that_cannot_be_seen_is_named_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let owner = |kind: io::ErrorKind| owner_of_closed(directory.path(), kind.into());
        let ours = rustix::process::geteuid().as_raw();
        assert_eq!(owner(io::ErrorKind::PermissionDenied).unwrap(), ours);
        let none = owner(io::ErrorKind::NotFound).unwrap_err().to_string();
        assert!(none.starts_with("there is no store in"), "{none}");
    }
}

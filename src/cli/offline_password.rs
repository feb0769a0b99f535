//! A user's password in the data directory of a stopped server: the way back in where nobody knows
//! an administrator's any longer.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use granary_engine::OpenError;
use granary_engine::model::UserPatch;

use super::offline_store::open_offline;

/// Sets the password, and activates the user; gives what was done as a sentence.
///
/// # Errors
/// There is no store or no such user, a server uses the directory, or it is another user's of the
/// system, whose server could not write what we would make there.
pub(crate) async fn set_password_offline(
    directory: &Path,
    username: &str,
    password: String,
) -> anyhow::Result<String> {
    let shown = directory.display();
    // Opening would make a store where there is none.
    let store = std::fs::metadata(directory.join("store"));
    let store = store.with_context(|| format!("there is no store in {shown}"))?;
    let ours = rustix::process::geteuid().as_raw();
    ensure!(
        store.uid() == ours,
        "{shown} belongs to the user {} of the system; run this as that user, as its server does",
        store.uid()
    );
    let (store, username) = (directory.to_path_buf(), username.to_owned());
    let work = move || -> anyhow::Result<String> {
        let engine = open_offline(store).map_err(|error| match error {
            OpenError::Locked { .. } => anyhow::Error::new(error)
                .context("a server uses the directory; stop it first, or leave --data out"),
            OpenError::Io { .. }
            | OpenError::NotAStore { .. }
            | OpenError::NewerFormat { .. }
            | OpenError::JournalDamaged { .. }
            | OpenError::IndexDamaged { .. } => error.into(),
        })?;
        let Some(user) = engine.snapshot()?.user_by_name(&username)? else {
            let users = engine.snapshot()?;
            let users = users.users()?.filter_map(Result::ok);
            let administrators: Vec<String> =
                users.filter(|user| user.is_staff).map(|user| user.username).collect();
            bail!(
                "there is no user {username:?} in it; its administrators are {}",
                administrators.join(", ")
            );
        };
        let password_hash = Some(granary::auth::hash_password(&password)?);
        let patch = UserPatch { password_hash, is_active: Some(true), ..UserPatch::default() };
        let runtime = tokio::runtime::Handle::current();
        let changed = runtime.block_on(engine.update_user(user.id, patch));
        runtime.block_on(engine.shutdown());
        let changed = changed?;
        let rights = if changed.is_staff { "an administrator" } else { "no administrator" };
        Ok(format!("set the password of user {username}, who is active and {rights}"))
    };
    tokio::task::spawn_blocking(work).await.context("setting the password broke")?
}

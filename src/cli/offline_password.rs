//! A user's password in the data directory of a stopped server: the way back in where nobody knows
//! an administrator's any longer.

use std::path::Path;

use anyhow::{Context, bail};
use granary_engine::model::{Origin, User, UserId, UserPatch};

use super::catalogue::is_pk;
use super::complain;
use super::offline_store::open_offline;

/// What the audit log calls it.
const ACTION: &str = "reset_password_offline";

/// Sets the password of a user who is named by primary key, or else by name, and activates them; gives who it
/// is.
///
/// # Errors
/// There is no such user, or as [`open_offline`].
pub(crate) async fn set_password_offline(
    directory: &Path,
    named: &str,
    password: String,
) -> anyhow::Result<User> {
    let (store, named) = (directory.to_path_buf(), named.to_owned());
    let work = move || -> anyhow::Result<User> {
        let engine = open_offline(&store, "stop it first, or leave --data out")?;
        let snapshot = engine.snapshot()?;
        let key = named.parse().ok().filter(|_| is_pk(&named));
        let mut user = key.map(|key| snapshot.user(UserId(key))).transpose()?.flatten();
        if user.is_none() {
            // A name may consist of digits, too.
            user = snapshot.user_by_name(&named)?;
        }
        let Some(user) = user else {
            let users = snapshot.users()?.filter_map(Result::ok).filter(|user| user.is_staff);
            let shown = users.map(|user| format!("{} ({})", user.username, user.id));
            let administrators: Vec<String> = shown.collect();
            bail!(
                "there is no user {named:?} in it; its administrators are {}",
                administrators.join(", ")
            );
        };
        drop(snapshot);
        let password_hash = Some(granary::auth::hash_password(&password)?);
        let patch = UserPatch { password_hash, is_active: Some(true), ..UserPatch::default() };
        let runtime = tokio::runtime::Handle::current();
        let audited = engine.clone().on_behalf_of(Origin::of_the_server(ACTION));
        let changed = runtime.block_on(audited.update_user(user.id, patch));
        runtime.block_on(engine.shutdown());
        let changed = changed?;
        if let Err(error) = granary::remove_first_password_of(&store, &changed) {
            complain(format_args!(
                "cannot remove the file with the first password, which is no longer right: {error}"
            ));
        }
        Ok(changed)
    };
    tokio::task::spawn_blocking(work).await.context("setting the password broke")?
}

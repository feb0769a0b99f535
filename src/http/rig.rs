//! A server without a socket, for tests of what waits or outlives a state, which through the router takes long.

use std::sync::Arc;

use granary_engine::model::{NewUser, User};
use granary_engine::{Engine, EngineOptions};

use super::state::AppState;
use crate::auth::load_or_create_key;
use crate::permission::{Principal, Reach};

/// A server over an empty store, which goes with the directory.
pub(super) fn server() -> (tempfile::TempDir, Engine, AppState) {
    let directory = tempfile::tempdir().unwrap();
    let options = EngineOptions { arbiters: 1, ..EngineOptions::default() };
    let engine = Engine::open(directory.path().to_owned(), &options).unwrap();
    let key = load_or_create_key(directory.path()).unwrap();
    let app = AppState::new(engine.clone(), key).unwrap();
    (directory, engine, app)
}

/// Somebody who may do everything.
pub(super) async fn administrator(engine: &Engine, app: &AppState) -> (Arc<User>, Principal) {
    let user = NewUser {
        username: "admin".into(),
        password_hash: String::new(),
        first_name: String::new(),
        last_name: String::new(),
        email: String::new(),
        is_superuser: true,
        is_staff: true,
        is_active: true,
    };
    let user = Arc::new(engine.create_user(user).await.unwrap());
    let (reach, as_of) = (Reach::Whole, app.as_of());
    (Arc::clone(&user), Principal::User { user, node: None, reach, as_of })
}

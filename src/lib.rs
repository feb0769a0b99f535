//! Stand-in for the HTTP edge, which another branch holds.

use std::fmt;
use std::path::Path;

use granary_engine::Engine;

/// State.
#[derive(Debug, Clone)]
pub struct AppState;
impl AppState {
    /// New.
    pub fn new(_: Engine, _: auth::TokenKey) -> anyhow::Result<Self> {
        Ok(Self)
    }
}
/// Router.
pub fn router(_: AppState) -> axum::Router {
    axum::Router::new()
}
/// First.
#[derive(Debug)]
pub struct FirstStart;
impl fmt::Display for FirstStart {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
/// Bootstrap.
pub async fn bootstrap(
    _: &Engine,
    _: &Path,
    _: Option<String>,
) -> anyhow::Result<Option<FirstStart>> {
    Ok(None)
}

/// Auth.
pub mod auth {
    /// Key.
    #[derive(Debug)]
    pub struct TokenKey;
    /// Load.
    pub fn load_or_create_key(_: &std::path::Path) -> std::io::Result<TokenKey> {
        Ok(TokenKey)
    }
}

//! `AppState`: what every handler may use, and the one way to the engine.

use std::sync::Arc;
use std::time::Duration;

use granary_engine::{Engine, Health, ReadError, Snapshot, Spool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use super::headers::Origins;
use super::inflow::usual_pace;
use super::kept_backups::KeptBackups;
use super::limits::{LARGE_BODIES_MAX, SORTED_LISTS_MAX, SPOOLED_ANSWERS_MAX, TURN_WAIT_MAX};
use super::refused_uploads::RefusedUploads;
use crate::auth::{LoginBounds, LoginLimits, PasswordError, Passwords, TokenKey};
use crate::checks::Checks;
use crate::networks::Networks;
use crate::pace::Pace;
use crate::permission::{Allowed, Principal};

/// The engine, the keys and the bounds of the HTTP edge; clones are handles to the same.
#[derive(Debug, Clone)]
pub struct AppState {
    engine: Engine,
    tokens: TokenKey,
    passwords: Passwords,
    /// Answers of unbounded size that are under way.
    spooled_answers: Arc<Semaphore>,
    /// Large bodies that are in memory.
    large_bodies: Arc<Semaphore>,
    /// Lists that are being sorted.
    sorted_lists: Arc<Semaphore>,
    backups: KeptBackups,
    /// What bodies must bring.
    body_pace: Pace,
    checks: Checks,
    refused_uploads: RefusedUploads,
    outside: Arc<Outside>,
    login_limits: LoginLimits,
}

/// How the server faces those outside.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Whether connections are encrypted.
    pub is_encrypted: bool,
    /// Pages of which other origins may ask.
    pub origins: Origins,
    /// Proxies that are believed when they say whom they speak for.
    pub trusted_proxies: Networks,
    /// How often logins may fail.
    pub logins: LoginBounds,
}

impl AppState {
    /// Puts a state together. Blocks for some 20 ms, as it hashes a password.
    ///
    /// # Errors
    /// Passwords cannot be hashed on this system.
    pub fn new(engine: Engine, tokens: TokenKey) -> Result<Self, PasswordError> {
        Ok(Self {
            engine,
            tokens,
            passwords: Passwords::new()?,
            spooled_answers: Arc::new(Semaphore::new(SPOOLED_ANSWERS_MAX)),
            large_bodies: Arc::new(Semaphore::new(LARGE_BODIES_MAX)),
            sorted_lists: Arc::new(Semaphore::new(SORTED_LISTS_MAX)),
            backups: KeptBackups::default(),
            body_pace: usual_pace(),
            checks: Checks::default(),
            refused_uploads: RefusedUploads::default(),
            outside: Arc::default(),
            login_limits: LoginLimits::new(LoginBounds::default()),
        })
    }

    /// Asks another pace of bodies than the usual one.
    #[must_use]
    pub fn with_body_pace(self, body_pace: Pace) -> Self {
        Self { body_pace, ..self }
    }

    /// Faces those outside in another way than the usual one.
    #[must_use]
    pub fn with_outside(self, outside: Outside) -> Self {
        let login_limits = LoginLimits::new(outside.logins);
        Self { outside: Arc::new(outside), login_limits, ..self }
    }

    pub(super) fn outside(&self) -> &Outside {
        &self.outside
    }

    pub(super) fn trusted_proxies(&self) -> &Networks {
        &self.outside.trusted_proxies
    }

    pub(crate) fn login_limits(&self) -> &LoginLimits {
        &self.login_limits
    }

    pub(super) fn body_pace(&self) -> Pace {
        self.body_pace
    }

    /// The engine, for who has a permission.
    pub(crate) fn engine(&self, _permission: &Allowed) -> &Engine {
        &self.engine
    }

    /// One committed state; what of it a caller may see is for the permissions to say.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, ReadError> {
        self.engine.snapshot()
    }

    pub(crate) fn tokens(&self) -> &TokenKey {
        &self.tokens
    }

    /// The backups under way.
    pub(crate) fn backups(&self) -> &KeptBackups {
        &self.backups
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    pub(crate) fn health(&self) -> Health {
        self.engine.health()
    }

    pub(crate) fn checks(&self) -> &Checks {
        &self.checks
    }

    /// The uploads that were refused for their token.
    pub(super) fn refused_uploads(&self) -> &RefusedUploads {
        &self.refused_uploads
    }

    pub(crate) fn spool(&self) -> Spool {
        self.engine.spool()
    }

    /// Remembers when a principal was here last.
    pub(crate) fn touch(&self, principal: &Principal) {
        if let Some(user) = principal.user_id() {
            self.engine.touch_login(user);
        }
        if let Some(token) = principal.access_token() {
            self.engine.touch_access_token(token);
        }
        if let Some(node) = principal.node() {
            self.engine.touch_node(node);
        }
    }

    /// Waits for leave to render an answer of unbounded size.
    pub(crate) async fn spooled_answer_turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        turn(&self.spooled_answers, TURN_WAIT_MAX).await
    }

    /// Waits for leave to hold a large body in memory.
    pub(crate) async fn large_body_turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        turn(&self.large_bodies, TURN_WAIT_MAX).await
    }

    /// Waits for leave to sort a list.
    pub(crate) async fn sorted_list_turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        turn(&self.sorted_lists, TURN_WAIT_MAX).await
    }
}

async fn turn(turns: &Arc<Semaphore>, wait: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
    match tokio::time::timeout(wait, Arc::clone(turns).acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        // The semaphores are never closed, so only time can run out.
        Ok(Err(_)) | Err(_) => {
            Err(ApiError::unavailable("Too many requests of this kind are under way."))
        }
    }
}

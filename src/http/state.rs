//! `AppState`: what every handler may use, and the one way to the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use granary_engine::{Engine, Figures, Health, ReadError, Snapshot, Spool, Turn, Turns};

use super::access_log::AccessLog;
use super::actions;
use super::error::ApiError;
use super::exchange::{self, Exchange};
use super::headers::Origins;
use super::health::Condition;
use super::inflow::usual_pace;
use super::kept_backups::KeptBackups;
use super::known_users::KnownUsers;
use super::limits::{
    ANSWER_BYTES, CATCHING_UP_MAX, LARGE_BODIES_BYTES, LARGE_BODIES_KEPT_BYTES, OUTGOING_BYTES,
    SCRAPES_MAX, SORTED_LISTS_MAX, SPOOLED_ANSWERS_MAX, TURN_WAIT_MAX, TURNS_WAITING_MAX,
};
use super::outgoing::Outgoing;
use super::refused_uploads::RefusedUploads;
use super::witness::Witness;
use crate::auth::{LoginBounds, LoginLimits, PasswordError, Passwords, TokenKey};
use crate::checks::Checks;
use crate::config::MetricsAccess;
use crate::metrics::{Connections, Metrics, Work};
use crate::networks::Networks;
use crate::pace::Pace;
use crate::permission::{Allowed, AsOf, Principal};

/// Actions that need not wait for files that were added just now, see [`AppState::caught_up_for`].
pub(super) const ADD_FILE: &str = "files_add_file";
pub(super) const GET_FILE: &str = "files_get_file";

/// Bytes of a unit of memory that large bodies take turns at.
const MEMORY_UNIT_BYTES: usize = 64 << 10;

/// The engine, the keys and the bounds of the HTTP edge; clones are handles to the same, of which the
/// router makes several for each request.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    engine: Engine,
    tokens: TokenKey,
    passwords: Passwords,
    /// Memory for contents on their way out.
    outgoing: Outgoing,
    /// Answers of unbounded size that are rendered.
    spooled_answers: Turns,
    /// Those that are too long for memory, on their way out.
    long_answers: Turns,
    /// The same of what was changed.
    long_answers_after_changes: Turns,
    /// Memory for those that are not.
    answers: Outgoing,
    /// The memory of large bodies that come, in units.
    large_bodies: Turns,
    /// The memory of those that are parsed, in units.
    large_bodies_kept: Turns,
    /// Large bodies of those who are not logged in, that are read and parsed.
    strangers_large_bodies: Turns,
    /// Lists that are being sorted.
    sorted_lists: Turns,
    /// Numbers that are being rendered.
    scrapes: Turns,
    backups: KeptBackups,
    /// What bodies must bring.
    body_pace: Pace,
    checks: Checks,
    refused_uploads: RefusedUploads,
    /// Who asked not long ago.
    known_users: Arc<KnownUsers>,
    outside: Arc<Outside>,
    login_limits: LoginLimits,
    observers: Arc<Observers>,
    metrics_access: MetricsAccess,
    /// Whether files that are added one by one have entries in the audit log.
    audits_additions: bool,
    /// Set when the server is told to stop.
    draining: Arc<AtomicBool>,
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

/// Who looks at requests from outside of all handlers.
#[derive(Debug, Clone)]
pub(crate) struct Observers {
    pub(crate) metrics: Arc<Metrics>,
    pub(super) access_log: Arc<AccessLog>,
    outside: Arc<Outside>,
    /// Where there is a store.
    witness: Option<Arc<Witness>>,
}

impl Observers {
    /// Nothing was seen yet, and there is no store.
    pub(super) fn new() -> Self {
        Self {
            metrics: Arc::new(Metrics::new(actions::names())),
            access_log: Arc::default(),
            outside: Arc::default(),
            witness: None,
        }
    }

    /// Nothing was seen yet, and this store's audit log is told of what is no change of it.
    fn of(engine: &Engine) -> Self {
        Self { witness: Some(Arc::new(Witness::new(engine.clone()))), ..Self::new() }
    }

    pub(super) fn trusted_proxies(&self) -> &Networks {
        &self.outside.trusted_proxies
    }

    /// Tells the audit log of a request that changed nothing, if it is to know of it.
    pub(super) async fn witness(&self, exchange: &Exchange, status: StatusCode) {
        if let Some(witness) = &self.witness {
            witness.look_at(exchange, status).await;
        }
    }
}

impl AppState {
    /// Puts a state together. Blocks for some 20 ms, as it hashes a password.
    ///
    /// # Errors
    /// Passwords cannot be hashed on this system.
    pub fn new(engine: Engine, tokens: TokenKey) -> Result<Self, PasswordError> {
        let observers = Arc::new(Observers::of(&engine));
        Ok(Self(Arc::new(Parts {
            engine,
            tokens,
            passwords: Passwords::new()?,
            outgoing: Outgoing::new(OUTGOING_BYTES),
            spooled_answers: turns(SPOOLED_ANSWERS_MAX),
            long_answers: turns(SPOOLED_ANSWERS_MAX),
            long_answers_after_changes: turns(SPOOLED_ANSWERS_MAX),
            answers: Outgoing::new(ANSWER_BYTES),
            large_bodies: turns(LARGE_BODIES_BYTES / MEMORY_UNIT_BYTES),
            large_bodies_kept: turns(LARGE_BODIES_KEPT_BYTES / MEMORY_UNIT_BYTES),
            strangers_large_bodies: turns(1),
            sorted_lists: turns(SORTED_LISTS_MAX),
            scrapes: turns(SCRAPES_MAX),
            backups: KeptBackups::default(),
            body_pace: usual_pace(),
            checks: Checks::default(),
            refused_uploads: RefusedUploads::default(),
            known_users: Arc::new(KnownUsers::nobody()),
            outside: Arc::default(),
            login_limits: LoginLimits::new(LoginBounds::default()),
            observers,
            metrics_access: MetricsAccess::Open,
            audits_additions: true,
            draining: Arc::default(),
        })))
    }

    /// The same with something else of it; for before anybody is served.
    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Asks another pace of bodies than the usual one.
    #[must_use]
    pub fn with_body_pace(self, body_pace: Pace) -> Self {
        self.with(|parts| parts.body_pace = body_pace)
    }

    /// Faces those outside in another way than the usual one.
    #[must_use]
    pub fn with_outside(self, outside: Outside) -> Self {
        self.with(|parts| {
            parts.login_limits = LoginLimits::new(outside.logins);
            parts.outside = Arc::new(outside);
            Arc::make_mut(&mut parts.observers).outside = Arc::clone(&parts.outside);
        })
    }

    pub(super) fn outside(&self) -> &Outside {
        &self.0.outside
    }

    pub(super) fn trusted_proxies(&self) -> &Networks {
        &self.0.outside.trusted_proxies
    }

    pub(crate) fn login_limits(&self) -> &LoginLimits {
        &self.0.login_limits
    }

    /// Lets others read the metrics than everybody.
    #[must_use]
    pub fn with_metrics(self, metrics_access: MetricsAccess) -> Self {
        self.with(|parts| parts.metrics_access = metrics_access)
    }

    /// Logs another number of requests a second at most than the usual one.
    #[must_use]
    pub fn with_access_log(self, lines_a_second: u64) -> Self {
        self.with(|parts| {
            let observers = Arc::make_mut(&mut parts.observers);
            observers.access_log = Arc::new(AccessLog::new(lines_a_second));
        })
    }

    /// Says whether files that are added one by one have entries in the audit log; otherwise they do.
    #[must_use]
    pub fn with_audit_of_additions(self, audits_additions: bool) -> Self {
        self.with(|parts| parts.audits_additions = audits_additions)
    }

    /// Where connections to this server are counted.
    pub fn connections(&self) -> Arc<Connections> {
        Arc::clone(&self.0.observers.metrics.connections)
    }

    /// Tells everybody who asks that the server stops; requests are answered as before.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    pub(super) fn body_pace(&self) -> Pace {
        self.0.body_pace
    }

    /// How many changes of rights there have been.
    pub(super) fn as_of(&self) -> AsOf {
        AsOf { rights: self.0.engine.rights_version(), key: self.tokens().rotations() }
    }

    /// The engine, for who has a permission, and still has it: what a request was permitted when it
    /// began it may not any longer when its body has come. The changes that it is asked for enter the
    /// audit log as those of the request that this task answers.
    ///
    /// # Errors
    /// 401 or 403: see [`AppState::expect_still`].
    pub(crate) fn engine(&self, permission: &Allowed) -> Result<Engine, ApiError> {
        let engine = self.engine_to_read(permission)?.clone();
        Ok(match exchange::current().filter(|exchange| !exchange.method().is_safe()) {
            Some(exchange) => engine.on_behalf_of(exchange.origin(exchange.action().1)),
            None => engine,
        })
    }

    /// As [`Self::engine`], for who asks for no change of it.
    pub(super) fn engine_to_read(&self, permission: &Allowed) -> Result<&Engine, ApiError> {
        self.expect_still(permission)?;
        Ok(&self.0.engine)
    }

    /// As [`Self::engine`], to add a file, which enters the audit log unless the operator does
    /// without.
    pub(super) fn engine_to_add(&self, permission: &Allowed) -> Result<Engine, ApiError> {
        if self.0.audits_additions {
            return self.engine(permission);
        }
        Ok(self.engine_to_read(permission)?.clone())
    }

    /// One committed state, with all that was answered before the request came, but for the few
    /// actions that do without ([`AppState::caught_up_for`]); what of it a caller may see is for the
    /// permissions to say.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, ReadError> {
        self.0.engine.snapshot_as_applied()
    }

    /// Waits until [`AppState::snapshot`] shows all that was answered, if this action needs it.
    ///
    /// Files that were added without replacing any are all that may lack, and contents that heal damaged
    /// ones. An upload stands on what its dataset's actor knows, which lacks nothing; a file that is
    /// found is the right one if nothing is damaged, so who looks for one waits only if there is none;
    /// and how the server is has to be told above all where it waits.
    ///
    /// # Errors
    /// 503: the index is far behind.
    pub(super) async fn caught_up_for(&self, action: &str) -> Result<(), ApiError> {
        if self.is_caught_up() || actions::is_of_the_server(action) || action == ADD_FILE {
            return Ok(());
        }
        if action == GET_FILE && !self.0.engine.has_damage() {
            return Ok(());
        }
        self.caught_up().await
    }

    /// Whether [`AppState::snapshot`] shows all that was answered before this is asked.
    pub(super) fn is_caught_up(&self) -> bool {
        self.0.engine.is_caught_up()
    }

    /// Waits until [`AppState::snapshot`] shows all that was answered.
    ///
    /// # Errors
    /// 503: the index is far behind.
    pub(super) async fn caught_up(&self) -> Result<(), ApiError> {
        let waited = tokio::time::timeout(CATCHING_UP_MAX, self.0.engine.caught_up()).await;
        waited.map_err(|_elapsed| {
            ApiError::unavailable("The server is behind with files that were added just now; ask again in a few seconds")
        })
    }

    pub(crate) fn tokens(&self) -> &TokenKey {
        &self.0.tokens
    }

    /// The backups under way.
    pub(crate) fn backups(&self) -> &KeptBackups {
        &self.0.backups
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    pub(crate) fn observers(&self) -> &Arc<Observers> {
        &self.0.observers
    }

    pub(crate) fn metrics_access(&self) -> MetricsAccess {
        self.0.metrics_access
    }

    /// The numbers of the store.
    pub(crate) fn figures(&self) -> Figures {
        self.0.engine.figures()
    }

    /// Work of the HTTP edge of which only so much is done at once, see `Scrape`.
    pub(crate) fn works(&self) -> Vec<Work> {
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        let work = |name, turns: &Turns| {
            let (running, limit) = turns.working();
            let (running, limit) = (number(running), number(limit));
            Work { name, running, limit, refused: turns.refused() }
        };
        vec![
            work("spooled_answers", &self.0.spooled_answers),
            work("long_answers", &self.0.long_answers),
            work("long_answers_after_changes", &self.0.long_answers_after_changes),
            work("large_bodies", &self.0.large_bodies),
            work("large_bodies_kept", &self.0.large_bodies_kept),
            work("strangers_large_bodies", &self.0.strangers_large_bodies),
            work("sorted_lists", &self.0.sorted_lists),
            work("scrapes", &self.0.scrapes),
            work("logins", self.0.passwords.turns()),
        ]
    }

    /// How the server is.
    pub(crate) fn condition(&self) -> Condition {
        Condition::of(self)
    }

    /// Bytes that are left on the disk, if it tells, and below which the server is nearly full.
    pub(super) fn space(&self) -> (Option<u64>, u64) {
        let available = self.0.engine.space().ok().map(|space| space.available);
        (available, self.0.engine.reserve_bytes().saturating_mul(2))
    }

    pub(crate) fn health(&self) -> Health {
        self.0.engine.health()
    }

    pub(crate) fn checks(&self) -> &Checks {
        &self.0.checks
    }

    /// The uploads that were refused for their token.
    pub(super) fn known_users(&self) -> &KnownUsers {
        &self.0.known_users
    }

    pub(super) fn refused_uploads(&self) -> &RefusedUploads {
        &self.0.refused_uploads
    }

    pub(crate) fn spool(&self) -> Spool {
        self.0.engine.spool()
    }

    /// Remembers when a principal was here last.
    pub(crate) fn touch(&self, principal: &Principal) {
        if let Some(user) = principal.user_id() {
            self.0.engine.touch_login(user);
        }
        if let Some(token) = principal.access_token() {
            self.0.engine.touch_access_token(token);
        }
        if let Some(node) = principal.node() {
            self.0.engine.touch_node(node);
        }
    }

    /// Memory for contents on their way out.
    pub(super) fn outgoing(&self) -> &Outgoing {
        &self.0.outgoing
    }

    /// Waits for leave to render an answer of unbounded size, or to look for one without bounds.
    pub(crate) async fn spooled_answer_turn(&self) -> Result<Turn, ApiError> {
        granted(self.0.spooled_answers.take().await)
    }

    /// As [`Self::spooled_answer_turn`], of what was changed: who is refused cannot just come again.
    pub(crate) async fn spooled_answer_turn_after_all(&self) -> Option<Turn> {
        self.0.spooled_answers.take_after_all().await
    }

    /// Waits for leave to send an answer that is too long for memory.
    pub(crate) async fn long_answer_turn(&self) -> Result<Turn, ApiError> {
        granted(self.0.long_answers.take().await)
    }

    /// The same, of what was changed, which nobody who reads keeps waiting; `None` if none came in time.
    pub(crate) async fn long_answer_turn_after_change(&self) -> Option<Turn> {
        self.0.long_answers_after_changes.take().await
    }

    /// Memory for other answers than contents on their way out.
    pub(super) fn answers(&self) -> &Outgoing {
        &self.0.answers
    }

    /// Waits for so much of the memory of large bodies that are parsed.
    pub(super) async fn large_body_memory(&self, bytes: usize) -> Result<Turn, ApiError> {
        granted(self.0.large_bodies_kept.take_many(units(bytes)).await)
    }

    /// So much of the memory that was taken for a body; the rest is given back.
    pub(super) fn shrunk_memory(memory: Turn, bytes: usize) -> Turn {
        memory.shrunk_to(bytes.div_ceil(MEMORY_UNIT_BYTES))
    }

    /// Waits for memory for so many bytes of a large body that have come, of somebody who is known.
    pub(super) async fn coming_body_memory(&self, bytes: usize) -> Result<Turn, ApiError> {
        granted(self.0.large_bodies.take_many(units(bytes)).await)
    }

    /// The same once more have come, where it is free: `held` of them have memory.
    pub(super) fn more_body_memory(
        &self,
        memory: Turn,
        held: usize,
        bytes: usize,
    ) -> Result<Turn, ApiError> {
        match units(bytes).saturating_sub(units(held)) {
            0 => Ok(memory),
            more => granted(self.0.large_bodies.take_more(memory, more)),
        }
    }

    /// Waits for leave to read a stranger's large body.
    pub(crate) async fn strangers_body_turn(&self) -> Result<Turn, ApiError> {
        granted(self.0.strangers_large_bodies.take().await)
    }

    /// Waits for leave to sort a list.
    pub(crate) async fn sorted_list_turn(&self) -> Result<Turn, ApiError> {
        granted(self.0.sorted_lists.take().await)
    }

    /// Waits for leave to render the numbers.
    pub(super) async fn scrape_turn(&self) -> Result<Turn, ApiError> {
        granted(self.0.scrapes.take().await)
    }
}

/// The units of memory that so many bytes take.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(MEMORY_UNIT_BYTES)).unwrap_or(u32::MAX)
}

fn turns(at_once: usize) -> Turns {
    Turns::new(at_once, TURNS_WAITING_MAX, TURN_WAIT_MAX)
}

fn granted(turn: Option<Turn>) -> Result<Turn, ApiError> {
    turn.ok_or_else(|| ApiError::unavailable("Too many requests of this kind are under way."))
}

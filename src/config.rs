//! What the server runs with: one table of settings, and where their values come from.
//!
//! A value comes from the table's default, the configuration file, the environment or the command
//! line; each is stronger than those before. The table ([`SETTINGS`]) is the only place that knows
//! a setting's name: key, variable, flag, `granary.example.toml` and `docs/settings.md` follow from
//! it. A new setting is a field of [`Config`] and a row of the table.

mod document;

mod file;

mod load;

mod setting;

mod table;

mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(test)]
pub(crate) use document::wrapped;
pub use document::{example, reference};
pub use load::{ConfigFaults, Given, Loaded, Origin, load};
pub use setting::{Kind, Setting};
pub use table::SETTINGS;
pub use value::size;

use crate::{Networks, Origins};

/// The values of all settings; what each means stands in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table of settings documents each")]
pub struct Config {
    pub data: PathBuf,
    pub listen: SocketAddr,
    pub admin_password_file: Option<PathBuf>,
    pub purge_after: Option<Duration>,
    /// Bytes.
    pub index_cache: u64,
    pub archives: u64,
    pub archive_level: u64,
    pub connections: u64,
    /// Bytes a second.
    pub body_rate: u64,
    /// Bytes a second.
    pub scrub_rate: u64,
    pub trusted_proxies: Networks,
    pub tls_certificate_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    pub cors_origins: Origins,
    pub login_failures_per_account: u64,
    pub login_failures_per_address: u64,
    pub login_failure_window: Duration,
    pub upload_expiry: Duration,
    /// Bytes.
    pub upload_bytes: u64,
    /// Whether files that are added one by one have entries in the audit log.
    pub audit_additions: bool,
    /// How long entries of the audit log are kept.
    pub audit_keep: Duration,
    /// Bytes that the audit log takes at most.
    pub audit_bytes: u64,
    pub metrics: MetricsAccess,
    pub shutdown_grace: Duration,
    pub log_filter: String,
    pub log_format: LogFormat,
    /// Lines a second.
    pub log_requests: u64,
}

/// Who may read `/metrics`, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Whoever reaches the server.
    Open,
    /// Administrators.
    Admin,
    /// Nobody.
    Off,
    /// Whoever reaches this address, which serves nothing else of weight.
    At(SocketAddr),
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl Config {
    /// Values that are there before the table's defaults are.
    fn blank() -> Self {
        Self {
            data: PathBuf::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_password_file: None,
            purge_after: None,
            index_cache: 0,
            archives: 0,
            archive_level: 0,
            connections: 0,
            body_rate: 0,
            scrub_rate: 0,
            trusted_proxies: Networks::default(),
            tls_certificate_file: None,
            tls_key_file: None,
            cors_origins: Origins::default(),
            login_failures_per_account: 0,
            login_failures_per_address: 0,
            login_failure_window: Duration::ZERO,
            upload_expiry: Duration::ZERO,
            upload_bytes: 0,
            audit_additions: false,
            audit_keep: Duration::ZERO,
            audit_bytes: 0,
            metrics: MetricsAccess::Off,
            shutdown_grace: Duration::ZERO,
            log_filter: String::new(),
            log_format: LogFormat::Text,
            log_requests: 0,
        }
    }
}

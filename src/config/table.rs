//! The table of settings. Those without a section come first, as TOML wants it.

use std::time::Duration;

use super::setting::{Kind, Setting};
use super::{LogFormat, MetricsAccess, value};

/// Longest time that a setting takes: a hundred years, since the clocks' own range ends somewhere.
const EVER: Duration = Duration::from_hours(24 * 36_525);

/// Every setting of the server.
pub static SETTINGS: &[Setting] = &[
    Setting {
        key: "data",
        older_variable: None,
        default: Some("./granary-data"),
        kind: Kind::Directory { place: |config| &mut config.data },
        about: "Directory that holds everything; made if there is none.",
    },
    Setting {
        key: "listen",
        older_variable: None,
        default: Some("127.0.0.1:8000"),
        kind: Kind::Other {
            name: "ADDR",
            expected: "an IP address and a port, such as 0.0.0.0:8000 or [::]:8000",
            read: |config, text| {
                let address = text.trim().parse();
                config.listen = address.map_err(|_error| format!("'{text}' is no address"))?;
                Ok(())
            },
        },
        about: "Address and port to listen on; port 0 takes a free one.",
    },
    Setting {
        key: "admin_password_file",
        older_variable: None,
        default: None,
        kind: Kind::File { place: |config| &mut config.admin_password_file },
        about: "File that holds the first password of the user `admin`, a line break at its end left \
                out. It counts at the first start only, and need not be there afterwards. Without it \
                the password is GRANARY_ADMIN_PASSWORD, or a random one that is printed once and \
                written to `admin-password` in the data directory.",
    },
    Setting {
        key: "purge_after",
        older_variable: None,
        default: Some("off"),
        kind: Kind::TimeOrOff {
            min: Duration::from_secs(1),
            max: EVER,
            place: |config| &mut config.purge_after,
        },
        about: "Removes soft-deleted datasets for good so long after their deletion, such as 30d \
                or 12h. The log announces each before. Off, they stay until somebody removes them.",
    },
    Setting {
        key: "index_cache",
        older_variable: None,
        default: Some("256 MiB"),
        kind: Kind::Size { min: 16 << 20, max: 1 << 40, place: |config| &mut config.index_cache },
        about: "Memory that caches pages of the index.",
    },
    Setting {
        key: "archives",
        older_variable: None,
        default: Some("64"),
        // Each archive keeps a thread, of which the process has some hundreds.
        kind: Kind::Number { min: 1, max: 256, place: |config| &mut config.archives },
        about: "Archives that are built at the same time; others wait for up to ten seconds.",
    },
    Setting {
        key: "archive_level",
        older_variable: None,
        default: Some("6"),
        kind: Kind::Number { min: 1, max: 9, place: |config| &mut config.archive_level },
        about: "How hard tar.gz and deflated zip archives are compressed: 1 is fast, 9 is small.",
    },
    Setting {
        key: "connections",
        older_variable: None,
        default: Some("16384"),
        kind: Kind::Number { min: 1, max: 1_000_000, place: |config| &mut config.connections },
        about: "Connections at the same time; for the next one, the one that has been idle longest \
                goes. There are fewer where the system grants few open files.",
    },
    Setting {
        key: "body_rate",
        older_variable: None,
        default: Some("256 B"),
        kind: Kind::Size { min: 0, max: 1 << 30, place: |config| &mut config.body_rate },
        about: "What the body of a request must bring in a second, on average of a minute in which \
                it is waited for; less is refused with 408. With 0 only a minute of silence is.",
    },
    Setting {
        key: "upload_expiry",
        older_variable: None,
        default: Some("3d"),
        kind: Kind::Time {
            min: Duration::from_secs(1),
            max: Duration::from_hours(24 * 365),
            place: |config| &mut config.upload_expiry,
        },
        about: "How long an upload that can be resumed is kept after its last bytes came; then \
                what has come of it goes.",
    },
    Setting {
        key: "upload_bytes",
        older_variable: None,
        default: Some("2 TiB"),
        kind: Kind::Size { min: 1 << 20, max: 1 << 60, place: |config| &mut config.upload_bytes },
        about: "Bytes that all unfinished uploads which can be resumed may announce together; one \
                user may announce half of it.",
    },
    Setting {
        key: "scrub_rate",
        older_variable: None,
        default: Some("8 MiB"),
        kind: Kind::Size { min: 0, max: 1 << 40, place: |config| &mut config.scrub_rate },
        about: "Bytes a second that the scrub reads at most. Once a week it reads all contents in \
                the background and puts what is damaged into quarantine. With 0 it does so only \
                when `granary scrub --now` asks for it.",
    },
    Setting {
        key: "metrics",
        older_variable: None,
        default: Some("open"),
        kind: Kind::Other {
            name: "WHO",
            expected: "open, admin, off, or an IP address and a port, such as 127.0.0.1:9464",
            read: |config, text| {
                config.metrics = match text.trim() {
                    "open" => MetricsAccess::Open,
                    "admin" => MetricsAccess::Admin,
                    "off" => MetricsAccess::Off,
                    address => MetricsAccess::At(address.parse().map_err(|_error| {
                        format!("'{text}' is neither open, admin, off nor an address")
                    })?),
                };
                Ok(())
            },
        },
        about: "Who may read `/metrics`: whoever reaches the server (open), administrators (admin), \
                nobody (off), or whoever reaches this address, where metrics and health are served \
                and nothing else. They tell how busy and how full the server is, and no names.",
    },
    Setting {
        key: "trusted_proxies",
        older_variable: None,
        default: Some("none"),
        kind: Kind::Other {
            name: "NETWORKS",
            expected: "none, or addresses and networks, such as 127.0.0.1, 10.0.0.0/8, fd00::/8",
            read: |config, text| {
                config.trusted_proxies = text.parse()?;
                Ok(())
            },
        },
        about: "Proxies that are believed when they say in `X-Forwarded-For` from where a request \
                comes. Name those in front of the server, and no others: failed logins are counted \
                by that address. What clients claim themselves is not believed.",
    },
    Setting {
        key: "tls.certificate_file",
        older_variable: None,
        default: None,
        kind: Kind::File { place: |config| &mut config.tls_certificate_file },
        about: "File with the server's certificate and those that lead from it to an authority \
                (PEM). With it and its key the server speaks HTTPS, and nothing else, HTTP/1.1 and \
                HTTP/2. Both files are looked at every two seconds, and connections that begin \
                after a change get the new certificate; one that cannot be used is told in the log \
                and leaves the old one in force.",
    },
    Setting {
        key: "tls.key_file",
        older_variable: None,
        default: None,
        kind: Kind::File { place: |config| &mut config.tls_key_file },
        about: "File with the private key of the certificate (PEM: PKCS #8, SEC 1 or PKCS #1), for \
                the server alone to read.",
    },
    Setting {
        key: "cors.origins",
        older_variable: None,
        default: Some("none"),
        kind: Kind::Other {
            name: "ORIGINS",
            expected: "none, *, or origins such as https://data.example.org, http://localhost:3000",
            read: |config, text| {
                config.cors_origins = text.parse()?;
                Ok(())
            },
        },
        about: "Origins whose web pages may ask the server and see its answers (CORS); * lets every \
                page. A page has no right but those of the token that it sends.",
    },
    Setting {
        key: "login.failures_per_account",
        older_variable: None,
        default: Some("10"),
        kind: Kind::Number {
            min: 0,
            max: 1_000_000,
            place: |config| &mut config.login_failures_per_account,
        },
        about: "Failed logins of one user name, whether there is such a user or not, within \
                login.failure_window; the next get 429 until time has passed. Good logins are not \
                counted. 0 is no limit.",
    },
    Setting {
        key: "login.failures_per_address",
        older_variable: None,
        default: Some("100"),
        kind: Kind::Number {
            min: 0,
            max: 1_000_000,
            place: |config| &mut config.login_failures_per_address,
        },
        about: "Failed logins from one address (of IPv6 the first 64 bits) within \
                login.failure_window. 0 is no limit. Behind a proxy set trusted_proxies, or all \
                clients count as one.",
    },
    Setting {
        key: "login.failure_window",
        older_variable: None,
        default: Some("5m"),
        kind: Kind::Time {
            min: Duration::from_secs(1),
            max: Duration::from_hours(24),
            place: |config| &mut config.login_failure_window,
        },
        about: "The time in which all those failures may come again: after them, one each time that \
                its part of the window has passed.",
    },
    Setting {
        key: "audit.additions",
        older_variable: None,
        default: Some("on"),
        kind: Kind::Other {
            name: "SWITCH",
            expected: "on or off",
            read: |config, text| {
                config.audit_additions = match text {
                    "on" => true,
                    "off" => false,
                    _ => return Err(format!("'{text}' is neither on nor off")),
                };
                Ok(())
            },
        },
        about: "Whether files that are added one by one have entries in the audit log. Off spares a \
                tenth of what small ones cost; replacing, deleting and archives have entries anyway.",
    },
    Setting {
        key: "audit.keep",
        older_variable: None,
        default: Some("365d"),
        kind: Kind::Time {
            min: Duration::from_hours(1),
            max: EVER,
            place: |config| &mut config.audit_keep,
        },
        about: "How long an entry of the audit log is kept; older ones are removed in the background.",
    },
    Setting {
        key: "audit.size",
        older_variable: None,
        default: Some("1GiB"),
        kind: Kind::Size { min: 1 << 20, max: 1 << 40, place: |config| &mut config.audit_bytes },
        about: "What the audit log takes at most; beyond it the oldest entries are removed in the \
                background. Of single files some seven million fit into the default.",
    },
    Setting {
        key: "shutdown.grace",
        older_variable: None,
        default: Some("30s"),
        kind: Kind::Time {
            min: Duration::ZERO,
            max: Duration::from_hours(24),
            place: |config| &mut config.shutdown_grace,
        },
        about: "How long requests under way may take when the server is told to stop; then their \
                connections are cut.",
    },
    Setting {
        key: "log.filter",
        older_variable: Some("RUST_LOG"),
        default: Some("granary=info,granary_engine=info"),
        kind: Kind::Other {
            name: "FILTER",
            expected: "a level (error, warn, info, debug, trace, off) or a list of TARGET=LEVEL",
            read: |config, text| {
                config.log_filter = value::log_filter(text)?;
                Ok(())
            },
        },
        about: "What is logged, as the tracing-subscriber crate's filters say it; a target has its \
                level.",
    },
    Setting {
        key: "log.format",
        older_variable: None,
        default: Some("text"),
        kind: Kind::Other {
            name: "FORMAT",
            expected: "text or json",
            read: |config, text| {
                config.log_format = match text {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => return Err(format!("'{text}' is no format of the log")),
                };
                Ok(())
            },
        },
        about: "How the log is written: text for people, json (an object a line) for programs.",
    },
    Setting {
        key: "log.requests",
        older_variable: None,
        default: Some("100"),
        kind: Kind::Number { min: 0, max: 1_000_000, place: |config| &mut config.log_requests },
        about: "Lines a second about requests that are logged at most; what is beyond is counted, and \
                the number logged once a second. Requests that failed by the server's fault have a \
                hundred lines of their own. With 0 only those are logged.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::BODY_BYTES_A_SECOND;
    use crate::auth::LoginBounds;
    use crate::config::Config;
    use granary_engine::limits::{
        ARCHIVES_MAX, RESUMABLE_BYTES, RESUMABLE_EXPIRE_AFTER, SCRUB_BYTES_PER_SECOND,
    };

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for setting in SETTINGS {
            if let Some(default) = setting.default {
                setting.check(default).unwrap();
            }
        }
        let mut config = Config::blank();
        for setting in SETTINGS {
            setting.default.map_or(Ok(()), |text| setting.read(&mut config, text)).unwrap();
        }
        assert_eq!(usize::try_from(config.archives).unwrap(), ARCHIVES_MAX);
        assert_eq!(config.body_rate, BODY_BYTES_A_SECOND);
        let LoginBounds { per_account, per_address, window } = LoginBounds::default();
        assert_eq!(config.login_failures_per_account, u64::from(per_account));
        assert_eq!(config.login_failures_per_address, u64::from(per_address));
        assert_eq!(config.login_failure_window, window);
        assert_eq!(config.scrub_rate, SCRUB_BYTES_PER_SECOND);
        assert_eq!(config.upload_bytes, RESUMABLE_BYTES);
        assert_eq!(config.upload_expiry, RESUMABLE_EXPIRE_AFTER);
    }

    #[test]
    fn a_slip_in_the_filter_of_the_log_is_refused_with_the_levels_that_there_are() {
        let setting = SETTINGS.iter().find(|setting| setting.key == "log.filter").unwrap();
        for slip in ["warning", "inf0", "granary=info, wran", "granary", "granary=inf0"] {
            let refused = setting.check(slip).unwrap_err();
            assert!(refused.contains("error, warn, info, debug, trace, off"), "{slip}: {refused}");
        }
        let mut config = Config::blank();
        for (text, filter) in [
            ("granary=info, warn", "granary=info,warn"),
            (" granary = info ,WARN,", "granary=info,WARN"),
            ("off", "off"),
            ("[request{user=1}]=debug", "[request{user=1}]=debug"),
        ] {
            setting.read(&mut config, text).unwrap();
            assert_eq!(config.log_filter, filter);
        }
    }

    #[test]
    fn every_name_is_there_once_and_sections_come_last_and_together() {
        let mut flags = HashSet::new();
        let mut sections: Vec<&str> = Vec::new();
        for setting in SETTINGS {
            assert!(flags.insert(setting.flag()), "{}", setting.key);
            let section = setting.key.split_once('.').map_or("", |(section, _)| section);
            if sections.last() != Some(&section) {
                assert!(!sections.contains(&section), "{} stands apart", setting.key);
                sections.push(section);
            }
        }
        assert_eq!(sections.first(), Some(&""));
    }
}

//! The address of a server, and the addresses of things on it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

/// Everything but what a URL takes as itself anywhere; the rest of a part is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where a server is: scheme, host, port and perhaps a path, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    text: String,
    loopback: bool,
}

/// Why a text is no address of a server.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; write it as http://HOST:PORT or https://HOST")]
pub(crate) struct ServerUrlError {
    reason: String,
}

impl ServerUrl {
    /// The address of the server's metrics.
    pub(crate) fn metrics(&self) -> String {
        format!("{}/metrics", self.text)
    }

    /// The address of an API action; `path` begins behind `/v1/`.
    pub(crate) fn action(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.text)
    }

    /// The address of a file of a dataset.
    pub(crate) fn file(&self, dataset: u64, name: &str) -> String {
        self.named(dataset, "files", name)
    }

    /// The address of the metadata of a file of a dataset.
    pub(crate) fn metadata(&self, dataset: u64, name: &str) -> String {
        self.named(dataset, "metadata", name)
    }

    fn named(&self, dataset: u64, what: &str, name: &str) -> String {
        let parts = name.split('/');
        let escaped: Vec<String> = parts.map(Self::escaped).collect();
        self.action(&format!("datasets/{dataset}/{what}/{}", escaped.join("/")))
    }

    /// A name as one part of an action's path.
    pub(crate) fn escaped(name: &str) -> String {
        utf8_percent_encode(name, ESCAPED).to_string()
    }

    /// Whether the server is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The address as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let wrong = |reason: String| ServerUrlError { reason };
        let url = Url::parse(text).map_err(|error| wrong(format!("not a URL ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("{}: is no web address", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("a name or password has no place in it".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("a query has no place in it".to_owned()));
        }
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = |address: IpAddr| address.is_loopback();
        Ok(Self {
            text: url.as_str().trim_end_matches('/').to_owned(),
            loopback: host == "localhost" || address.parse().is_ok_and(is_loopback),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn one_server_has_one_address() {
        assert_eq!(url("http://Example.com:80/"), url("http://example.com"));
        assert_eq!(
            url("https://host/granary/").action("auth/obtain"),
            "https://host/granary/v1/auth/obtain"
        );
    }

    #[test]
    fn names_arrive_as_they_are() {
        let url = url("http://h");
        let address = url.file(7, "a b/ü%2F?#;\\.txt");
        assert_eq!(address, "http://h/v1/datasets/7/files/a%20b/%C3%BC%252F%3F%23%3B%5C.txt");
        assert_eq!(Url::parse(&address).unwrap().as_str(), address);
    }

    #[test]
    fn loopback_is_told_from_elsewhere() {
        for here in ["http://127.0.0.1:8000", "http://[::1]", "http://localhost"] {
            assert!(url(here).is_loopback(), "{here}");
        }
        for elsewhere in ["http://10.0.0.1", "https://localhost.example.com"] {
            assert!(!url(elsewhere).is_loopback(), "{elsewhere}");
        }
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        for text in ["host:8000", "ftp://host", "http://a:b@host", "http://h/?x"] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }
}

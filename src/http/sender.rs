//! From where a request comes: the address at the other end of its connection, or what a proxy
//! that is trusted says of it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName};

use super::kept_login::KeptLogin;
use super::state::AppState;
use crate::networks::Networks;

/// Where proxies say whom they speak for, the nearest last.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a request's connection, which whoever takes connections puts among the extensions of
/// each of its requests; made once for each connection, with which it ends.
#[derive(Debug, Clone)]
pub struct Peer {
    address: IpAddr,
    /// Who asked last.
    pub(super) login: KeptLogin,
}

impl Peer {
    /// The other end of a connection that has just begun.
    pub fn new(address: IpAddr) -> Self {
        Self { address, login: KeptLogin::default() }
    }
}

/// From where a request comes, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender(pub(crate) Option<IpAddr>);

impl FromRequestParts<AppState> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        Ok(Self(of(&parts.extensions, &parts.headers, app.trusted_proxies())))
    }
}

/// From where the request with these extensions and headers comes.
pub(super) fn of(
    extensions: &Extensions,
    headers: &HeaderMap,
    trusted: &Networks,
) -> Option<IpAddr> {
    let peer = extensions.get().map(|peer: &Peer| peer.address.to_canonical());
    peer.map(|peer| sender(peer, headers, trusted))
}

/// Goes from the server outwards, as far as each trusts the next to tell the truth.
fn sender(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let mut nearest = peer;
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    // What stands before a proxy's own part may be anything that a client sent.
    for told in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        if !trusted.contain(nearest) {
            break;
        }
        let Some(address) = str::from_utf8(told).ok().and_then(address) else {
            break;
        };
        nearest = address.to_canonical();
    }
    nearest
}

/// An address, with a port or without, in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    let in_brackets = || {
        let text = text.strip_prefix('[')?.strip_suffix(']')?;
        text.parse().map(IpAddr::V6).ok()
    };
    text.parse().ok().or_else(with_port).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn told(peer: &str, lines: &[&'static str]) -> String {
        let trusted: Networks = "10.0.0.0/8".parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        sender(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_proxies_that_are_trusted_say_whom_they_speak_for() {
        assert_eq!(told("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(told("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(told("10.0.0.1", &[]), "10.0.0.1");
        // What a client wrote itself stands before what the proxies added.
        assert_eq!(told("10.0.0.1", &["203.0.113.5, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(told("10.0.0.1", &["203.0.113.5", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(told("10.0.0.1", &["[2001:db8::7]:443"]), "2001:db8::7");
        assert_eq!(told("10.0.0.1", &["[2001:db8::7]"]), "2001:db8::7");
        assert_eq!(told("10.0.0.1", &["198.51.100.7:5000"]), "198.51.100.7");
        // A byte of a client's that is no text leaves what the proxies say.
        assert_eq!(told("10.0.0.1", &["M\u{fc}ller, 198.51.100.7"]), "198.51.100.7");
        for rubbish in ["unknown", "", ",", "198.51.100.7, ", "[198.51.100.7]", "\u{fc}"] {
            assert_eq!(told("10.0.0.1", &[rubbish]), "10.0.0.1", "{rubbish}");
        }
    }
}

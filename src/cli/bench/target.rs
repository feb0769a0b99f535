//! The server that is loaded: where it is, what it speaks, who asks.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use hyper::header::HeaderValue;
use reqwest::Url;
use serde::Deserialize;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::super::client::Client;
use super::super::failure::Failure;
use super::super::server_url::ServerUrl;
use super::connection::CONNECT_TIME_MAX;

/// How often it is looked whether the token wants renewing, which it does after minutes.
const TOKEN_LOOK_INTERVAL: Duration = Duration::from_secs(20);

/// How every answer of a granary is given.
pub(crate) const SYNCED: &str = "synced (each answer after the fdatasync that covers it)";

/// How those of a server are given that drops what it is sent.
pub(crate) const DISCARDED: &str = "none (the bodies are discarded)";

/// How those of a server are given that says nothing of it.
pub(crate) const UNKNOWN: &str = "unknown to the load tool";

/// Where requests go.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) socket: SocketAddr,
    /// What the `Host` header says.
    pub(crate) host: HeaderValue,
    /// What stands before the paths of the API: empty, or a path without a slash at its end.
    pub(crate) base: String,
}

/// What the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The API of granary and UFDL.
    Api,
    /// PUT and GET of files below a path, as `WebDAV` servers take them.
    Plain,
}

/// A server, and the way in.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) dialect: Dialect,
    /// What the `Authorization` header says; renewed in the background.
    pub(crate) token: Option<watch::Receiver<HeaderValue>>,
}

impl Target {
    /// A server that takes PUT and GET.
    ///
    /// # Errors
    /// The address is not one of plain HTTP.
    pub(crate) async fn plain(url: &ServerUrl) -> anyhow::Result<Self> {
        let address = resolve(url).await?;
        Ok(Self { address, dialect: Dialect::Plain, token: None })
    }

    /// A server of the API, with the client's login.
    ///
    /// # Errors
    /// There is no login, no answer, or the address is not one of plain HTTP.
    pub(crate) async fn api(client: &Client) -> anyhow::Result<Self> {
        let address = resolve(&client.url).await?;
        let token = bearer(&client.session.access().await?)?;
        let (_, token) = watch::channel(token);
        Ok(Self { address, dialect: Dialect::Api, token: Some(token) })
    }

    /// What a server says of itself; only a granary answers on `/readyz`, and it has one way.
    pub(crate) async fn durability_of(client: &Client) -> String {
        #[derive(Deserialize)]
        struct Health {
            status: String,
        }
        let asked = client.http.get(format!("{}/readyz", client.url)).send().await;
        let health = match asked {
            Ok(response) => response.json::<Health>().await.ok(),
            Err(_) => None,
        };
        match health {
            Some(Health { status }) if status == "ready" => SYNCED.to_owned(),
            Some(_) | None => UNKNOWN.to_owned(),
        }
    }

    /// The same server for as long as the future takes: its token is kept fresh meanwhile.
    ///
    /// # Errors
    /// The token could not be renewed, and will not be.
    pub(crate) async fn renewing<T>(
        mut self,
        client: &Client,
        work: impl AsyncFnOnce(Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (tell, token) = watch::channel(bearer(&client.session.access().await?)?);
        self.token = Some(token);
        let renew = async {
            loop {
                sleep(TOKEN_LOOK_INTERVAL).await;
                let Some(fresh) = looked_at(client.session.access().await)? else { continue };
                tell.send_if_modified(|token| {
                    let differs = *token != fresh;
                    token.clone_from(&fresh);
                    differs
                });
            }
        };
        tokio::select! {
            done = work(self) => done,
            failed = renew => failed,
        }
    }
}

/// What a look at the token gave; nothing where the next look may give one. The token of before lives on for a
/// minute, and if the server gives none until then, the load counts what it refuses.
fn looked_at(token: Result<String, Failure>) -> anyhow::Result<Option<HeaderValue>> {
    match token {
        Ok(token) => bearer(&token).map(Some),
        Err(failure) if failure.may_pass() => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

fn bearer(token: &str) -> anyhow::Result<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.context("the server gave a token that cannot be sent back")?;
    value.set_sensitive(true);
    Ok(value)
}

async fn resolve(url: &ServerUrl) -> anyhow::Result<Address> {
    let parsed = Url::parse(url.as_str())?;
    ensure!(
        parsed.scheme() == "http",
        "{url} is not plain HTTP, and bench speaks nothing else; measure the server behind its proxy"
    );
    let host = parsed.host_str().unwrap_or_default();
    let port = parsed.port_or_known_default().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = lookup_host((bare, port)).await.with_context(|| format!("cannot find {host}"))?;
    let socket = first_that_opens(&found.collect::<Vec<_>>()).await;
    let socket = socket.with_context(|| format!("{host} has no address"))?;
    Ok(Address {
        socket,
        host: HeaderValue::try_from(format!("{host}:{port}"))?,
        base: parsed.path().trim_end_matches('/').to_owned(),
    })
}

/// The first of a host's addresses at which somebody listens: a server may be on one of them only. Where
/// nobody does it is the first of all, so that the load says why it does not open.
async fn first_that_opens(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    // One that is alone is not tried, since the load does so itself.
    if addresses.len() > 1 {
        for address in addresses {
            if let Ok(Ok(_)) = timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await {
                return Some(*address);
            }
        }
    }
    addresses.first().copied()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_token_that_cannot_be_renewed_now_is_looked_at_again() {
        let url: ServerUrl = "http://127.0.0.1:1".parse().unwrap();
        assert_eq!(looked_at(Ok("a".to_owned())).unwrap().unwrap(), "Bearer a");
        let reason = "connection refused".to_owned();
        let refused = Failure::Unreachable { url: url.clone(), reason, connected: false };
        assert_eq!(looked_at(Err(refused)).unwrap(), None);
        let next_step = "log in".to_owned();
        assert!(looked_at(Err(Failure::NotLoggedIn { url, next_step })).is_err());
    }

    #[tokio::test]
    async fn a_server_on_one_address_of_its_host_is_found() {
        let listener = || TcpListener::bind("127.0.0.1:0");
        let (closed, open) = (listener().await.unwrap(), listener().await.unwrap());
        let [nobody, somebody] = [&closed, &open].map(|one| one.local_addr().unwrap());
        drop(closed);
        assert_eq!(first_that_opens(&[nobody, somebody]).await, Some(somebody));
        assert_eq!(first_that_opens(&[somebody, nobody]).await, Some(somebody));
        assert_eq!(first_that_opens(&[nobody, nobody]).await, Some(nobody));
        assert_eq!(first_that_opens(&[]).await, None);
    }
}

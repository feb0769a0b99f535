//! The server's address from the start to the end of the process: bound before the store is opened
//! and given up last, so that whoever asks meanwhile is told how the server is.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::listener::{self, Bounds, Entrance};

/// How long answers of a closed server may take to be sent when it goes.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(1);

/// Connections of a porter, whose answers are short; they come on top of those for which open files
/// were set aside.
const CONNECTIONS_MAX: usize = 128;

/// A bound address.
pub(super) struct Door {
    socket: std::net::TcpListener,
    /// Encrypts its connections.
    tls: Option<TlsAcceptor>,
}

/// A server that answers at a door until it is told to leave.
#[derive(Debug)]
pub(super) struct Porter {
    leave: watch::Sender<bool>,
    gone: JoinHandle<usize>,
}

impl Door {
    /// Binds an address.
    ///
    /// # Errors
    /// It is taken, or not ours.
    pub(super) async fn bind(
        address: SocketAddr,
        flag: &str,
        tls: Option<TlsAcceptor>,
    ) -> anyhow::Result<Self> {
        let bound = TcpListener::bind(address).await.and_then(TcpListener::into_std);
        let socket = bound.with_context(|| {
            format!("cannot listen on {address}; choose another address with --{flag}")
        })?;
        Ok(Self { socket, tls })
    }

    /// The address; with the port that the system chose, if it did.
    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        self.socket.local_addr().context("cannot tell the address")
    }

    /// How its addresses begin.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// A listener at this door. Connections go to one of those that listen, so there should be one
    /// at a time; the system keeps those that come in between.
    pub(super) fn entrance(&self) -> anyhow::Result<Entrance> {
        let socket = self.socket.try_clone().and_then(TcpListener::from_std);
        let listener = socket.context("cannot listen twice")?;
        Ok(match &self.tls {
            None => Entrance::from(listener),
            Some(tls) => Entrance::with_tls(listener, tls.clone()),
        })
    }

    /// Answers in the background until told to leave.
    pub(super) fn answer(&self, router: Router, bounds: Bounds) -> anyhow::Result<Porter> {
        let entrance = self.entrance()?;
        let connections_max = bounds.connections_max.min(CONNECTIONS_MAX);
        let bounds = Bounds { connections_max, ..bounds };
        let (leave, told) = watch::channel(false);
        let serving = listener::serve(entrance, router, told, LAST_WORDS_TIME_MAX, bounds);
        Ok(Porter { leave, gone: tokio::spawn(serving) })
    }
}

impl Porter {
    /// Waits until it has sent its answers and takes no more connections.
    pub(super) async fn dismiss(self) {
        // It listens for this until it has gone.
        self.leave.send(true).ok();
        self.gone.await.ok();
    }
}

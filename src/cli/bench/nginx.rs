//! An nginx of the suite's own, to hold figures against: PUT by its `WebDAV` module, which does
//! not sync, and static files.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::own_server::Killed;
use super::report::replace;

/// How often it is looked whether it listens, and how many times.
const LOOKS: (Duration, u32) = (Duration::from_millis(50), 100);

/// The server; it ends and its directory goes when this is dropped.
pub(crate) struct Nginx {
    child: Killed,
    directory: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Starts it on a fresh directory in `parent`.
    ///
    /// # Errors
    /// It is not installed, or does not begin to listen.
    pub(crate) async fn start(parent: &Path) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix_in("granary-nginx-", parent)?;
        let at = directory.path();
        fs::create_dir(at.join("files"))?;
        // Free a moment ago, and most likely still.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let settings = at.join("nginx.conf");
        replace(&settings, configuration(at, address).as_bytes())?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(at).arg("-c").arg(&settings);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("it cannot be started; install nginx for it")?;
        let mut child = Killed::new(child);
        for _ in 0..LOOKS.1 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(Self { child, directory, address });
            }
            if child.has_ended() {
                let log = fs::read_to_string(at.join("error.log")).unwrap_or_default();
                bail!("it ended at once: {}", log.trim());
            }
            sleep(LOOKS.0).await;
        }
        bail!("it does not listen");
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Removes what was put there.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        let files: PathBuf = self.directory.path().join("files");
        fs::remove_dir_all(&files)?;
        Ok(fs::create_dir(&files)?)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed outright, it would leave its workers behind.
        self.child.end();
    }
}

fn configuration(at: &Path, address: SocketAddr) -> String {
    let at = at.display();
    // Its workers would be nobody otherwise, who may not write here.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; {user} worker_processes auto; pid {at}/pid; error_log {at}/error.log crit;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
           access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000;\n\
           client_max_body_size 0; client_body_temp_path {at}/body; proxy_temp_path {at}/p;\n\
           fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
           server {{ listen {address}; root {at}/files;\n\
             location / {{ dav_methods PUT; create_full_put_path on; }} }}\n\
         }}\n"
    )
}

//! Requests as cheap as they get, so that one machine can send ten times what it can answer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use crate::server::PASSWORD;

/// How long a connection without a request has its place in any case, as the server has it.
const IDLE_TIME_MIN: Duration = Duration::from_secs(1);

/// What is asked for, again and again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// A new file of so many bytes.
    Upload { dataset: u64, bytes: usize },
    /// A token for a password, which costs the server some 20 ms of a core.
    Login,
}

impl Load {
    pub(super) fn upload(dataset: u64, bytes: usize) -> Self {
        Self::Upload { dataset, bytes }
    }

    /// `login`, or `upload:BYTES`.
    pub(super) fn parse(text: &str, dataset: u64) -> Self {
        match text.split_once(':') {
            Some(("upload", bytes)) => Self::upload(dataset, bytes.parse().unwrap()),
            _ if text == "login" => Self::Login,
            _ => panic!("GRANARY_OVERLOAD is login or upload:BYTES, not {text}"),
        }
    }
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Done; the name that the file has.
    Done(String),
    /// 503, with the time after which another try makes sense.
    ComeBack,
    /// None: the request came so late that its connection, idle until then, may have gone for another one.
    GaveWay,
    /// Anything else; that nobody answered, too.
    Broken(String),
}

/// Connections to the server, of which each has one request at a time.
#[derive(Debug)]
pub(super) struct Wires {
    address: String,
    token: String,
    load: Load,
    sent: AtomicU64,
    /// Of every content but for its number.
    noise: Vec<u8>,
    idle: Mutex<Vec<BufStream<TcpStream>>>,
}

impl Wires {
    pub(super) fn new(url: &str, token: &str, load: Load) -> Self {
        // Each has an open file, of which a process has few unless it takes what it may have.
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
        let mut noise = vec![0; if let Load::Upload { bytes, .. } = load { bytes } else { 0 }];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let (address, token) = (url.trim_start_matches("http://").to_owned(), token.to_owned());
        Self { address, token, load, sent: AtomicU64::new(0), noise, idle: Mutex::default() }
    }

    /// One request on whatever connection is free.
    pub(super) async fn ask(&self) -> Answer {
        let idle = self.idle.lock().unwrap().pop();
        self.exchange(idle, "keep-alive").await
    }

    /// One request on a connection of its own.
    pub(super) async fn ask_once(&self) -> Answer {
        self.exchange(None, "close").await
    }

    async fn exchange(&self, idle: Option<BufStream<TcpStream>>, connection: &str) -> Answer {
        let begun = Instant::now();
        let stream = match idle {
            Some(stream) => Ok(stream),
            None => connect(&self.address).await,
        };
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => return Answer::Broken(format!("cannot connect: {error}")),
        };
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let (head, body, name) = self.request(number, connection);
        // A server that refuses may close before it has read everything, and its answer counts.
        let sent = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.flush().await
        };
        let sent = sent.await;
        let is_late = begun.elapsed() >= IDLE_TIME_MIN;
        let mut status_line = String::new();
        match read(&mut stream, &mut status_line).await {
            Ok((status, comes_back, is_kept)) => {
                if is_kept && sent.is_ok() {
                    self.idle.lock().unwrap().push(stream);
                }
                match (status, comes_back) {
                    (200, _) => Answer::Done(name),
                    (503, true) => Answer::ComeBack,
                    _ => Answer::Broken(format!("status {status}")),
                }
            }
            Err(_) if is_late && status_line.is_empty() => Answer::GaveWay,
            Err(error) => Answer::Broken(format!("no answer: {error}, sent: {sent:?}")),
        }
    }

    /// A request's head, its body, and the name of the file that it makes.
    fn request(&self, number: u64, connection: &str) -> (String, Vec<u8>, String) {
        let name = format!("{number}.bin");
        let (path, body, token) = match self.load {
            Load::Upload { dataset, .. } => {
                let mut body = self.noise.clone();
                body[..8].copy_from_slice(&number.to_le_bytes());
                let token = format!("authorization: Bearer {}\r\n", self.token);
                (format!("datasets/{dataset}/files/{name}"), body, token)
            }
            Load::Login => {
                let body = format!(r#"{{"username": "admin", "password": "{PASSWORD}"}}"#);
                let kind = "content-type: application/json\r\n".to_owned();
                ("auth/obtain".to_owned(), body.into_bytes(), kind)
            }
        };
        let head = format!(
            "POST /v1/{path} HTTP/1.1\r\nhost: test\r\nconnection: {connection}\r\n{token}\
             content-length: {}\r\n\r\n",
            body.len()
        );
        (head, body, name)
    }
}

async fn connect(address: &str) -> std::io::Result<BufStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    // Or the last bytes of a body wait for the server to confirm those before.
    stream.set_nodelay(true)?;
    Ok(BufStream::new(stream))
}

/// Reads an answer: its status, whether it tells when to come back, and whether the connection stays. The
/// line with the status is left to the caller, as far as it came.
async fn read(
    stream: &mut BufStream<TcpStream>,
    status_line: &mut String,
) -> std::io::Result<(u16, bool, bool)> {
    stream.read_line(status_line).await?;
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let (mut length, mut comes_back, mut is_kept) = (0, false, true);
    let mut line = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let lower = line.trim_end().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        let (name, value) = lower.split_once(':').unwrap_or((&lower, ""));
        match name {
            "content-length" => length = value.trim().parse().unwrap(),
            "retry-after" => comes_back = true,
            "connection" => is_kept = value.trim() != "close",
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((status, comes_back, is_kept))
}

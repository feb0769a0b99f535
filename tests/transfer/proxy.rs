//! A way to the server that counts what passes and breaks where it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Accepts connections on loopback and passes them on.
pub(crate) struct Proxy {
    pub(crate) address: String,
    passed: Arc<Passed>,
}

#[derive(Default)]
struct Passed {
    /// Bytes to the server, and from it.
    up: AtomicU64,
    down: AtomicU64,
    /// Connections that were cut.
    cuts: AtomicU64,
}

/// What a connection may pass, either way, and what becomes of it then.
struct Allowance {
    left: Arc<AtomicU64>,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    /// Both ways end at once.
    Break,
    /// Both ways stay open, and nothing moves any more.
    StandStill,
}

/// When connections break.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    /// Seeds the places.
    pub(crate) seed: u64,
    /// How many connections are cut; later ones are left alone.
    pub(crate) cuts: u64,
    /// Each of them within so many bytes, either way.
    pub(crate) within: u64,
}

impl Proxy {
    /// A way that never breaks.
    pub(crate) fn faithful(server: &str) -> Self {
        Self::new(server, Faults { seed: 0, cuts: 0, within: 1 })
    }

    /// A way that breaks.
    pub(crate) fn new(server: &str, faults: Faults) -> Self {
        Self::allowing(server, move |number| {
            let bytes = if number < faults.cuts { place(faults, number) } else { u64::MAX };
            Allowance { left: Arc::new(AtomicU64::new(bytes)), then: Then::Break }
        })
    }

    /// A way on which nothing moves any more once all its connections have passed so many bytes together.
    pub(crate) fn standing_still_after(server: &str, bytes: u64) -> Self {
        let left = Arc::new(AtomicU64::new(bytes));
        let allowance = move |_| Allowance { left: Arc::clone(&left), then: Then::StandStill };
        Self::allowing(server, allowance)
    }

    /// A way whose connections may pass what is told for their numbers.
    fn allowing(server: &str, allowance: impl Fn(u64) -> Allowance + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (passed, server) = (Arc::new(Passed::default()), server.to_owned());
        let shared = Arc::clone(&passed);
        thread::spawn(move || {
            for (number, client) in (0..).zip(listener.incoming()) {
                let Ok(server) = TcpStream::connect(&server) else { continue };
                let allowance = allowance(number);
                thread::spawn({
                    let shared = Arc::clone(&shared);
                    move || connect(client.unwrap(), server, &allowance, &shared)
                });
            }
        });
        Self { address, passed }
    }

    /// Bytes that went to the server.
    pub(crate) fn up(&self) -> u64 {
        self.passed.up.load(Ordering::Relaxed)
    }

    /// Bytes that came from it.
    pub(crate) fn down(&self) -> u64 {
        self.passed.down.load(Ordering::Relaxed)
    }

    /// Connections that were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.passed.cuts.load(Ordering::Relaxed)
    }
}

/// Where a connection is cut: after so many bytes, both ways together.
fn place(faults: Faults, number: u64) -> u64 {
    let hash = blake3::hash(&[faults.seed.to_le_bytes(), number.to_le_bytes()].concat());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % faults.within
}

fn connect(client: TcpStream, server: TcpStream, allowance: &Allowance, passed: &Passed) {
    thread::scope(|scope| {
        let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        scope.spawn(move || pass(from, to, allowance, &passed.down));
        pass(client, server, allowance, &passed.up);
    });
    if allowance.left.load(Ordering::Relaxed) == 0 {
        passed.cuts.fetch_add(1, Ordering::Relaxed);
    }
}

/// Passes bytes on until one side ends, or none may pass any longer.
fn pass(mut from: TcpStream, mut to: TcpStream, allowance: &Allowance, passed: &AtomicU64) {
    let Allowance { left, then } = allowance;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        let wanted = u64::try_from(read).unwrap();
        let before = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(wanted))
            })
            .unwrap();
        let may = usize::try_from(before.min(wanted)).unwrap();
        let sent = to.write_all(&buffer[..may]);
        passed.fetch_add(u64::try_from(may).unwrap(), Ordering::Relaxed);
        if read == 0 && left.load(Ordering::Relaxed) > 0 {
            // An ordinary end of one direction.
            to.shutdown(Shutdown::Write).ok();
            return;
        }
        if sent.is_err() || left.load(Ordering::Relaxed) == 0 {
            match then {
                Then::Break => {}
                // As long as the tests run, or whoever looks would find that it ended.
                Then::StandStill => loop {
                    thread::park();
                },
            }
            from.shutdown(Shutdown::Both).ok();
            to.shutdown(Shutdown::Both).ok();
            return;
        }
    }
}

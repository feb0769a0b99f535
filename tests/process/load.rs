//! Clients that work at once, each in a world of its own and all in one shared dataset.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use tokio::sync::Notify;

use crate::api::{Answer, Api, Body};
use crate::chance::Chance;
use crate::world::{Everything, Op, World};

/// How often a client says what its datasets show.
const NOTED_EVERY: Duration = Duration::from_secs(5);

/// How far all clients have come, and whether they are to stop.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    answered: AtomicU64,
    stop: AtomicBool,
    /// A client has ended, be it by a failure of the test.
    has_ended: AtomicBool,
    moved: Notify,
    /// How long answered changes took, by kind, since somebody took note.
    times: Mutex<BTreeMap<&'static str, Vec<Duration>>>,
    /// What each client's datasets show, as of some seconds ago.
    live: Mutex<BTreeMap<String, HashMap<Arc<str>, usize>>>,
}

/// Tells that a client has ended, however it did.
struct Ends(Arc<Progress>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
        self.0.moved.notify_waiters();
    }
}

impl Progress {
    /// Ends when so many changes were answered, all clients counted, or a client has ended, which
    /// is `false`.
    pub(crate) async fn reached(&self, answers: u64) -> bool {
        loop {
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.answered.load(Ordering::Relaxed) >= answers {
                return true;
            }
            if self.has_ended.load(Ordering::Relaxed) {
                return false;
            }
            moved.await;
        }
    }

    /// Waits so long for a client to end, which none does before it is told to.
    pub(crate) async fn ended_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.reached(u64::MAX)).await.is_ok()
    }

    /// Contents that any dataset shows, by handle, with their lengths.
    pub(crate) fn live_contents(&self) -> HashMap<Arc<str>, usize> {
        let live = self.live.lock().unwrap();
        live.values().flatten().map(|(handle, length)| (handle.clone(), *length)).collect()
    }

    /// How long answered changes took since the last call, by kind.
    pub(crate) fn take_times(&self) -> BTreeMap<&'static str, Vec<Duration>> {
        std::mem::take(&mut self.times.lock().unwrap())
    }

    fn note_live(&self, world: &World) {
        let files = world.files().map(|(_, _, file)| &file.content);
        let live = files.map(|content| (content.handle.clone(), content.length)).collect();
        self.live.lock().unwrap().insert(world.prefix.clone(), live);
    }

    fn note_time(&self, label: &'static str, time: Duration) {
        self.times.lock().unwrap().entry(label).or_default().push(time);
    }

    /// Lets every client end after the request that is under way.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn note_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.moved.notify_waiters();
    }
}

/// What was counted of answers.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    /// Changes that were answered, by kind.
    pub(crate) answered: BTreeMap<&'static str, u64>,
    /// Files and archives that were read and compared.
    pub(crate) read: u64,
    /// 503, and how often no answer came.
    pub(crate) in_doubt: u64,
    /// 507: refused for want of space.
    pub(crate) no_space: u64,
    /// Of those in doubt: found made.
    pub(crate) made_after_all: u64,
}

impl Counts {
    /// Adds another client's.
    pub(crate) fn add(&mut self, other: Self) {
        for (label, count) in other.answered {
            *self.answered.entry(label).or_default() += count;
        }
        self.read += other.read;
        self.in_doubt += other.in_doubt;
        self.no_space += other.no_space;
        self.made_after_all += other.made_after_all;
    }

    pub(crate) fn answers(&self) -> u64 {
        self.answered.values().sum()
    }
}

/// One client: what it made, and the change of which it has no answer.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) world: World,
    pub(crate) counts: Counts,
    chance: Chance,
    in_doubt: Option<Op>,
    /// Between two changes.
    pub(crate) pause: Duration,
}

impl Client {
    pub(crate) fn new(number: usize, chance: &mut Chance) -> Self {
        Self {
            world: World::new(&format!("client-{number}-")),
            counts: Counts::default(),
            chance: chance.branch(),
            in_doubt: None,
            pause: Duration::ZERO,
        }
    }

    /// Works until it is told to stop or an answer does not come. A 503 is no answer either.
    pub(crate) async fn work(
        mut self,
        api: Arc<Api>,
        shared: u64,
        progress: Arc<Progress>,
    ) -> Self {
        let mut noted = Instant::now();
        while !progress.is_over() && self.in_doubt.is_none() {
            let begun = Instant::now();
            let op = self.world.next(&mut self.chance);
            let label = op.label();
            self.change(&api, shared, op).await;
            if self.in_doubt.is_none() {
                progress.note_answer();
                progress.note_time(label, begun.elapsed());
            }
            if noted.elapsed() > NOTED_EVERY {
                progress.note_live(&self.world);
                noted = Instant::now();
            }
            if self.chance.percent(10) && self.read(&api, shared).await.is_none() {
                break;
            }
            if !self.pause.is_zero() {
                tokio::time::sleep_until((begun + self.pause).into()).await;
            }
        }
        progress.note_live(&self.world);
        self
    }

    async fn change(&mut self, api: &Api, shared: u64, op: Op) {
        let (method, path, body) = self.world.request(&op, shared);
        let Some(answer) = api.send(method, &path, body).await else {
            return self.doubt(op);
        };
        match answer.status {
            StatusCode::SERVICE_UNAVAILABLE => self.doubt(op),
            StatusCode::INSUFFICIENT_STORAGE => self.counts.no_space += 1,
            status if status.is_success() => {
                *self.counts.answered.entry(op.label()).or_default() += 1;
                self.world.apply(&op, told_key(&answer));
            }
            status => panic!("{op:?}: {status} {}", answer.text()),
        }
    }

    fn doubt(&mut self, op: Op) {
        self.counts.in_doubt += 1;
        self.in_doubt = Some(op);
    }

    /// Reads what is known and compares; `None` if no answer came.
    async fn read(&mut self, api: &Api, shared: u64) -> Option<()> {
        let files = self.world.files().map(|(pk, name, file)| {
            (pk.unwrap_or(shared), name.clone(), file.content.handle.clone())
        });
        let Some((pk, name, handle)) = self.chance.one_of(files) else {
            return Some(());
        };
        if pk != shared && self.chance.percent(20) {
            return self.read_archive(api, pk).await;
        }
        let path = format!("datasets/{pk}/files/{name}");
        let answer = api.send(Method::GET, &path, Body::None).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        assert_eq!(blake3::hash(&answer.bytes).to_hex().as_str(), &*handle, "{path}");
        self.counts.read += 1;
        Some(())
    }

    async fn read_archive(&mut self, api: &Api, pk: u64) -> Option<()> {
        let path = format!("datasets/{pk}/archive.zip");
        let answer = api.send(Method::GET, &path, Body::None).await?;
        if matches!(answer.status.as_u16(), 503 | 507) {
            return None;
        }
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        let set = self.world.datasets.values().find(|set| set.pk == Some(pk)).unwrap();
        let archive = zip::ZipArchive::new(std::io::Cursor::new(answer.bytes)).unwrap();
        let names: BTreeSet<_> = archive.file_names().map(|name| name.unwrap()).collect();
        let expected: BTreeSet<_> = set.files.keys().map(|name| Cow::from(name.as_str())).collect();
        assert_eq!(names, expected, "{path}");
        self.counts.read += 1;
        Some(())
    }

    /// Compares this client's world with what the server shows. What is in doubt was made or was
    /// not; from here on the world is what is there.
    pub(crate) fn settle(&mut self, everything: &Everything) {
        let seen = everything.of_client(&self.world.prefix);
        let before = self.world.expected(&seen);
        let Some(op) = self.in_doubt.take() else {
            assert!(before == seen, "nothing in doubt; {}", before.difference(&seen));
            return;
        };
        if before == seen {
            return;
        }
        let mut after = self.world.clone();
        after.apply(&op, None);
        let expected = after.expected(&seen);
        assert!(
            expected == seen,
            "{op:?} is neither made nor not made\nif not: {}\nif made: {}",
            before.difference(&seen),
            expected.difference(&seen)
        );
        self.world = after;
        self.counts.made_after_all += 1;
    }
}

fn told_key(answer: &Answer) -> Option<u64> {
    if answer.bytes.is_empty() { None } else { answer.json()["pk"].as_u64() }
}

/// Lets clients work at once; they come back when told to stop or when the server is gone.
pub(crate) fn begin(
    clients: Vec<Client>,
    api: &Arc<Api>,
    shared: u64,
    progress: &Arc<Progress>,
) -> Vec<tokio::task::JoinHandle<Client>> {
    let work = |client: Client| {
        let (api, progress) = (Arc::clone(api), Arc::clone(progress));
        tokio::spawn(async move {
            let _ends = Ends(Arc::clone(&progress));
            client.work(api, shared, progress).await
        })
    };
    clients.into_iter().map(work).collect()
}

pub(crate) async fn end(working: Vec<tokio::task::JoinHandle<Client>>) -> Vec<Client> {
    let mut clients = Vec::new();
    for client in working {
        clients.push(client.await.unwrap());
    }
    clients
}

/// Reads every content that any client knows of once, and compares it byte for byte; gives their
/// number and the bytes of all.
pub(crate) async fn compare_bytes(api: &Api, shared: u64, clients: &[Client]) -> (u64, u64) {
    let mut contents = BTreeMap::new();
    for client in clients {
        for (pk, name, file) in client.world.files() {
            contents.insert(file.content.handle.clone(), (pk.unwrap_or(shared), name, file));
        }
    }
    let mut bytes = 0;
    for (pk, name, file) in contents.values() {
        let path = format!("datasets/{pk}/files/{name}");
        let answer = api.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        assert!(answer.bytes == file.content.bytes(), "{path} has other bytes");
        bytes += u64::try_from(answer.bytes.len()).unwrap();
    }
    (u64::try_from(contents.len()).unwrap(), bytes)
}

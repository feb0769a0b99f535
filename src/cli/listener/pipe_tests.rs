//! Clients that do not read what they are sent, or are not read, on a pipe that holds next to nothing. The
//! clock moves only where nobody has anything to do, and minutes pass at once.

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::answer_tests::next_frame;
use super::bounds::{UNSENT_BYTES_MAX, WINDOW_BYTES_MAX};
use super::hostile_tests::{PREFACE, asks, frame, patient};
use super::*;

/// A connection, served until it ends.
pub(super) struct Pipe {
    pub(super) theirs: DuplexStream,
    pub(super) idle: Arc<Idle>,
    stop: watch::Sender<bool>,
    pub(super) serving: JoinHandle<()>,
}

impl Pipe {
    pub(super) fn to(router: Router, bounds: Bounds) -> Self {
        let (connection, idle, stop) = connection(router, bounds);
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let outflow = Outflow::new(ours, bounds.answer_pace, Arc::clone(&connection.presence));
        let serving = tokio::spawn(connection.serve(outflow, Peer::new([127, 0, 0, 1].into())));
        Self { theirs, idle, stop, serving }
    }

    pub(super) async fn sends(&mut self, bytes: &[u8]) {
        self.theirs.write_all(bytes).await.unwrap();
    }
}

/// A connection beside no other, and what tells it to stop.
pub(super) fn connection(
    router: Router,
    bounds: Bounds,
) -> (Connection, Arc<Idle>, watch::Sender<bool>) {
    let idle = Arc::default();
    let presence = Presence::new(&idle);
    let desk = Arc::new(Desk { routers: router.into(), lag: Lag::watch(), bounds });
    let (stop, stopped) = watch::channel(false);
    (Connection { presence, desk, stop: stopped, bounds }, idle, stop)
}

/// Lets everything happen that can.
async fn settled() {
    sleep(Duration::from_secs(1)).await;
}

/// A POST for `/` with a body to come.
fn sends_body(stream: u32) -> Vec<u8> {
    frame(1, 0b100, stream, &[0x83, 0x86, 0x84, 0x41, 1, b'h'])
}

/// The preface, and windows without end: of each stream, and of the connection.
fn wide_open() -> Vec<u8> {
    let settings = frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    let window = frame(8, 0, 0, &((1_u32 << 31) - 1 - 65_535).to_be_bytes());
    [PREFACE, &settings, &window].concat()
}

#[tokio::test(start_paused = true)]
async fn of_an_answer_that_is_not_read_little_is_taken_though_all_windows_are_open() {
    let polled = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&polled);
    let endless = async move || {
        Body::from_stream(futures_util::stream::repeat_with(move || {
            counted.fetch_add(16 << 10, std::sync::atomic::Ordering::SeqCst);
            Ok::<_, Infallible>(vec![7; 16 << 10])
        }))
    };
    let mut pipe = Pipe::to(Router::new().route("/", get(endless)), patient());
    pipe.sends(&[wide_open(), asks(1)].concat()).await;
    settled().await;
    let polled = polled.load(std::sync::atomic::Ordering::SeqCst);
    assert!((1..=2 * UNSENT_BYTES_MAX).contains(&polled), "{polled}");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_under_way_until_its_answer_is_sent_though_its_stream_has_all_of_it() {
    let router = Router::new().route("/", get(async || vec![7; 40 << 10]));
    let mut pipe = Pipe::to(router, patient());
    pipe.sends(&[wide_open(), asks(1), asks(3)].concat()).await;
    settled().await;
    assert_eq!(pipe.idle.requests(), 2);
    let mut taken = vec![0; 60 << 10];
    pipe.theirs.read_exact(&mut taken).await.unwrap();
    settled().await;
    assert!(pipe.idle.requests() > 0);
    taken.resize(20 << 10, 0);
    pipe.theirs.read_exact(&mut taken).await.unwrap();
    settled().await;
    assert_eq!(pipe.idle.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn bodies_over_http2_that_nobody_reads_may_bring_so_much_and_no_more() {
    let unread = async |_unread: Request<Body>| std::future::pending::<()>().await;
    let mut pipe = Pipe::to(Router::new().route("/", post(unread)), patient());
    pipe.sends(&[wide_open(), sends_body(1), sends_body(3)].concat()).await;
    assert_eq!(windows(&mut pipe.theirs).await, [WINDOW_BYTES_MAX; 2]);
    // Its settings hold once they are acknowledged. Whichever request has what was sent:
    pipe.sends(&frame(4, 1, 0, &[])).await;
    let piece = vec![7; 16 << 10];
    for number in 0..WINDOW_BYTES_MAX >> 14 {
        pipe.sends(&frame(0, 0, 1 + 2 * (number % 2), &piece)).await;
    }
    settled().await;
    assert_eq!(pipe.idle.requests(), 2);
    pipe.sends(&frame(0, 0, 1, b"x")).await;
    let mut rest = Vec::new();
    pipe.theirs.read_to_end(&mut rest).await.unwrap();
    settled().await;
    assert_eq!(pipe.idle.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_of_an_answer_over_http2_for_a_minute_and_a_half_keeps_the_connection() {
    let router = Router::new().route("/", get(async || vec![7; 40 << 10]));
    let mut pipe = Pipe::to(router, Bounds::default());
    pipe.sends(&[wide_open(), asks(1)].concat()).await;
    sleep(Duration::from_secs(90)).await;
    let mut taken = 0;
    while taken < 40 << 10 {
        let came = next_frame(&mut pipe.theirs).await;
        taken += if came.kind == 0 { came.payload.len() } else { 0 };
    }
    assert_eq!(taken, 40 << 10);
}

/// A minute and a quarter after its last request was over, and the moment that everybody has, whether the rest of
/// the head comes slowly or not at all.
#[tokio::test(start_paused = true)]
async fn who_does_not_finish_the_head_of_a_second_request_is_cut_off_in_time() {
    let half = b"GET / HTTP/1.1\r\nX: ";
    for trickles in [false, true] {
        let here = Router::new().route("/", get(async || "here"));
        let mut pipe = Pipe::to(here, Bounds::default());
        sleep(Duration::from_secs(20)).await;
        pipe.sends(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            answer.push(pipe.theirs.read_u8().await.unwrap());
        }
        sleep(Duration::from_secs(10)).await;
        let (at_once, later) = half.split_at(if trickles { 1 } else { half.len() });
        pipe.sends(at_once).await;
        for second in 0..64 {
            pipe.sends(later.get(second..=second).unwrap_or_default()).await;
            settled().await;
        }
        assert!(!pipe.serving.is_finished());
        timeout(Duration::from_secs(2) + IDLE_AT_END_MAX, pipe.serving).await.unwrap().unwrap();
        let mut rest = Vec::new();
        pipe.theirs.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http2_that_is_idle_and_does_not_read_does_not_hold_up_a_stop() {
    for asks_before in [false, true] {
        let (go_on, waits) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (goes_on, waiting) = (Arc::clone(&go_on), Arc::clone(&waits));
        let slow = async move || {
            waiting.add_permits(1);
            drop(goes_on.acquire().await);
        };
        let mut pipe = Pipe::to(Router::new().route("/", get(slow)), patient());
        pipe.sends(&wide_open()).await;
        settled().await;
        if asks_before {
            pipe.sends(&asks(1)).await;
            waits.acquire().await.unwrap().forget();
        }
        pipe.stop.send(true).unwrap();
        if asks_before {
            sleep(Duration::from_secs(20)).await;
            assert!(!pipe.serving.is_finished(), "its request is under way");
            go_on.add_permits(1);
        }
        timeout(Duration::from_secs(5), pipe.serving).await.unwrap().unwrap();
    }
}

/// The windows that a server begins with: of a stream, in its SETTINGS, and of the connection, beyond that of
/// the protocol.
async fn windows(stream: &mut DuplexStream) -> [u32; 2] {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let settings = next_frame(stream).await;
    assert_eq!(settings.kind, 4);
    let mut settings = settings.payload.chunks_exact(6);
    let of_stream = settings.find_map(|setting| setting.strip_prefix(&[0, 4])).map(number);
    let mut more = next_frame(stream).await;
    while (more.kind, more.stream) != (8, 0) {
        more = next_frame(stream).await;
    }
    [of_stream.unwrap(), 65_535 + number(&more.payload)]
}

//! What clients may do to a server: how many, how silent, how slow.

use std::time::Duration;

use granary::Pace;
use granary_engine::limits::KEPT_PIECE_MEMORY_BYTES;

use super::lag::Lag;

/// Connections at the same time where nobody says otherwise. Each costs some kilobytes and an open
/// file.
const CONNECTIONS_MAX: usize = 16_384;

/// Bytes that a connection buffers of what comes in, and so of a request's head. By itself the
/// library takes up to 400 KiB each, which a thousand uploads at once would multiply. Of bodies over HTTP/2 it
/// is `WINDOW_BYTES_MAX`.
pub(super) const INPUT_BYTES_MAX: usize = 64 << 10;

// A content that is kept as it came keeps all of a connection's buffer, which may have grown to three and
// a half times this while requests followed each other.
const _: () = assert!(4 * INPUT_BYTES_MAX <= KEPT_PIECE_MEMORY_BYTES);

/// How long a connection must have been idle to go for another one: longer than a request is on its way, at
/// most times.
const IDLE_TIME_MIN: Duration = Duration::from_secs(1);

/// Requests under way with which a server that is late takes no more, and no connections. Fewer are late
/// together only if something else takes the processors.
const CROWD_MIN: usize = 512;

/// How late its tasks come to run then. A request has a few such waits before its answer.
const LATE_AFTER: Duration = Duration::from_millis(500);

/// How long a new connection may take to send the head of its first request, silence before it included.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a connection is kept after an answer for its next request, that one's head included: longer than
/// proxies keep theirs (60 s, most of them), or a request might be sent into a connection that is just being
/// closed, which they do not send again.
const IDLE_TIME_MAX: Duration = Duration::from_secs(75);

/// How long the handshake of a connection with TLS may take: a few round trips and a signature, on the slowest
/// of ways.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Requests at the same time on one connection, where the protocol has them; what a browser asks
/// for at once, and far below what one client should keep busy. An eighth of `connections` where that is less.
pub(super) const STREAMS_MAX: u32 = 128;

/// Requests at the same time on one connection for which there are places once half of all are taken. Without
/// that a few connections, whose clients take no answers, would take the places of everybody.
pub(super) const STREAMS_AT_HALF_MAX: usize = 4;

/// Bytes of bodies that a client of HTTP/2 may send on one connection before anybody reads them, which are
/// kept for that long; by itself the library takes 1 MiB. They are as well what one connection brings at most
/// in a round trip: where that takes 100 ms, 2.5 MiB a second, and who wants more takes several connections.
pub(super) const WINDOW_BYTES_MAX: u32 = 256 << 10;

/// Bytes of an answer over HTTP/2 that its stream takes before its client does, beside the piece that comes
/// next; few, since nothing counts them, and enough to have the next piece ready while one is sent. By
/// itself the library takes 400 KiB.
pub(super) const UNSENT_BYTES_MAX: usize = 64 << 10;

/// Requests that a client may have taken back before anybody looked at them; with one more it
/// means no good, and its connection ends.
pub(super) const RESET_STREAMS_MAX: usize = 20;

/// How long nothing is taken after the system could not open another connection.
pub(super) const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// How long a place is waited for before another connection that has become idle goes for it.
pub(super) const PAUSE_BETWEEN_ENDS: Duration = Duration::from_millis(100);

/// How long a connection without a request is kept once its client was told that it ends, as far as the protocol
/// has words for that: for a request that is on its way.
pub(super) const IDLE_AT_END_MAX: Duration = Duration::from_secs(1);

/// Span in which a client must take `ANSWER_BYTES_MIN` of an answer under way, while it is waited for;
/// otherwise its connection ends; over HTTP/2 the answer is given up, and the connection ends once no other is
/// under way. As slow as of a body, but for twice the time: buffers on the way are large.
const ANSWER_SPAN: Duration = Duration::from_mins(2);

/// Bytes that a client must take in each `ANSWER_SPAN`. Of an answer over HTTP/2, whose stream has a window
/// of its own, it must take the piece that it was given, which is shorter.
const ANSWER_BYTES_MIN: u64 = 32 << 10;

/// What clients may do to a server.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Bounds {
    /// Connections at the same time; for the next one, the one that has been idle longest goes, and
    /// if none is, it is refused. Requests at the same time, over all connections, which have places of
    /// their own.
    pub(crate) connections_max: usize,
    /// How long a connection must have been idle to go for another one.
    pub(crate) idle_time_min: Duration,
    /// Requests under way with which a server that is late takes no more, and no connections.
    pub(crate) crowd_min: usize,
    /// How late its tasks come to run then.
    pub(crate) late_after: Duration,
    /// How long a new connection may take to send its first request's head, silence before it included.
    pub(crate) head_time_max: Duration,
    /// How long a connection is kept after an answer for its next request, that one's head included.
    pub(crate) idle_time_max: Duration,
    /// How long the handshake of a connection with TLS may take.
    pub(crate) handshake_time_max: Duration,
    /// What a client must take of an answer under way, while it is waited for.
    pub(crate) answer_pace: Pace,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            idle_time_min: IDLE_TIME_MIN,
            crowd_min: CROWD_MIN,
            late_after: LATE_AFTER,
            head_time_max: HEAD_TIME_MAX,
            idle_time_max: IDLE_TIME_MAX,
            handshake_time_max: HANDSHAKE_TIME_MAX,
            answer_pace: Pace { span: ANSWER_SPAN, bytes: ANSWER_BYTES_MIN },
        }
    }
}

impl Bounds {
    /// Requests at the same time on one connection, where the protocol has them.
    pub(super) fn streams_max(&self) -> u32 {
        let eighth = u32::try_from(self.connections_max / 8).unwrap_or(u32::MAX);
        eighth.clamp(1, STREAMS_MAX)
    }

    /// Whether there is no place for a request with so many ahead, and so many beside it on its connection.
    pub(super) fn leave_no_place(&self, ahead: usize, ahead_beside: usize) -> bool {
        let is_half_taken = ahead >= self.connections_max / 2;
        ahead >= self.connections_max || is_half_taken && ahead_beside >= STREAMS_AT_HALF_MAX
    }

    /// Whether a server with so many requests under way keeps up with them no longer.
    pub(super) fn are_passed(&self, requests: usize, lag: &Lag) -> bool {
        requests >= self.crowd_min && lag.now() >= self.late_after
    }
}

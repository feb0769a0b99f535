//! Every bound of the HTTP edge, with its unit and its reason.

use std::time::Duration;

/// Bytes of a body that is read whole (JSON and forms). A copy may name a hundred thousand files
/// in one; nothing else comes near.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;

/// Bytes of such a body that are read without asking; larger ones take turns.
pub(crate) const BODY_BYTES_SMALL: usize = 64 << 10;

/// Larger bodies that are in memory at a time; parsed, one may take ten times its bytes.
pub(crate) const LARGE_BODIES_MAX: usize = 2;

/// How long a larger body may take to arrive, since it keeps others waiting.
pub(crate) const LARGE_BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a request waits for its turn before it is told to come back.
pub(crate) const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

/// Answers of unbounded size (file maps, lists) that are rendered or sent at a time. Each holds up
/// to 1 MiB in memory and the rest in a nameless file.
pub(crate) const SPOOLED_ANSWERS_MAX: usize = 64;

/// Files of a dataset up to which its map is rendered in the request's own task: it is faster than
/// the way to the blocking pool.
pub(crate) const INLINE_FILES_MAX: u64 = 64;

/// Bytes of a spooled answer up to which it is sent as one piece, which frees its turn at once.
pub(crate) const INLINE_ANSWER_BYTES_MAX: u64 = 64 << 10;

/// How long a body may stand still before its sender is given up: it holds upload memory that
/// others wait for. Far beyond every hiccup of a network that still works.
pub(crate) const BODY_SILENCE_MAX: Duration = Duration::from_mins(1);

/// How long a body that nobody wants is read, so that its sender comes to read the answer. A
/// sender that needs longer finds the connection closed.
pub(crate) const UNREAD_BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// Files on a page of a listing if the client does not say how many.
pub(crate) const LISTED_FILES_DEFAULT: usize = 1000;

/// Files on a page of a listing at most: some ten milliseconds of one snapshot.
pub(crate) const LISTED_FILES_MAX: usize = 10_000;

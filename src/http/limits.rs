//! Every bound of the HTTP edge, with its unit and its reason.

use std::time::Duration;

/// Bytes of a body that is read whole (JSON and forms). A copy may name a hundred thousand files
/// in one; nothing else comes near.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;

/// Bytes of such a body that are read without asking; larger ones have their part of `LARGE_BODIES_BYTES`, or
/// of somebody who is not logged in their turn.
pub(crate) const BODY_BYTES_SMALL: usize = 64 << 10;

/// Bytes of an error's texts, which may repeat what was sent: the longest name, and what is said of it.
pub(crate) const ERROR_BYTES_MAX: usize = 16 << 10;

/// Bytes of an `Upload-Metadata` header, which is kept until the upload is forgotten: the longest name in base64
/// and as much again.
pub(crate) const UPLOAD_METADATA_BYTES_MAX: usize = 12 << 10;

/// Digests in `Repr-Digest`, `If-Match` and `If-None-Match` together of an upload that goes on: they are
/// kept until the upload is forgotten, and more than a few say nothing.
pub(crate) const UPLOAD_DIGESTS_MAX: usize = 64;

/// Bytes of a multipart form that may come at a stretch and are no file's content: heads of parts, texts, what
/// stands between them. All of it is in memory until a part begins.
pub(crate) const FORM_BYTES_MAX: usize = 256 << 10;

/// Fields of a form: each takes a hundred bytes, and its text may be two. The bound of the original's framework.
pub(crate) const FORM_FIELDS_MAX: usize = 1_000;

/// Bytes of a form without a file, which anybody may send: `BODY_BYTES_SMALL` of texts, the heads of their parts and
/// what stands between them.
pub(crate) const TEXTS_BYTES_MAX: usize = 80 << 10;

/// Bytes of memory that a JSON body may take once it is parsed: text of a few bytes can make a map of hundreds.
pub(crate) const JSON_WEIGHT_MAX: usize = 10 * BODY_BYTES_MAX;

/// Bytes of all larger bodies of those who are logged in, from when they have come until they are parsed, as JSON is,
/// or what was asked for in a form has ended. A sender that stands still keeps what it has brought from others, and
/// no more. The first 64 KiB and what comes with them are waited for; who has some and finds no more is refused, since
/// many of these would wait for each other. Of others one body is read and parsed at a time.
pub(crate) const LARGE_BODIES_BYTES: usize = 4 * BODY_BYTES_MAX;

/// Bytes of memory of all such JSON bodies of those who are logged in, from before they are parsed until what was
/// asked for has ended, which may wait for its dataset.
pub(crate) const LARGE_BODIES_KEPT_BYTES: usize = 2 * JSON_WEIGHT_MAX;

/// Bytes of that memory that one keeps for each of its own, if it does not take more: what is made of it is copied
/// as the change goes on.
pub(crate) const LARGE_BODY_KEPT_RATIO: usize = 10;

/// How long a larger body may take to arrive, since what has come of it is kept from others.
pub(crate) const LARGE_BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a read waits for files that were answered before it to be in the index, before it is told
/// to come back.
pub(crate) const CATCHING_UP_MAX: Duration = Duration::from_secs(10);

/// How long a request waits for its turn before it is told to come back.
pub(crate) const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

/// Requests of one kind that wait for their turn; the next one is told to come back at once.
pub(crate) const TURNS_WAITING_MAX: usize = 64;

/// Bytes of contents on their way out that are in memory as one or as large pieces, over all clients.
/// Beyond that contents go in pieces so short that they do not count.
pub(crate) const OUTGOING_BYTES: usize = 128 << 20;

/// The same of lists, file maps and long texts, which beyond that are sent in turns.
pub(crate) const ANSWER_BYTES: usize = 64 << 20;

/// Answers of unbounded size (file maps, lists) that are rendered at a time; and those that are sent at a time
/// and are too long for memory or find none, as many to reads and as many to changes.
pub(crate) const SPOOLED_ANSWERS_MAX: usize = 64;

/// Renderings of the numbers at `/metrics` at a time, which anybody may ask for: each looks at every file
/// that the process has open.
pub(crate) const SCRAPES_MAX: usize = 2;

/// Files of a dataset up to which its map is rendered in the request's own task, if its texts are short: it is
/// faster than the way to the blocking pool.
pub(crate) const INLINE_FILES_MAX: u64 = 64;

/// Bytes of an answer's text up to which it is sent as one piece, which counts nowhere; a longer one has its
/// part of `ANSWER_BYTES`.
pub(crate) const INLINE_ANSWER_BYTES_MAX: usize = 64 << 10;

/// Span in which a body must bring its part before its sender is given up, since it holds memory
/// and a connection that others wait for. Far beyond every hiccup of a network that still
/// works.
pub(crate) const BODY_SPAN: Duration = Duration::from_mins(1);

/// Bytes a second that a body must bring on average of `BODY_SPAN` unless the configuration says
/// otherwise: slower than a modem, and faster than who means to keep others waiting.
pub const BODY_BYTES_A_SECOND: u64 = 256;

/// How long a content may stand still on its way before its memory goes to those who wait for some:
/// far longer than a network that works, far shorter than anybody waits for memory.
pub(crate) const REST_AFTER: Duration = Duration::from_secs(1);

/// How long a body that nobody wants is read, so that its sender comes to read the answer. A
/// sender that needs longer finds the connection closed.
pub(crate) const UNREAD_BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a client that asked with `Expect` is sure to wait for leave before it sends all the same: curl and Go's
/// clients wait for a second, of which the way there and back takes some. To wait for what does not come costs little.
pub(crate) const LEAVE_TIME_MIN: Duration = Duration::from_millis(500);

/// Refused uploads that are remembered, a few words each; who is refused more often than that in
/// the time of one upload forgets the first.
pub(crate) const REFUSED_UPLOADS_MAX: usize = 1024;

/// How long a refused upload is remembered: longer than a large one takes to be sent to its end,
/// after which its sender reads the refusal and tries again.
pub(crate) const REFUSED_UPLOAD_TIME: Duration = Duration::from_hours(1);

/// Bytes of a content up to which it is read whole before its answer begins, if the answer is to
/// tell a digest that is not known ahead. Of a longer one only its BLAKE3 digest is told.
pub(crate) const IN_MEMORY_BYTES_MAX: u64 = 1 << 20;

/// Files of one request that asks for contents, or adds files by their handles. As many fit the
/// bound of bodies; each costs some look-ups.
pub(crate) const CLAIMED_FILES_MAX: usize = 100_000;

/// Files on a page of a listing if the client does not say how many.
pub(crate) const LISTED_FILES_DEFAULT: usize = 1000;

/// Files on a page of a listing at most: some ten milliseconds of one snapshot.
pub(crate) const LISTED_FILES_MAX: usize = 10_000;

/// Entries on a page of the audit log if the client does not say how many.
pub(crate) const AUDIT_ENTRIES_DEFAULT: usize = 100;

/// Entries on a page of the audit log at most: half a megabyte, mostly.
pub(crate) const AUDIT_ENTRIES_MAX: usize = 1_000;

/// Expressions in one filter, those within others counted too. Each is evaluated for every row.
pub(crate) const FILTER_EXPRESSIONS_MAX: usize = 1_000;

/// Conditions of one filter that look through files or members, of which one record may have a
/// million; conditions on a file's exact name are look-ups and do not count.
pub(crate) const FILTER_SCANS_MAX: usize = 8;

/// Bytes of one text in a filter; as long as the longest name is many times over.
pub(crate) const FILTER_TEXT_BYTES_MAX: usize = 64 << 10;

/// Fields in one order; more would only make keys and cursors long.
pub(crate) const ORDER_FIELDS_MAX: usize = 8;

/// Bytes of a text that an order looks at: more than the longest name has. Texts that differ only
/// behind them are in order of primary key.
pub(crate) const ORDER_TEXT_BYTES_MAX: usize = 1024;

/// Bytes of the keys by which one list is sorted, some 300,000 rows; with `limit` no list comes
/// near.
pub(crate) const ORDER_BYTES_MAX: usize = 32 << 20;

/// Lists that are sorted at a time, each with keys in memory.
pub(crate) const SORTED_LISTS_MAX: usize = 4;

/// Backups whose contents are kept at a time; each keeps what died since it began, and the list of
/// its rows on the disk.
pub(crate) const BACKUPS_MAX: usize = 4;

/// Related records of one kind that a list remembers; beyond that it begins anew.
pub(crate) const RELATED_RECORDS_MAX: usize = 10_000;

/// Rows of one page.
pub(crate) const PAGE_ROWS_MAX: usize = 10_000;

/// Bytes of an `Authorization` header that is kept with its connection; ours have some 300.
pub(crate) const KEPT_LOGIN_BYTES_MAX: usize = 512;

/// Letters of a cursor: the keys of [`ORDER_FIELDS_MAX`] texts of [`ORDER_TEXT_BYTES_MAX`] bytes
/// each, of which zeros take two, in base64.
pub(crate) const CURSOR_LETTERS_MAX: usize = 24 << 10;

/// How long a list stays in one state of the store. Then it goes on in a later one behind the row
/// that it wrote last, since the index cannot use old pages again while a state is held (I8 holds
/// for each row, and for all lists that take less).
pub(crate) const LIST_STATE_TIME_MAX: Duration = Duration::from_secs(10);

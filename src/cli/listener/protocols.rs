//! What the library that speaks HTTP/1.1 and HTTP/2 may take of a connection, and for how long.

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;

use super::bounds::{
    Bounds, INPUT_BYTES_MAX, RESET_STREAMS_MAX, UNSENT_BYTES_MAX, WINDOW_BYTES_MAX,
};

/// Serves connections within the bounds.
pub(super) fn builder(bounds: Bounds) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let mut http1 = builder.http1();
    // A connection on which no request begins for so long is over anyway (`Presence::over`), and the library
    // would set a timer for each request.
    http1.header_read_timeout(None);
    http1.max_buf_size(INPUT_BYTES_MAX);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(bounds.head_time_max);
    // Who works on what it was sent reads no question for life meanwhile.
    http2.keep_alive_timeout(bounds.answer_pace.span);
    http2.max_concurrent_streams(bounds.streams_max());
    http2.max_pending_accept_reset_streams(RESET_STREAMS_MAX);
    http2.max_header_list_size(u32::try_from(INPUT_BYTES_MAX).unwrap_or(u32::MAX));
    http2.max_send_buf_size(UNSENT_BYTES_MAX);
    http2.initial_connection_window_size(WINDOW_BYTES_MAX);
    http2.initial_stream_window_size(WINDOW_BYTES_MAX);
    builder
}

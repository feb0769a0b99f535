//! The log: lines on standard error. With the feature `otel`, traces beside it.

mod line;

use std::io::{self, IsTerminal};

use granary::config::{Config, LogFormat};
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use line::Line;

/// What must be there as long as something is to be traced.
#[derive(Debug, Default)]
pub(super) struct Log {
    #[cfg(feature = "otel")]
    traces: Option<super::traces::Traces>,
}

/// Starts the log.
///
/// # Errors
/// Traces are asked for and cannot be sent.
#[cfg(feature = "otel")]
pub(super) fn start(config: &Config) -> anyhow::Result<Log> {
    let (layer, traces) = super::traces::Traces::start::<tracing_subscriber::Registry>()?.unzip();
    // Fails only if a log was started before, which then serves as well.
    tracing_subscriber::registry().with(layer).with(lines(config)).try_init().ok();
    Ok(Log { traces })
}

/// Starts the log.
///
/// # Errors
/// None; where traces can be sent, they may fail.
#[cfg(not(feature = "otel"))]
#[expect(clippy::unnecessary_wraps, reason = "the same call with and without the feature")]
pub(super) fn start(config: &Config) -> anyhow::Result<Log> {
    // Fails only if a log was started before, which then serves as well.
    tracing_subscriber::registry().with(lines(config)).try_init().ok();
    Ok(Log::default())
}

impl Log {
    /// Sends what is still to be sent.
    pub(super) async fn end(self) {
        // It blocks for some seconds at most; nobody is left who could be told of a panic.
        tokio::task::spawn_blocking(move || self.send_rest()).await.ok();
    }

    #[cfg_attr(
        not(feature = "otel"),
        expect(clippy::unused_self, reason = "without the feature everything is sent already")
    )]
    fn send_rest(&self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = &self.traces {
            traces.end();
        }
    }
}

/// The lines on standard error.
fn lines<S>(config: &Config) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // The filter was tried when the configuration was read.
    let filter = EnvFilter::new(&config.log_filter);
    let has_colours = io::stderr().is_terminal();
    lines_to(io::stderr, config.log_format, has_colours).with_filter(filter)
}

/// The lines of all events, in a format; text may have colours.
fn lines_to<S, W>(
    writer: W,
    format: LogFormat,
    has_colours: bool,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let form = tracing_subscriber::fmt::format();
    match format {
        LogFormat::Text => {
            let form = form.with_ansi(has_colours);
            layer.with_ansi(has_colours).event_format(Line::text(form, has_colours)).boxed()
        }
        LogFormat::Json => {
            let form = form.json().flatten_event(true).with_span_list(false);
            layer.fmt_fields(JsonFields::new()).event_format(Line::json(form)).boxed()
        }
    }
}

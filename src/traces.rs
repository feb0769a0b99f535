//! Traces of others that go on here, as the header `traceparent` has them
//! (<https://www.w3.org/TR/trace-context/>).

use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Makes a span, which has no children yet, part of the client's trace if it names one.
pub(crate) fn continue_from(span: &Span, headers: &HeaderMap) {
    if !span.is_disabled() {
        let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // A span that nobody records needs no parent.
        span.set_parent(context).ok();
    }
}

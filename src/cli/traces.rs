//! Traces to an OpenTelemetry collector, by OTLP over HTTP, where the standard variables name one
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::env;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Targets of the spans that are traced; all other spans and lines are the log's.
const TARGETS: [&str; 2] = ["granary::trace", "granary_engine::trace"];

/// How long a collector may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Sends what is traced until it is ended.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// What traces, if it is asked for.
    ///
    /// # Errors
    /// The variables name no collector that could be sent to.
    pub(super) fn start<S>() -> anyhow::Result<Option<(impl Layer<S> + use<S>, Self)>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        if !is_wanted() {
            return Ok(None);
        }
        let client = reqwest::Client::builder().timeout(ANSWER_TIME_MAX).build()?;
        let sender = Sender { client, runtime: Handle::current() };
        let exporter = SpanExporter::builder().with_http().with_http_client(sender).build();
        let exporter = exporter.context("cannot send traces as the OTEL_ variables have it")?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource())
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("granary"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(
                TARGETS.map(|target| (target, Level::DEBUG)).into_iter().collect::<Targets>(),
            );
        Ok(Some((layer, Self { provider })))
    }

    /// Sends what is still to be sent. Blocks for some seconds at most.
    pub(super) fn end(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Whether the variables name a collector, or ask for the usual one.
fn is_wanted() -> bool {
    let is = |name: &str, value: &str| {
        env::var(name).is_ok_and(|found| found.eq_ignore_ascii_case(value))
    };
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_named = is_set("OTEL_EXPORTER_OTLP_ENDPOINT")
        || is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        || is("OTEL_TRACES_EXPORTER", "otlp");
    is_named && !is("OTEL_TRACES_EXPORTER", "none") && !is("OTEL_SDK_DISABLED", "true")
}

fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    let attributes = env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    if env::var_os("OTEL_SERVICE_NAME").is_some() || attributes.contains("service.name=") {
        return resource.build();
    }
    resource.with_service_name("granary").build()
}

/// The program's own HTTP library, since the exporter would bring another one. The exporter runs on
/// a thread that is none of the runtime's.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
}

impl HttpClient for Sender {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let (client, runtime) = (self.client.clone(), self.runtime.clone());
        Box::pin(async move { runtime.spawn(send(client, request)).await? })
    }
}

async fn send(
    client: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = request.into_parts();
    let request = client.request(head.method, head.uri.to_string());
    let answer = request.headers(head.headers).body(body).send().await?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = answer.status();
    response.headers_mut().clone_from(answer.headers());
    *response.body_mut() = answer.bytes().await?;
    Ok(response)
}

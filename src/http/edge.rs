//! What goes on around every request, whatever answers it: the exchange is observed, its body is under
//! watch, the answer has the headers that all have, and who panics has answered all the same.
//!
//! One layer and one allocation for all of that: with a layer for each, a request costs two dozen
//! allocations more.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt as _;
use tower::{Layer, Service};

use super::actions::Found;
use super::exchange::{Exchange, observed};
use super::headers::{self, Asked, Told};
use super::state::Observers;
use super::{error, inflow};
use crate::pace::Pace;

/// What is laid around every route.
#[derive(Debug, Clone)]
pub(super) struct Edge(Arc<Around>);

#[derive(Debug)]
struct Around {
    observers: Arc<Observers>,
    /// Of the bodies of requests.
    pace: Pace,
    told: Told,
}

impl Edge {
    pub(super) fn new(observers: Arc<Observers>, pace: Pace, told: Told) -> Self {
        Self(Arc::new(Around { observers, pace, told }))
    }
}

impl<S> Layer<S> for Edge {
    type Service = Edged<S>;

    fn layer(&self, route: S) -> Edged<S> {
        Edged { edge: self.clone(), route }
    }
}

/// A route with everything around it.
#[derive(Debug, Clone)]
pub(super) struct Edged<S> {
    edge: Edge,
    route: S,
}

impl<S> Service<Request> for Edged<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.route.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let edge = self.edge.clone();
        let Around { observers, pace, told } = &*edge.0;
        let found = Found::of(&request);
        let exchange = Exchange::begin(&request, found.action, Arc::clone(observers));
        let trace = exchange.trace(&request);
        let asked = Asked::by(&request, found, told);
        let request = inflow::watched(request, *pace, &exchange);
        let answering = AssertUnwindSafe(self.route.call(request)).catch_unwind();
        let answering = answering.map(move |answered| {
            let mut response = match answered {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(panic) => error::panicked(panic),
            };
            headers::add(response.headers_mut(), asked, &edge.0.told);
            response
        });
        Box::pin(observed(exchange, trace, answering).map(Ok))
    }
}

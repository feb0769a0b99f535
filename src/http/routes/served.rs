//! What one path of the router serves: its methods, and the `Allow` that every answer of it has.

use axum::http::HeaderValue;
use axum::routing::MethodRouter;
use tower::util::MapResponseLayer;
use utoipa::openapi::path::PathItem;

use crate::http::headers;
use crate::http::state::AppState;

/// Methods in the order in which `Allow` has them.
const ORDER: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// The methods of a path, and their names.
pub(super) struct Served {
    methods: MethodRouter<AppState>,
    names: Vec<&'static str>,
}

impl Served {
    /// The methods that a description tells.
    pub(super) fn new(item: &PathItem, methods: MethodRouter<AppState>) -> Self {
        let PathItem { get, post, put, patch, delete, .. } = item;
        let told = [
            ("GET", get),
            ("HEAD", get),
            ("POST", post),
            ("PUT", put),
            ("PATCH", patch),
            ("DELETE", delete),
        ];
        let told = told.into_iter().filter(|(_, operation)| operation.is_some());
        let names = told.map(|(name, _)| name).chain(["OPTIONS"]);
        Self { methods, names: names.collect() }
    }

    /// These methods and others of the same path.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            methods: self.methods.merge(other.methods),
            names: [self.names, other.names].concat(),
        }
    }

    /// The methods, OPTIONS, and the refusal of all others; each answer with `Allow`.
    pub(super) fn into_methods(self) -> MethodRouter<AppState> {
        let names: Vec<_> = ORDER.into_iter().filter(|name| self.names.contains(name)).collect();
        // Names of methods fit every header.
        let allow = HeaderValue::try_from(names.join(", "));
        let allow = allow.unwrap_or(HeaderValue::from_static("OPTIONS"));
        let methods = self.methods.fallback(headers::other_method);
        methods.layer(MapResponseLayer::new(move |response| headers::allow(response, &allow)))
    }
}

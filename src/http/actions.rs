//! What a request asks for, by a name that metrics and the log have for it: the operation's id in
//! the OpenAPI document, so there are as many as the API has operations.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method};

use super::routes::Named;
use super::uploads::method_meant;
use crate::metrics::ActionId;

/// What asks for nothing that there is.
const NONE: &str = "none";

/// The group of the server's own operations: health, metrics, documents.
const OF_THE_SERVER: &str = "server_";

/// All operations; the same for every server of this build.
static ACTIONS: LazyLock<Actions> = LazyLock::new(Actions::of_the_routes);

/// Methods in the order in which `Allow` has them.
const ORDER: [Method; 6] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD];

/// What one path serves.
struct OfPath {
    actions: Vec<(Method, ActionId)>,
    /// Its methods, as `Allow` has them.
    methods: HeaderValue,
}

impl OfPath {
    fn new(actions: Vec<(Method, ActionId)>) -> Self {
        let serves = |asked: &&Method| actions.iter().any(|(method, _)| method == *asked);
        let names = ORDER.iter().filter(serves).map(Method::as_str);
        let methods = names.chain(["OPTIONS"]).collect::<Vec<_>>().join(", ");
        // Names of methods fit every header.
        let methods = HeaderValue::try_from(methods);
        Self { methods: methods.unwrap_or(HeaderValue::from_static("OPTIONS")), actions }
    }
}

struct Actions {
    names: Vec<String>,
    /// Statuses of success, of the actions with these names.
    successes: Vec<u16>,
    /// By the router's path.
    by_path: HashMap<String, OfPath>,
}

impl Actions {
    fn of_the_routes() -> Self {
        let mut actions =
            Self { names: vec![NONE.to_owned()], successes: vec![200], by_path: HashMap::new() };
        for (path, named) in super::routes().into_actions() {
            let known = named.into_iter().map(|(method, named)| (method, actions.id(named)));
            let of_path = OfPath::new(known.collect());
            actions.by_path.insert(path, of_path);
        }
        actions
    }

    fn id(&mut self, Named { name, success }: Named) -> ActionId {
        let known = self.names.iter().position(|known| *known == name);
        ActionId(known.unwrap_or_else(|| {
            self.names.push(name);
            self.successes.push(success);
            self.names.len() - 1
        }))
    }
}

/// The names of all operations; an [`ActionId`] is a place among them.
pub(crate) fn names() -> &'static [String] {
    &ACTIONS.names
}

/// What the router found for a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// What it asks for.
    pub(super) action: ActionId,
    /// The methods of its path, as `Allow` has them; `None` if there is no such path.
    pub(super) methods: Option<&'static HeaderValue>,
}

impl Found {
    /// The router has found the request's path already.
    pub(super) fn of(request: &Request) -> Self {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let Some(OfPath { actions, methods }) = path.and_then(|path| ACTIONS.by_path.get(path))
        else {
            return Self::default();
        };
        let of = |asked: &Method| actions.iter().find(|(method, _)| method == asked);
        // A POST that stands for another method is that one's.
        let found = of(request.method()).or_else(|| of(&method_meant(request.headers())?));
        let action = found.map_or(ActionId::default(), |(_, action)| *action);
        Self { action, methods: Some(methods) }
    }
}

/// An action's name, and the status that its success has.
pub(super) fn told(action: ActionId) -> (&'static str, u16) {
    let name = ACTIONS.names.get(action.0).map_or(NONE, String::as_str);
    (name, ACTIONS.successes.get(action.0).copied().unwrap_or(200))
}

/// Whether the server itself is asked how it is, as programs do every few seconds.
pub(super) fn is_of_the_server(name: &str) -> bool {
    name.starts_with(OF_THE_SERVER)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_has_one_name_and_both_spellings_share_it() {
        let unique: HashSet<&String> = names().iter().collect();
        assert_eq!(unique.len(), names().len());
        assert!(names().len() > 60, "{:?}", names());
        for name in
            ["none", "files_add_file", "licences_list", "server_ready", "metadata_set_metadata"]
        {
            assert!(names().iter().any(|known| known == name), "{name} of {:?}", names());
        }
        assert!(!names().iter().any(|name| name.starts_with("licenses_")));
        for name in [super::super::state::ADD_FILE, super::super::state::GET_FILE] {
            assert!(names().iter().any(|known| known == name), "{name}");
        }
        let nameless = &ACTIONS.by_path["/v1/datasets/{pk}/files/"];
        let named = &ACTIONS.by_path["/v1/datasets/{pk}/files/{*filename}"];
        assert!(named.actions.iter().all(|action| nameless.actions.contains(action)));
    }
}

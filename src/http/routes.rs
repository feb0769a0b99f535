//! The one way to register a route: together with its description.
//!
//! A handler without a `#[utoipa::path]` does not compile in `routes!`, so the OpenAPI document
//! lacks no route. What holds of many operations is said here, not at each of them: the slash at
//! the end, the parameters that a path names, the group and the operation's id, `Node-Id` and the
//! failures that every operation of the API has, forms where fields are read, `Allow`.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::Method;
use axum::routing::MethodRouter;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{OneOf, SchemaType};
use utoipa::openapi::{OpenApi, RefOr, Schema, Type};
use utoipa_axum::router::UtoipaMethodRouter;

use super::headers;
use super::openapi::failures::Responses;
use super::openapi::{failures, parameters};
use super::state::AppState;

/// One path, its methods and their descriptions, as `routes!` gives it.
pub(crate) type Route = UtoipaMethodRouter<AppState>;

/// What begins the paths of the API proper.
const API: &str = "/v1/";

/// Parts of a path that are names and hold slashes, if they stand at the end.
const NAMES: [&str; 3] = ["filename", "username", "user"];

/// Types in which fields are sent, beside JSON.
const FORMS: [&str; 2] = ["application/x-www-form-urlencoded", "multipart/form-data"];

/// Routes and the document that describes them.
pub(crate) struct Routes {
    /// By the router's path. A path gets its methods from several registrations.
    served: BTreeMap<String, MethodRouter<AppState>>,
    document: OpenApi,
    /// The operations of a path, by method.
    actions: BTreeMap<String, Vec<(Method, Named)>>,
}

/// An operation as metrics, the log and the audit log have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// The status of its success; the first one where it has several.
    pub(crate) success: u16,
}

impl Routes {
    /// No routes yet.
    pub(crate) fn new(document: OpenApi) -> Self {
        Self { served: BTreeMap::new(), document, actions: BTreeMap::new() }
    }

    /// Registers a group of routes, under each of its spellings; the first one is its name.
    pub(crate) fn group(mut self, spellings: &[&str], routes: Vec<Route>) -> Self {
        for (schemas, paths, methods) in routes {
            let components = self.document.components.get_or_insert_default();
            components.schemas.extend(schemas);
            for (path, item) in &paths.paths {
                for spelling in spellings {
                    let name = spellings.first().unwrap_or(spelling);
                    let path = respelled(path, name, spelling);
                    for routed in routed(&path) {
                        let actions = self.actions.entry(routed.clone()).or_default();
                        actions.extend(actions_of(item, name));
                        self.serve(routed, methods.clone());
                    }
                    let item = described(item.clone(), &path, name, spelling);
                    self.document.paths.paths.insert(path, item);
                }
            }
        }
        self
    }

    /// Registers routes whose paths end in a name for the empty name too: it is a name as others
    /// are, and refused as one. The document has it with the others.
    pub(crate) fn nameless(mut self, routes: Vec<Route>) -> Self {
        for (_, paths, methods) in routes {
            for path in paths.paths.keys() {
                if let Some((before, name)) = ending_in_name(path) {
                    let named = self.actions.get(&format!("{before}{{*{name}}}"));
                    let named = named.cloned().unwrap_or_default();
                    self.actions.entry(before.to_owned()).or_default().extend(named);
                    self.serve(before.to_owned(), methods.clone());
                }
            }
        }
        self
    }

    fn serve(&mut self, path: String, more: MethodRouter<AppState>) {
        let served = match self.served.remove(&path) {
            None => more,
            Some(served) => served.merge(more),
        };
        self.served.insert(path, served);
    }

    /// The operations of every path of the router, by method.
    pub(crate) fn into_actions(self) -> BTreeMap<String, Vec<(Method, Named)>> {
        self.actions
    }

    /// The router and the complete document.
    pub(crate) fn split(self) -> (Router<AppState>, OpenApi) {
        let router = self.served.into_iter().fold(Router::new(), |router, (path, served)| {
            router.route(&path, served.fallback(headers::other_method))
        });
        (router, self.document)
    }
}

/// The operations of a path as the document names them, under the first of their spellings. HEAD
/// is GET without its body.
fn actions_of(item: &PathItem, group: &str) -> Vec<(Method, Named)> {
    let PathItem { get, post, put, patch, delete, .. } = item;
    let told = [
        (Method::GET, get),
        (Method::HEAD, get),
        (Method::POST, post),
        (Method::PUT, put),
        (Method::PATCH, patch),
        (Method::DELETE, delete),
    ];
    let named = told.into_iter().filter_map(|(method, operation)| {
        let operation = operation.as_ref()?;
        let id = operation.operation_id.as_ref()?;
        let statuses = operation.responses.responses.keys();
        let mut successes = statuses.filter_map(|status| status.parse().ok());
        let success = successes.find(|status| (200..300).contains(status)).unwrap_or(200);
        Some((method, Named { name: format!("{group}_{id}"), success }))
    });
    named.collect()
}

fn respelled(path: &str, name: &str, spelling: &str) -> String {
    path.replacen(&format!("{API}{name}/"), &format!("{API}{spelling}/"), 1)
}

/// A path as the router has it: with and without a slash at its end, or, if it ends in a name,
/// whatever the name.
fn routed(path: &str) -> Vec<String> {
    match ending_in_name(path) {
        None => vec![path.to_owned(), format!("{path}/")],
        Some((before, name)) => vec![format!("{before}{{*{name}}}")],
    }
}

/// What stands before the name that a path ends in, and the name's own name.
fn ending_in_name(path: &str) -> Option<(&str, &str)> {
    let (before, last) = path.strip_suffix('}')?.rsplit_once('{')?;
    NAMES.contains(&last).then_some((before, last))
}

fn described(mut item: PathItem, path: &str, name: &str, spelling: &str) -> PathItem {
    let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
    for operation in methods.into_iter().flatten() {
        describe(operation, path, name, spelling);
    }
    if let Some(head) = &mut item.head {
        describe(head, path, name, spelling);
        describe_head(head);
    }
    item
}

fn describe(operation: &mut Operation, path: &str, name: &str, spelling: &str) {
    operation.tags = Some(vec![name.to_owned()]);
    if let Some(id) = &operation.operation_id {
        operation.operation_id = Some(format!("{spelling}_{id}"));
    }
    let mut parameters = parameters::of_path(path);
    parameters.extend(operation.parameters.take().unwrap_or_default());
    if path.starts_with(API) {
        parameters.push(parameters::node_id());
        let of_query =
            if takes_query(&parameters) { failures::of_query() } else { Responses::default() };
        for (status, response) in of_query.into_iter().chain(failures::every()) {
            operation.responses.responses.entry(status).or_insert(response);
        }
    }
    operation.parameters = (!parameters.is_empty()).then_some(parameters);
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        without_null(body);
    }
    if failures::reads_fields(&operation.responses.responses) {
        accept_forms(operation);
    }
}

/// A body that may be left out may not be null, which an `Option` says of it too.
fn without_null(body: &mut RequestBody) {
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content
            && let Some(RefOr::T(Schema::OneOf(OneOf { items, .. }))) = &content.schema
            && let [body, RefOr::T(Schema::Object(null))] = items.as_slice()
            && null.schema_type == SchemaType::Type(Type::Null)
        {
            content.schema = Some(body.clone());
        }
    }
}

fn takes_query(parameters: &[RefOr<Parameter>]) -> bool {
    let in_query = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
        RefOr::Ref(_) => false,
    };
    parameters.iter().any(in_query)
}

/// The same fields are read from a form.
fn accept_forms(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else {
        return;
    };
    if let Some(fields) = body.content.get("application/json").cloned() {
        let forms = FORMS.map(|form| (form.to_owned(), fields.clone()));
        body.content.extend(forms);
    }
}

/// HEAD answers as GET does, without a body.
fn describe_head(operation: &mut Operation) {
    if let Some(id) = &operation.operation_id {
        operation.operation_id = Some(format!("{id}_head"));
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use utoipa_axum::routes;

    use super::*;
    use crate::http::openapi;
    use crate::http::openapi::failures::FieldsBody;

    /// Shows one.
    #[utoipa::path(method(get, head), path = "/v1/licences/{pk}", responses((status = OK, body = u64)))]
    async fn retrieve() {}

    /// Changes one.
    #[utoipa::path(put, path = "/v1/licences/{pk}", request_body = Change, responses(FieldsBody))]
    async fn update() {}

    /// Changes some of one.
    #[utoipa::path(patch, path = "/v1/licences/{pk}", request_body = Option<Change>)]
    async fn partial_update() {}

    #[derive(utoipa::ToSchema)]
    #[expect(dead_code, reason = "a description")]
    struct Change {
        name: String,
    }

    fn document() -> Value {
        let routes = vec![routes!(retrieve, update, partial_update)];
        let routes = Routes::new(openapi::begin()).group(&["licences", "licenses"], routes);
        let (_, document) = routes.split();
        serde_json::to_value(document).unwrap()
    }

    #[test]
    fn a_group_of_two_spellings_has_both_under_one_name() {
        let paths = document()["paths"].take();
        for spelling in ["licences", "licenses"] {
            let operation = &paths[format!("/v1/{spelling}/{{pk}}")]["put"];
            assert_eq!(operation["operationId"], json!(format!("{spelling}_update")));
            assert_eq!(operation["tags"], json!(["licences"]));
        }
        assert_eq!(paths.as_object().unwrap().len(), 2);
    }

    #[test]
    fn head_has_an_id_of_its_own_and_no_body() {
        let paths = document()["paths"].take();
        let item = &paths["/v1/licences/{pk}"];
        assert_eq!(item["get"]["operationId"], "licences_retrieve");
        assert!(item["get"]["responses"]["200"]["content"].is_object());
        assert_eq!(item["head"]["operationId"], "licences_retrieve_head");
        assert!(item["head"]["responses"]["200"]["content"].is_null());
    }

    #[test]
    fn what_reads_fields_reads_them_from_forms_too() {
        let paths = document()["paths"].take();
        let content = &paths["/v1/licences/{pk}"]["put"]["requestBody"]["content"];
        for form in FORMS {
            assert_eq!(content[form], content["application/json"], "{content}");
        }
    }

    #[test]
    fn a_body_that_may_be_left_out_may_not_be_null() {
        let paths = document()["paths"].take();
        let item = &paths["/v1/licences/{pk}"];
        let content = |method: &str| &item[method]["requestBody"]["content"]["application/json"];
        assert_eq!(content("patch"), content("put"));
        assert_eq!(item["put"]["requestBody"]["required"], true);
        assert_ne!(item["patch"]["requestBody"]["required"], true);
    }

    #[test]
    fn a_path_that_ends_in_a_name_takes_slashes_there() {
        let files = ending_in_name("/v1/datasets/{pk}/files/{filename}");
        assert_eq!(files, Some(("/v1/datasets/{pk}/files/", "filename")));
        assert_eq!(ending_in_name("/v1/datasets/{pk}/file-handles/{handle}"), None);
        assert_eq!(ending_in_name("/v1/datasets/{pk}/metadata"), None);
    }
}

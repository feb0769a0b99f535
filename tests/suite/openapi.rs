//! The OpenAPI document: complete in itself, and true of the routes it names.

/// Every action of the API, named by hand.
mod actions;

/// Examples, held against their schemas.
mod examples;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::Server;

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

async fn document() -> Value {
    let server = Server::start().await;
    let answer = server.anonymous().get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json(200)
}

/// Calls with every path, method and operation.
fn each_operation(document: &Value, mut look: impl FnMut(&str, &str, &Value)) {
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{method} of {path}");
            look(path, method, operation);
        }
    }
}

/// Calls with every value of the document.
fn each_value<'a>(value: &'a Value, look: &mut impl FnMut(&'a Value)) {
    look(value);
    match value {
        Value::Array(values) => values.iter().for_each(|value| each_value(value, look)),
        Value::Object(values) => values.values().for_each(|value| each_value(value, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a `$ref` refers to, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        None => value,
        Some(place) => {
            let pointer = place.strip_prefix('#').unwrap();
            document.pointer(pointer).unwrap_or_else(|| panic!("nothing at {place}"))
        }
    }
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_complete_in_itself() {
    let document = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["title"], "granary");
    let mut references = 0;
    each_value(&document, &mut |value| {
        if value["$ref"].is_string() {
            resolved(&document, value);
            references += 1;
        }
    });
    assert!(references > 100, "{references}");
}

#[tokio::test]
async fn the_parts_of_the_document_have_what_openapi_demands() {
    let document = document().await;
    for named in document["components"].as_object().unwrap().values() {
        for name in named.as_object().unwrap().keys() {
            let known = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
            assert!(name.chars().all(known), "{name}");
        }
    }
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    assert_eq!(schemes["bearer"]["scheme"], "bearer");
    each_operation(&document, |path, method, operation| {
        assert!(path.starts_with('/') && !path.contains('?'), "{path}");
        let security = operation.get("security").unwrap_or(&document["security"]);
        for way in security.as_array().unwrap() {
            assert!(way.as_object().unwrap().keys().all(|name| schemes.contains_key(name)));
        }
        let mut parameters = BTreeSet::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = resolved(&document, parameter);
            let (name, place) = (&parameter["name"], &parameter["in"]);
            assert!(parameters.insert((place.as_str().unwrap(), name.as_str().unwrap())), "{name}");
            assert!(["path", "query", "header"].contains(&place.as_str().unwrap()), "{place}");
            assert!(parameter["schema"].is_object(), "{name} of {method} of {path}");
            assert!(!parameter["description"].as_str().unwrap().is_empty(), "{name} of {path}");
        }
        let bodies =
            operation["responses"].as_object().unwrap().iter().map(|(status, response)| {
                assert!(status.len() == 3 && status.parse::<u16>().is_ok(), "{status} of {path}");
                resolved(&document, response)
            });
        for body in bodies.chain(operation.get("requestBody")) {
            for (media_type, content) in body["content"].as_object().into_iter().flatten() {
                assert!(media_type.contains('/'), "{media_type} of {method} of {path}");
                assert!(content["schema"].is_object(), "{media_type} of {method} of {path}");
            }
        }
    });
}

#[tokio::test]
async fn every_operation_has_an_id_of_its_own_a_summary_and_a_known_group() {
    let document = document().await;
    let tags = document["tags"].as_array().unwrap();
    let tags: BTreeSet<_> = tags.iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    each_operation(&document, |path, method, operation| {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{method} of {path}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} of {path}");
        for tag in operation["tags"].as_array().unwrap() {
            assert!(tags.contains(tag.as_str().unwrap()), "{method} of {path}: {tag}");
        }
    });
}

#[tokio::test]
async fn the_parameters_of_a_path_are_described_and_no_others() {
    let document = document().await;
    each_operation(&document, |path, method, operation| {
        let named = path.split('{').skip(1).map(|part| part.split('}').next().unwrap());
        let named: BTreeSet<_> = named.collect();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_path = parameters.iter().map(|parameter| resolved(&document, parameter));
        let in_path = in_path.filter(|parameter| parameter["in"] == "path");
        let described: BTreeSet<_> = in_path
            .inspect(|parameter| assert_eq!(parameter["required"], true, "{path}"))
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(named, described, "{method} of {path}");
    });
}

#[tokio::test]
async fn every_failure_says_what_its_body_is() {
    let document = document().await;
    each_operation(&document, |path, method, operation| {
        let responses = operation["responses"].as_object().unwrap();
        let expected =
            if path.starts_with("/v1/") { ["400", "401", "500", "503"] } else { ["200"; 4] };
        for status in expected {
            assert!(responses.contains_key(status), "{status} of {method} of {path}");
        }
        for (status, response) in responses {
            let response = resolved(&document, response);
            assert!(!response["description"].as_str().unwrap().is_empty());
            if status.starts_with(['4', '5']) {
                let body = &response["content"]["application/json"]["schema"];
                assert!(body.is_object(), "{status} of {method} of {path}");
            }
        }
    });
}

#[tokio::test]
async fn every_operation_that_is_described_is_there_with_and_without_a_slash() {
    let server = Server::start().await;
    let client = server.anonymous();
    let document = client.get("/openapi.json").await.json(200);
    let mut operations = Vec::new();
    each_operation(&document, |path, method, _| {
        operations.push((path.to_owned(), method.to_uppercase()));
    });
    for (path, method) in operations {
        let concrete = path.replace(['{', '}'], "");
        for path in [concrete.clone(), format!("{concrete}/")] {
            let allow = client.send("OPTIONS", &path, Vec::new()).await.is(200);
            let allowed: Vec<_> = allow.header("allow").split(", ").collect();
            assert!(allowed.contains(&method.as_str()), "{method} of {path}: {allowed:?}");
        }
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_anywhere_else() {
    let server = Server::start().await;
    let client = server.anonymous();
    let page = client.get("/docs").await.is(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").starts_with("default-src 'self';"));
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    let links = text.split(['"']).filter(|part| part.contains('/') && !part.contains(['<', ' ']));
    let mut loaded = 0;
    for link in links {
        assert!(link.starts_with('/'), "{link}");
        let asset = client.get(link).await.is(200);
        assert!(!asset.body.is_empty(), "{link}");
        loaded += 1;
    }
    assert_eq!(loaded, 4, "{text}");
    client.get("/docs/elsewhere.js").await.is(404);
}

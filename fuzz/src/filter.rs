//! Any body as a filter of any list: refused in words, or a list of which pages are the parts and
//! of which the inverted filter gives the rest.

use serde_json::{Value, json};

use crate::server::{Answer, Place, Server, with_server};

const KINDS: [&str; 6] = ["datasets", "projects", "teams", "users", "licences", "nodes"];

static PLACE: Place = Place::new(None);

/// The first byte chooses the list and the length of its pages, the rest is the body.
pub fn run(bytes: &[u8]) {
    let Some((&first, body)) = bytes.split_first() else {
        return;
    };
    let kind = KINDS[usize::from(first) % KINDS.len()];
    let rows = 1 + usize::from(first) / KINDS.len() % 4;
    with_server(&PLACE, furnish, |server| check(server, kind, rows, body));
}

fn check(server: &Server, kind: &str, rows: usize, body: &[u8]) {
    let path = format!("/v1/{kind}/list?files=false");
    let answer = server.post_text(&path, body.to_vec());
    answer.expect_in_shape();
    let Some(whole) = answer.status.is_success().then(|| pks(&answer)) else {
        return;
    };
    // The time of a login is written once a minute: between two lists, though hardly twice.
    let is_parted =
        || pages(server, &path, rows, body) == pks(&server.post_text(&path, body.to_vec()));
    assert!(is_parted() || is_parted(), "pages of {rows} are not {whole:?}");
    // Nothing sent is an empty filter.
    if let Ok(spec) = serde_json::from_slice::<Value>(if body.is_empty() { b"{}" } else { body }) {
        check_inverse(server, &path, &spec);
    }
}

/// The rows of all pages.
fn pages(server: &Server, path: &str, rows: usize, body: &[u8]) -> Vec<u64> {
    let (mut found, mut pages) = (Vec::new(), 0);
    let mut here = Some(format!("{path}&limit={rows}"));
    while let Some(path) = here {
        let answer = server.post_text(&path, body.to_vec());
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        let page = pks(&answer);
        assert!(page.len() <= rows, "{path}: {page:?}");
        found.extend(page);
        let link = answer.headers.get("link").and_then(|link| link.to_str().ok());
        here = link.and_then(|link| {
            link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"").map(str::to_owned)
        });
        pages += 1;
        assert!(pages < 200, "the pages do not end");
    }
    found
}

/// What a lone condition leaves out is what its inverse leaves.
fn check_inverse(server: &Server, path: &str, spec: &Value) {
    let Some([one]) = spec["expressions"].as_array().map(Vec::as_slice) else {
        return;
    };
    let is_inverted = one["invert"] == true;
    let mut inverse = one.clone();
    inverse["invert"] = json!(!is_inverted);
    let all = spec["include_inactive"].as_bool().unwrap_or(false);
    let list = |expressions: Vec<&Value>| {
        let body = json!({"expressions": expressions, "include_inactive": all});
        let answer = server.post(path, &body);
        assert!(answer.status.is_success(), "{body}: {answer:?}");
        pks(&answer)
    };
    let is_complement = || {
        let mut both = [list(vec![one]), list(vec![&inverse])].concat();
        both.sort_unstable();
        both == list(vec![])
    };
    assert!(is_complement() || is_complement(), "{one} and its inverse are not all");
}

fn pks(answer: &Answer) -> Vec<u64> {
    let list = answer.json();
    let rows = list.as_ref().and_then(Value::as_array).expect("a list");
    rows.iter().map(|row| row["pk"].as_u64().expect("a primary key")).collect()
}

/// A few records of each kind, with nulls, equals, deleted ones and texts of all sorts.
fn furnish(server: &Server) {
    let make = |path: &str, body: Value| {
        let answer = server.post(path, &body);
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        answer.json().expect("a record")["pk"].as_u64().expect("a primary key")
    };
    for (name, text) in [("ann", "A"), ("Ánn", "ß"), ("bob", ""), ("ANN", "a\u{0}b")] {
        let text = text.replace('\0', " ");
        let user = json!({"username": format!("u-{name}"), "password": "correct horse", "first_name": text});
        make("/v1/users/create", user);
        let team = make("/v1/teams/create", json!({"name": name}));
        let project = make("/v1/projects/create", json!({"name": name, "team": team}));
        let node = json!({"ip": name, "index": team, "cpu_mem": 1, "driver_version": null});
        make("/v1/nodes/create", node);
        for tags in ["", "x", "İ%_\u{10ffff}"] {
            let name = format!("{name} {tags}");
            let dataset =
                json!({"name": name, "project": project, "licence": 1 + team, "tags": tags});
            let pk = make("/v1/datasets/create", dataset);
            for file in ["a.txt", "d/é.png"] {
                let path = format!("/v1/datasets/{pk}/files/{}", file.replace('é', "%C3%A9"));
                let request =
                    axum::http::Request::post(path).header("Content-Type", "application/data");
                let body = axum::body::Body::from(name.clone());
                let added = server.send(request.body(body).expect("a request"));
                assert!(added.status.is_success(), "{added:?}");
            }
            if tags == "x" {
                let id = granary_engine::model::DatasetId(pk);
                server.block_on(server.engine.destroy_dataset(id)).expect("it goes");
            }
        }
    }
}

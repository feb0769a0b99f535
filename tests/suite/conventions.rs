//! The outer rules that hold of every action: paths, primary keys, bodies, texts, statuses, the
//! order of checks, and which fields each thing has.

use granary_engine::model::NewUser;
use granary_engine::model::PermissionLevel::Read;
use serde_json::{Value, json};

use crate::matrix::{ROWS, Row, State, World, pk};
use crate::support::{Answer, Client, PASSWORD, Server};

/// Paths at whose end a slash belongs to a name.
fn ends_in_name(path: &str) -> bool {
    ["/files/", "/metadata/", "/users/", "/permissions/"]
        .iter()
        .any(|before| path.rsplit_once(before).is_some_and(|(_, name)| !name.contains("list")))
        && !path.ends_with("/create")
}

#[tokio::test]
async fn every_route_is_there_with_and_without_a_slash_and_never_redirects() {
    let mut world = World::new(State::Alive).await;
    let others =
        ["/v1/auth/obtain", "/v1/auth/refresh", "/v1/auth/verify"].map(|path| ("POST", path));
    let rows = ROWS.iter().map(|Row(method, path, ..)| (*method, *path));
    for (method, path) in rows.chain(others) {
        if ends_in_name(path) {
            continue;
        }
        let path = world.filled(path);
        for path in [path.clone(), format!("{path}/")] {
            let options = world.admin.send("OPTIONS", &path, "").await.is(200);
            let allow = options.header("allow");
            assert!(allow.split(", ").any(|known| known == method), "{method} {path}: {allow}");
            // A method that no route has finds the route all the same, and is led nowhere else.
            let answer = world.admin.send("TRACE", &path, "").await.is(405);
            assert_eq!(answer.header("location"), "");
        }
    }
}

#[tokio::test]
async fn a_primary_key_is_digits_with_any_number_of_zeros_before_them() {
    let server = Server::start().await;
    let node = server.add_node().await;
    let dataset = server.add_dataset("cats").await;
    let admin = &dataset.client;
    for (resource, pk) in [
        ("datasets", dataset.pk),
        ("teams", server.team),
        ("projects", server.project),
        ("users", 1),
        ("licences", 1),
        ("licenses", 1),
        ("nodes", node),
    ] {
        let path = |pk: &str| format!("/v1/{resource}/{pk}");
        let shown = admin.get(&path(&pk.to_string())).await.json(200);
        assert_eq!(admin.get(&path(&format!("000{pk}"))).await.json(200)["pk"], shown["pk"]);
        for wrong in ["-1", "+1", "1.0", "1e0", "0x1", "x", "99999999999999999999"] {
            // By name, users are asked for with GET.
            let answer = admin.send("PATCH", &path(wrong), "").await.detail(404);
            assert!(answer.ends_with(" matches the given query."), "{resource} {wrong}: {answer}");
        }
    }
    let copy = format!("/v1/datasets/00{}/copy/", dataset.pk);
    admin.post(&copy, &json!({})).await.is(200);
}

#[tokio::test]
async fn no_body_counts_as_an_empty_object() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let before = dataset.fields().await;
    for kind in ["", "application/json", "text/plain"] {
        let client = match kind {
            "" => dataset.client.clone(),
            kind => dataset.client.with("Content-Type", kind),
        };
        assert_eq!(client.send("PATCH", &dataset.path(""), "").await.json(200), before);
        let wrong = client.send("PUT", &dataset.path(""), "").await.json(400);
        assert_eq!(wrong["name"], json!(["This field is required."]));
        let wrong = client.send("POST", "/v1/auth/obtain", "").await.json(400);
        assert_eq!(wrong["password"], json!(["This field is required."]));
        let listed = client.send("POST", "/v1/teams/list", "").await.json(200);
        assert_eq!(listed.as_array().unwrap().len(), 1);
        client.send("POST", &dataset.path("/copy"), "").await.is(200);
        client.send("POST", &dataset.path("/download"), "").await.is(200);
    }
}

#[tokio::test]
async fn fields_come_as_a_form_too() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let form = dataset.client.with("Content-Type", "application/x-www-form-urlencoded");
    for (method, path, body, field, value) in [
        ("PATCH", dataset.path(""), "tags=a%26b", "tags", json!("a&b")),
        ("PATCH", dataset.path(""), "is_public=on", "is_public", json!(true)),
        ("POST", "/v1/teams/create".to_owned(), "name=caf%C3%A9", "name", json!("café")),
        ("POST", "/v1/nodes/create".to_owned(), "ip=x&index=1&cpu_mem=2", "cpu_mem", json!(2)),
        ("PATCH", "/v1/users/1".to_owned(), "first_name=A+B", "first_name", json!("A B")),
    ] {
        let answer = form.send(method, &path, body).await;
        assert!(answer.status.is_success(), "{path}");
        let fields: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(fields[field], value, "{path}");
    }
}

/// A form of HTML does not send a box that is not ticked. The original takes it so where it puts a
/// whole record, and a blank as nothing said.
#[tokio::test]
async fn a_dataset_that_a_form_replaces_is_public_only_where_the_form_says_so() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let encoded = format!("name=cats&project={}&licence=1&tags=", server.project);
    let parts = encoded.split('&').map(|pair| {
        let (name, text) = pair.split_once('=').unwrap();
        format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    });
    let multipart = parts.collect::<String>() + "--X--\r\n";
    let json = server.dataset_body("cats").to_string();
    for (method, kind, body, stays_public) in [
        ("PUT", "application/json", json.as_str(), true),
        ("PUT", "application/x-www-form-urlencoded", &encoded, false),
        ("PUT", "application/x-www-form-urlencoded", &format!("{encoded}&is_public="), true),
        ("PUT", "application/x-www-form-urlencoded", &format!("{encoded}&is_public=on"), true),
        ("PATCH", "application/x-www-form-urlencoded", &encoded, true),
        ("PATCH", "application/x-www-form-urlencoded", "is_public=", true),
        ("PUT", "multipart/form-data; boundary=X", &multipart, false),
        ("PATCH", "multipart/form-data; boundary=X", &multipart, true),
    ] {
        dataset.client.patch(&dataset.path(""), &json!({"is_public": true})).await.is(200);
        let client = dataset.client.with("Content-Type", kind);
        let changed = client.send(method, &dataset.path(""), body.to_owned()).await.json(200);
        assert_eq!(changed["is_public"], stays_public, "{method} {kind} {body}");
    }
    let form = dataset.client.with("Content-Type", "application/x-www-form-urlencoded");
    form.send("PATCH", "/v1/users/1", "is_staff=").await.is(200);
    form.send("PATCH", "/v1/users/1", "is_active=").await.is(400);
}

#[tokio::test]
async fn fields_in_a_body_of_another_kind_are_told_what_came() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let admin = &dataset.client;
    for (body, text) in [
        (json!([1]), "Invalid data. Expected a dictionary, but got list."),
        (json!("x"), "Invalid data. Expected a dictionary, but got str."),
        (json!(1), "Invalid data. Expected a dictionary, but got int."),
        (json!(1.5), "Invalid data. Expected a dictionary, but got float."),
        (json!(true), "Invalid data. Expected a dictionary, but got bool."),
        (json!(null), "No data provided"),
    ] {
        let expected = json!({"non_field_errors": [text]});
        for resource in ["datasets", "users", "teams", "projects", "licences", "nodes"] {
            let create = format!("/v1/{resource}/create");
            assert_eq!(admin.post(&create, &body).await.json(400), expected, "{create}");
        }
        for path in [dataset.path(""), "/v1/users/1".to_owned(), "/v1/licences/1".to_owned()] {
            assert_eq!(admin.put(&path, &body).await.json(400), expected, "{path}");
            assert_eq!(admin.patch(&path, &body).await.json(400), expected, "{path}");
        }
        for action in ["obtain", "refresh", "verify"] {
            let path = format!("/v1/auth/{action}");
            assert_eq!(admin.post(&path, &body).await.json(400), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn texts_are_cut_at_both_ends_and_numbers_become_texts() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let path = dataset.path("");
    for (value, text) in [
        (json!("  two words \t\n"), "two words"),
        (json!(7), "7"),
        (json!(-1.5), "-1.5"),
        (json!("x".repeat(200)), &"x".repeat(200)),
        // Letters are counted, not bytes.
        (json!("é".repeat(200)), &"é".repeat(200)),
    ] {
        let named = dataset.client.patch(&path, &json!({"name": value})).await.json(200);
        assert_eq!(named["name"], text);
    }
    for (value, text) in [
        (json!("a\u{0}"), "Null characters are not allowed."),
        (json!("é".repeat(201)), "Ensure this field has no more than 200 characters."),
        (json!(true), "Not a valid string."),
        (json!(1e30), "Not a valid string: so long a number must be in quotes."),
        (json!(["x"]), "Not a valid string."),
        (json!({}), "Not a valid string."),
        (json!(null), "This field may not be null."),
        (json!(" \u{a0}\u{2003}"), "This field may not be blank."),
    ] {
        let wrong = dataset.client.patch(&path, &json!({"name": value})).await.json(400);
        assert_eq!(wrong, json!({"name": [text]}));
    }
}

#[tokio::test]
async fn lengths_are_bounded_where_the_document_says() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let project = server.project;
    // A new password of one's own would end one's login.
    let other = server.add_user("other").await;
    let url = |length: usize| format!("https://example.org/{}", "x".repeat(length - 20));
    let x = |length: usize| "x".repeat(length);
    for (path, field, longest, beyond) in [
        (format!("/v1/projects/{project}"), "name", x(200), x(201)),
        (format!("/v1/teams/{}", server.team), "name", x(200), x(201)),
        ("/v1/licences/1".to_owned(), "name", x(100), x(101)),
        ("/v1/licences/1".to_owned(), "url", url(200), url(201)),
        ("/v1/users/1".to_owned(), "first_name", x(150), x(151)),
        ("/v1/users/1".to_owned(), "last_name", x(150), x(151)),
        ("/v1/users/1".to_owned(), "username", x(150), x(151)),
        (format!("/v1/users/{other}"), "password", x(128), x(129)),
    ] {
        let wrong = admin.patch(&path, &json!({field: beyond})).await.json(400);
        let text = format!("Ensure this field has no more than {} characters.", longest.len());
        assert_eq!(wrong, json!({field: [text]}), "{path}");
        admin.patch(&path, &json!({field: longest})).await.is(200);
    }
    for username in ["a.b", "a@b", "a+b-c_d", "Ωμ9"] {
        admin.patch("/v1/users/1", &json!({"username": username})).await.is(200);
    }
    for username in ["a b", "a/b", "a!", "a\u{200b}"] {
        let wrong = admin.patch("/v1/users/1", &json!({"username": username})).await.json(400);
        assert!(wrong["username"][0].as_str().unwrap().starts_with("Enter a valid username."));
    }
}

#[tokio::test]
async fn descriptions_and_tags_have_64_kib_at_most() {
    let server = Server::start().await;
    let dataset = server.add_dataset("long").await;
    let (longest, beyond) = ("ä".repeat(32 << 10), "ä".repeat((32 << 10) + 1));
    for field in ["description", "tags"] {
        let wrong =
            dataset.client.patch(&dataset.path(""), &json!({field: beyond})).await.json(400);
        let text = "Ensure this field has no more than 65536 bytes (it has 65538).";
        assert_eq!(wrong, json!({field: [text]}));
        let mut body = server.dataset_body(field);
        body[field] = json!(beyond);
        let wrong = dataset.client.post("/v1/datasets/create", &body).await.json(400);
        assert_eq!(wrong, json!({field: [text]}));
        let kept =
            dataset.client.patch(&dataset.path(""), &json!({field: longest})).await.json(200);
        assert_eq!(kept[field], json!(longest));
    }
}

#[tokio::test]
async fn create_is_201_destroy_204_and_all_else_200() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let team = pk(&admin.post("/v1/teams/create", &json!({"name": "t"})).await.json(201));
    let user = json!({"username": "u", "password": PASSWORD});
    let user = pk(&admin.post("/v1/users/create", &user).await.json(201));
    let project = json!({"name": "p", "team": team});
    let project = pk(&admin.post("/v1/projects/create", &project).await.json(201));
    let licence = json!({"name": "l", "url": "https://example.org"});
    let licence = pk(&admin.post("/v1/licences/create", &licence).await.json(201));
    let node = json!({"ip": "10.0.0.1", "index": 0, "cpu_mem": 1});
    let node = pk(&admin.post("/v1/nodes/create", &node).await.json(201));
    let body = json!({"name": "d", "project": project, "licence": licence, "tags": ""});
    let dataset = pk(&admin.post("/v1/datasets/create", &body).await.json(201));

    let members = format!("/v1/teams/{team}/memberships");
    for method in ["add", "update", "remove"] {
        admin.patch(&members, &json!({"username": "u", "method": method})).await.is(200);
    }
    let says = json!({"type": "domains", "method": "add", "names": ["x"]});
    admin.patch(&format!("/v1/licences/{licence}/subdescriptors"), &says).await.is(200);
    let at = format!("/v1/datasets/{dataset}");
    admin.upload(&format!("{at}/files/a"), "1").await.is(200);
    let archive = crate::support::zip_of(&[("b", "2")]);
    admin.upload(&format!("{at}/files-multi"), archive).await.is(200);
    let copy = pk(&admin.post(&format!("{at}/copy"), &json!({})).await.json(200));
    admin.post(&format!("{at}/merge/{copy}"), &json!({"delete": true})).await.is(200);
    admin.delete(&format!("{at}/files/a")).await.is(200);

    for (resource, pk) in [
        ("datasets", copy),
        ("datasets", dataset),
        ("nodes", node),
        ("projects", project),
        ("teams", team),
        ("users", user),
    ] {
        let path = format!("/v1/{resource}/{pk}");
        let answer = admin.delete(&path).await.is(204);
        assert!(answer.body.is_empty() && answer.header("content-type").is_empty(), "{path}");
        if ["datasets", "projects", "teams"].contains(&resource) {
            admin.delete(&format!("{path}/reinstate")).await.is(200);
            admin.delete(&format!("{path}/hard")).await.is(200);
        }
    }
    admin.delete(&format!("/v1/licences/{licence}")).await.is(204);
}

/// Somebody whose token, node, object, right and body are good or not.
async fn first_fault(server: &Server, faults: [bool; 5]) -> Answer {
    let [token, node, object, right, body] = faults;
    let client = if right { server.login("reader").await } else { server.admin().await };
    let client =
        if token { server.anonymous().with("Authorization", "Bearer junk") } else { client };
    let client = if node { client.with("Node-Id", "999") } else { client };
    let path = if object { "/v1/datasets/999" } else { "/v1/datasets/1" };
    let body = if body { json!([1]) } else { json!({}) };
    client.patch(path, &body).await
}

#[tokio::test]
async fn checks_come_in_the_order_token_node_object_right_body() {
    let server = Server::start().await;
    server.add_dataset("cats").await;
    server.member("reader", Read).await;
    let statuses = [401, 400, 404, 403, 400];
    let texts = [
        "Given token not valid for any token type",
        "Bad Node-Id header '999': There is no such node",
        "No Dataset matches the given query.",
        "You do not have permission to perform this action.",
        "Invalid data. Expected a dictionary, but got list.",
    ];
    for first in 0..5 {
        // Whatever else is wrong behind it, the first fault is the one that is told.
        for behind in [false, true] {
            let mut faults = [false; 5];
            for (at, fault) in faults.iter_mut().enumerate() {
                *fault = at == first || (behind && at > first);
            }
            let answer = first_fault(&server, faults).await;
            assert_eq!(answer.status.as_u16(), statuses[first], "{faults:?}");
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(text.contains(texts[first]), "{faults:?}: {text}");
        }
    }
    first_fault(&server, [false; 5]).await.is(200);
}

#[tokio::test]
async fn a_create_looks_at_the_body_first_whoever_sends_it() {
    let server = Server::start().await;
    let stranger = server.stranger("bob").await;
    for client in [server.anonymous(), stranger] {
        for resource in ["datasets", "users", "teams", "projects", "licences", "nodes"] {
            let path = format!("/v1/{resource}/create");
            let wrong = client.post(&path, &json!({})).await.json(400);
            let required = json!(["This field is required."]);
            assert!(wrong.as_object().unwrap().values().all(|texts| *texts == required), "{path}");
        }
    }
}

#[tokio::test]
async fn a_bad_token_is_401_and_a_bad_node_400_on_every_action() {
    let mut world = World::new(State::Alive).await;
    let nobody = world.server.anonymous();
    let others = ["obtain", "refresh", "verify"].map(|action| format!("/v1/auth/{action}"));
    let rows = ROWS.iter().map(|Row(method, path, body, ..)| (*method, *path, *body));
    for (method, path, body) in rows.chain(others.iter().map(|path| ("POST", path.as_str(), "{}")))
    {
        let (path, body) = (world.filled(path), world.filled(body));
        let on = async |client: &Client| {
            let client = client.with("Content-Type", "application/json");
            client.send(method, &path, body.clone()).await
        };
        for client in [&world.admin, &nobody] {
            let detail = on(&client.with("Node-Id", "x")).await.detail(400);
            assert_eq!(detail, "Bad Node-Id header 'x': Must be a node's primary key", "{path}");
        }
        // A login is asked for with whatever token there was before.
        if !path.starts_with("/v1/auth/") {
            let answer = on(&nobody.with("Authorization", "Bearer junk")).await;
            assert_eq!(answer.json(401)["code"], "token_not_valid", "{method} {path}");
        }
    }
}

/// `is_superuser` says nothing, `is_staff` everything.
#[tokio::test]
async fn staff_is_what_makes_an_administrator() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    for (username, is_superuser, is_staff) in [("super", true, false), ("staff", false, true)] {
        let user = NewUser {
            username: username.to_owned(),
            password_hash: granary::auth::hash_password(PASSWORD).unwrap(),
            first_name: String::new(),
            last_name: String::new(),
            email: String::new(),
            is_superuser,
            is_staff,
            is_active: true,
        };
        server.engine.create_user(user).await.unwrap();
        let client = server.login(username).await;
        let expected = if is_staff { 200 } else { 403 };
        client.get(&dataset.path("")).await.is(expected);
        client.post("/v1/users/list", &json!({})).await.is(expected);
        client.delete(&dataset.path("/reinstate")).await.is(expected);
    }
}

#[tokio::test]
async fn answers_are_compact_and_letters_stand_for_themselves() {
    let server = Server::start().await;
    let dataset = server.add_dataset("café 🐈").await;
    dataset.add("%C3%A9", "1").await.is(200);
    for path in [dataset.path(""), dataset.path("/metadata"), dataset.path("/files")] {
        let answer = dataset.client.get(&path).await.is(200);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.contains('é') && !text.contains("\\u"), "{text}");
        assert!(!text.contains(": ") && !text.contains(", ") && !text.contains('\n'), "{text}");
    }
}

fn keys(fields: &Value) -> Vec<&str> {
    fields.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn every_thing_has_its_fields_and_no_others() {
    let server = Server::start().await;
    server.add_dataset("cats").await;
    server.add_node().await;
    let admin = server.admin().await;
    for (resource, fields) in [
        (
            "datasets",
            "pk name version previous_version description project licence is_public domain tags creator creation_time deletion_time files",
        ),
        (
            "users",
            "username pk last_login is_superuser first_name last_name email is_staff is_active date_joined",
        ),
        ("teams", "pk name members creator creation_time deletion_time"),
        ("projects", "pk name team creator creation_time deletion_time"),
        ("licences", "pk name url permissions conditions limitations domains"),
        ("licenses", "pk name url permissions conditions limitations domains"),
        (
            "nodes",
            "pk ip index driver_version hardware_generation gpu_mem cpu_mem last_seen current_job",
        ),
    ] {
        let mut expected: Vec<&str> = fields.split(' ').collect();
        expected.sort_unstable();
        let one = admin.get(&format!("/v1/{resource}/1")).await.json(200);
        let list = admin.post(&format!("/v1/{resource}/list"), &json!({})).await.json(200);
        for shown in [&one, &list[0]] {
            let mut shown = keys(shown);
            shown.sort_unstable();
            assert_eq!(shown, expected, "{resource}");
        }
    }
    let team = admin.get("/v1/teams/1").await.json(200);
    assert_eq!(team["members"], json!([{"pk": 1, "username": "admin"}]));
    assert_eq!(team["creator"], 1);
}

/// All fourteen, as the original serves them.
#[tokio::test]
async fn the_licences_from_the_start_are_those_of_the_original() {
    let server = Server::start().await;
    let known: Value = serde_json::from_str(include_str!("../../src/licences.json")).unwrap();
    let listed = server.admin().await.post("/v1/licences/list", &json!({})).await.json(200);
    assert_eq!(listed.as_array().unwrap().len(), 14);
    for (at, licence) in listed.as_array().unwrap().iter().enumerate() {
        assert_eq!(licence["pk"], at + 1);
        for field in ["name", "url", "permissions", "conditions", "limitations", "domains"] {
            assert_eq!(licence[field], known[at][field], "{field}");
        }
    }
}

//! Bodies of rubbish on every action that reads one: the answer is a success or a refusal in one of
//! the API's shapes, and the server answers the next request.

use serde_json::{Value, json};

use crate::matrix::{ROWS, Row, State, World};
use crate::support::{Answer, Server};

/// Every action that reads a body, with a good one; words in braces are filled in by the world.
const BODIES: &[(&str, &str, &str)] = &[
    ("POST", "/v1/auth/obtain", r#"{"username":"R","password":"wrong"}"#),
    ("POST", "/v1/auth/refresh", r#"{"refresh":"x"}"#),
    ("POST", "/v1/auth/verify", r#"{"token":"x"}"#),
    // As with `USER`, no new password is hashed.
    ("POST", "/v1/auth/password", r#"{"old_password":"x","new_password":""}"#),
    ("POST", "/v1/store/check", r#"{"deep":false}"#),
    ("POST", "/v1/datasets/list", FILTER),
    ("POST", "/v1/datasets/create", DATASET),
    ("PUT", "/v1/datasets/{D}", DATASET),
    ("PATCH", "/v1/datasets/{D}", DATASET),
    ("PATCH", "/v1/datasets/{public}", DATASET),
    ("POST", "/v1/datasets/{D}/merge/{D}", r#"{"delete":false,"hard":false}"#),
    ("POST", "/v1/datasets/{D}/download", r#"{"filetype":"zip","params":{}}"#),
    ("POST", "/v1/datasets/{public}/download", r#"{"filetype":"tar.gz","params":{}}"#),
    ("POST", "/v1/datasets/{D}/copy", r#"{"new_name":"copy FRESH","only_files":["a","b"]}"#),
    ("POST", "/v1/datasets/{D}/files/..", "{}"),
    ("POST", "/v1/datasets/{public}/files/..", "{}"),
    ("POST", "/v1/datasets/{D}/files-multi", "{}"),
    ("POST", "/v1/datasets/{D}/files-delete", r#"{"names":["nothing"]}"#),
    ("POST", "/v1/datasets/{D}/files-rename", r#"{"from":"a","to":"FRESH"}"#),
    ("POST", "/v1/datasets/{D}/metadata-multi", r#"{"metadata":{"a":"x"}}"#),
    ("POST", "/v1/datasets/{D}/files-check", CLAIMS),
    ("POST", "/v1/datasets/{public}/files-check", CLAIMS),
    ("POST", "/v1/datasets/{D}/files-attach", CLAIMS),
    ("PUT", "/v1/datasets/{D}/files/..?replace=true", "{}"),
    ("POST", "/v1/datasets/{D}/uploads", "{}"),
    ("PATCH", "/v1/datasets/{D}/uploads/nothing", "{}"),
    ("POST", "/v1/datasets/{D}/metadata/nothing", r#"{"metadata":"x"}"#),
    ("POST", "/v1/users/list", FILTER),
    ("POST", "/v1/users/create", USER),
    ("PUT", "/v1/users/{gone}", USER),
    ("PATCH", "/v1/users/{gone}", r#"{"username":"user-FRESH","first_name":"F","email":""}"#),
    ("POST", "/v1/teams/list", FILTER),
    ("POST", "/v1/teams/create", r#"{"name":"team FRESH"}"#),
    ("PUT", "/v1/teams/{T}", r#"{"name":"team FRESH"}"#),
    ("PATCH", "/v1/teams/{T}", r#"{"name":"team FRESH"}"#),
    (
        "PATCH",
        "/v1/teams/{T}/memberships",
        r#"{"username":"stranger","method":"add","permissions":"R"}"#,
    ),
    ("PUT", "/v1/teams/{T}/quota", r#"{"files":1000000,"bytes":null}"#),
    (
        "POST",
        "/v1/access-tokens/create",
        r#"{"name":"token FRESH","team":{T},"permissions":"R","expiry_time":null}"#,
    ),
    ("POST", "/v1/projects/list", FILTER),
    ("POST", "/v1/projects/create", r#"{"name":"project FRESH","team":{T}}"#),
    ("PUT", "/v1/projects/{P}", r#"{"name":"project FRESH","team":{T}}"#),
    ("PATCH", "/v1/projects/{P}", r#"{"name":"project FRESH","team":{T}}"#),
    ("POST", "/v1/licences/list", FILTER),
    ("POST", "/v1/licences/create", LICENCE),
    ("PUT", "/v1/licences/1", LICENCE),
    ("PATCH", "/v1/licences/1", LICENCE),
    (
        "PATCH",
        "/v1/licences/1/subdescriptors",
        r#"{"type":"domains","method":"add","names":["a FRESH",1]}"#,
    ),
    ("POST", "/v1/licenses/list", FILTER),
    ("PATCH", "/v1/licenses/1", LICENCE),
    ("POST", "/v1/nodes/list", FILTER),
    ("POST", "/v1/nodes/create", NODE),
    ("PUT", "/v1/nodes/{N}", NODE),
    ("PATCH", "/v1/nodes/{N}", NODE),
    ("PATCH", "/v1/nodes/{other node}", NODE),
];

const CLAIMS: &str = r#"{"files":[{"filename":"FRESH","handle":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","size":0}]}"#;

const DATASET: &str = r#"{"name":"set FRESH","description":"d","project":{P},"licence":1,"tags":"t","is_public":false}"#;

/// Whose password is refused, since hashing one for every strange value takes long.
const USER: &str = r#"{"username":"user-FRESH","password":"","first_name":"F","last_name":"L","email":"a@example.org","is_staff":false,"is_active":true}"#;

const LICENCE: &str = r#"{"name":"licence FRESH","url":"https://example.org/FRESH"}"#;

const NODE: &str = r#"{"ip":"FRESH","index":1,"driver_version":"1","hardware_generation":1,"gpu_mem":1,"cpu_mem":1}"#;

const FILTER: &str = r#"{"expressions":[{"type":"or","sub_expressions":[{"type":"exact","field":"pk","value":1},{"type":"compare","field":"id","operator":"<","value":9}],"invert":false},{"type":"isnull","field":"pk","invert":true}],"order_by":[{"field":"pk","ascending":true,"nulls_first":false}],"include_inactive":true}"#;

/// Asserts that an answer is a success or a refusal in one of the API's shapes.
#[track_caller]
pub(crate) fn is_in_shape(answer: &Answer, case: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    let status = answer.status.as_u16();
    let kind = answer.header("content-type");
    let parsed: Option<Value> = serde_json::from_slice(&answer.body).ok();
    if (200..300).contains(&status) {
        let whole = match kind {
            "application/json" => parsed.is_some(),
            "application/data" => true,
            _ => kind.is_empty() && answer.body.is_empty(),
        };
        assert!(whole, "{case}: {status} {kind} {text}");
        return;
    }
    // Rubbish may have set a small quota before.
    assert!((400..500).contains(&status) || status == 507, "{case}: {status} {text}");
    assert_eq!(kind, "application/json", "{case}: {status} {text}");
    let body = parsed.unwrap_or_else(|| panic!("{case}: {status} {text}"));
    let fields = body.as_object().unwrap_or_else(|| panic!("{case}: {status} {text}"));
    let said = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    let good = if fields.contains_key("detail") {
        let known = |key: &String| ["detail", "code", "messages"].contains(&key.as_str());
        said(&body["detail"]) && fields.keys().all(known)
    } else {
        let texts = |texts: &Value| texts.as_array().is_some_and(|texts| texts.iter().all(said));
        status == 400 && !fields.is_empty() && fields.values().all(texts)
    };
    assert!(good, "{case}: {status} {text}");
}

/// The start of a text, for a message.
pub(crate) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(120)]).into_owned()
}

/// A world with a file in its dataset.
pub(crate) async fn world() -> World {
    let mut world = World::new(State::Alive).await;
    let path = world.filled("/v1/datasets/{D}/files/a");
    world.admin.upload(&path, "content").await.is(200);
    world
}

pub(crate) async fn answers_still(world: &mut World) {
    let ready = world.server.anonymous().get("/readyz").await;
    assert_eq!(ready.json(200), json!({"status": "ready"}));
    for path in ["/v1/datasets/{D}", "/v1/datasets/{D}/metadata"] {
        let path = world.filled(path);
        world.admin.get(&path).await.is(200);
    }
    // A thread that broke could not do this.
    let dataset = world.filled("/v1/datasets/{D}");
    world.admin.patch(&dataset, &json!({"tags": "after all that"})).await.is(200);
}

/// No JSON, however much like it they look.
fn malformed() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "{",
        "}",
        "{]",
        "{\"name\"",
        "{\"name\":}",
        "{\"name\":\"x\"",
        "{\"name\":\"x\",}",
        "{'name':'x'}",
        "{name:1}",
        "{} {}",
        "{}x",
        "[1,]",
        "nul",
        "True",
        "NaN",
        "Infinity",
        "-",
        "01",
        "1.",
        ".5",
        "0x10",
        "{\"name\":NaN}",
        "{\"name\":-Infinity}",
        "{\"name\":1e999}",
        "{\"name\":-1e999}",
        "{\"name\":\"\\ud800\"}",
        "{\"name\":\"\\udc00\\ud800\"}",
        "{\"name\":\"\\ud83d x\"}",
        "{\"\\ud800\":1}",
        "{\"name\":\"\\u00\"}",
        "{\"name\":\"\\x00\"}",
        "{\"name\":\"\u{0}\"}",
        "{\"name\":\"a\nb\"}",
        "\u{0}",
        "\u{feff}{}",
        " ",
        "\n",
        "//",
        "{}//",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    bodies.extend([
        // Raw bytes that no UTF-8 has: a lone surrogate, an overlong NUL, a cut letter, rubbish.
        b"{\"name\":\"\xED\xA0\x80\"}".to_vec(),
        b"{\"name\":\"\xC0\x80\"}".to_vec(),
        b"{\"name\":\"\xF0\x9F\"}".to_vec(),
        b"{\"name\":\"\xFF\"}".to_vec(),
        b"\xFF\xFE{\x00}\x00".to_vec(),
        vec![0xFF; 1000],
        vec![0; 1000],
    ]);
    let deep = 100_000;
    bodies.push("[".repeat(deep).into());
    bodies.push([b"[".repeat(deep), b"]".repeat(deep)].concat());
    bodies.push("{\"a\":".repeat(deep).into());
    bodies
}

/// A coding of the way is no part of the content, and must not be kept as if it were.
#[tokio::test]
async fn a_transfer_coding_that_is_not_understood_is_refused() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let path = dataset.path("/files/a");
    for coding in ["gzip, chunked", "deflate", "chunked, chunked"] {
        let client = dataset.client.with("Transfer-Encoding", coding);
        let detail = client.upload(&path, "1").await.detail(400);
        assert!(detail.contains("'chunked'"), "{detail}");
    }
    assert!(dataset.names().await.is_empty());
    dataset.client.with("Transfer-Encoding", "Chunked").upload(&path, "1").await.is(200);
}

/// The status of a refused body; there is no upload that could look at it.
fn refusal(path: &str) -> u16 {
    if path.ends_with("/uploads/nothing") { 404 } else { 400 }
}

#[tokio::test]
async fn what_is_no_json_is_400_on_every_action() {
    let mut world = world().await;
    let client = world.admin.with("Content-Type", "application/json");
    let bodies = malformed();
    for (method, path, _) in BODIES {
        let path = world.filled(path);
        for body in &bodies {
            let answer = client.send(method, &path, body.clone()).await;
            let case = format!("{method} {path} {}", shown(body));
            is_in_shape(&answer, &case);
            assert_eq!(answer.status.as_u16(), refusal(&path), "{case}");
        }
    }
    answers_still(&mut world).await;
}

#[tokio::test]
async fn json_of_a_wrong_kind_is_400_on_every_action() {
    let mut world = world().await;
    let client = world.admin.with("Content-Type", "application/json");
    for (method, path, _) in BODIES {
        let path = world.filled(path);
        for body in ["[]", "[1]", "[{}]", "\"x\"", "\"\"", "null", "1", "-1.5", "1e300", "true"] {
            let answer = client.send(method, &path, body).await;
            let case = format!("{method} {path} {body}");
            is_in_shape(&answer, &case);
            assert_eq!(answer.status.as_u16(), refusal(&path), "{case}");
        }
    }
    answers_still(&mut world).await;
}

/// Values that some code somewhere does not expect.
fn strange_values() -> Vec<Value> {
    let beyond: Value = serde_json::from_str("1180591620717411303424").unwrap();
    let mut values = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e308),
        json!(-1e308),
        beyond,
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("a\u{0}b"),
        json!("..\u{202e}\u{feff}\u{fffd}"),
        json!("../../x"),
        json!("٣"),
        json!("1e999"),
        json!("99999999999999999999"),
        json!("%00%FF"),
        json!("' OR 1=1 --"),
        json!("{{7*7}}"),
        json!([]),
        json!([null]),
        json!([[]]),
        json!({}),
        json!({"": null}),
        json!({"$ne": 1}),
    ];
    for letters in [201, 5_000, 70_000] {
        values.push("x".repeat(letters).into());
    }
    values.push(vec!["\u{1f408}"; 2_000].into());
    values.push((0..120).fold(json!(1), |inner, _| json!([inner])));
    values
}

/// The places of everything within a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut visit = |key: &str, inner: &Value| {
        let at = format!("{at}/{key}");
        found.push(at.clone());
        places(inner, &at, found);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, inner)| visit(key, inner)),
        Value::Array(rows) => {
            rows.iter().enumerate().for_each(|(at, inner)| visit(&at.to_string(), inner));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn a_strange_value_in_any_place_of_a_body_is_taken_or_refused() {
    let mut world = world().await;
    let values = strange_values();
    let mut requests = 0;
    for (method, path, good) in BODIES {
        let mut found = Vec::new();
        places(&serde_json::from_str(&world.filled(good)).unwrap(), "", &mut found);
        for place in &found {
            for value in &values {
                let (path, good) = (world.filled(path), world.filled(good));
                let mut body: Value = serde_json::from_str(&good).unwrap();
                *body.pointer_mut(place).unwrap() = value.clone();
                let body = body.to_string();
                let client = world.admin.with("Content-Type", "application/json");
                let case =
                    format!("{method} {path} {place} {}", shown(value.to_string().as_bytes()));
                is_in_shape(&client.send(method, &path, body).await, &case);
                requests += 1;
            }
        }
    }
    assert!(requests > 3_000, "{requests}");
    answers_still(&mut world).await;
}

/// Keys that mean nothing, where the API is strict about them.
#[tokio::test]
async fn unknown_keys_are_refused_where_bodies_are_strict() {
    let mut world = world().await;
    for (path, status) in [
        ("/v1/datasets/list", 400),
        ("/v1/users/list", 400),
        ("/v1/teams/list", 400),
        ("/v1/projects/list", 400),
        ("/v1/licences/list", 400),
        ("/v1/licenses/list", 400),
        ("/v1/nodes/list", 400),
        ("/v1/datasets/{D}/merge/{public}", 400),
        ("/v1/datasets/{D}/copy", 422),
        ("/v1/datasets/{D}/files-delete", 400),
        ("/v1/datasets/{D}/files-rename", 400),
        ("/v1/datasets/{D}/metadata-multi", 400),
        ("/v1/datasets/{D}/files-check", 400),
        ("/v1/datasets/{D}/files-attach", 400),
        ("/v1/datasets/{D}/metadata/a", 400),
        ("/v1/teams/{T}/memberships", 400),
        ("/v1/licences/1/subdescriptors", 400),
    ] {
        let method =
            if path.ends_with("ships") || path.ends_with("tors") { "PATCH" } else { "POST" };
        let good = BODIES.iter().find(|(_, known, _)| {
            known.replace("nothing", "a").replace("merge/{D}", "merge/{public}") == *path
        });
        let good = world.filled(good.unwrap().2);
        for key in ["unknown", "", "Name", "__proto__", "\u{0}"] {
            let mut body: Value = serde_json::from_str(&good).unwrap();
            body[key] = json!(1);
            let client = world.admin.with("Content-Type", "application/json");
            let path = world.filled(path);
            let answer = client.send(method, &path, body.to_string()).await;
            is_in_shape(&answer, &path);
            answer.is(status);
        }
    }
    answers_still(&mut world).await;
}

#[tokio::test]
async fn forms_of_rubbish_are_taken_or_refused() {
    let mut world = world().await;
    let part = |head: &str, value: &[u8]| {
        [b"--X\r\n", head.as_bytes(), b"\r\n\r\n", value, b"\r\n--X--\r\n"].concat()
    };
    let name = "Content-Disposition: form-data; name=\"name\"";
    let forms: Vec<(&str, Vec<u8>)> = vec![
        ("application/x-www-form-urlencoded", b"%00=%FF&&=&name=%&name=%zz&=x&team=\xFF".to_vec()),
        ("application/x-www-form-urlencoded", b"&".repeat(100_000)),
        ("application/x-www-form-urlencoded", vec![0xFF; 1000]),
        ("multipart/form-data", b"--X--".to_vec()),
        ("multipart/form-data; boundary=", b"--X--".to_vec()),
        ("multipart/form-data; boundary=X", b"--X--".to_vec()),
        ("multipart/form-data; boundary=X", b"no form at all".to_vec()),
        ("multipart/form-data; boundary=X", b"--X\r\n".repeat(10_000)),
        ("multipart/form-data; boundary=X", part("", b"x")),
        ("multipart/form-data; boundary=X", part("Content-Disposition: \u{ff}", b"x")),
        ("multipart/form-data; boundary=X", part(name, b"\xFF\x00")),
        ("multipart/form-data; boundary=X", part(name, &[b'x'; 100_000])),
        ("multipart/form-data; boundary=X", part(&"A: b\r\n".repeat(1000), b"x")),
        ("application/json; charset=\"", b"{}".to_vec()),
        ("application/json, text/plain", b"{}".to_vec()),
        (";", b"{}".to_vec()),
        ("é", b"{}".to_vec()),
    ];
    for (method, path, _) in BODIES {
        for (kind, body) in &forms {
            let path = world.filled(path);
            let client = world.admin.with("Content-Type", *kind);
            let answer = client.send(method, &path, body.clone()).await;
            is_in_shape(&answer, &format!("{method} {path} {kind} {}", shown(body)));
        }
    }
    answers_still(&mut world).await;
}

#[test]
fn every_action_with_a_body_is_among_those_that_get_rubbish() {
    for Row(method, path, ..) in ROWS {
        let known = BODIES.iter().any(|(known, at, _)| {
            let at = at.replace("{gone}", "{stranger}");
            (known, at.split('?').next()) == (method, path.split('?').next())
        });
        // Beginning a backup takes no body; what is asked of one is a story of its own.
        let is_of_backups = path.starts_with("/v1/backups/");
        let bodiless = ["/v1/store/scrub", "/v1/store/usage", "/v1/store/collection"];
        let has_none = ["GET", "DELETE"].contains(method) || bodiless.contains(path);
        assert!(known || is_of_backups || has_none, "{method} {path}");
    }
}

/// What an error repeats is in memory for as long as its reader takes.
#[tokio::test]
async fn errors_repeat_no_more_than_anybody_reads() {
    let mut world = world().await;
    let long = "ä".repeat(30_000);
    let client = world.admin.with("Content-Type", "application/json");
    let keys = (0..20).map(|number| (format!("{number} {long}"), json!(1)));
    let many: serde_json::Map<String, Value> = keys.collect();
    for (path, body) in [
        ("/v1/datasets/list", json!({ long.as_str(): 1 })),
        ("/v1/datasets/list", Value::Object(many)),
        ("/v1/datasets/create", json!({ "name": "x", "project": long })),
        ("/v1/datasets/{D}/files-rename", json!({ "from": "a", "to": long })),
        ("/v1/datasets/{D}/metadata-multi", json!({ "metadata": { long.as_str(): "x" } })),
    ] {
        let answer = client.send("POST", &world.filled(path), body.to_string()).await;
        is_in_shape(&answer, path);
        assert!(answer.status.is_client_error(), "{path}");
        assert!(answer.body.len() < 20_000, "{path}: {} bytes", answer.body.len());
    }
    answers_still(&mut world).await;
}

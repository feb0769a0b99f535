//! Paths, queries and headers of rubbish on every action: the answer is a success or a refusal in
//! one of the API's shapes, and the server answers the next request.

use axum::http::Uri;

use crate::bad_input::{answers_still, is_in_shape, shown, world};
use crate::matrix::{ROWS, Row};

/// What may stand in a path instead of a primary key or a name, between blanks.
const RUBBISH: &str = r#"
    . .. ... %2e %2E%2e %2f %2F..%2F // / ./ ../ x/ x/.. x//y
    % %% %z %zz %0 %00 a%00b %FF %C0%80 %ED%A0%80 %F0%9F %EF%BB%BF %E2%80%AE %0d%0aX-Evil:%201
    -1 +1 1.0 1e3 0x1 1%20 18446744073709551615 18446744073709551616 99999999999999999999999999
    ' " ` <script> {pk} {*x} * ~ \ | ^ ; : @ & = + $ a'%20OR%201=1
    CON list create hard null undefined NaN true
"#;

/// The same one by one, with nothing at all and with very much.
fn parts() -> Vec<String> {
    let mut parts: Vec<String> = RUBBISH.split_whitespace().map(str::to_owned).collect();
    parts.push(String::new());
    parts.push("x".repeat(5_000));
    parts.push("0".repeat(5_000));
    parts.push("x/".repeat(3_000));
    parts.push("%2e%2e%2f".repeat(1_000));
    parts
}

/// A path with every part that stands for something replaced in turn.
fn spoiled(path: &str, rubbish: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let stands = |part: &str| {
        part.starts_with('{') || ["1", "..", "nothing", "nobody", "stranger"].contains(&part)
    };
    let at = (0..parts.len()).filter(|at| stands(parts[*at]));
    at.map(|at| {
        let mut parts = parts.clone();
        parts[at] = rubbish;
        parts.join("/")
    })
    .collect()
}

#[tokio::test]
async fn rubbish_in_any_place_of_a_path_is_taken_or_refused() {
    let mut world = world().await;
    let rubbish = parts();
    let mut requests = 0;
    for Row(method, path, body, ..) in ROWS {
        for rubbish in &rubbish {
            for path in spoiled(path, rubbish) {
                let path = world.filled(&path);
                // What is no address at all never reaches the router.
                if path.parse::<Uri>().is_err() {
                    continue;
                }
                let client = world.admin.with("Content-Type", "application/json");
                let body = world.filled(body);
                let answer = client.send(method, &path, body).await;
                is_in_shape(&answer, &format!("{method} {}", shown(path.as_bytes())));
                assert!(answer.headers.get("x-evil").is_none(), "{path}");
                requests += 1;
            }
        }
    }
    assert!(requests > 3_000, "{requests}");
    answers_still(&mut world).await;
}

#[tokio::test]
async fn rubbish_in_a_query_is_taken_or_refused() {
    let mut world = world().await;
    for path in [
        "/v1/datasets/{D}",
        "/v1/datasets/{D}/files",
        "/v1/datasets/{D}/files/a",
        "/v1/datasets/{D}/metadata",
        "/v1/licences/1",
        "/v1/datasets/list",
        "/v1/licences/list",
    ] {
        for rubbish in parts() {
            for name in ["files", "limit", "after", "prefix", "metadata", "content_type", "", "%FF"]
            {
                let path = format!("{}?limit=2&{name}={rubbish}&{rubbish}&=", world.filled(path));
                if path.parse::<Uri>().is_err() {
                    continue;
                }
                let method = if path.contains("/list") { "POST" } else { "GET" };
                let answer = world.admin.send(method, &path, "").await;
                is_in_shape(&answer, &shown(path.as_bytes()));
            }
        }
    }
    answers_still(&mut world).await;
}

#[tokio::test]
async fn rubbish_in_a_header_is_taken_or_refused() {
    let mut world = world().await;
    let long = "x".repeat(20_000);
    let path = world.filled("/v1/datasets/{D}/files/a");
    let download = world.filled("/v1/datasets/{D}/download");
    for name in [
        "Authorization",
        "Node-Id",
        "Content-Type",
        "Content-Length",
        "Accept",
        "Range",
        "If-Range",
        "If-None-Match",
        "Origin",
        "Access-Control-Request-Method",
        "Content-Disposition",
        "Host",
        "X-Forwarded-For",
        "Transfer-Encoding",
        "Expect",
    ] {
        for value in [
            "",
            " ",
            ",",
            ";",
            "=",
            "\"",
            "é",
            "\u{fffd}",
            "\t",
            "Bearer é",
            "Bearer .",
            "Bearer ..",
            "Bearer a.b.c",
            "bytes=",
            "bytes=-",
            "bytes=--1",
            "bytes=9999999999999999999999-",
            "bytes=0-18446744073709551615",
            "bytes=18446744073709551615-",
            "bytes=-18446744073709551616",
            "bytes=1-0",
            "-1",
            "1e3",
            "18446744073709551616",
            "*/*;q=é",
            "application/json;",
            "0x1",
            "%00",
            &long,
        ] {
            for (method, path) in [
                ("GET", path.as_str()),
                ("HEAD", &path),
                ("OPTIONS", &path),
                ("POST", &download),
                ("POST", "/v1/datasets/list"),
                ("POST", "/v1/auth/obtain"),
            ] {
                let answer = world.admin.with(name, value).send(method, path, "").await;
                let case = format!("{name}: {} {method} {path}", shown(value.as_bytes()));
                if method == "HEAD" {
                    assert!(answer.status.as_u16() < 500 && answer.body.is_empty(), "{case}");
                } else {
                    is_in_shape(&answer, &case);
                }
            }
        }
    }
    answers_still(&mut world).await;
}

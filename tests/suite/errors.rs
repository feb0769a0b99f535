use axum::http::HeaderValue;
use granary::{Origins, Outside};
use serde_json::{Value, json};

use crate::support::{Answer, Server};

#[tokio::test]
async fn every_answer_has_the_headers_of_care() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    for (method, path) in [
        ("POST", "/v1/datasets/list"),
        ("GET", "/v1/datasets/999"),
        ("GET", "/nowhere"),
        ("GET", "/v1/datasets/list"),
        ("GET", "/livez"),
    ] {
        let answer = nobody.send(method, path, "").await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("referrer-policy"), "same-origin");
        assert_eq!(answer.header("vary"), "Accept, Origin");
        assert_eq!(answer.header("content-type"), "application/json");
        let policy = "default-src 'none'; frame-ancestors 'none'; sandbox";
        assert_eq!(answer.header("content-security-policy"), policy);
        assert_eq!(answer.header("strict-transport-security"), "");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let encrypted = server.turned(Outside { is_encrypted: true, ..Outside::default() });
    let answer = encrypted.anonymous().get("/livez").await;
    assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
}

#[tokio::test]
async fn a_stored_page_is_no_page_of_this_server() {
    let server = Server::start().await;
    let dataset = server.add_dataset("pages").await;
    dataset.add("evil.html", "<script>alert(1)</script>").await.is(200);
    let path = dataset.path("/files/evil.html?content_type=guess");
    let answer = dataset.client.get(&path).await.is(200);
    assert!(answer.header("content-type").starts_with("text/html"));
    assert!(answer.header("content-security-policy").contains("sandbox"));
    // The page that browses the API has a policy that lets it work, and nobody frame it.
    let policy = server.anonymous().get("/docs").await;
    let policy = policy.header("content-security-policy");
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"));
}

#[tokio::test]
async fn unknown_routes_are_404_in_json() {
    let server = Server::start().await;
    for path in ["/", "/v1", "/v1/datasets", "/v1/datasets/1/file", "/v2/datasets/list"] {
        let answer = server.anonymous().get(path).await;
        assert_eq!(answer.json(404), json!({"detail": "Not found."}), "{path}");
    }
    let admin = server.admin().await;
    for path in ["/v1/datasets/letters", "/v1/datasets/-1", "/v1/datasets/1.0"] {
        admin.get(path).await.is(404);
    }
}

#[tokio::test]
async fn wrong_methods_are_405_and_options_200() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    for (method, path, allow) in [
        ("GET", "/v1/datasets/list", "POST, OPTIONS"),
        ("POST", "/v1/datasets/1", "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"),
        ("PATCH", "/v1/datasets/1/files/a", "GET, POST, PUT, DELETE, HEAD, OPTIONS"),
        ("GET", "/v1/datasets/1/hard/", "DELETE, OPTIONS"),
        ("DELETE", "/v1/datasets/1/metadata", "GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/datasets/1/metadata/", "GET, POST, HEAD, OPTIONS"),
    ] {
        let answer = nobody.send(method, path, "").await;
        assert_eq!(answer.header("allow"), allow, "{path}");
        assert_eq!(answer.detail(405), format!("Method \"{method}\" not allowed."));
        let answer = nobody.send("OPTIONS", path, "").await.is(200);
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    for path in ["/v1/datasets/1/files/a", "/v1/datasets/1/files/a?replace=false"] {
        let refused = nobody.send("PUT", path, "").await;
        let told = "Method \"PUT\" not allowed. With ?replace=true it puts ";
        assert_eq!(refused.header("allow"), "GET, POST, PUT, DELETE, HEAD, OPTIONS");
        assert!(refused.detail(405).starts_with(told), "{path}");
    }
}

#[tokio::test]
async fn every_answer_of_a_known_path_says_what_the_path_allows() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let admin = &dataset.client;
    let allow = "GET, PUT, PATCH, DELETE, HEAD, OPTIONS";
    for (path, status) in [(dataset.path(""), 200), ("/v1/datasets/999/".to_owned(), 404)] {
        for method in ["GET", "HEAD", "PATCH"] {
            let answer = admin.send(method, &path, "").await.is(status);
            assert_eq!(answer.header("allow"), allow, "{method} of {path}");
        }
    }
    let refused = server.anonymous().get(&dataset.path("")).await.is(401);
    assert_eq!(refused.header("allow"), allow);
    // The empty name of a file is one with the listing.
    for path in ["/files/", "/files"] {
        let listed = admin.get(&dataset.path(path)).await.is(200);
        let methods =
            if path.ends_with('/') { "GET, POST, PUT, DELETE, HEAD" } else { "GET, HEAD" };
        assert_eq!(listed.header("allow"), format!("{methods}, OPTIONS"));
    }
    assert_eq!(server.anonymous().get("/nowhere").await.header("allow"), "");
}

/// What a page of an origin is told: of an answer, and before it asks.
async fn told_across(server: &Server, origin: &str) -> [Answer; 2] {
    let page = server.anonymous().with("Origin", origin);
    let answer = page.post("/v1/datasets/list", &json!({})).await.is(200);
    let preflight = page.with("Access-Control-Request-Method", "POST");
    [answer, preflight.send("OPTIONS", "/v1/datasets/1/files/a", "").await.is(200)]
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_if_the_configuration_lets_them() {
    let mut server = Server::start().await;
    let (known, other) = ("https://example.org", "https://example.com");
    let these = Origins::These(vec![HeaderValue::from_static("https://example.org")]);
    for (origins, to_known, to_other) in
        [(Origins::None, "", ""), (Origins::Any, "*", "*"), (these, known, "")]
    {
        server = server.turned(Outside { origins, ..Outside::default() });
        for (origin, expected) in [(known, to_known), (other, to_other)] {
            for answer in told_across(&server, origin).await {
                assert_eq!(answer.header("access-control-allow-origin"), expected);
                assert_eq!(answer.header("vary"), "Accept, Origin");
                assert_eq!(answer.header("access-control-allow-credentials"), "");
                let exposed = answer.header("access-control-expose-headers");
                assert_eq!(exposed.contains("content-disposition"), !expected.is_empty());
            }
        }
    }
    let [answer, preflight] = told_across(&server, known).await;
    assert_eq!(answer.header("access-control-allow-methods"), "");
    assert!(preflight.header("access-control-allow-methods").contains("PATCH"));
    let wanted = "authorization node-id content-disposition range if-range if-match if-none-match \
                  repr-digest content-digest want-repr-digest want-content-digest tus-resumable \
                  upload-length upload-offset upload-metadata";
    for wanted in wanted.split(' ').filter(|wanted| !wanted.is_empty()) {
        assert!(preflight.header("access-control-allow-headers").contains(wanted), "{wanted}");
    }
    for exposed in ["location", "repr-digest", "upload-offset", "upload-expires", "tus-resumable"] {
        assert!(answer.header("access-control-expose-headers").contains(exposed), "{exposed}");
    }
    let [_, refused] = told_across(&server, other).await;
    assert_eq!(refused.header("access-control-allow-methods"), "");
    assert_eq!(refused.header("access-control-allow-headers"), "");
}

#[tokio::test]
async fn malformed_json_is_told_as_such() {
    let server = Server::start().await;
    let admin = server.admin().await.with("Content-Type", "application/json");
    let deep = "[".repeat(100_000);
    for body in [
        "{".as_bytes(),
        b"{\"name\": NaN}",
        b"\xEF\xBB\xBF{}",
        b"{\"name\": \"\xFF\"}",
        b"{\"name\": \"\\ud800\"}",
        b"{} {}",
        b"{\"a\": 1e999}",
        deep.as_bytes(),
    ] {
        for path in ["/v1/datasets/create", "/v1/datasets/list", "/v1/auth/obtain"] {
            let detail = admin.send("POST", path, body.to_vec()).await.detail(400);
            assert!(detail.starts_with("JSON parse error - "), "{detail}");
        }
    }
}

#[tokio::test]
async fn media_types_that_are_not_understood_are_415() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let admin = &dataset.client;
    let copy = dataset.path("/copy");
    for (content_type, path) in [
        ("text/plain", "/v1/datasets/list"),
        ("text/plain; charset=utf-8", "/v1/datasets/create"),
        ("application/x-www-form-urlencoded", copy.as_str()),
    ] {
        let client = admin.with("Content-Type", content_type);
        let detail = client.send("POST", path, "{}").await.detail(415);
        let text = format!("Unsupported media type \"{content_type}\" in request.");
        assert_eq!(detail, text);
        // Nothing at all is nothing of any type.
        assert_ne!(client.send("POST", path, "").await.status.as_u16(), 415);
    }
    let client = admin.with("Content-Type", "application/json; charset=utf-8");
    client.send("POST", "/v1/datasets/list", "{}").await.is(200);
}

#[tokio::test]
async fn large_bodies_are_read_up_to_their_bound() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let body = json!({"only_files": vec!["x".repeat(1000); 3000]});
    dataset.client.post(&dataset.path("/copy"), &body).await.is(200);
    let body = Value::from("x".repeat(17 << 20));
    dataset.client.post(&dataset.path("/copy"), &body).await.is(413);
}

#[tokio::test]
async fn health_is_for_everyone() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    assert_eq!(nobody.get("/livez").await.json(200), json!({"status": "alive"}));
    assert_eq!(nobody.get("/readyz").await.json(200), json!({"status": "ready"}));
    server.engine.shutdown().await;
    nobody.get("/livez").await.is(200);
    let stopping = nobody.get("/readyz").await.json(503);
    assert_eq!(stopping["status"], "stopping");
    assert_eq!(stopping["reason"], "the store is being closed");
}

#[tokio::test]
async fn a_stopping_server_tells_to_come_back() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    server.engine.shutdown().await;
    let answer = dataset.client.patch(&dataset.path(""), &json!({"tags": "t"})).await.is(503);
    assert_eq!(answer.header("retry-after"), "1");
}

/// Two bodies that do not come to an end keep other strangers waiting, and nobody who is logged in.
#[tokio::test]
async fn strangers_with_large_bodies_keep_nobody_waiting_but_each_other() {
    use axum::body::Body;
    use futures_util::{StreamExt as _, stream};

    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let stuck = (0..2).map(|_| {
        let tell = tell.clone();
        let start = stream::iter([Ok::<_, std::io::Error>("x".repeat(100_000))]);
        let rest = stream::once(async move {
            tell.send(()).ok();
            std::future::pending().await
        });
        let client = server.anonymous().with("Content-Type", "application/json");
        tokio::spawn(async move {
            let body = Body::from_stream(start.chain(rest));
            client.send("POST", "/v1/auth/verify", body).await.status
        })
    });
    let stuck: Vec<_> = stuck.collect();
    // One of them has its turn and waits for its body.
    told.recv().await.unwrap();
    let names: Vec<String> = (0..10_000).map(|number| format!("name {number}")).collect();
    let body = serde_json::json!({ "names": names });
    dataset.client.post(&dataset.path("/files-delete"), &body).await.is(404);
    for request in stuck {
        request.abort();
    }
}

//! What the published clients rely on: the python client's way of working, as it was seen on the
//! wire, and what the others do differently.

use std::task::Poll;

use axum::body::Body;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::{Client, PASSWORD, Server, bearer};

/// The client keeps its tokens on disk, by host and user: it comes with those of another server.
#[tokio::test]
async fn tokens_of_an_earlier_server_are_401_everywhere_and_a_login_helps() {
    let (earlier, server) = (Server::start().await, Server::start().await);
    let old = earlier.tokens("admin").await;
    let nobody = server.anonymous();
    let client = nobody.with("Authorization", bearer(&old["access"]));
    let node = server.add_node().await.to_string();
    for client in [&client, &client.with("Node-Id", node)] {
        client.send("POST", "/v1/datasets/list", "").await.is(401);
        client.get("/v1/datasets/1").await.is(401);
        client.post("/v1/datasets/create", &json!({})).await.is(401);
        client.delete("/v1/datasets/1/hard").await.is(401);
        client.upload("/v1/datasets/1/files/a", "1").await.is(401);
    }
    let refresh = json!({"refresh": old["refresh"]});
    nobody.post("/v1/auth/refresh", &refresh).await.is(401);
    nobody.post("/v1/auth/verify", &json!({"token": old["access"]})).await.is(401);

    let credentials = json!({"username": "admin", "password": PASSWORD});
    let tokens = nobody.post("/v1/auth/obtain", &credentials).await.json(200);
    let client = nobody.with("Authorization", bearer(&tokens["access"]));
    assert_eq!(client.send("POST", "/v1/datasets/list", "").await.json(200), json!([]));
}

#[tokio::test]
async fn a_refresh_token_works_again_and_again() {
    let server = Server::start().await;
    let tokens = server.tokens("admin").await;
    let refresh = json!({"refresh": tokens["refresh"]});
    for _ in 0..3 {
        let renewed = server.anonymous().post("/v1/auth/refresh", &refresh).await.json(200);
        let client = server.anonymous().with("Authorization", bearer(&renewed["access"]));
        client.get("/v1/teams/1").await.is(200);
    }
}

#[tokio::test]
async fn an_upload_as_the_python_client_sends_it_is_kept() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let upload = |name: &str| {
        let disposition = format!("attachment; filename={name}");
        dataset.client.with("Content-Disposition", disposition)
    };
    // The name stands unquoted in the header, blanks, slashes and Latin letters with it.
    let added = upload("dir/a b.txt").upload(&dataset.path("/files/dir/a%20b.txt"), "1").await;
    assert_eq!(added.json(200)["filename"], "dir/a b.txt");
    let added = upload("é.txt").upload(&dataset.path("/files/%C3%A9.txt"), "2").await;
    assert_eq!(added.json(200)["filename"], "é.txt");
    // A stream of unknown length goes in chunks.
    let pieces = ["3", "4"].map(Ok::<_, std::io::Error>);
    let body = Body::from_stream(stream::iter(pieces));
    upload("c").upload(&dataset.path("/files/c"), body).await.is(200);
    assert_eq!(dataset.content("c").await.is(200).body, "34");
    let archive = crate::support::zip_of(&[("d", "5")]);
    upload("data").upload(&dataset.path("/files-multi"), archive).await.is(200);
    // `?` in a name begins a query, for the client's HTTP library and here.
    upload("e?f").upload(&dataset.path("/files/e?f"), "6").await.is(200);
    assert_eq!(dataset.names().await, ["c", "d", "dir/a b.txt", "e", "é.txt"]);
}

/// The python client answers a 401 by sending the same request again, with the stream that it has
/// read: nothing is left of it, and its length is not known.
#[tokio::test]
async fn a_stream_that_comes_again_after_a_401_is_told_and_not_kept_as_an_empty_file() {
    let (earlier, server) = (Server::start().await, Server::start().await);
    let dataset = server.add_dataset("cats").await;
    let path = dataset.path("/files/dir/a%20b");
    let worn = bearer(&earlier.tokens("admin").await["access"]);
    let worn = server.anonymous().with("Authorization", worn);
    let stream = |pieces: &[&'static str]| {
        let pieces: Vec<_> = pieces.iter().copied().map(Ok::<_, std::io::Error>).collect();
        Body::from_stream(stream::iter(pieces))
    };
    let chunked = |client: &Client| client.with("Transfer-Encoding", "chunked");

    chunked(&worn).upload(&path, stream(&["1", "2"])).await.is(401);
    for _ in 0..2 {
        let detail = chunked(&dataset.client).upload(&path, stream(&[])).await.detail(400);
        assert!(detail.contains("has been refused with 401 before"), "{detail}");
    }
    assert!(dataset.names().await.is_empty());
    // Nobody else's empty stream is meant, nor an empty file that says that it is one.
    chunked(&dataset.client).upload(&dataset.path("/files/c"), stream(&[])).await.is(200);
    let declared = dataset.client.with("Content-Length", "0");
    declared.upload(&path, "").await.is(200);
    assert_eq!(dataset.names().await, ["c", "dir/a b"]);
    // And from its beginning it is taken.
    dataset.client.delete(&path).await.is(200);
    chunked(&dataset.client).upload(&path, stream(&["1", "2"])).await.is(200);
    assert_eq!(dataset.content("dir/a%20b").await.is(200).body, "12");
}

/// An empty file that is sent as a stream comes again as empty as it was.
#[tokio::test]
async fn an_empty_stream_that_comes_again_after_a_401_is_an_empty_file() {
    let (earlier, server) = (Server::start().await, Server::start().await);
    let dataset = server.add_dataset("cats").await;
    let worn = bearer(&earlier.tokens("admin").await["access"]);
    let worn = server.anonymous().with("Authorization", worn).with("Transfer-Encoding", "chunked");
    let client = dataset.client.with("Transfer-Encoding", "chunked");
    // Refused, and read to its end.
    let refuse = async |path: &str, pieces: &[&'static str]| {
        let (body, is_dropped) = oneshot::channel::<()>();
        let pieces: Vec<_> = pieces.iter().copied().map(Ok::<_, std::io::Error>).collect();
        let pieces = stream::iter(pieces).chain(stream::poll_fn(move |_| {
            _ = &body;
            Poll::Ready(None)
        }));
        worn.upload(path, Body::from_stream(pieces)).await.is(401);
        is_dropped.await.unwrap_err();
    };
    let empty = || Body::from_stream(stream::empty::<Result<&str, std::io::Error>>());

    let path = dataset.path("/files/a");
    for _ in 0..2 {
        refuse(&path, &[]).await;
    }
    client.upload(&path, empty()).await.is(200);
    assert_eq!(dataset.content("a").await.is(200).body, "");
    // A repetition that is refused as well does not make an empty file of a content.
    let path = dataset.path("/files/b");
    refuse(&path, &["1", "2"]).await;
    for _ in 0..2 {
        refuse(&path, &[]).await;
        client.upload(&path, empty()).await.is(400);
    }
    assert_eq!(dataset.names().await, ["a"]);
}

/// A stranger's body is read for a while only, and the python client's libraries take it that the
/// connection is closed: it sends what is left of the stream, with a length of its own.
#[tokio::test]
async fn what_is_left_of_a_stream_that_was_cut_off_is_not_kept_as_the_whole() {
    let (earlier, server) = (Server::start().await, Server::start().await);
    let dataset = server.add_dataset("cats").await;
    let foreign = bearer(&earlier.tokens("admin").await["access"]);
    let foreign = server.anonymous().with("Authorization", foreign).at("192.0.2.1");
    let client = dataset.client.at("192.0.2.1");
    let declared =
        |client: &Client, length: usize| client.with("Content-Length", length.to_string());
    let chunked = |client: &Client| client.with("Transfer-Encoding", "chunked");
    let cut_off = || {
        let pieces = [Ok("12"), Err(std::io::Error::other("closed"))];
        Body::from_stream(stream::iter(pieces))
    };
    let path = |name: &str| dataset.path(&format!("/files/{name}"));

    declared(&foreign, 4).upload(&path("a"), cut_off()).await.is(401);
    let detail = declared(&client, 2).upload(&path("a"), "34").await.detail(400);
    assert!(detail.contains("Send the content again from its beginning"), "{detail}");
    declared(&client, 4).upload(&path("a"), "1234").await.is(200);
    // What comes in chunks may be a rest of any length.
    chunked(&foreign).upload(&path("b"), cut_off()).await.is(401);
    chunked(&client).upload(&path("b"), "34").await.is(400);
    // Nobody is kept from another file: what is no rest is taken, and a shorter one the second time.
    for (name, length) in [("c", 4), ("d", 5)] {
        declared(&foreign, 4).upload(&path(name), cut_off()).await.is(401);
        declared(&client, length).upload(&path(name), "x".repeat(length)).await.is(200);
    }
    // Nor is what comes later, once a whole one came.
    client.delete(&path("c")).await.is(200);
    declared(&client, 2).upload(&path("c"), "ab").await.is(200);
    declared(&foreign, 4).upload(&path("e"), cut_off()).await.is(401);
    declared(&client.at("192.0.2.2"), 2).upload(&path("e"), "ab").await.is(200);
    declared(&foreign, 4).upload(&path("f"), cut_off()).await.is(401);
    declared(&client, 2).upload(&path("f"), "ab").await.is(400);
    declared(&client, 2).upload(&path("f"), "ab").await.is(200);
    // And one that was read to its end was not cut off.
    let (body, is_dropped) = oneshot::channel::<()>();
    let pieces = stream::iter(["12", "34"].map(Ok::<_, std::io::Error>));
    let whole = Body::from_stream(pieces.inspect(move |_| _ = &body));
    declared(&foreign, 4).upload(&path("g"), whole).await.is(401);
    is_dropped.await.unwrap_err();
    declared(&client, 2).upload(&path("g"), "ab").await.is(200);
    assert_eq!(dataset.names().await, ["a", "c", "d", "e", "f", "g"]);
}

/// `ExactString("version", ...)` of the Java client's filters by version, and by name and version.
#[tokio::test]
async fn the_java_clients_filters_by_version_send_it_as_a_text() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.client.post(&dataset.path("/copy"), &json!({})).await.is(200);
    let exact = |field: &str, value: &str| {
        let sensitive = json!({"case_insensitive": false});
        let mut expression = json!({"type": "exact", "field": field, "value": value});
        expression.as_object_mut().unwrap().extend(sensitive.as_object().unwrap().clone());
        expression
    };
    let found = async |expression: Value| {
        let body = json!({"expressions": [expression], "include_inactive": false});
        let listed = dataset.client.post("/v1/datasets/list", &body).await.json(200);
        let versions = listed.as_array().unwrap().iter().map(|dataset| dataset["version"].clone());
        versions.collect::<Vec<_>>()
    };
    assert_eq!(found(exact("version", "2")).await, [2]);
    let both = [exact("name", "cats"), exact("version", "1")];
    assert_eq!(found(json!({"type": "and", "sub_expressions": both})).await, [1]);
    assert!(found(exact("version", "3")).await.is_empty());
}

/// `DomainFilter` of the Java client, and -1 where ADAMS was told of no domain.
#[tokio::test]
async fn the_java_clients_filter_by_domain_finds_no_core_dataset() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    for domain in [3, -1] {
        let expression = json!({"type": "exact", "field": "domain", "value": domain});
        let body = json!({"expressions": [expression], "include_inactive": false});
        assert_eq!(dataset.client.post("/v1/datasets/list", &body).await.json(200), json!([]));
    }
}

#[tokio::test]
async fn the_java_client_downloads_with_an_empty_list_of_a_converters_arguments() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let body =
        |arguments: Value| json!({"filetype": "zip", "params": {"annotations_args": arguments}});
    let answer = dataset.client.post(&dataset.path("/download"), &body(json!([]))).await.is(200);
    assert!(answer.body.starts_with(b"PK"));
    // Core datasets have nothing to convert.
    for (arguments, status) in [(json!(["vgg"]), 400), (json!("vgg"), 422)] {
        dataset.client.post(&dataset.path("/download"), &body(arguments)).await.is(status);
    }
}

#[tokio::test]
async fn a_list_is_asked_for_with_a_filter_or_with_nothing_at_all() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let client = &dataset.client;
    let expected = json!([dataset.fields().await]);
    // No body and no type, as python; an empty body of a type, as Java.
    assert_eq!(client.send("POST", "/v1/datasets/list", "").await.json(200), expected);
    let java = client.with("Content-Type", "application/json; charset=utf-8");
    assert_eq!(java.send("POST", "/v1/datasets/list", "").await.json(200), expected);
    let filter = json!({"expressions": [{"type": "exact", "field": "name", "value": "cats"}]});
    let answer = java.send("POST", "/v1/datasets/list", filter.to_string()).await;
    assert_eq!(answer.json(200), expected);
    // The clients spell the test for null so.
    let null = json!({"expressions": [{"type": "isnull", "field": "deletion_time"}]});
    assert_eq!(client.post("/v1/datasets/list", &null).await.json(200), expected);
}

#[tokio::test]
async fn a_download_as_the_python_client_asks_for_it_is_a_zip() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let body = json!({"filetype": "zip", "params": {}});
    let answer = dataset.client.post(&dataset.path("/download"), &body).await.is(200);
    assert_eq!(answer.header("content-type"), "application/data");
    assert!(answer.body.starts_with(b"PK"));
}

/// The client reads `.json()` of everything but destroy, ping and contents.
#[tokio::test]
async fn every_success_but_destroy_ping_and_contents_is_json() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let other = server.add_dataset("dogs").await;
    let admin = &dataset.client;
    dataset.add("a", "1").await.json(200);
    dataset.set_metadata("a", "x").await.json(200);
    admin.get(&dataset.path("/metadata")).await.json(200);
    admin.post(&dataset.path("/copy"), &json!({})).await.json(200);
    let merge = dataset.path(&format!("/merge/{}", other.pk));
    admin.post(&merge, &json!({"delete": true, "hard": true})).await.json(200);
    admin.delete(&dataset.path("/clear")).await.json(200);
    admin.delete(&dataset.path("/files/a")).await.json(200);
    assert!(admin.delete(&dataset.path("")).await.is(204).body.is_empty());
    admin.delete(&dataset.path("/reinstate")).await.json(200);
    admin.delete(&dataset.path("/hard")).await.json(200);
    let node = server.add_node().await.to_string();
    let ping = admin.with("Node-Id", node).get("/v1/nodes/ping").await.is(200);
    assert!(ping.body.is_empty());
    assert_eq!(ping.header("content-type"), "");
}

#[tokio::test]
async fn a_refusal_is_utf_8_text_also_where_contents_are_asked_for() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let answer = dataset.content("caf%C3%A9").await.is(404);
    assert_eq!(answer.header("content-type"), "application/json");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(text, "{\"detail\":\"Bad name 'café': Doesn't exist\"}");
    let body = json!({"filetype": "é"});
    let answer = dataset.client.post(&dataset.path("/download"), &body).await;
    assert_eq!(answer.detail(415), "Unsupported media type \"é\" in request.");
}

/// The TypeScript client takes the first element.
#[tokio::test]
async fn a_user_by_name_is_a_list() {
    let server = Server::start().await;
    let listed = server.admin().await.get("/v1/users/admin").await.json(200);
    assert_eq!(listed[0]["username"], "admin");
    // A slash at the end belongs to the name.
    assert_eq!(server.admin().await.get("/v1/users/admin/").await.json(200), json!([]));
}

/// The Java client's pattern: six digits of microseconds, then `Z` or an offset.
fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    let shape: String =
        text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    shape == "0000-00-00T00:00:00.000000Z"
}

#[tokio::test]
async fn every_time_has_six_digits_of_microseconds() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let admin = &dataset.client;
    let node = server.add_node().await;
    let on_node = admin.with("Node-Id", node.to_string());
    on_node.delete(&dataset.path("")).await.is(204);
    let member = json!({"username": "ann", "method": "add"});
    server.add_user("ann").await;
    let members = format!("/v1/teams/{}/memberships", server.team);
    admin.patch(&members, &member).await.is(200);
    let removed = json!({"username": "ann", "method": "remove"});
    let removed = admin.patch(&members, &removed).await.json(200);
    admin.delete(&format!("/v1/projects/{}", server.project)).await.is(204);
    admin.delete(&format!("/v1/teams/{}", server.team)).await.is(204);
    let get = async |path: String| admin.get(&path).await.json(200);
    for (shown, fields) in [
        (dataset.fields().await, ["creation_time", "deletion_time"]),
        (get(format!("/v1/projects/{}", server.project)).await, ["creation_time", "deletion_time"]),
        (get(format!("/v1/teams/{}", server.team)).await, ["creation_time", "deletion_time"]),
        (removed, ["creation_time", "deletion_time"]),
        (get("/v1/users/1".to_owned()).await, ["date_joined", "last_login"]),
        (get(format!("/v1/nodes/{node}")).await, ["last_seen", "last_seen"]),
    ] {
        for field in fields {
            assert!(is_time(&shown[field]), "{field}: {shown}");
        }
    }
}

/// Whose tokens they are is said in the claims that the clients know.
#[tokio::test]
async fn tokens_are_signed_with_the_claims_that_clients_know() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let server = Server::start().await;
    let tokens = server.tokens("admin").await;
    for (kind, life) in [("access", 300), ("refresh", 8 * 3600)] {
        let parts: Vec<Value> = tokens[kind]
            .as_str()
            .unwrap()
            .split('.')
            .take(2)
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts[0], json!({"alg": "HS256", "typ": "JWT"}));
        let claims = &parts[1];
        let mut names: Vec<&String> = claims.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["exp", "iat", "jti", "jtt", "pwd", "upk"]);
        assert_eq!(claims["jtt"], kind);
        assert_eq!(claims["upk"], "1");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), life);
    }
}

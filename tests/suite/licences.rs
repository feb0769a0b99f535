use serde_json::{Value, json};

use crate::support::{Client, Server};

async fn add(client: &Client, name: &str) -> Value {
    let body = json!({"name": name, "url": "https://example.org/mine"});
    client.post("/v1/licences/create", &body).await.json(201)
}

fn path(licence: &Value, rest: &str) -> String {
    format!("/v1/licences/{}{rest}", licence["pk"])
}

#[tokio::test]
async fn create_tells_the_licences_own_address_as_location() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let body = json!({"name": "Mine", "url": "https://example.org/mine?a=b"});
    let answer = admin.post("/v1/licenses/create", &body).await.is(201);
    assert_eq!(answer.header("location"), "https://example.org/mine?a=b");
}

#[tokio::test]
async fn a_licence_is_updated_under_both_spellings() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let mine = add(&admin, "Mine").await;
    let required = json!(["This field is required."]);
    let wrong = admin.put(&path(&mine, ""), &json!({})).await.json(400);
    assert_eq!(wrong, json!({"name": required, "url": required}));
    assert_eq!(admin.patch(&path(&mine, ""), &json!({})).await.json(200), mine);

    let other = format!("/v1/licenses/{}", mine["pk"]);
    let body = json!({"name": "Ours", "url": "https://example.org/", "domains": ["Data"]});
    let updated = admin.put(&other, &body).await.json(200);
    assert_eq!(updated["name"], "Ours");
    assert_eq!(updated["domains"], json!([]));
    let patched = admin.patch(&other, &json!({"url": "https://example.com/"})).await.json(200);
    assert_eq!(patched["url"], "https://example.com/");
    assert_eq!(patched["name"], "Ours");
    let wrong = admin.patch(&other, &json!({"url": "nowhere", "name": "x".repeat(101)})).await;
    assert_eq!(wrong.json(400).as_object().unwrap().len(), 2);
    let wrong = admin.patch(&other, &json!({"name": "CC0"})).await.json(400);
    assert_eq!(wrong, json!({"name": ["licence with this name already exists."]}));
    assert_eq!(admin.get(&path(&mine, "")).await.json(200), patched);
    // The name that was left is free.
    add(&admin, "Mine").await;
}

#[tokio::test]
async fn a_destroyed_licence_is_gone() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let mine = add(&admin, "Mine").await;
    admin.delete(&path(&mine, "")).await.is(204);
    let detail = admin.delete(&path(&mine, "")).await.detail(404);
    assert_eq!(detail, "No Licence matches the given query.");
    admin.get(&path(&mine, "")).await.is(404);
    assert_ne!(add(&admin, "Mine").await["pk"], mine["pk"]);
}

#[tokio::test]
async fn a_licence_in_use_stays() {
    let server = Server::start().await;
    let cats = server.add_dataset("cats").await;
    let admin = &cats.client;
    let mine = add(admin, "Mine").await;
    let body = json!({"licence": mine["pk"]});
    admin.patch(&cats.path(""), &body).await.is(200);
    let copy = cats.shown(&admin.post(&cats.path("/copy"), &json!({})).await.json(200));
    let expect_kept = async |dataset: u64| {
        let detail = admin.delete(&path(&mine, "")).await.detail(400);
        assert!(detail.contains(&format!("dataset {dataset} is under it")), "{detail}");
        assert!(detail.contains("first"), "{detail}");
    };
    expect_kept(cats.pk).await;
    // A soft-deleted dataset is under its licence too.
    admin.delete(&cats.path("")).await.is(204);
    expect_kept(cats.pk).await;
    admin.delete(&cats.path("/hard")).await.is(200);
    expect_kept(copy.pk).await;
    admin.patch(&copy.path(""), &json!({"licence": 1})).await.is(200);
    admin.delete(&path(&mine, "")).await.is(204);
    let wrong = admin.patch(&copy.path(""), &body).await.json(400);
    assert!(wrong["licence"].is_array(), "{wrong}");
}

#[tokio::test]
async fn subdescriptors_come_and_go_by_name_and_by_number() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let mine = add(&admin, "Mine").await;
    let edit = path(&mine, "/subdescriptors");
    let first = admin.get("/v1/licences/1").await.json(200);
    for (kind, at) in [("permissions", 0), ("conditions", 1), ("limitations", 0), ("domains", 1)] {
        // The licences from the start made the first of each kind, in their order.
        let known = first[kind][at].clone();
        let body = json!({"type": kind, "method": "add", "names": ["Brand new", at + 1]});
        let edited = admin.patch(&edit, &body).await.json(200);
        assert_eq!(edited[kind], json!(["Brand new", known]), "{kind}");
        // What it has already, by either name, changes nothing.
        let body = json!({"type": kind, "method": "add", "names": [known, "Brand new"]});
        assert_eq!(admin.patch(&edit, &body).await.json(200), edited);
        let body = json!({"type": kind, "method": "remove", "names": [at + 1, "Unheard of"]});
        let edited = admin.patch(&edit, &body).await.json(200);
        assert_eq!(edited[kind], json!(["Brand new"]));
        assert_eq!(admin.get(&path(&mine, "")).await.json(200), edited);
    }
    // What another licence says did not change.
    assert_eq!(admin.get("/v1/licences/1").await.json(200), first);
    assert_eq!(
        admin.get("/v1/licences/1").await.json(200)["domains"],
        json!(["Software", "Models"])
    );
}

#[tokio::test]
async fn bad_subdescriptors_change_nothing() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let mine = add(&admin, "Mine").await;
    let edit = path(&mine, "/subdescriptors");
    for body in [
        json!({}),
        json!({"type": "domains", "method": "add", "names": []}),
        json!({"type": "domains", "method": "add", "names": ["a", "b", "a"]}),
        json!({"type": "colours", "method": "add", "names": ["a"]}),
        json!({"type": "domains", "method": "set", "names": ["a"]}),
        json!({"type": "domains", "method": "add", "names": ["a", null]}),
        json!({"type": "domains", "method": "add", "names": ["a"], "more": 1}),
        json!({"type": "domains", "method": "add", "names": ["a", 18_446_744_073_709_551_615_u64]}),
        json!({"type": "domains", "method": "add", "names": ["a", 999]}),
        json!({"type": "domains", "method": "remove", "names": [999]}),
        json!({"type": "domains", "method": "add",
            "names": (0..1001).map(|number| number.to_string()).collect::<Vec<_>>()}),
    ] {
        let detail = admin.patch(&edit, &body).await.detail(400);
        assert!(!detail.is_empty());
        assert_eq!(admin.get(&path(&mine, "")).await.json(200), mine, "{body}");
    }
}

#[tokio::test]
async fn only_administrators_change_licences() {
    let server = Server::start().await;
    let ann = server.stranger("ann").await;
    let nobody = server.anonymous();
    let body = json!({"type": "domains", "method": "add", "names": ["a"]});
    let before = ann.get("/v1/licences/1").await.json(200);
    for (client, status) in [(&ann, 403), (&nobody, 401)] {
        client.put("/v1/licences/1", &body).await.is(status);
        client.patch("/v1/licences/1", &body).await.is(status);
        client.delete("/v1/licences/1").await.is(status);
        client.patch("/v1/licenses/1/subdescriptors/", &body).await.is(status);
        client.patch("/v1/licences/1/subdescriptors", &json!({"bad": 1})).await.is(status);
        client.delete("/v1/licences/999").await.is(404);
        client.patch("/v1/licences/999/subdescriptors", &body).await.is(404);
    }
    assert_eq!(ann.get("/v1/licences/1").await.json(200), before);
}

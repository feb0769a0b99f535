use granary_engine::model::PermissionLevel::Read;
use serde_json::json;

use crate::filters::{DATASETS, contains, exact, inverted, names, refusal, three, values};
use crate::support::{Client, Server};

/// Fault 8 of the original: hashes could be read out letter by letter, by the anonymous too.
#[tokio::test]
async fn no_filter_and_no_order_reaches_a_secret() {
    let server = Server::start().await;
    let admin = three(&server).await;
    let stranger = server.stranger("bob").await;
    for client in [&admin, &stranger, &server.anonymous()] {
        for field in [
            "creator.password",
            "creator__password",
            "creator.password_hash",
            "creator.email",
            "creator.is_staff",
            "creator.last_login",
            "project.creator.password",
            "project.team.creator.password",
            "project.team.members.password",
            "project.team.members.email",
        ] {
            let detail = refusal(client, DATASETS, contains(field, "a")).await;
            assert!(detail.contains("unknown field"), "{detail}");
            let body = json!({"order_by": [{"field": field}]});
            client.post(DATASETS, &body).await.is(400);
        }
    }
    for field in ["password", "password_hash"] {
        refusal(&admin, "/v1/users/list", contains(field, "a")).await;
        let body = json!({"order_by": [{"field": field}]});
        admin.post("/v1/users/list", &body).await.is(400);
    }
    for field in ["members.password", "creator.password", "creator.email"] {
        refusal(&admin, "/v1/teams/list", contains(field, "a")).await;
    }
}

#[tokio::test]
async fn related_things_that_the_caller_may_not_retrieve_are_null() {
    let server = Server::start().await;
    let admin = three(&server).await;
    let reader = server.member("ann", Read).await;
    let stranger = server.stranger("bob").await;
    let nobody = server.anonymous();
    let public = async |client: &Client, expression: serde_json::Value| {
        names(client, DATASETS, json!([expression, exact("name", "Cats")])).await.len()
    };
    // (field, its value, who sees it: the administrator, a member, a stranger, the anonymous)
    for (field, value, seen) in [
        ("project.name", "default", [1, 1, 0, 0]),
        ("project.team.name", "default", [1, 1, 0, 0]),
        ("project.team.members.username", "ann", [1, 1, 0, 0]),
        ("creator.username", "admin", [1, 1, 0, 0]),
        ("project.creator.username", "admin", [1, 1, 0, 0]),
        ("licence.name", "GNU Affero General Public License v3.0 (AGPL-3.0)", [1, 1, 1, 0]),
    ] {
        let value = if field == "licence.name" {
            admin.get("/v1/licences/1").await.json(200)["name"].clone()
        } else {
            json!(value)
        };
        let clients = [&admin, &reader, &stranger, &nobody];
        for (client, seen) in clients.into_iter().zip(seen) {
            let expression = exact(field, value.clone());
            assert_eq!(public(client, expression.clone()).await, seen, "{field}");
            // What is not seen is as if it were not there, and not as if it were another.
            assert_eq!(public(client, inverted(expression)).await, 1 - seen, "{field}");
            let null = json!({"type": "isnull", "field": field});
            assert_eq!(public(client, null).await, 1 - seen, "{field}");
        }
    }
    // The keys are fields of the dataset itself.
    for client in [&stranger, &nobody] {
        assert_eq!(public(client, exact("project.id", server.project)).await, 1);
        assert_eq!(public(client, exact("creator", 1)).await, 1);
    }
    // A project that is visible does not show a team, nor a name, that is not.
    let (team, project) = server.add_foreign_project("far").await;
    let body =
        json!({"name": "far", "project": project, "licence": 1, "tags": "", "is_public": true});
    admin.post("/v1/datasets/create", &body).await.is(201);
    let far = |field: &str, value: &str| json!([exact(field, value), exact("name", "far")]);
    assert!(names(&reader, DATASETS, far("project.team.name", "far")).await.is_empty());
    let listed = names(&reader, DATASETS, json!([exact("project.team", team)])).await;
    assert!(listed.is_empty());
}

#[tokio::test]
async fn a_filter_and_an_order_see_only_rows_that_the_caller_sees() {
    let server = Server::start().await;
    let admin = three(&server).await;
    let stranger = server.stranger("bob").await;
    let nobody = server.anonymous();
    let everything = inverted(exact("name", "x"));
    for client in [&stranger, &nobody] {
        assert_eq!(names(client, DATASETS, json!([everything])).await, ["Cats"]);
        assert!(names(client, DATASETS, json!([exact("name", "dogs")])).await.is_empty());
        let body = json!({"order_by": [{"field": "name", "ascending": false}]});
        let list = client.post(DATASETS, &body).await.json(200);
        assert_eq!(values(&list, "name"), ["Cats"]);
    }
    for path in ["/v1/teams/list", "/v1/projects/list"] {
        assert!(names(&stranger, path, json!([everything])).await.is_empty());
        let order = json!({"order_by": [{"field": "name"}]});
        assert_eq!(stranger.post(path, &order).await.json(200), json!([]));
        nobody.post(path, &order).await.is(401);
    }
    // Who may not list hears nothing about fields.
    let body = json!({"expressions": [exact("colour", "red")]});
    stranger.post("/v1/users/list", &body).await.is(403);
    admin.post("/v1/users/list", &body).await.is(400);
}

use axum::body::Body;
use granary_engine::model::PermissionLevel::Write;
use serde_json::{Value, json};

use crate::support::{Client, Server};

pub(crate) const DATASETS: &str = "/v1/datasets/list?files=false";

/// The values of a key in every row.
pub(crate) fn values(list: &Value, key: &str) -> Vec<Value> {
    list.as_array().unwrap().iter().map(|row| row[key].clone()).collect()
}

/// The names that some expressions leave.
pub(crate) async fn names(client: &Client, path: &str, expressions: Value) -> Vec<String> {
    let list = client.post(path, &json!({"expressions": expressions})).await.json(200);
    let names = values(&list, "name");
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn refusal(client: &Client, path: &str, expression: Value) -> String {
    client.post(path, &json!({"expressions": [expression]})).await.detail(400)
}

pub(crate) fn exact(field: &str, value: impl Into<Value>) -> Value {
    json!({"type": "exact", "field": field, "value": value.into()})
}

pub(crate) fn contains(field: &str, text: &str) -> Value {
    json!({"type": "contains", "field": field, "sub_string": text})
}

fn compare(field: &str, operator: &str, value: impl Into<Value>) -> Value {
    json!({"type": "compare", "field": field, "operator": operator, "value": value.into()})
}

pub(crate) fn inverted(mut expression: Value) -> Value {
    expression["invert"] = json!(true);
    expression
}

pub(crate) fn any_case(mut expression: Value) -> Value {
    expression["case_insensitive"] = json!(true);
    expression
}

/// Three datasets in the project `default`: `Cats`, which is public and has two files, `cats 2`,
/// which is tagged, and `dogs`, made by a writer.
pub(crate) async fn three(server: &Server) -> Client {
    let cats = server.add_dataset("Cats").await;
    cats.client.patch(&cats.path(""), &json!({"is_public": true})).await.is(200);
    cats.add("a.txt", "1").await.is(200);
    cats.add("b.txt", "2").await.is(200);
    let more = server.add_dataset("cats 2").await;
    more.client.patch(&more.path(""), &json!({"tags": "100%_sure"})).await.is(200);
    let writer = server.member("wes", Write).await;
    writer.post("/v1/datasets/create", &server.dataset_body("dogs")).await.is(201);
    cats.client
}

#[tokio::test]
async fn texts_are_matched_with_and_without_case() {
    let server = Server::start().await;
    let admin = three(&server).await;
    for (expression, expected) in [
        (exact("name", "Cats"), vec!["Cats"]),
        (exact("name", "cats"), vec![]),
        (any_case(exact("name", "cATS")), vec!["Cats"]),
        (contains("name", "ats"), vec!["Cats", "cats 2"]),
        (contains("name", "cats"), vec!["cats 2"]),
        (any_case(contains("name", "CAT")), vec!["Cats", "cats 2"]),
        (inverted(contains("name", "ats")), vec!["dogs"]),
        (inverted(any_case(exact("name", "cats"))), vec!["cats 2", "dogs"]),
        // Signs that databases give a meaning are plain letters.
        (contains("tags", "%_"), vec!["cats 2"]),
        (contains("name", "%"), vec![]),
        (contains("name", "_"), vec![]),
        (exact("tags", ""), vec!["Cats", "dogs"]),
        (compare("name", "<", "cats 2"), vec!["Cats"]),
        (compare("name", ">=", "cats 2"), vec!["cats 2", "dogs"]),
        (inverted(compare("name", ">", "cats 2")), vec!["Cats", "cats 2"]),
    ] {
        assert_eq!(names(&admin, DATASETS, json!([expression])).await, expected, "{expression}");
    }
}

#[tokio::test]
async fn numbers_booleans_and_nulls_are_matched_by_value() {
    let server = Server::start().await;
    let admin = three(&server).await;
    let all = vec!["Cats", "cats 2", "dogs"];
    for (expression, expected) in [
        (exact("pk", 1), vec!["Cats"]),
        (exact("id", 2), vec!["cats 2"]),
        (exact("version", 1.0), all.clone()),
        // A fraction equals no integer.
        (exact("version", 1.5), vec![]),
        (exact("pk", 2.5), vec![]),
        (compare("pk", "<", 2.5), vec!["Cats", "cats 2"]),
        (compare("pk", ">=", 2.5), vec!["dogs"]),
        (compare("pk", "<=", 2), vec!["Cats", "cats 2"]),
        (exact("previous_version", -1), all.clone()),
        (exact("is_public", true), vec!["Cats"]),
        (inverted(exact("is_public", true)), vec!["cats 2", "dogs"]),
        (json!({"type": "isnull", "field": "deletion_time"}), all.clone()),
        (json!({"type": "is_null", "field": "deletion_time", "invert": true}), vec![]),
        (json!({"type": "isnull", "field": "domain"}), all.clone()),
        (exact("project", server.project), all.clone()),
        (exact("licence", 2), vec![]),
        // Null is neither equal nor unequal to a value, and what is not equal is the inverse.
        (exact("domain", "x"), vec![]),
        (inverted(exact("domain", "x")), all.clone()),
        (any_case(exact("pk", 3)), vec!["dogs"]),
    ] {
        assert_eq!(names(&admin, DATASETS, json!([expression])).await, expected, "{expression}");
    }
}

/// It names a record in the original, of which core datasets have none.
#[tokio::test]
async fn no_dataset_is_in_a_domain_whatever_it_is_asked_by() {
    let server = Server::start().await;
    let admin = three(&server).await;
    let all = ["Cats", "cats 2", "dogs"];
    for field in [
        "domain",
        "domain_id",
        "domain.pk",
        "domain.id",
        "domain.name",
        "domain.description",
        "domain__name",
    ] {
        for expression in [
            exact(field, 3),
            exact(field, -1),
            exact(field, "3"),
            any_case(exact(field, "od")),
            contains(field, "o"),
            compare(field, ">=", -1),
            compare(field, "<", "x"),
            json!({"type": "isnull", "field": field, "invert": true}),
        ] {
            let found = names(&admin, DATASETS, json!([expression])).await;
            assert!(found.is_empty(), "{expression}");
            let mut others = expression;
            others["invert"] = json!(others["invert"] != true);
            assert_eq!(names(&admin, DATASETS, json!([others])).await, all, "{others}");
        }
        let detail = refusal(&admin, DATASETS, exact(field, true)).await;
        assert!(detail.ends_with("send a number or a string"), "{detail}");
        let ordered = admin.post(DATASETS, &json!({"order_by": [{"field": field}]})).await;
        assert_eq!(values(&ordered.json(200), "name"), all);
    }
    let detail = refusal(&admin, DATASETS, exact("domain.colour", 3)).await;
    assert!(detail.ends_with("of it there is pk, id, name, description"), "{detail}");
}

#[tokio::test]
async fn times_are_compared_with_iso_texts() {
    let server = Server::start().await;
    let admin = three(&server).await;
    let list = admin.post(DATASETS, &json!({})).await.json(200);
    let times = values(&list, "creation_time");
    let second = times[1].as_str().unwrap();
    let with_offset = second.replace('Z', "+00:00");
    for (expression, expected) in [
        (exact("creation_time", second), vec!["cats 2"]),
        (exact("creation_time", with_offset), vec!["cats 2"]),
        (compare("creation_time", "<", second), vec!["Cats"]),
        (compare("creation_time", ">", second), vec!["dogs"]),
        (compare("creation_time", ">", "2020-01-01"), vec!["Cats", "cats 2", "dogs"]),
        (compare("creation_time", "<", "2020-01-01T00:00:00+13:00"), vec![]),
    ] {
        assert_eq!(names(&admin, DATASETS, json!([expression])).await, expected, "{expression}");
    }
    let detail = refusal(&admin, DATASETS, exact("creation_time", "2026-13-01")).await;
    assert!(detail.contains("'creation_time' is a time"), "{detail}");
}

#[tokio::test]
async fn expressions_are_joined_as_the_language_says() {
    let server = Server::start().await;
    let admin = three(&server).await;
    let public = exact("is_public", true);
    let cats = any_case(contains("name", "cats"));
    let dogs = exact("name", "dogs");
    let and = json!({"type": "and", "sub_expressions": [cats, inverted(public.clone())]});
    let or = json!({"type": "or", "sub_expressions": [and, public, dogs]});
    for (expressions, expected) in [
        (json!([]), vec!["Cats", "cats 2", "dogs"]),
        (json!([and]), vec!["cats 2"]),
        (json!([inverted(and.clone())]), vec!["Cats", "dogs"]),
        (json!([or]), vec!["Cats", "cats 2", "dogs"]),
        (json!([inverted(or.clone())]), vec![]),
        // Of several expressions all must hold.
        (json!([or, dogs]), vec!["dogs"]),
        (json!([cats, dogs]), vec![]),
    ] {
        assert_eq!(names(&admin, DATASETS, expressions.clone()).await, expected, "{expressions}");
    }
}

#[tokio::test]
async fn names_with_dots_reach_related_things() {
    let server = Server::start().await;
    let admin = three(&server).await;
    let (team, project) = server.add_foreign_project("far").await;
    let body = json!({"name": "far away", "project": project, "licence": 2, "tags": ""});
    admin.post("/v1/datasets/create", &body).await.is(201);
    let near = vec!["Cats", "cats 2", "dogs"];
    let any = |all: &[Value]| json!({"type": "or", "sub_expressions": all});
    let by_wes = exact("project.team.members.username", "wes");
    let isnull_members = json!({"type": "isnull", "field": "project.team.members"});
    for (expression, expected) in [
        (exact("project.name", "far"), vec!["far away"]),
        (exact("project__name", "default"), near.clone()),
        (exact("project.team.name", "far"), vec!["far away"]),
        (exact("project__team.name", "default"), near.clone()),
        (exact("project.team", team), vec!["far away"]),
        (exact("project.team.id", team), vec!["far away"]),
        (exact("project.pk", project), vec!["far away"]),
        (exact("project_id", project), vec!["far away"]),
        (exact("project__team_id", team), vec!["far away"]),
        (exact("licence.pk", 1), near.clone()),
        (contains("licence.url", "http"), vec!["Cats", "cats 2", "dogs", "far away"]),
        (exact("creator.username", "wes"), vec!["dogs"]),
        (exact("creator.username", "admin"), vec!["Cats", "cats 2", "far away"]),
        (exact("project.creator.username", "admin"), vec!["Cats", "cats 2", "dogs", "far away"]),
        (exact("project.team.members.username", "wes"), near.clone()),
        (json!({"type": "isnull", "field": "project.team.members"}), vec!["far away"]),
        // What became of one condition on a team's members says nothing of another one.
        (any(&[exact("project.team.members.username", "nobody"), by_wes.clone()]), near.clone()),
        (
            any(&[isnull_members.clone(), by_wes.clone()]),
            vec!["Cats", "cats 2", "dogs", "far away"],
        ),
        (any(&[inverted(by_wes), isnull_members]), vec!["far away"]),
    ] {
        assert_eq!(names(&admin, DATASETS, json!([expression])).await, expected, "{expression}");
    }
    let teams = |expression| names(&admin, "/v1/teams/list", json!([expression]));
    assert_eq!(teams(exact("members.username", "wes")).await, ["default"]);
    assert_eq!(teams(inverted(exact("members.username", "wes"))).await, ["far"]);
    let projects = |expression| names(&admin, "/v1/projects/list", json!([expression]));
    assert_eq!(projects(exact("team.name", "far")).await, ["far"]);
    assert_eq!(projects(inverted(exact("team.name", "far"))).await, ["default"]);
}

#[tokio::test]
async fn a_filter_over_files_lists_a_dataset_once() {
    let server = Server::start().await;
    let admin = three(&server).await;
    let list = admin.post("/v1/datasets/list", &json!({})).await.json(200);
    let handle = |name: &str| list[0]["files"][name].as_str().unwrap().to_owned();
    let both = |name: &str, handle: String| {
        let parts = [exact("files.name", name), exact("files.handle", handle)];
        json!({"type": "and", "sub_expressions": parts})
    };
    for (expression, expected) in [
        (contains("files.name", ".txt"), vec!["Cats"]),
        (contains("files.filename", ".txt"), vec!["Cats"]),
        (exact("files.name", "a.txt"), vec!["Cats"]),
        (exact("files.name", "c.txt"), vec![]),
        (exact("files.handle", handle("b.txt")), vec!["Cats"]),
        // Within an `and` the conditions speak of one file.
        (both("a.txt", handle("a.txt")), vec!["Cats"]),
        (both("a.txt", handle("b.txt")), vec![]),
        (inverted(contains("files.name", "a")), vec!["cats 2", "dogs"]),
        (json!({"type": "isnull", "field": "files"}), vec!["cats 2", "dogs"]),
    ] {
        assert_eq!(names(&admin, DATASETS, json!([expression])).await, expected, "{expression}");
    }
    let licences = names(&admin, "/v1/licences/list", json!([contains("domains", "software")]));
    assert_eq!(
        licences.await,
        names(&admin, "/v1/licenses/list", json!([contains("domains.name", "software")])).await
    );
}

#[tokio::test]
async fn every_list_has_its_own_fields() {
    let server = Server::start().await;
    let admin = server.admin().await;
    server.add_user("ann").await;
    server.add_node().await;
    let count = async |path: &str, expression: Value| {
        let list = admin.post(path, &json!({"expressions": [expression]})).await.json(200);
        list.as_array().unwrap().len()
    };
    assert_eq!(count("/v1/users/list", exact("username", "ann")).await, 1);
    assert_eq!(count("/v1/users/list", exact("is_staff", true)).await, 1);
    assert_eq!(count("/v1/users/list", contains("email", "@")).await, 0);
    let never = json!({"type": "isnull", "field": "last_login"});
    assert_eq!(count("/v1/users/list", never).await, 1);
    assert_eq!(count("/v1/nodes/list", exact("ip", "10.0.0.1")).await, 1);
    assert_eq!(count("/v1/nodes/list", compare("cpu_mem", ">", 1)).await, 0);
    let no_driver = json!({"type": "is_null", "field": "driver_version"});
    assert_eq!(count("/v1/nodes/list", no_driver).await, 1);
    assert_eq!(count("/v1/licences/list", compare("pk", "<=", 3)).await, 3);
    assert_eq!(count("/v1/teams/list", exact("name", "default")).await, 1);
    assert_eq!(count("/v1/projects/list", exact("name", "default")).await, 1);
}

#[tokio::test]
async fn the_inactive_are_shown_on_request() {
    let server = Server::start().await;
    let admin = three(&server).await;
    admin.delete("/v1/datasets/1").await.is(204);
    let body = |all: bool| json!({"expressions": [any_case(contains("name", "cats"))], "include_inactive": all});
    let list = admin.post(DATASETS, &body(false)).await.json(200);
    assert_eq!(values(&list, "pk"), [2]);
    let list = admin.post(DATASETS, &body(true)).await.json(200);
    assert_eq!(values(&list, "pk"), [1, 2]);
}

#[tokio::test]
async fn lists_are_in_the_order_that_is_asked_for() {
    let server = Server::start().await;
    let admin = three(&server).await;
    let (_, far) = server.add_foreign_project("a project before default").await;
    let body = json!({"name": "Ants", "project": far, "licence": 1, "tags": "t"});
    admin.post("/v1/datasets/create", &body).await.is(201);
    admin.delete("/v1/datasets/2").await.is(204);
    let asc = |field: &str| json!({"field": field});
    let desc = |field: &str| json!({"field": field, "ascending": false});
    for (order, expected) in [
        (json!([]), [1, 2, 3, 4]),
        (json!([asc("name")]), [4, 1, 2, 3]),
        (json!([desc("name")]), [3, 2, 1, 4]),
        (json!([desc("pk")]), [4, 3, 2, 1]),
        (json!([asc("project.name")]), [4, 1, 2, 3]),
        (json!([asc("project.team.name"), desc("name")]), [4, 3, 2, 1]),
        (json!([asc("creator.username"), desc("pk")]), [4, 2, 1, 3]),
        (json!([desc("project_id")]), [4, 1, 2, 3]),
        (json!([asc("is_public")]), [2, 3, 4, 1]),
        // Equal keys are in order of pk, nulls come last unless they are wanted first.
        (json!([asc("licence")]), [1, 2, 3, 4]),
        (json!([asc("deletion_time")]), [2, 1, 3, 4]),
        (json!([desc("deletion_time")]), [2, 1, 3, 4]),
        (json!([{"field": "deletion_time", "nulls_first": false}]), [2, 1, 3, 4]),
        (json!([{"field": "deletion_time", "nulls_first": true}]), [1, 3, 4, 2]),
        (json!([{"field": "deletion_time", "nulls_first": true}, desc("pk")]), [4, 3, 1, 2]),
    ] {
        let body = json!({"order_by": order, "include_inactive": true});
        let list = admin.post(DATASETS, &body).await.json(200);
        assert_eq!(values(&list, "pk"), expected, "{order}");
    }
    for field in ["colour", "creator.email", "project.team.members.username", "name.length"] {
        let body = json!({"order_by": [{"field": field}]});
        let detail = admin.post(DATASETS, &body).await.detail(400);
        assert!(detail.starts_with("Bad filter: ") && detail.contains(field), "{detail}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_filter_is_told_so() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    let field = json!({"type": "is_null", "field": "name"});
    let one = json!({"type": "or", "sub_expressions": [field]});
    let mut deep = exact("name", "x");
    for _ in 0..30 {
        deep = json!({"type": "and", "sub_expressions": [deep, field]});
    }
    for body in [
        json!([1]),
        json!("x"),
        json!(null),
        json!({"unknown": 1}),
        json!({"expressions": null}),
        json!({"expressions": {}}),
        json!({"expressions": [null]}),
        json!({"expressions": [{"field": "name"}]}),
        json!({"expressions": [{"type": "regex", "field": "name"}]}),
        json!({"expressions": [{"type": "exact", "field": "name", "value": null}]}),
        json!({"expressions": [{"type": "exact", "field": "", "value": "x"}]}),
        json!({"expressions": [{"type": "contains", "field": "name", "sub_string": ""}]}),
        json!({"expressions": [{"type": "isnull", "field": "name", "extra": 1}]}),
        json!({"expressions": [compare("version", "<", true)]}),
        json!({"expressions": [compare("version", "==", 1)]}),
        json!({"expressions": [one]}),
        json!({"expressions": [deep]}),
        json!({"expressions": [{"type": "or", "sub_expressions": [
            {"type": "or", "sub_expressions": [field, field]}, field,
        ]}]}),
        json!({"expressions": [field], "unknown": 1}),
        json!({"expressions": vec![field; 1001]}),
        json!({"order_by": [{"field": "name", "nulls_first": null}]}),
        json!({"order_by": ["name"]}),
        json!({"include_inactive": "yes"}),
    ] {
        for path in ["/v1/datasets/list", "/v1/datasets/list?limit=1"] {
            let detail = nobody.post(path, &body).await.detail(400);
            assert!(detail.starts_with("Unable to parse JSON: "), "{detail}");
            assert!(detail.len() < 300, "{detail}");
        }
    }
}

/// Fault 9 of the original: 500 for these.
#[tokio::test]
async fn unknown_fields_and_values_of_a_wrong_type_are_told_what_would_be_right() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    for (expression, told) in [
        (exact("colour", "red"), "unknown field 'colour': a dataset has pk, id, name, version"),
        (exact("name__startswith", "C"), "unknown field 'name__startswith'"),
        (exact("project.colour", "red"), "a project has pk, id, name, team"),
        (exact("version", "one"), "field 'version' is an integer and was given the string 'one'"),
        (exact("name", 1), "field 'name' is a text and was given 1; send a string"),
        (exact("is_public", "true"), "field 'is_public' is a boolean"),
        (exact("version", json!(1e40)), "send a number within 64 bits"),
        (contains("version", "1"), "an integer, which 'contains' does not go with"),
        (compare("is_public", "<", 1), "a boolean, which 'compare' does not go with"),
    ] {
        let detail = refusal(&nobody, DATASETS, expression).await;
        assert!(detail.starts_with("Bad filter: ") && detail.contains(told), "{detail}");
    }
    // A number beyond 64 bits, as it may come over the wire.
    let body =
        r#"{"expressions": [{"type": "exact", "field": "pk", "value": 99999999999999999999}]}"#;
    let client = nobody.with("Content-Type", "application/json");
    client.send("POST", DATASETS, Body::from(body)).await.is(400);
}

use granary_engine::model::PermissionLevel::Read;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Server};

/// The primary keys of the rows.
fn pks(answer: &Answer) -> Vec<u64> {
    let list: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
    list.iter().map(|row| row["pk"].as_u64().unwrap()).collect()
}

/// Where the next page is, if there is one.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    let link = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
    Some(link.to_owned())
}

/// The rows of every page, as the links lead from one to the next.
async fn pages(client: &Client, path: &str, body: &Value) -> Vec<Vec<u64>> {
    let mut pages = Vec::new();
    let mut path = Some(path.to_owned());
    while let Some(here) = path {
        let answer = client.post(&here, body).await.is(200);
        pages.push(pks(&answer));
        path = next(&answer);
        assert!(pages.len() < 100, "the pages do not end");
    }
    pages
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let server = Server::start().await;
    let admin = server.admin().await;
    for (limit, expected) in
        [(5, vec![5, 5, 4]), (7, vec![7, 7]), (14, vec![14]), (10_000, vec![14])]
    {
        let path = format!("/v1/licences/list?limit={limit}");
        let pages = pages(&admin, &path, &json!({})).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        assert_eq!(pages.concat(), (1..=14).collect::<Vec<_>>());
    }
    let whole = admin.post("/v1/licences/list", &json!({})).await.is(200);
    assert_eq!(pks(&whole), (1..=14).collect::<Vec<_>>());
    assert_eq!(next(&whole), None);
}

#[tokio::test]
async fn every_list_has_pages_with_filters_and_orders() {
    let server = Server::start().await;
    let admin = server.admin().await;
    for number in 0..5 {
        let name = format!("name-{}", (number * 3) % 5);
        server.add_user(&name).await;
        server.add_foreign_project(&name).await;
        server.add_dataset(&name).await;
        let node = json!({"ip": name, "index": 1, "cpu_mem": 1});
        admin.post("/v1/nodes/create", &node).await.is(201);
    }
    for (resource, field) in [
        ("datasets", "name"),
        ("users", "username"),
        ("teams", "name"),
        ("projects", "name"),
        ("licences", "name"),
        ("licenses", "name"),
        ("nodes", "ip"),
    ] {
        let list = format!("/v1/{resource}/list");
        for body in [
            json!({}),
            json!({"order_by": [{"field": field}]}),
            json!({"order_by": [{"field": field, "ascending": false}]}),
            json!({"expressions": [
                {"type": "contains", "field": field, "sub_string": "name-", "invert": true}
            ]}),
            json!({
                "expressions": [{"type": "compare", "field": "pk", "operator": ">", "value": 1}],
                "order_by": [{"field": field, "nulls_first": true}, {"field": "pk"}],
                "include_inactive": true,
            }),
        ] {
            let whole = pks(&admin.post(&list, &body).await.is(200));
            let pages = pages(&admin, &format!("{list}?limit=2"), &body).await;
            assert_eq!(pages.concat(), whole, "{list} {body}");
            assert!(pages.iter().all(|page| page.len() <= 2), "{list} {body}");
        }
    }
}

#[tokio::test]
async fn a_row_is_visited_once_while_others_come_and_go() {
    let server = Server::start().await;
    let admin = server.admin().await;
    for number in 0..6 {
        server.add_dataset(&format!("m{number}")).await;
    }
    let by_name = json!({"order_by": [{"field": "name"}]});
    for (body, expected) in [(json!({}), vec![2, 3, 4, 5, 6]), (by_name, vec![2, 3, 4, 5, 6])] {
        let answer = admin.post("/v1/datasets/list?limit=2&files=false", &body).await.is(200);
        let mut seen = pks(&answer);
        // The cursor's own row goes, and rows come before and behind it.
        let (first, last) = (seen[0], *seen.last().unwrap());
        admin.delete(&format!("/v1/datasets/{last}")).await.is(204);
        let new = [
            server.add_dataset(&format!("a{first}")).await.pk,
            server.add_dataset(&format!("z{first}")).await.pk,
        ];
        let link = next(&answer).unwrap();
        assert!(link.contains("files=false"), "{link}");
        for page in pages(&admin, &link, &body).await {
            seen.extend(page);
        }
        let mut once = seen.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), seen.len(), "{seen:?}");
        for pk in expected {
            assert!(seen.contains(&pk), "{pk} of {seen:?}");
        }
        // Back to where it began.
        admin.delete(&format!("/v1/datasets/{last}/reinstate")).await.is(200);
        for pk in new {
            admin.delete(&format!("/v1/datasets/{pk}/hard")).await.is(200);
        }
    }
}

#[tokio::test]
async fn a_page_shows_what_the_caller_may_see_and_counts_nothing_else() {
    let server = Server::start().await;
    for number in 0..6 {
        let dataset = server.add_dataset(&format!("d{number}")).await;
        let public = json!({"is_public": number % 2 == 0});
        dataset.client.patch(&dataset.path(""), &public).await.is(200);
    }
    let member = server.member("ann", Read).await;
    let path = "/v1/datasets/list?limit=2";
    assert_eq!(pages(&member, path, &json!({})).await, [[1, 2], [3, 4], [5, 6]]);
    let nobody = server.anonymous();
    assert_eq!(pages(&nobody, path, &json!({})).await, [vec![1, 3], vec![5]]);
    let body = json!({"order_by": [{"field": "name", "ascending": false}]});
    assert_eq!(pages(&nobody, path, &body).await, [vec![5, 3], vec![1]]);
    // Nothing hidden is told by a link: three rows on a page of three are all there is.
    let answer = nobody.post("/v1/datasets/list?limit=3", &json!({})).await.is(200);
    assert_eq!((pks(&answer), next(&answer)), (vec![1, 3, 5], None));
}

#[tokio::test]
async fn limits_and_cursors_are_checked() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let list = "/v1/licences/list";
    for limit in ["0", "10001", "-1", "x", "", "1.5", "99999999999999999999"] {
        let wrong = admin.post(&format!("{list}?limit={limit}"), &json!({})).await.json(400);
        assert_eq!(wrong, json!({"limit": ["Must be a whole number from 1 to 10000."]}));
    }
    let answer = admin.post(&format!("{list}?limit=2"), &json!({})).await.is(200);
    let link = next(&answer).unwrap();
    let (_, cursor) = link.split_once("after=").unwrap();
    let ordered = json!({"order_by": [{"field": "name"}]});
    let cut = &cursor[..cursor.len() - 1];
    let longer = format!("{cursor}A");
    let long = "A".repeat(30_000);
    for garbage in ["", "x", "1", "%00", "AAAA", cut, &longer, &long] {
        let path = format!("{list}?limit=2&after={garbage}");
        for body in [&json!({}), &ordered] {
            let wrong = admin.post(&path, body).await.json(400);
            let text = wrong["after"][0].as_str().unwrap();
            assert!(text.starts_with("Must be a cursor"), "{text}");
        }
    }
    // A cursor goes on in its own list and order.
    admin.post(&link, &ordered).await.is(400);
    let other = link.replace("licences", "nodes");
    admin.post(&other, &json!({})).await.is(400);
    admin.post(&format!("{list}?after={cursor}"), &json!({})).await.is(400);
    // Another spelling of the path, another filter and another limit are fine.
    let other = link.replace("licences", "licenses").replace("limit=2", "limit=3");
    let body = json!({"expressions": [{"type": "exact", "field": "pk", "value": 4}]});
    assert_eq!(pks(&admin.post(&other, &body).await.is(200)), [4]);
}

#[tokio::test]
async fn an_order_by_long_texts_goes_on_where_it_was() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let mut expected = Vec::new();
    for number in 0..4 {
        let dataset = server.add_dataset(&format!("d{number}")).await;
        // Longer than what an order looks at, and the same so far as it looks.
        let description = format!("{}{}", "long ".repeat(1_000), 9 - number);
        admin.patch(&dataset.path(""), &json!({"description": description})).await.is(200);
        expected.push(dataset.pk);
    }
    let body = json!({"order_by": [{"field": "description"}, {"field": "tags"}]});
    let path = "/v1/datasets/list?limit=1";
    assert_eq!(pages(&admin, path, &body).await.concat(), expected);
}

use serde_json::{Value, json};

use crate::support::{Client, Server};

/// A node, its path, and a user who works on it.
async fn node(server: &Server) -> (u64, String, Client) {
    let pk = server.add_node().await;
    let client = server.stranger("worker").await.with("Node-Id", pk.to_string());
    (pk, format!("/v1/nodes/{pk}"), client)
}

#[tokio::test]
async fn a_node_updates_itself() {
    let server = Server::start().await;
    let (_, path, worker) = node(&server).await;
    let required = json!(["This field is required."]);
    let wrong = worker.put(&path, &json!({})).await.json(400);
    assert_eq!(wrong, json!({"ip": required, "index": required, "cpu_mem": required}));

    let body = json!({
        "ip": "10.0.0.2", "index": 3, "cpu_mem": 64, "gpu_mem": 8, "driver_version": "550.1",
        "hardware_generation": 2, "last_seen": null, "current_job": 9,
    });
    let updated = worker.put(&path, &body).await.json(200);
    for field in ["ip", "index", "cpu_mem", "gpu_mem", "driver_version", "hardware_generation"] {
        assert_eq!(updated[field], body[field], "{field}");
    }
    assert_eq!(updated["current_job"], Value::Null);
    assert!(updated["last_seen"].is_string());

    // What is left out stays, what is sent as null is emptied.
    let body = json!({"ip": "10.0.0.2", "index": 3, "cpu_mem": 32, "gpu_mem": null});
    let updated = worker.put(&path, &body).await.json(200);
    assert_eq!(updated["gpu_mem"], Value::Null);
    assert_eq!(updated["driver_version"], "550.1");
    let patched = worker.patch(&path, &json!({"driver_version": null})).await.json(200);
    assert_eq!(patched["driver_version"], Value::Null);
    assert_eq!(patched["hardware_generation"], 2);
    assert_eq!(patched["cpu_mem"], 32);
    for (body, field) in [
        (json!({"ip": null}), "ip"),
        (json!({"ip": "x".repeat(40)}), "ip"),
        (json!({"driver_version": "x".repeat(17)}), "driver_version"),
        (json!({"index": 9_223_372_036_854_775_808_u64}), "index"),
        (json!({"gpu_mem": 1e30}), "gpu_mem"),
        (json!({"cpu_mem": null}), "cpu_mem"),
    ] {
        let wrong = worker.patch(&path, &body).await.json(400);
        assert!(wrong[field].is_array(), "{body}: {wrong}");
    }
    let mut shown = worker.patch(&path, &json!({})).await.json(200);
    shown["last_seen"] = patched["last_seen"].clone();
    assert_eq!(shown, patched);
}

#[tokio::test]
async fn a_taken_address_is_told_and_a_left_one_is_free() {
    let server = Server::start().await;
    let (_, path, worker) = node(&server).await;
    let other = json!({"ip": "10.0.0.1", "index": 1, "cpu_mem": 1});
    worker.post("/v1/nodes/create", &other).await.is(201);
    let text = "The fields ip, index must make a unique set.";
    let taken = json!({"non_field_errors": [text]});
    assert_eq!(worker.patch(&path, &json!({"index": 1})).await.json(400), taken);
    assert_eq!(worker.put(&path, &other).await.json(400), taken);
    worker.patch(&path, &json!({"index": 0})).await.is(200);
    worker.patch(&path, &json!({"index": 2})).await.is(200);
    let left = json!({"ip": "10.0.0.1", "index": 0, "cpu_mem": 1});
    worker.post("/v1/nodes/create", &left).await.is(201);
}

#[tokio::test]
async fn nobody_but_the_node_and_administrators_changes_a_node() {
    let server = Server::start().await;
    let (pk, path, worker) = node(&server).await;
    let other = json!({"ip": "10.0.0.9", "index": 0, "cpu_mem": 1});
    let other = worker.post("/v1/nodes/create", &other).await.json(201);
    let ann = server.stranger("ann").await;
    let elsewhere = ann.with("Node-Id", other["pk"].to_string());
    let nobody = server.anonymous();
    let nobody_on_node = nobody.with("Node-Id", pk.to_string());
    let body = json!({"cpu_mem": 7});
    for (client, status) in [(&ann, 403), (&elsewhere, 403), (&nobody, 401), (&nobody_on_node, 401)]
    {
        client.put(&path, &body).await.is(status);
        client.patch(&path, &body).await.is(status);
        client.delete(&path).await.is(status);
        client.delete("/v1/nodes/999").await.is(404);
    }
    let admin = server.admin().await;
    assert_eq!(ann.get(&path).await.json(200)["cpu_mem"], 1);
    assert_eq!(admin.patch(&path, &body).await.json(200)["cpu_mem"], 7);
    // A user who works on the node, whoever that is.
    ann.with("Node-Id", pk.to_string()).patch(&path, &json!({"cpu_mem": 8})).await.is(200);
}

#[tokio::test]
async fn a_destroyed_node_is_gone() {
    let server = Server::start().await;
    let (pk, path, worker) = node(&server).await;
    worker.delete(&path).await.is(204);
    // Its header names nothing now.
    let detail = worker.delete(&path).await.detail(400);
    assert!(detail.starts_with(&format!("Bad Node-Id header '{pk}': ")), "{detail}");
    let admin = server.admin().await;
    let detail = admin.delete(&path).await.detail(404);
    assert_eq!(detail, "No Node matches the given query.");
    admin.get(&path).await.is(404);
    assert_ne!(server.add_node().await, pk);
}

#[tokio::test]
async fn a_ping_is_empty_and_tells_that_the_node_is_alive() {
    let server = Server::start().await;
    let (pk, path, worker) = node(&server).await;
    let admin = server.admin().await;
    assert_eq!(admin.get(&path).await.json(200)["last_seen"], Value::Null);
    for ping in ["/v1/nodes/ping".to_owned(), format!("{path}/ping/")] {
        let answer = worker.get(&ping).await.is(200);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("content-type"), "");
        assert!(admin.get(&path).await.json(200)["last_seen"].is_string());
    }
    // An administrator may ask from anywhere, others on a node only, and logged in.
    admin.get("/v1/nodes/ping").await.is(200);
    let ann = server.stranger("ann").await;
    let nobody = server.anonymous();
    for ping in ["/v1/nodes/ping".to_owned(), format!("{path}/ping")] {
        ann.get(&ping).await.is(403);
        nobody.get(&ping).await.is(401);
        nobody.with("Node-Id", pk.to_string()).get(&ping).await.is(401);
        for bad in ["", "x", "999", "-1"] {
            let detail = ann.with("Node-Id", bad).get(&ping).await.detail(400);
            assert!(detail.starts_with(&format!("Bad Node-Id header '{bad}': ")), "{detail}");
        }
    }
    admin.get("/v1/nodes/999/ping").await.is(404);
}

#[tokio::test]
async fn a_node_speaks_for_itself_only() {
    let server = Server::start().await;
    let (_, _, worker) = node(&server).await;
    let other = json!({"ip": "10.0.0.9", "index": 0, "cpu_mem": 1});
    let other = worker.post("/v1/nodes/create", &other).await.json(201);
    let path = format!("/v1/nodes/{}", other["pk"]);
    worker.get(&format!("{path}/ping")).await.is(200);
    assert_eq!(worker.get(&path).await.json(200)["last_seen"], Value::Null);
    server.admin().await.get(&format!("{path}/ping")).await.is(200);
    assert!(worker.get(&path).await.json(200)["last_seen"].is_string());
}

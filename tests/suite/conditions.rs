//! Writers who do not know of each other: `If-Match`, `If-None-Match`, and replacing in one step.

use granary_engine::model::Digest;
use serde_json::json;

use crate::support::{Answer, Dataset, Server};

fn tag(content: &str) -> String {
    format!("\"{}\"", Digest::of(content.as_bytes()))
}

async fn put(dataset: &Dataset, name: &str, content: &str) -> Answer {
    let path = dataset.path(&format!("/files/{name}?replace=true"));
    dataset.client.send("PUT", &path, content.to_owned()).await
}

impl Dataset {
    /// The same dataset with a header on every request.
    fn with(&self, header: &'static str, value: impl Into<String>) -> Self {
        Self { pk: self.pk, client: self.client.with(header, value) }
    }
}

#[tokio::test]
async fn of_many_who_add_a_file_if_there_is_none_one_does() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await.with("If-None-Match", "*");
    let writers = (0..16).map(|number| {
        let dataset = dataset.with("X-Writer", number.to_string());
        tokio::spawn(async move { dataset.add("a", &format!("writer {number}")).await.status })
    });
    let mut statuses = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        statuses.push(writer.await.unwrap().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert!(statuses[1..].iter().all(|status| *status == 412), "{statuses:?}");
    assert_eq!(dataset.add("b", "x").await.status, 200);
}

#[tokio::test]
async fn a_file_is_replaced_in_one_step_and_starts_without_metadata() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let added = put(&dataset, "d/a", "one").await.json(200);
    assert_eq!(added, json!({"filename": "d/a", "handle": Digest::of(b"one").to_string()}));
    dataset.set_metadata("d/a", "label of one").await.is(200);
    // The same once more, as after an answer that was lost, undoes nothing.
    put(&dataset, "d/a", "one").await.is(200);
    assert_eq!(dataset.metadata("d/a").await, "label of one");
    put(&dataset, "d/a", "two").await.is(200);
    assert_eq!(dataset.content("d/a").await.body, "two");
    assert_eq!(dataset.metadata("d/a").await, "");
    let fields = dataset.fields().await;
    assert_eq!(fields["files"], json!({"d/a": Digest::of(b"two").to_string()}));

    // Other versions keep what they have.
    dataset.set_metadata("d/a", "label of two").await.is(200);
    let copy = dataset.client.post(&dataset.path("/copy"), &json!({})).await.json(200);
    let copy = dataset.shown(&copy);
    put(&copy, "d/a", "three").await.is(200);
    assert_eq!(
        (copy.metadata("d/a").await, dataset.metadata("d/a").await),
        (String::new(), "label of two".to_owned())
    );
    assert_eq!(dataset.content("d/a").await.body, "two");
    copy.client.delete(&copy.path("/files/d/a")).await.is(200);
    copy.content("d/a").await.is(404);
    assert_eq!(server.engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn nothing_is_replaced_that_was_not_to_be() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "one").await.is(200);
    for (query, status) in
        [("", 405), ("?replace=false", 405), ("?replace=yes", 400), ("?replaces=true", 405)]
    {
        let path = dataset.path(&format!("/files/a{query}"));
        dataset.client.send("PUT", &path, "two").await.is(status);
    }
    for name in ["a/b", "..", "new/"] {
        put(&dataset, name, "two").await.is(400);
    }
    dataset.add("a", "two").await.is(400);
    assert_eq!(dataset.content("a").await.body, "one");
    assert_eq!(dataset.names().await, ["a"]);
}

#[tokio::test]
async fn only_the_content_that_a_writer_knows_is_replaced_or_deleted() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let knows = |content: &str| dataset.with("If-Match", tag(content));
    assert_eq!(put(&knows("one"), "a", "two").await.status, 412, "there is none");
    dataset.add("a", "one").await.is(200);
    let text = put(&knows("zero"), "a", "two").await.detail(412);
    assert!(text.contains("'a' is not in the state"), "{text}");
    let weak = dataset.with("If-Match", format!("W/{}", tag("one")));
    put(&weak, "a", "two").await.is(412);
    put(&dataset.with("If-None-Match", "*"), "a", "two").await.is(412);
    assert_eq!(dataset.content("a").await.body, "one");
    let either = dataset.with("If-Match", format!("{}, {}", tag("zero"), tag("one")));
    put(&either, "a", "two").await.is(200);
    put(&dataset.with("If-Match", "*"), "a", "three").await.is(200);
    let path = dataset.path("/files/a");
    knows("two").client.delete(&path).await.is(412);
    dataset.with("If-None-Match", tag("three")).client.delete(&path).await.is(412);
    knows("three").client.delete(&path).await.is(200);
    knows("three").client.delete(&path).await.is(404);
    assert!(dataset.names().await.is_empty());
}

#[tokio::test]
async fn counters_that_many_raise_by_compare_and_swap_lose_nothing() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("counter", "0").await.is(200);
    let writers = (0..4).map(|number| {
        let dataset = dataset.with("X-Writer", number.to_string());
        tokio::spawn(async move {
            for _ in 0..5 {
                loop {
                    let before = String::from_utf8(dataset.content("counter").await.body.to_vec());
                    let before = before.unwrap();
                    let after = (before.parse::<u32>().unwrap() + 1).to_string();
                    let swap = dataset.with("If-Match", tag(&before));
                    match put(&swap, "counter", &after).await.status.as_u16() {
                        200 => break,
                        status => assert_eq!(status, 412),
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(dataset.content("counter").await.body, "20");
}

#[tokio::test]
async fn metadata_is_set_only_in_the_state_that_its_writer_knows() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "one").await.is(200);
    let state = async || {
        let answer = dataset.client.get(&dataset.path("/metadata/a")).await.is(200);
        answer.header("etag").to_owned()
    };
    let first = dataset.with("If-None-Match", "*");
    first.set_metadata("a", "first").await.is(200);
    first.set_metadata("a", "second").await.is(412);
    let known = state().await;
    dataset.with("If-Match", &known).set_metadata("a", "second").await.is(200);
    dataset.with("If-Match", &known).set_metadata("a", "third").await.is(412);
    assert_eq!(dataset.metadata("a").await, "second");
    // The tag of the content will do for who cares about nothing else.
    dataset.with("If-Match", tag("one")).set_metadata("a", "third").await.is(200);
    dataset.with("If-Match", tag("two")).set_metadata("a", "fourth").await.is(412);
    // Another content has other metadata, be it the same text.
    let known = state().await;
    put(&dataset, "a", "two").await.is(200);
    dataset.set_metadata("a", "third").await.is(200);
    dataset.with("If-Match", &known).set_metadata("a", "fourth").await.is(412);
    dataset.with("If-Match", "*").set_metadata("b", "x").await.is(404);
    assert_eq!(dataset.metadata("a").await, "third");
}

#[tokio::test]
async fn metadata_is_given_only_in_the_state_that_its_reader_asks_for() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "one").await.is(200);
    dataset.set_metadata("a", "first").await.is(200);
    let path = dataset.path("/metadata/a");
    let known = dataset.client.get(&path).await.is(200).header("etag").to_owned();
    let reads = async |name: &'static str, value: &str| {
        dataset.with(name, value).client.get(&path).await.status.as_u16()
    };
    let answer = dataset.with("If-None-Match", &known).client.get(&path).await.is(304);
    assert_eq!(answer.header("etag"), known);
    assert!(answer.body.is_empty() && answer.headers.get("content-length").is_none());
    assert_eq!(reads("If-Match", &known).await, 200);
    dataset.set_metadata("a", "second").await.is(200);
    assert_eq!(reads("If-None-Match", &known).await, 200);
    assert_eq!(reads("If-Match", &known).await, 412);
    assert_eq!(dataset.metadata("a").await, "second");
}

use std::time::Duration;

use granary::{Purge, Sweep};
use granary_engine::MutationError;
use granary_engine::model::{DatasetId, Timestamp};

use crate::support::{Dataset, Server};

const DAY: Duration = Duration::from_hours(24);

/// The store's clock, so many days later.
fn days_on(days: i64) -> Timestamp {
    Timestamp(Timestamp::now().0 + days * 86_400_000_000)
}

fn id(dataset: &Dataset) -> DatasetId {
    DatasetId(dataset.pk)
}

async fn destroyed(server: &Server, name: &str) -> Dataset {
    let dataset = server.add_dataset(name).await;
    dataset.add("a", "content").await.is(200);
    dataset.client.delete(&dataset.path("")).await.is(204);
    dataset
}

fn announced(dataset: &Dataset) -> Sweep {
    Sweep { announced: vec![id(dataset)], removed: vec![] }
}

fn removed(dataset: &Dataset) -> Sweep {
    Sweep { announced: vec![], removed: vec![id(dataset)] }
}

#[tokio::test]
async fn what_was_deleted_long_ago_goes_a_sweep_after_it_was_announced() {
    let server = Server::start().await;
    let kept = server.add_dataset("kept").await;
    let gone = destroyed(&server, "gone").await;
    let mut purge = Purge::new(server.engine.clone(), 30 * DAY);
    // Due or not, the first sweep removes nothing.
    assert_eq!(purge.sweep(days_on(31)).await.unwrap(), announced(&gone));
    assert_eq!(purge.sweep(days_on(29)).await.unwrap(), Sweep::default());
    gone.client.get(&gone.path("")).await.is(200);

    assert_eq!(purge.sweep(days_on(31)).await.unwrap(), removed(&gone));

    gone.client.get(&gone.path("")).await.is(404);
    kept.client.get(&kept.path("")).await.is(200);
    assert_eq!(purge.sweep(days_on(31)).await.unwrap(), Sweep::default());
    assert_eq!(server.engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn what_was_reinstated_stays_and_is_announced_anew_if_it_is_deleted_again() {
    let server = Server::start().await;
    let dataset = destroyed(&server, "cats").await;
    let mut purge = Purge::new(server.engine.clone(), 30 * DAY);
    purge.sweep(days_on(0)).await.unwrap();
    dataset.client.delete(&dataset.path("/reinstate")).await.is(200);
    assert_eq!(purge.sweep(days_on(31)).await.unwrap(), Sweep::default());
    dataset.client.delete(&dataset.path("")).await.is(204);
    assert_eq!(purge.sweep(days_on(31)).await.unwrap(), announced(&dataset));
    assert_eq!(purge.sweep(days_on(31)).await.unwrap(), removed(&dataset));
}

/// The deletion that was announced was taken back before the removal's turn came.
#[tokio::test]
async fn a_removal_that_comes_too_late_changes_nothing() {
    let server = Server::start().await;
    let dataset = destroyed(&server, "cats").await;
    let header = server.engine.snapshot().unwrap().dataset(id(&dataset)).unwrap().unwrap();
    let deleted_at = header.deletion_time.unwrap();
    server.engine.reinstate_dataset(id(&dataset)).await.unwrap();
    let refused = server.engine.purge_dataset(id(&dataset), deleted_at).await;
    assert!(matches!(refused, Err(MutationError::Moved { .. })));
    server.engine.destroy_dataset(id(&dataset)).await.unwrap();
    let refused = server.engine.purge_dataset(id(&dataset), deleted_at).await;
    assert!(matches!(refused, Err(MutationError::Moved { .. })));
    assert_eq!(dataset.content("a").await.is(200).body, "content");
}

#[tokio::test]
async fn a_new_server_announces_before_it_removes() {
    let server = Server::start().await;
    let gone = destroyed(&server, "gone").await;
    let mut before = Purge::new(server.engine.clone(), DAY);
    before.sweep(days_on(2)).await.unwrap();
    let mut purge = Purge::new(server.engine.clone(), DAY);
    assert_eq!(purge.sweep(days_on(2)).await.unwrap(), announced(&gone));
    assert_eq!(purge.sweep(days_on(2)).await.unwrap(), removed(&gone));
}

//! Lists that outlive a state of the store, which through the router take ten seconds, and those that wait.

use axum::body::Body;
use axum::http::Request;
use axum::http::header::AUTHORIZATION;
use futures_util::FutureExt as _;
use granary_engine::Engine;
use granary_engine::model::{NewNode, NewTeam, TeamId, UserPatch};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::auth::TokenKind;
use crate::http::limits::SPOOLED_ANSWERS_MAX;
use crate::http::rig::{administrator, server};
use crate::http::router;

async fn store() -> (tempfile::TempDir, Engine, AppState, Principal) {
    let (directory, engine, app) = server();
    for name in ["c", "a", "e", "b", "d"] {
        engine.create_team(NewTeam { name: name.into(), creator: None }).await.unwrap();
    }
    let (_, admin) = administrator(&engine, &app).await;
    (directory, engine, app, admin)
}

fn listed(view: View, body: Value, query: &str) -> (Vec<String>, Option<Vec<u8>>) {
    let uri = format!("/v1/teams/list{query}").parse().unwrap();
    let request = ListRequest::read(body, &uri, Teams::KIND).unwrap();
    let mut out = Vec::new();
    let next = write::<Teams>(view, &request, &mut out).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&out).unwrap();
    (rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect(), next)
}

#[tokio::test]
async fn a_list_that_goes_on_in_later_states_has_every_row_once() {
    let (_directory, _engine, app, admin) = store().await;
    let sorted = json!({"order_by": [{"field": "name"}]});
    for (body, query) in
        [(json!({}), ""), (json!({}), "?limit=3"), (sorted.clone(), ""), (sorted, "?limit=3")]
    {
        let [patient, hasty] = [LIST_STATE_TIME_MAX, Duration::ZERO].map(|held_max| {
            let caller = Waiting::default();
            let view = View::take(app.clone(), &admin, caller.watch(), held_max).unwrap();
            listed(view, body.clone(), query)
        });
        assert_eq!(patient.0.len(), if query.is_empty() { 5 } else { 3 });
        assert_eq!(patient, hasty, "{body} {query}");
    }
}

#[tokio::test]
async fn a_state_is_exchanged_only_when_it_was_held_for_long() {
    let (_directory, _engine, app, admin) = store().await;
    let uri = "/v1/teams/list".parse().unwrap();
    let request = ListRequest::read(json!({}), &uri, Teams::KIND).unwrap();
    for (held_max, expected) in [(LIST_STATE_TIME_MAX, 0), (Duration::ZERO, 5)] {
        let caller = Waiting::default();
        let mut view = View::take(app.clone(), &admin, caller.watch(), held_max).unwrap();
        view.visit::<Teams>(&request, 0, |_, _| Ok(ControlFlow::Continue(()))).unwrap();
        assert_eq!(view.exchanges, expected);
    }
}

#[tokio::test]
async fn a_row_that_was_sorted_in_an_earlier_state_is_written_only_if_it_may_be_seen_still() {
    let (_directory, engine, app, admin) = store().await;
    let uri = "/v1/teams/list".parse().unwrap();
    let body = json!({"order_by": [{"field": "name"}]});
    let request = ListRequest::read(body, &uri, Teams::KIND).unwrap();
    let caller = Waiting::default();
    let mut view = View::take(app.clone(), &admin, caller.watch(), LIST_STATE_TIME_MAX).unwrap();
    let (places, more) = sort::<Teams>(&mut view, &request).unwrap();
    assert_eq!((places.len(), more), (5, false));
    let first = view.snapshot.teams_from(TeamId(0)).unwrap().next().unwrap().unwrap();
    engine.destroy_team(first.id).await.unwrap();
    view.exchange().unwrap();

    let mut out = Vec::new();
    let mut rows = Rows::begin(&mut out);
    write_places::<Teams>(view, &request, places, &mut rows).unwrap();
    rows.end().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&out).unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "d", "e"]);
}

#[tokio::test]
async fn a_list_goes_on_in_a_later_state_with_the_caller_as_they_are_then() {
    let (_directory, engine, app, admin) = store().await;
    let caller = Waiting::default();
    let watched = caller.watch();
    let mut view = View::take(app.clone(), &admin, watched, LIST_STATE_TIME_MAX).unwrap();
    view.exchange().unwrap();
    let Principal::User { user, .. } = &admin else { unreachable!("a user asks") };
    let patch = UserPatch { is_active: Some(false), ..UserPatch::default() };
    engine.update_user(user.id, patch).await.unwrap();
    view.exchange().unwrap_err();
    // Nor does one begin.
    let taken = View::take(app.clone(), &admin, caller.watch(), LIST_STATE_TIME_MAX);
    assert!(taken.is_err());
}

#[tokio::test]
async fn a_list_ends_where_its_caller_has_gone() {
    let (_directory, _engine, app, admin) = store().await;
    for body in [json!({}), json!({"order_by": [{"field": "name"}]})] {
        let uri = "/v1/teams/list".parse().unwrap();
        let request = ListRequest::read(body, &uri, Teams::KIND).unwrap();
        let watched = Waiting::default().watch();
        let view = View::take(app.clone(), &admin, watched, LIST_STATE_TIME_MAX).unwrap();
        let mut out = Vec::new();
        write::<Teams>(view, &request, &mut out).unwrap_err();
        assert_eq!(out, b"", "nobody waits for a row");
    }
}

/// Nodes make requests while they are listed.
#[tokio::test]
async fn a_sorted_list_shows_the_times_by_which_it_was_sorted() {
    let (_directory, engine, app, admin) = store().await;
    let mut nodes = Vec::new();
    for index in 0..2 {
        let (ip, driver_version) = ("192.0.2.1".into(), None);
        let (hardware_generation, gpu_mem, current_job) = (None, None, None);
        let node = NewNode {
            ip,
            index,
            driver_version,
            hardware_generation,
            gpu_mem,
            cpu_mem: 1,
            current_job,
        };
        nodes.push(engine.create_node(node).await.unwrap().id);
        engine.touch_node(nodes[nodes.len() - 1]);
    }
    let body = json!({"order_by": [{"field": "last_seen"}]});
    let uri = "/v1/nodes/list".parse().unwrap();
    let request = ListRequest::read(body, &uri, Nodes::KIND).unwrap();
    let caller = Waiting::default();
    let view = |held_max| View::take(app.clone(), &admin, caller.watch(), held_max).unwrap();
    for (held_max, first) in [(LIST_STATE_TIME_MAX, nodes[0]), (Duration::ZERO, nodes[1])] {
        let mut before = Vec::new();
        write::<Nodes>(view(LIST_STATE_TIME_MAX), &request, &mut before).unwrap();
        let mut view = view(held_max);
        let (places, _) = sort::<Nodes>(&mut view, &request).unwrap();
        view.held_max = LIST_STATE_TIME_MAX;
        engine.touch_node(first);
        let mut out = Vec::new();
        let mut rows = Rows::begin(&mut out);
        write_places::<Nodes>(view, &request, places, &mut rows).unwrap();
        rows.end().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(before).unwrap());
    }
}

#[tokio::test]
async fn a_list_that_waits_for_its_turn_keeps_no_more_memory_than_its_text_took() {
    let (_directory, engine, app) = server();
    let (user, _) = administrator(&engine, &app).await;
    let token = app.tokens().issue(&user, TokenKind::Access).unwrap();
    let mut turns = Vec::new();
    for _ in 0..SPOOLED_ANSWERS_MAX {
        turns.push(app.spooled_answer_turn().await.unwrap());
    }
    let body = format!("{{}}{}", " ".repeat(1 << 20));
    let request = Request::post("/v1/teams/list").header(AUTHORIZATION, format!("Bearer {token}"));
    let request = request.body(Body::from(body)).unwrap();
    let mut list = Box::pin(router(app.clone()).oneshot(request));
    assert!(list.as_mut().now_or_never().is_none());
    let kept = || {
        let works = app.works();
        works.into_iter().find(|work| work.name == "large_bodies_kept").unwrap().running
    };
    assert_eq!(kept(), 17, "of 64 KiB each");
    drop(turns);
    assert_eq!(list.await.unwrap().status(), StatusCode::OK);
    assert_eq!(kept(), 0);
}

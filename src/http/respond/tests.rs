//! Who waits for a turn to render: no state of the store waits with it. What is sent counts until it is.

use axum::extract::State;
use axum::http::{HeaderMap, Request, Uri};
use axum::response::IntoResponse as _;
use futures_util::FutureExt as _;
use granary_engine::Engine;
use granary_engine::model::{
    DatasetPatch, Digest, NewDataset, NewLicence, NewProject, NewTeam, PermissionLevel, UserPatch,
};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::*;
use crate::http::limits::{ANSWER_BYTES, OUTGOING_BYTES, SPOOLED_ANSWERS_MAX};
use crate::http::rig::{administrator, server};
use crate::http::{access_tokens, datasets, file_listing, files as files_of, metadata, teams};

/// A dataset of one file more than are rendered without a turn.
async fn large_dataset() -> (tempfile::TempDir, Engine, AppState, Dataset) {
    let (directory, engine, app) = server();
    let licence = NewLicence {
        name: "CC0".into(),
        url: String::new(),
        permissions: vec![],
        conditions: vec![],
        limitations: vec![],
        domains: vec![],
    };
    let licence = engine.create_licence(licence).await.unwrap().id;
    let team = engine.create_team(NewTeam { name: "team".into(), creator: None }).await.unwrap();
    let project = NewProject { name: "project".into(), team: team.id, creator: None };
    let project = engine.create_project(project).await.unwrap().id;
    let dataset = NewDataset {
        name: "cats".into(),
        description: String::new(),
        project,
        licence,
        tags: String::new(),
        is_public: false,
        creator: None,
    };
    let id = engine.create_dataset(dataset).await.unwrap().id;
    for number in 0..=INLINE_FILES_MAX {
        add(&engine, id, &number.to_string()).await;
    }
    let dataset = engine.snapshot().unwrap().dataset(id).unwrap().unwrap();
    (directory, engine, app, Arc::unwrap_or_clone(dataset))
}

async fn add(engine: &Engine, dataset: DatasetId, name: &str) {
    let content = engine.begin_upload(Some(0)).await.unwrap().finish().await.unwrap();
    engine.add_file(dataset, name, content).await.unwrap();
}

async fn all_turns(app: &AppState) -> Vec<Turn> {
    let mut turns = Vec::new();
    for _ in 0..SPOOLED_ANSWERS_MAX {
        turns.push(app.spooled_answer_turn().await.unwrap());
    }
    turns
}

async fn fields(answer: Result<Response, ApiError>) -> Value {
    let text = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&text).unwrap()
}

/// The names of the files that an answer shows, if it shows any.
async fn files(answer: Result<Response, ApiError>) -> Option<usize> {
    let fields = fields(answer).await;
    assert_eq!(fields["name"], "cats");
    fields.get("files").map(|files| files.as_object().unwrap().len())
}

#[tokio::test]
async fn a_changed_dataset_is_shown_as_it_is_when_its_turn_has_come() {
    let (_directory, engine, app, dataset) = large_dataset().await;
    let (_, admin) = administrator(&engine, &app).await;
    let id = dataset.id;
    let turns = all_turns(&app).await;
    let shown = || Box::pin(changed_dataset(&app, &admin, StatusCode::OK, dataset.clone(), true));
    let mut answer = shown();
    assert!((&mut answer).now_or_never().is_none());
    add(&engine, id, "later").await;
    engine.caught_up().await;
    drop(turns);
    let count = usize::try_from(INLINE_FILES_MAX).unwrap() + 2;
    assert_eq!(files(answer.await).await, Some(count));

    // It is deleted for good while its change waits to be told.
    let turns = all_turns(&app).await;
    let mut answer = shown();
    assert!((&mut answer).now_or_never().is_none());
    engine.hard_delete_dataset(id).await.unwrap();
    drop(turns);
    assert_eq!(files(answer.await).await, None);
}

#[tokio::test]
async fn who_may_not_see_what_they_changed_when_its_turn_has_come_sees_the_change_alone() {
    let (_directory, engine, app, dataset) = large_dataset().await;
    let (user, admin) = administrator(&engine, &app).await;
    let team = engine.snapshot().unwrap().teams().unwrap().next().unwrap().unwrap();
    let turns = all_turns(&app).await;
    let mut of_dataset =
        Box::pin(changed_dataset(&app, &admin, StatusCode::OK, dataset.clone(), true));
    engine.add_member(team.id, user.id, PermissionLevel::Read, None).await.unwrap();
    let mut of_team = Box::pin(teams::shown_changed(&app, &admin, team));
    assert!((&mut of_dataset).now_or_never().is_none());
    assert!((&mut of_team).now_or_never().is_none());
    let patch = UserPatch { is_active: Some(false), ..UserPatch::default() };
    engine.update_user(user.id, patch).await.unwrap();
    drop(turns);
    assert_eq!(files(of_dataset.await).await, None);
    assert_eq!(fields(of_team.await).await["members"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn a_dataset_is_read_when_its_turn_has_come() {
    let (_directory, engine, app, shown) = large_dataset().await;
    let id = shown.id;
    let turns = all_turns(&app).await;
    let first = (app.snapshot().unwrap(), Arc::new(shown));
    let state = app.clone();
    let again = move || {
        let snapshot = state.snapshot()?;
        let shown = read_dataset(&snapshot, id)?;
        Ok((snapshot, shown))
    };
    let mut answer = Box::pin(dataset(&app, StatusCode::OK, first, again, true));
    assert!((&mut answer).now_or_never().is_none());
    engine.hard_delete_dataset(id).await.unwrap();
    drop(turns);
    assert_eq!(answer.await.unwrap_err().into_response().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn who_waits_for_a_turn_is_answered_as_who_they_are_when_it_comes() {
    let (_directory, engine, app, dataset) = large_dataset().await;
    let (user, admin) = administrator(&engine, &app).await;
    let turns = all_turns(&app).await;
    let asked = || (State(app.clone()), admin.clone());
    let at =
        |rest: &str| -> Uri { format!("/v1/datasets/{}{rest}", dataset.id.0).parse().unwrap() };
    let mut answers = [
        datasets::retrieve(asked().0, asked().1, at("")).boxed(),
        file_listing::list_files(asked().0, asked().1, at("/files")).boxed(),
        metadata::get_all_metadata(asked().0, asked().1, at("/metadata")).boxed(),
        metadata::get_all_metadata(asked().0, asked().1, at("/metadata?limit=1")).boxed(),
        teams::retrieve(asked().0, asked().1, "/v1/teams/1".parse().unwrap()).boxed(),
        access_tokens::list(asked().0, asked().1).boxed(),
    ];
    for answer in &mut answers {
        assert!(answer.now_or_never().is_none(), "it waits");
    }
    let patch = UserPatch { is_active: Some(false), ..UserPatch::default() };
    engine.update_user(user.id, patch).await.unwrap();
    drop(turns);
    let answers = futures_util::future::join_all(answers).await;
    let statuses = answers.into_iter().map(|answer| answer.into_response().status());
    assert_eq!(statuses.collect::<Vec<_>>(), [StatusCode::UNAUTHORIZED; 6]);
}

#[tokio::test]
async fn a_file_whose_content_few_have_is_read_by_handle_without_a_turn() {
    let (_directory, engine, app, dataset) = large_dataset().await;
    let (_, admin) = administrator(&engine, &app).await;
    let mut content = engine.begin_upload(Some(4)).await.unwrap();
    content.write(b"meow").await.unwrap();
    let added = engine.add_file(dataset.id, "few", content.finish().await.unwrap()).await.unwrap();
    engine.caught_up().await;
    let turns = all_turns(&app).await;
    let get = |handle: String| {
        let uri = format!("/v1/datasets/{}/file-handles/{handle}", dataset.id.0);
        let request = Request::get(uri).body(Body::empty()).unwrap();
        files_of::get_file_by_handle(State(app.clone()), admin.clone(), request).boxed()
    };
    let answer = get(added.digest.to_string()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);

    // Of the others each may have to be looked at.
    let mut many = get(Digest::of(b"").to_string());
    assert!((&mut many).now_or_never().is_none());
    drop(turns);
    assert_eq!(many.await.unwrap().status(), StatusCode::OK);
}

/// The last 60 KiB of a body, when nobody asks for more of it: who sends it keeps these, and all of which
/// they are a part.
async fn unsent(mut body: Body, length: usize) -> Bytes {
    let (mut last, mut taken) = (Bytes::new(), 0);
    while taken < length {
        last = body.frame().await.unwrap().unwrap().into_data().unwrap();
        taken += last.len();
    }
    last.split_off(last.len() - (60 << 10))
}

#[tokio::test]
async fn a_list_has_its_share_of_the_memory_until_its_last_bytes_are_sent() {
    let (_directory, _engine, app) = server();
    let write =
        |out: &mut dyn Write| out.write_all(&vec![b' '; 1 << 20]).map_err(ApiError::internal);
    let body = spooled(&app, StatusCode::OK, write).await.unwrap().into_body();
    let unsent = unsent(body, 1 << 20).await;
    let all_is_free = || app.answers().share(ANSWER_BYTES).is_some();
    assert!(!all_is_free());
    drop(unsent);
    assert!(all_is_free());
}

#[tokio::test]
async fn a_content_has_its_share_of_the_memory_until_its_last_bytes_are_sent() {
    let (_directory, engine, app, dataset) = large_dataset().await;
    for length in [200 << 10, 1 << 20, 3 << 20] {
        let mut content = engine.begin_upload(None).await.unwrap();
        content.write(&vec![7; length]).await.unwrap();
        let content = content.finish().await.unwrap();
        let added = engine.add_file(dataset.id, &length.to_string(), content).await.unwrap();
        engine.caught_up().await;
        let blob = engine.open_blob(&added.digest).unwrap().unwrap();
        let body = app.outgoing().body(blob.clone(), 0..blob.length()).await.unwrap();
        let unsent = unsent(body, length).await;
        let all_is_free = || app.outgoing().share(OUTGOING_BYTES).is_some();
        assert!(!all_is_free(), "{length}");
        drop(unsent);
        assert!(all_is_free(), "{length}");
    }
}

/// Whether an answer has a share of the memory until its bytes have gone.
async fn counts(app: &AppState, answer: Result<Response, ApiError>) -> bool {
    let text = answer.unwrap().into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    let all_is_free = || app.answers().share(ANSWER_BYTES).is_some();
    let is_taken = !all_is_free();
    drop(text);
    assert!(all_is_free());
    is_taken
}

#[tokio::test]
async fn a_long_text_in_an_answer_counts_as_a_list_does() {
    let (_directory, engine, app, shown) = large_dataset().await;
    let (_, admin) = administrator(&engine, &app).await;
    let id = shown.id;
    engine.set_metadata(id, "1", "m".repeat(100 << 10)).await.unwrap();
    engine.caught_up().await;
    let uri = |rest: &str| format!("/v1/datasets/{}{rest}", id.0).parse().unwrap();
    let get = |rest: &str| datasets::retrieve(State(app.clone()), admin.clone(), uri(rest)).boxed();
    let changed = async |shown: &Dataset| {
        changed_dataset(&app, &admin, StatusCode::OK, shown.clone(), false).await
    };
    assert!(!counts(&app, get("?files=false").await).await);
    assert!(!counts(&app, changed(&shown).await).await);
    let texts = [
        DatasetPatch { description: Some("d".repeat(100 << 10)), ..DatasetPatch::default() },
        DatasetPatch {
            description: Some(String::new()),
            tags: Some("t".repeat(100 << 10)),
            ..DatasetPatch::default()
        },
    ];
    for text in texts {
        let shown = engine.update_dataset(id, text).await.unwrap();
        engine.caught_up().await;
        assert!(counts(&app, get("?files=false").await).await);
        assert!(counts(&app, changed(&shown).await).await);
        // It is rendered in its turn.
        let turns = all_turns(&app).await;
        assert!(get("?files=false").now_or_never().is_none());
        drop(turns);
    }
    let metadata = metadata::get_metadata(
        State(app.clone()),
        admin.clone(),
        uri("/metadata/1"),
        HeaderMap::new(),
    );
    assert!(counts(&app, metadata.await).await);
}

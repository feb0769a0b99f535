//! Many clients at once, on a real disk: every answer fits one order of each dataset's changes
//! (I5), and nothing that was answered is lost between two datasets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use granary_engine::model::{DatasetId, Digest, LicenceId, ProjectId};
use granary_engine::{Engine, FileSelection, MutationError, SourceAfterMerge};

use crate::driver::zip_of;
use crate::reference::Content;
use crate::support::{add, content, dataset, names, options, project, read};

/// Clients at once.
const CLIENTS: u64 = 64;

/// How long a client asks again that finds no place, at most.
const PATIENCE: Duration = Duration::from_mins(5);

struct Store {
    engine: Engine,
    within: (ProjectId, LicenceId),
    directory: tempfile::TempDir,
}

async fn store() -> Store {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    Store { engine, within, directory }
}

impl Store {
    async fn set(&self, name: &str) -> DatasetId {
        dataset(&self.engine, self.within, name).await.unwrap().id
    }

    /// The invariants hold, now and after another opening, which shows the same files.
    async fn assert_sound(self) {
        assert_eq!(self.engine.check(true).unwrap(), []);
        let before = everything(&self.engine);
        self.engine.shutdown().await;
        drop(self.engine);
        let engine = Engine::open(self.directory.path().into(), &options()).unwrap();
        assert_eq!(everything(&engine), before);
        assert_eq!(engine.check(false).unwrap(), []);
        engine.shutdown().await;
    }
}

/// Every file of every dataset.
fn everything(engine: &Engine) -> BTreeMap<(u64, String), Digest> {
    let snapshot = engine.snapshot().unwrap();
    let mut found = BTreeMap::new();
    for header in snapshot.datasets().unwrap() {
        let header = header.unwrap();
        for file in snapshot.files(&header).unwrap() {
            let (name, record) = file.unwrap();
            found.insert((header.id.0, name), record.digest);
        }
    }
    found
}

/// Bytes that say what a client does in a step; the same in every run, unlike for any two.
fn chance(client: u64, step: u64) -> [u64; 2] {
    let digest = Digest::of(format!("{client} {step}").as_bytes());
    [0, 1].map(|at| u64::from(digest.as_bytes()[at]))
}

/// Runs a client's story for each number, all at once, and gives what they tell.
async fn at_once<T, Story>(clients: u64, story: impl Fn(u64) -> Story) -> Vec<T>
where
    T: Send + 'static,
    Story: Future<Output = T> + Send + 'static,
{
    let running: Vec<_> = (0..clients).map(|client| tokio::spawn(story(client))).collect();
    let mut told = Vec::with_capacity(running.len());
    for client in running {
        told.push(client.await.unwrap());
    }
    told
}

/// Each content is added once, so a deletion tells which addition it took back: the two alternate
/// on every name.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn additions_and_deletions_of_a_name_alternate() {
    let store = store().await;
    let set = store.set("set").await;
    let told = at_once(CLIENTS, |client| {
        let engine = store.engine.clone();
        async move {
            let (mut added, mut deleted) = (Vec::new(), Vec::new());
            for step in 0..12 {
                let [name, action] = chance(client, step);
                let name = format!("{}", name % 6);
                if action % 2 == 0 {
                    let staged = content(&engine, format!("{client} {step}").as_bytes()).await;
                    match engine.add_file(set, &name, staged.unwrap()).await {
                        Ok(file) => added.push((name, file.digest)),
                        Err(MutationError::FilenameTaken { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                } else {
                    match engine.delete_file(set, &name).await {
                        Ok(file) => deleted.push((name, file.digest)),
                        Err(MutationError::FileNotFound { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }
            (added, deleted)
        }
    })
    .await;
    let added: Vec<_> = told.iter().flat_map(|(added, _)| added.clone()).collect();
    let deleted: Vec<_> = told.iter().flat_map(|(_, deleted)| deleted.clone()).collect();
    let mut left: BTreeSet<_> = added.iter().cloned().collect();
    assert_eq!(left.len(), added.len());
    for file in &deleted {
        assert!(left.remove(file), "{file:?} was deleted twice, or never added");
    }
    let found = everything(&store.engine);
    assert_eq!(
        found.into_iter().map(|((_, name), digest)| (name, digest)).collect::<BTreeSet<_>>(),
        left
    );
    store.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uploads_of_one_name_at_once_give_one_success() {
    let store = store().await;
    let set = store.set("set").await;
    for round in 0..8 {
        let told = at_once(CLIENTS, |client| {
            let engine = store.engine.clone();
            let name = if client % 2 == 0 { format!("{round}") } else { format!("{round}/below") };
            async move {
                match add(&engine, set, &name, &client.to_le_bytes()).await {
                    Ok(name) => Some((name, client)),
                    Err(
                        MutationError::FilenameTaken { .. }
                        | MutationError::FilenameIsDirectory { .. }
                        | MutationError::DirectoryIsFile { .. },
                    ) => None,
                    Err(other) => panic!("{other:?}"),
                }
            }
        })
        .await;
        let winners: Vec<_> = told.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let held = read(&store.engine, set, &winners[0].0).await.unwrap();
        assert_eq!(held, winners[0].1.to_le_bytes());
    }
    assert_eq!(names(&store.engine, set).len(), 8);
    store.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_that_end_in_a_slash_get_numbers_without_gaps() {
    let store = store().await;
    let set = store.set("set").await;
    let told = at_once(CLIENTS, |client| {
        let engine = store.engine.clone();
        async move { add(&engine, set, "n/", &client.to_le_bytes()).await.unwrap() }
    })
    .await;
    let given: BTreeSet<String> = told.into_iter().collect();
    assert_eq!(given, (1..=CLIENTS).map(|number| format!("n/{number}")).collect());
    store.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_at_once_get_consecutive_versions() {
    let store = store().await;
    let set = store.set("set").await;
    add(&store.engine, set, "before", b"before").await.unwrap();
    let told = at_once(32, |client| {
        let engine = store.engine.clone();
        async move {
            add(&engine, set, &format!("{client}"), &client.to_le_bytes()).await.unwrap();
            let copy = engine.copy_dataset(set, None, None, None).await.unwrap();
            // What this client was answered before is in its copy.
            assert!(names(&engine, copy.id).contains(&format!("{client}")));
            copy.version
        }
    })
    .await;
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), (2..34).collect());
    store.assert_sound().await;
}

/// A client each, contents shared by all: copies, merges, deletions of whole datasets.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_of_different_datasets_do_not_notice_each_other() {
    let store = store().await;
    let within = store.within;
    at_once(CLIENTS, |client| {
        let engine = store.engine.clone();
        async move {
            let set = dataset(&engine, within, &format!("{client}")).await.unwrap().id;
            let mut held: BTreeMap<String, Content> = BTreeMap::new();
            for step in 0..20 {
                let [name, bytes] = chance(client, step);
                let name = format!("{}", name % 8);
                let bytes = Content::numbered(bytes % 10, 3000);
                if held.remove(&name).is_some() {
                    engine.delete_file(set, &name).await.unwrap();
                } else {
                    add(&engine, set, &name, &bytes.0).await.unwrap();
                    held.insert(name, bytes);
                }
                if step % 7 == 6 {
                    let copy = engine.copy_dataset(set, None, None, None).await.unwrap().id;
                    let extra = Content::numbered(100 + client, 100);
                    let name = format!("extra{step}");
                    add(&engine, copy, &name, &extra.0).await.unwrap();
                    held.insert(name, extra);
                    let after = SourceAfterMerge::HardDelete;
                    engine.merge_datasets(set, copy, after).await.unwrap();
                }
            }
            assert_eq!(names(&engine, set), held.keys().cloned().collect::<Vec<_>>());
            for (name, bytes) in &held {
                assert_eq!(read(&engine, set, name).await.unwrap(), *bytes.0, "{client} {name}");
            }
        }
    })
    .await;
    store.assert_sound().await;
}

/// Adds to a dataset until it is gone or enough was added; gives the names that were answered.
async fn add_while_it_is_there(engine: Engine, set: DatasetId, client: u64) -> Vec<String> {
    let mut answered = Vec::new();
    for step in 0..12 {
        let name = format!("{client}/{step}");
        match add(&engine, set, &name, name.as_bytes()).await {
            Ok(name) => answered.push(name),
            Err(MutationError::DatasetNotFound { .. }) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    answered
}

async fn merge_under_additions(after: SourceAfterMerge, files_before: u64) {
    let store = store().await;
    let (target, source) = (store.set("target").await, store.set("source").await);
    add(&store.engine, target, "own", b"own").await.unwrap();
    let members = (0..files_before)
        .map(|number| (format!("before/{number}"), Content::numbered(number % 5, 10)))
        .collect::<Vec<_>>();
    let mut upload = store.engine.begin_spool_upload();
    upload.write(&zip_of(&members)).await.unwrap();
    store.engine.add_files(source, upload.finish().await.unwrap()).await.unwrap();

    let adding =
        at_once(CLIENTS, |client| add_while_it_is_there(store.engine.clone(), source, client));
    let merging = async {
        add(&store.engine, source, "first", b"first").await.unwrap();
        store.engine.merge_datasets(target, source, after).await.unwrap()
    };
    let (answered, merged) = tokio::join!(adding, merging);

    let mut kept: BTreeSet<String> = names(&store.engine, target).into_iter().collect();
    assert!(merged.file_count >= files_before + 2);
    let left = store.engine.snapshot().unwrap().dataset(source).unwrap();
    assert_eq!(left.is_none(), after == SourceAfterMerge::HardDelete);
    if let Some(left) = left {
        assert!(left.deletion_time.is_some());
        kept.extend(names(&store.engine, source));
    }
    for name in answered.into_iter().flatten() {
        assert!(kept.contains(&name), "{name} was answered and is nowhere");
    }
    for (name, bytes) in &members {
        assert!(kept.contains(name));
        if name.ends_with("00") {
            assert_eq!(read(&store.engine, target, name).await.unwrap(), *bytes.0);
        }
    }
    store.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_merge_that_soft_deletes_its_source_loses_no_addition() {
    merge_under_additions(SourceAfterMerge::Destroy, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_merge_that_removes_its_source_loses_no_addition() {
    merge_under_additions(SourceAfterMerge::HardDelete, 20).await;
}

/// The merge travels in parts, and its source moves on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_large_merge_that_removes_its_source_loses_no_addition() {
    merge_under_additions(SourceAfterMerge::HardDelete, 2500).await;
}

/// The merge travels in parts, and its source loses files meanwhile whose contents nothing else names.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_large_merge_whose_source_loses_files_harms_nobody() {
    let store = store().await;
    let target = store.set("target").await;
    add(&store.engine, target, "own", b"own").await.unwrap();
    for round in 0..3u64 {
        let source = store.set(&format!("source {round}")).await;
        let members = (0..1_500u64)
            .map(|number| {
                (format!("{round}/{number:04}"), Content::numbered(round * 10_000 + number, 10))
            })
            .collect::<Vec<_>>();
        let mut upload = store.engine.begin_spool_upload();
        upload.write(&zip_of(&members)).await.unwrap();
        store.engine.add_files(source, upload.finish().await.unwrap()).await.unwrap();
        let deleting = async {
            for (name, _) in members.iter().rev().take(40) {
                store.engine.delete_file(source, name).await.unwrap();
                store.engine.step_background().await.unwrap();
            }
        };
        let merging = store.engine.merge_datasets(target, source, SourceAfterMerge::Keep);
        let ((), merged) = tokio::join!(deleting, merging);
        merged.unwrap();
        for (name, bytes) in members.iter().take(1_460).step_by(100) {
            assert_eq!(read(&store.engine, target, name).await.unwrap(), *bytes.0);
        }
    }
    store.assert_sound().await;
}

/// A merge does not wait for who holds its source, and moves it: an archive in parts is not refused for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_large_archive_gets_into_a_dataset_that_a_merge_takes_away() {
    let store = store().await;
    let target = store.set("target").await;
    for round in 0..30u64 {
        let source = store.set(&format!("source {round}")).await;
        add(&store.engine, source, &format!("{round}/first"), b"first").await.unwrap();
        let members =
            (0..600).map(|number| (format!("{round}/{number}"), Content::numbered(1, 10)));
        let mut upload = store.engine.begin_spool_upload();
        upload.write(&zip_of(&members.collect::<Vec<_>>())).await.unwrap();
        let archive = upload.finish().await.unwrap();
        let merging = async {
            // Somewhere between the archive's beginning and its end.
            for _ in 0..round * 3 {
                tokio::task::yield_now().await;
            }
            store.engine.merge_datasets(target, source, SourceAfterMerge::Destroy).await
        };
        let (merged, stored) = tokio::join!(merging, store.engine.add_files(source, archive));
        assert_eq!(stored.unwrap().len(), 600);
        merged.unwrap();
        assert_eq!(names(&store.engine, source).len(), 601);
    }
    store.assert_sound().await;
}

/// Merges in a ring, each holding its target: nobody waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn merges_in_a_ring_come_to_an_end() {
    let store = store().await;
    let mut sets = Vec::new();
    for number in 0..6u64 {
        let set = store.set(&format!("{number}")).await;
        add(&store.engine, set, &format!("{number}"), &number.to_le_bytes()).await.unwrap();
        sets.push(set);
    }
    let told = at_once(24, |client| {
        let engine = store.engine.clone();
        let turn = usize::try_from(client).unwrap();
        let (target, source) = (sets[turn % 6], sets[(turn + 1 + turn / 6) % 6]);
        async move {
            if target == source {
                return Ok(());
            }
            engine.merge_datasets(target, source, SourceAfterMerge::Keep).await.map(drop)
        }
    })
    .await;
    for outcome in told {
        // One whose datasets move again and again says so.
        assert!(matches!(outcome, Ok(()) | Err(MutationError::Moved { .. })), "{outcome:?}");
    }
    for (number, set) in sets.iter().enumerate() {
        assert!(names(&store.engine, *set).contains(&number.to_string()));
    }
    store.assert_sound().await;
}

/// The last name of a content goes in one dataset while the content arrives in another, and the
/// background removes what is dead in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_content_that_is_deleted_and_uploaded_at_once_stays_readable() {
    let store = store().await;
    let (from, to) = (store.set("from").await, store.set("to").await);
    for round in 0..40u64 {
        let length = if round % 8 == 7 { (1 << 20) + 9 } else { 5000 };
        let bytes = Content::numbered(round, length);
        let name = format!("{round}");
        add(&store.engine, from, &name, &bytes.0).await.unwrap();
        let deleting = async {
            store.engine.delete_file(from, &name).await.unwrap();
            if round % 2 == 0 {
                store.engine.checkpoint().await.unwrap();
            }
        };
        let uploading = async { add(&store.engine, to, &name, &bytes.0).await.unwrap() };
        tokio::join!(deleting, uploading);
        assert_eq!(read(&store.engine, to, &name).await.unwrap(), *bytes.0, "round {round}");
    }
    store.engine.compact().await.unwrap();
    store.engine.checkpoint().await.unwrap();
    for round in 0..40 {
        assert!(read(&store.engine, to, &format!("{round}")).await.is_some());
    }
    store.assert_sound().await;
}

/// Asks again as long as it is told that there is no place, and so nothing was made: on a slow disk
/// more wait for a dataset than have their turn in time.
async fn patiently<T, Asked>(ask: impl Fn() -> Asked) -> Result<T, MutationError>
where
    Asked: Future<Output = Result<T, MutationError>>,
{
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(MutationError::Busy { .. }) if begun.elapsed() < PATIENCE => {}
            told => return told,
        }
        tokio::task::yield_now().await;
    }
}

/// Every file that was added was deleted once, or is there once, under one of its two names.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bulk_deletions_and_new_names_lose_and_keep_nothing_twice() {
    let store = store().await;
    let set = store.set("set").await;
    let told = at_once(40, |client| {
        let engine = store.engine.clone();
        async move {
            let (mut added, mut renamed, mut deleted) = (0, Vec::new(), 0);
            for step in 0..10 {
                if client % 8 == 7 {
                    let all = || FileSelection::Prefix("d/".into());
                    deleted += patiently(|| engine.delete_files(set, all())).await.unwrap();
                    continue;
                }
                let name = format!("d/{client}/{step}");
                let name = patiently(|| add(&engine, set, &name, b"x")).await.unwrap();
                added += 1;
                let texts = || BTreeMap::from([(name.clone(), name.clone())]);
                let described = patiently(|| engine.set_many_metadata(set, texts())).await;
                let gone = |error| matches!(error, Some(MutationError::FileNotFound { .. }));
                assert!(described.is_ok() || gone(described.err()));
                let [_, action] = chance(client, step);
                if action % 2 == 0 {
                    let to = format!("kept/{client}/{step}");
                    match patiently(|| engine.rename_file(set, &name, &to)).await {
                        Ok(_) => renamed.push((to, name)),
                        refused => assert!(gone(refused.err())),
                    }
                }
            }
            (added, renamed, deleted)
        }
    })
    .await;
    let there: BTreeSet<String> = names(&store.engine, set).into_iter().collect();
    let added: u64 = told.iter().map(|(added, ..)| added).sum();
    let deleted: u64 = told.iter().map(|(.., deleted)| deleted).sum();
    assert_eq!(added, deleted + there.len() as u64);
    let snapshot = store.engine.snapshot().unwrap();
    let header = snapshot.dataset(set).unwrap().unwrap();
    for (to, from) in told.iter().flat_map(|(_, renamed, _)| renamed) {
        assert!(there.contains(to) && !there.contains(from), "{from} became {to}");
        assert_eq!(snapshot.metadata(&header, to).unwrap().as_ref(), Some(from));
    }
    drop(snapshot);
    store.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_new_names_for_one_file_at_once_one_is_given() {
    let store = store().await;
    let set = store.set("set").await;
    add(&store.engine, set, "a", b"content").await.unwrap();
    let told = at_once(CLIENTS, |client| {
        let engine = store.engine.clone();
        async move {
            match engine.rename_file(set, "a", &format!("{client}/a")).await {
                Ok(file) => Some(file.filename.to_string()),
                Err(MutationError::FileNotFound { .. }) => None,
                Err(other) => panic!("{other:?}"),
            }
        }
    })
    .await;
    let given: Vec<_> = told.into_iter().flatten().collect();
    assert_eq!(given.len(), 1);
    assert_eq!(names(&store.engine, set), given);
    assert_eq!(read(&store.engine, set, &given[0]).await.unwrap(), b"content");
    store.assert_sound().await;
}

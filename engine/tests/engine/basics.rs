//! Datasets and files through one engine, and through its next opening.

use granary_engine::{Engine, MutationError, SourceAfterMerge};

use crate::support::{add, content, dataset, names, options, project, read};

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    assert!(engine.is_new());
    let within = project(&engine).await.unwrap();
    let first = dataset(&engine, within, "first").await.unwrap();
    let large = vec![7; 3 << 20];
    add(&engine, first.id, "a/small", b"small").await.unwrap();
    add(&engine, first.id, "large", &large).await.unwrap();
    add(&engine, first.id, "empty", b"").await.unwrap();
    engine.set_metadata(first.id, "empty", "nothing".into()).await.unwrap();
    engine.delete_file(first.id, "a/small").await.unwrap();
    add(&engine, first.id, "again", &large).await.unwrap();
    engine.shutdown().await;
    drop(engine);

    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    assert!(!engine.is_new());
    assert_eq!(names(&engine, first.id), ["again", "empty", "large"]);
    assert_eq!(read(&engine, first.id, "large").await.unwrap(), large);
    assert_eq!(read(&engine, first.id, "empty").await.unwrap(), b"");
    assert_eq!(read(&engine, first.id, "a/small").await, None);
    let snapshot = engine.snapshot().unwrap();
    let header = snapshot.dataset(first.id).unwrap().unwrap();
    assert_eq!(snapshot.metadata(&header, "empty").unwrap().unwrap(), "nothing");
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_copy_and_its_source_go_their_own_ways() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let source = dataset(&engine, within, "source").await.unwrap();
    for name in ["a", "b", "c"] {
        add(&engine, source.id, name, name.as_bytes()).await.unwrap();
    }
    engine.set_metadata(source.id, "a", "of a".into()).await.unwrap();
    let copy = engine.copy_dataset(source.id, None, None, None).await.unwrap();
    assert_eq!((copy.version, copy.previous_version), (2, Some(1)));
    engine.delete_file(copy.id, "b").await.unwrap();
    add(&engine, source.id, "d", b"d").await.unwrap();
    engine.clear_dataset(copy.id).await.unwrap();
    assert_eq!(names(&engine, source.id), ["a", "b", "c", "d"]);
    assert_eq!(names(&engine, copy.id), ["a", "c"]);
    {
        let snapshot = engine.snapshot().unwrap();
        let header = |id| snapshot.dataset(id).unwrap().unwrap();
        assert_eq!(snapshot.metadata(&header(source.id), "a").unwrap().unwrap(), "of a");
        assert_eq!(snapshot.metadata(&header(copy.id), "a").unwrap().unwrap(), "");
    }
    let some = vec!["a".to_owned(), "zzz".to_owned()];
    let part = engine.copy_dataset(source.id, Some("part".into()), Some(some), None);
    assert_eq!(names(&engine, part.await.unwrap().id), ["a"]);
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_merge_brings_suffixes_and_takes_the_source_away() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let target = dataset(&engine, within, "target").await.unwrap();
    let source = dataset(&engine, within, "source").await.unwrap();
    add(&engine, target.id, "same", b"same").await.unwrap();
    add(&engine, target.id, "t.tar.gz", b"mine").await.unwrap();
    add(&engine, source.id, "same", b"same").await.unwrap();
    add(&engine, source.id, "t.tar.gz", b"yours").await.unwrap();
    add(&engine, source.id, "new", b"new").await.unwrap();
    let merged = engine.merge_datasets(target.id, source.id, SourceAfterMerge::HardDelete);
    assert_eq!(merged.await.unwrap().file_count, 4);
    assert_eq!(names(&engine, target.id), ["new", "same", "t.tar-0001.gz", "t.tar.gz"]);
    assert_eq!(read(&engine, target.id, "t.tar-0001.gz").await.unwrap(), b"yours");
    assert!(engine.snapshot().unwrap().dataset(source.id).unwrap().is_none());
    for after in [SourceAfterMerge::Destroy, SourceAfterMerge::HardDelete] {
        let itself = engine.merge_datasets(target.id, target.id, after).await;
        assert!(matches!(itself, Err(MutationError::MergeIntoItself { .. })));
    }
    let before = engine.snapshot().unwrap().dataset(target.id).unwrap();
    let itself = engine.merge_datasets(target.id, target.id, SourceAfterMerge::Keep).await;
    assert_eq!(Some(&itself.unwrap()), before.as_deref());
    assert_eq!(engine.snapshot().unwrap().dataset(target.id).unwrap(), before);
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_refused_name_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap();
    add(&engine, set.id, "a", b"1").await.unwrap();
    let taken = add(&engine, set.id, "a", b"2").await;
    assert!(matches!(taken, Err(MutationError::FilenameTaken { .. })));
    let below = add(&engine, set.id, "a/b", b"2").await;
    assert!(matches!(below, Err(MutationError::DirectoryIsFile { .. })));
    assert_eq!(add(&engine, set.id, "n/", b"3").await.unwrap(), "n/1");
    assert_eq!(add(&engine, set.id, "n/", b"3").await.unwrap(), "n/2");
    let staged = content(&engine, b"dropped").await.unwrap();
    drop(staged);
    assert_eq!(names(&engine, set.id), ["a", "n/1", "n/2"]);
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn uploads_in_flight_share_a_sync_and_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap();
    let adds = (0..500u32).map(|number| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let name = format!("f/{:04}", number % 400);
            add(&engine, set.id, &name, &number.to_le_bytes()).await
        })
    });
    let adds: Vec<_> = adds.collect();
    let mut added = 0;
    for outcome in adds {
        match outcome.await.unwrap() {
            Ok(_) => added += 1,
            Err(error) => assert!(matches!(error, MutationError::FilenameTaken { .. })),
        }
    }
    assert_eq!(added, 400);
    assert_eq!(names(&engine, set.id).len(), 400);
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_name_whose_directory_held_a_thousand_files_is_planned_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap();
    let all = |act: fn(Engine, granary_engine::model::DatasetId, String) -> _| {
        let acts = (0..1200).map(|number| format!("d/{number}"));
        let acts: Vec<tokio::task::JoinHandle<()>> =
            acts.map(|name| act(engine.clone(), set.id, name)).collect();
        acts
    };
    let adds = all(|engine, id, name| {
        tokio::spawn(async move {
            add(&engine, id, &name, b"x").await.unwrap();
        })
    });
    for added in adds {
        added.await.unwrap();
    }
    // The copy keeps the files, so deleting them here leaves tombstones.
    let copy = engine.copy_dataset(set.id, None, None, None).await.unwrap();
    let deletions = all(|engine, id, name| {
        tokio::spawn(async move {
            engine.delete_file(id, &name).await.unwrap();
        })
    });
    for deleted in deletions {
        deleted.await.unwrap();
    }
    add(&engine, set.id, "d", b"a file now").await.unwrap();
    assert_eq!(names(&engine, set.id), ["d"]);
    let below = add(&engine, copy.id, "d", b"no").await;
    assert!(matches!(below, Err(MutationError::FilenameIsDirectory { .. })));
    assert_eq!(engine.check(false).unwrap(), []);
}

//! The audit log: an entry for every change that was made on somebody's behalf, and none for any
//! other; rotated from the front. Power cuts are in `crash.rs`, which compares every log that it
//! finds with what was answered.

use std::time::Duration;

use granary_engine::model::{
    AccessTokenId, AuditEntry, DatasetId, DatasetPatch, NewUser, Origin, PermissionLevel, Quota,
    Subject, SubjectKind, UserPatch,
};
use granary_engine::{AuditLimits, AuditRange, Engine, EngineOptions, SourceAfterMerge};

use crate::records::user;
use crate::support::{add, content, dataset, options, project};
use crate::told::{log, origin, page};

fn open(directory: &tempfile::TempDir, audit: AuditLimits) -> Engine {
    let options = EngineOptions { audit, ..options() };
    Engine::open(directory.path().to_owned(), &options).unwrap()
}

fn last(engine: &Engine) -> AuditEntry {
    page(engine, None, true, 1).entries.pop().unwrap()
}

#[tokio::test]
async fn an_entry_says_who_asked_from_where_and_what_was_changed() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(&directory, options().audit);
    let within = project(&engine).await.unwrap();
    assert_eq!(log(&engine), [], "nobody asked for these");
    let by = Origin { access_token: Some(AccessTokenId(3)), status: 201, ..origin(1, 2) };
    let ann = engine.clone().on_behalf_of(by.clone());
    let one = dataset(&ann, within, "one").await.unwrap().id;
    let entry = last(&engine);
    assert_eq!((entry.sequence, &entry.origin), (1, &by));
    let of_one = Subject {
        team: Some(granary_engine::model::TeamId(1)),
        project: Some(within.0),
        dataset: Some(one),
        name: Some("one".into()),
        ..Subject::default()
    };
    assert_eq!(entry.subject, of_one);
    let file = |name: &str| Subject { filename: Some(name.into()), ..of_one.clone() };
    add(&ann, one, "d/a", b"a").await.unwrap();
    assert_eq!(last(&engine).subject, file("d/a"));
    ann.set_metadata(one, "d/a", "a secret of the user's".into()).await.unwrap();
    assert_eq!(last(&engine).subject, file("d/a"));
    ann.rename_file(one, "d/a", "b").await.unwrap();
    let renamed = Subject { detail: Some("to b".into()), ..file("d/a") };
    assert_eq!(last(&engine).subject, renamed);
    let patch = DatasetPatch { is_public: Some(true), ..DatasetPatch::default() };
    ann.update_dataset(one, patch).await.unwrap();
    assert_eq!(last(&engine).subject.detail.as_deref(), Some("public"));
    ann.delete_file(one, "b").await.unwrap();
    assert_eq!(last(&engine).subject, file("b"));

    // What was refused changed nothing; what was changed without anybody is nobody's.
    let entries = log(&engine).len();
    assert!(ann.delete_file(one, "b").await.is_err());
    assert!(ann.hard_delete_dataset(DatasetId(9)).await.is_err());
    add(&engine, one, "unasked", b"u").await.unwrap();
    assert_eq!(log(&engine).len(), entries);
    let times: Vec<_> = log(&engine).iter().map(|entry| entry.at).collect();
    assert!(times.is_sorted());
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn bulk_changes_have_one_entry_with_a_count_and_merges_their_source() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(&directory, options().audit);
    let within = project(&engine).await.unwrap();
    let ann = engine.clone().on_behalf_of(origin(1, 1));
    let one = dataset(&ann, within, "one").await.unwrap().id;
    let two = dataset(&ann, within, "two").await.unwrap().id;
    // Three parts of a large set.
    let members: Vec<_> = (0..2100)
        .map(|number| (format!("f/{number}"), crate::reference::Content::numbered(number % 5, 9)))
        .collect();
    let mut upload = engine.begin_spool_upload();
    upload.write(&crate::driver::zip_of(&members)).await.unwrap();
    let archive = upload.finish().await.unwrap();
    ann.add_files(one, archive).await.unwrap();
    assert_eq!(log(&engine).len(), 3);
    let subject = last(&engine).subject;
    assert_eq!((subject.dataset, subject.files, subject.filename), (Some(one), Some(2100), None));
    ann.merge_datasets(two, one, SourceAfterMerge::HardDelete).await.unwrap();
    let subject = last(&engine).subject;
    assert_eq!(subject.dataset, Some(two));
    let detail = format!("from dataset {one}, which was removed for good");
    assert_eq!(subject.detail, Some(detail));
    ann.destroy_dataset(two).await.unwrap();
    ann.hard_delete_dataset(two).await.unwrap();
    let subject = last(&engine).subject;
    assert_eq!((subject.dataset, subject.name.as_deref()), (Some(two), Some("two")), "it is gone");
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn records_around_datasets_are_named_and_no_secret_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(&directory, options().audit);
    project(&engine).await.unwrap();
    let ann = engine.clone().on_behalf_of(origin(1, 1));
    let (hash, other) = ("$argon2id$the-first-hash", "$argon2id$the-second-hash");
    let eve = NewUser { password_hash: hash.into(), is_staff: true, ..user("eve") };
    let eve = ann.create_user(eve).await.unwrap();
    let subject = last(&engine).subject;
    assert_eq!(subject.record, Some((SubjectKind::User, eve.id.0)));
    assert_eq!(
        (subject.name.as_deref(), subject.detail.as_deref()),
        (Some("eve"), Some("administrator"))
    );
    let patch = UserPatch {
        password_hash: Some(other.into()),
        is_active: Some(false),
        ..UserPatch::default()
    };
    ann.update_user(eve.id, patch).await.unwrap();
    assert_eq!(last(&engine).subject.detail.as_deref(), Some("password, not active"));
    let team = granary_engine::model::TeamId(1);
    ann.add_member(team, eve.id, PermissionLevel::Admin, None).await.unwrap();
    let subject = last(&engine).subject;
    assert_eq!((subject.team, subject.name.as_deref()), (Some(team), Some("eve")));
    assert_eq!(subject.detail.as_deref(), Some("admin"));
    ann.set_quota(team, Quota { files: None, bytes: Some(1000) }).await.unwrap();
    let subject = last(&engine).subject;
    assert_eq!(subject.detail.as_deref(), Some("1000 bytes, any number of files"));
    let witnessed = Subject { detail: Some("a login".into()), ..Subject::default() };
    engine.witness(origin(2, 1), witnessed.clone()).await.unwrap();
    assert_eq!(last(&engine).subject, witnessed);
    let text = format!("{:?}", log(&engine));
    assert!(!text.contains("argon2"), "{text}");
}

#[tokio::test]
async fn pages_lead_through_the_log_in_both_orders_and_filters_see_everything() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(&directory, options().audit);
    for number in 0..10 {
        engine.witness(origin(number, 0), Subject::default()).await.unwrap();
    }
    for (newest_first, expected) in
        [(false, (1..=10).collect::<Vec<u64>>()), (true, (1..=10).rev().collect())]
    {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = page(&engine, after, newest_first, 3);
            assert_eq!((page.first, page.last), (Some(1), Some(10)));
            found.extend(page.entries.iter().map(|entry| entry.sequence));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected);
    }
    let range = AuditRange { after: None, newest_first: false, limit: 100 };
    let wanted = |entry: &AuditEntry| entry.origin.request == "4/0";
    let page = engine.snapshot().unwrap().audit(range, wanted).unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [5]);
}

#[tokio::test]
async fn rotation_takes_what_is_too_old_or_too_much_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(&directory, options().audit);
    for number in 0..200 {
        engine.witness(origin(number, 0), Subject::default()).await.unwrap();
    }
    let all = log(&engine);
    engine.checkpoint().await.unwrap();
    rotated(&engine, 0).await;
    assert_eq!(log(&engine), all, "nothing is beyond the limits");
    engine.shutdown().await;
    drop(engine);

    // Half of it: what is left fits, and with one entry more it would not.
    let bytes = 4000;
    let engine = open(&directory, AuditLimits { bytes, ..options().audit });
    rotated(&engine, 1).await;
    let left = log(&engine);
    assert_eq!(left[..], all[all.len() - left.len()..], "the newest are left");
    assert!((40..200).contains(&left.len()), "{}", left.len());
    assert_eq!(page(&engine, None, false, 1).first, left.first().map(|entry| entry.sequence));
    assert_eq!(engine.check(true).unwrap(), []);
    engine.shutdown().await;
    drop(engine);

    let keep = Duration::ZERO;
    let engine = open(&directory, AuditLimits { keep, ..options().audit });
    rotated(&engine, 1).await;
    assert_eq!(log(&engine), []);
    assert_eq!(engine.check(true).unwrap(), []);
    engine.shutdown().await;
    drop(engine);

    // Numbers go on behind those that are gone.
    let engine = open(&directory, options().audit);
    engine.witness(origin(0, 0), Subject::default()).await.unwrap();
    assert_eq!(last(&engine).sequence, 201);
    assert_eq!(engine.check(true).unwrap(), []);
}

/// Waits until the store has rotated its log to the end, if it is to.
async fn rotated(engine: &Engine, times: usize) {
    let is_done = || engine.done().contains("rotated the audit log");
    if times == 0 {
        // Whoever asks for a checkpoint wakes the background, which then has its turn.
        for _ in 0..10 {
            engine.compact().await.unwrap();
            engine.checkpoint().await.unwrap();
        }
        assert!(!is_done());
        return;
    }
    while !is_done() {
        engine.checkpoint().await.unwrap();
        tokio::task::yield_now().await;
    }
    // Of so few entries one step takes all that are to go.
    let _known = content(engine, b"").await.unwrap();
}

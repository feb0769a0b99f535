//! The records around datasets: what their changes promise when others happen meanwhile.

use granary_engine::model::{
    DatasetPatch, NewTeam, NodePatch, ProjectPatch, SubdescriptorEdit, SubdescriptorId,
    SubdescriptorKind, SubdescriptorRef, TeamId, TeamPatch, UserPatch,
};
use granary_engine::{Engine, MutationError, RecordKind, SourceAfterMerge, UniqueRule};

use crate::records::{describe, node, user};
use crate::support::{add, dataset, names, options, project};

#[tokio::test]
async fn a_destroyed_project_takes_every_dataset_that_was_made_before() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let first = dataset(&engine, within, "first").await.unwrap();
    add(&engine, first.id, "a", b"a").await.unwrap();
    // Makers, copiers and uploaders at work while the project goes.
    let workers = (0..8u32).map(|worker| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for number in 0..40u32 {
                let name = format!("{worker}-{number}");
                let done = match worker % 4 {
                    0 => dataset(&engine, within, &name).await.map(drop),
                    1 => engine.copy_dataset(first.id, None, None, None).await.map(drop),
                    2 => add(&engine, first.id, &name, b"x").await.map(drop),
                    _ => engine.destroy_project(within.0).await.map(drop),
                };
                match done {
                    Ok(()) => {}
                    Err(MutationError::ProjectNotFound { .. }) => break,
                    Err(error) => panic!("{name}: {error}"),
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let snapshot = engine.snapshot().unwrap();
    let gone = snapshot.project(within.0).unwrap().unwrap().deletion_time;
    assert!(gone.is_some());
    for set in snapshot.datasets().unwrap() {
        let set = set.unwrap();
        assert_eq!(set.deletion_time, gone, "{}", set.name);
    }
    drop(snapshot);
    // A soft-deleted dataset takes files all the same: both uploaders came to their end.
    assert_eq!(names(&engine, first.id).len(), 81);
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_bulk_change_that_meets_a_destroyed_project_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let target = dataset(&engine, within, "target").await.unwrap();
    let source = dataset(&engine, within, "source").await.unwrap();
    for number in 0..50 {
        add(&engine, target.id, &format!("t/{number}"), b"t").await.unwrap();
        add(&engine, source.id, &format!("s/{number}"), b"s").await.unwrap();
    }
    let merging = engine.clone();
    let merge = tokio::spawn(async move {
        merging.merge_datasets(target.id, source.id, SourceAfterMerge::Keep).await
    });
    engine.destroy_project(within.0).await.unwrap();
    merge.await.unwrap().unwrap();
    assert_eq!(names(&engine, target.id).len(), 100);
    let snapshot = engine.snapshot().unwrap();
    for set in snapshot.datasets().unwrap() {
        assert!(set.unwrap().deletion_time.is_some());
    }
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn what_holds_something_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let team = engine.snapshot().unwrap().project(within.0).unwrap().unwrap().team;
    let set = dataset(&engine, within, "set").await.unwrap();
    let copy = engine.copy_dataset(set.id, None, Some(vec![]), None).await.unwrap();
    engine.hard_delete_dataset(set.id).await.unwrap();
    engine.destroy_dataset(copy.id).await.unwrap();
    let (kind, inside) = (RecordKind::Project, RecordKind::Dataset);
    for (refused, expected) in [
        (engine.hard_delete_project(within.0).await.unwrap_err(), kind),
        (engine.delete_licence(within.1).await.unwrap_err(), RecordKind::Licence),
    ] {
        assert!(
            matches!(refused, MutationError::NotEmpty { record, inside: found, first, .. }
                if record == expected && found == inside && first == copy.id.0),
            "{refused}"
        );
    }
    let refused = engine.hard_delete_team(team).await.unwrap_err();
    assert!(matches!(refused, MutationError::NotEmpty { record: RecordKind::Team, .. }));

    // Merging with a hard deletion lets go too.
    let other = dataset(&engine, within, "other").await.unwrap();
    let merged = engine.merge_datasets(other.id, copy.id, SourceAfterMerge::HardDelete);
    merged.await.unwrap();
    let patch = DatasetPatch { name: Some("set".into()), ..DatasetPatch::default() };
    engine.update_dataset(other.id, patch).await.unwrap();
    engine.hard_delete_dataset(other.id).await.unwrap();
    engine.hard_delete_project(within.0).await.unwrap();
    engine.delete_licence(within.1).await.unwrap();
    engine.hard_delete_team(team).await.unwrap();
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_change_that_is_refused_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let (held, licence) = project(&engine).await.unwrap();
    let team = engine.create_team(NewTeam { name: "other".into(), creator: None }).await.unwrap();
    let ann = engine.create_user(user("ann")).await.unwrap();
    engine.create_user(user("bob")).await.unwrap();
    let (first, _) =
        (engine.create_node(node(1)).await.unwrap(), engine.create_node(node(2)).await.unwrap());
    let before = describe(&engine);

    let patch =
        UserPatch { username: Some("bob".into()), is_active: Some(false), ..UserPatch::default() };
    let refused = engine.update_user(ann.id, patch).await;
    assert!(matches!(refused, Err(MutationError::Taken { rule: UniqueRule::Username })));
    let refused = engine.update_team(team.id, TeamPatch { name: Some("team".into()) }).await;
    assert!(matches!(refused, Err(MutationError::Taken { rule: UniqueRule::TeamName })));
    let patch = NodePatch { index: Some(2), cpu_mem: Some(9), ..NodePatch::default() };
    let refused = engine.update_node(first.id, patch).await;
    assert!(matches!(refused, Err(MutationError::Taken { rule: UniqueRule::NodeAddress })));
    let refused = engine.remove_member(team.id, ann.id).await;
    assert!(matches!(refused, Err(MutationError::NotAMember { .. })));
    let patch = ProjectPatch { name: None, team: Some(TeamId(99)) };
    let refused = engine.update_project(held, patch).await;
    assert!(matches!(refused, Err(MutationError::TeamNotFound { .. })));
    let wanted =
        vec![SubdescriptorRef::Name("Data".into()), SubdescriptorRef::Id(SubdescriptorId(9))];
    let (kind, edit) = (SubdescriptorKind::Domain, SubdescriptorEdit::Add);
    let refused = engine.edit_subdescriptors(licence, kind, edit, wanted).await;
    assert!(matches!(refused, Err(MutationError::SubdescriptorNotFound { .. })));

    assert_eq!(describe(&engine), before);
    let node = engine.snapshot().unwrap().node(first.id).unwrap().unwrap();
    assert_eq!(node.cpu_mem, 1);
    assert_eq!(engine.check(false).unwrap(), []);
}

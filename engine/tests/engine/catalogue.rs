//! The records around datasets: what their changes promise when others happen meanwhile, and when
//! the power goes.

use std::sync::Arc;

use granary_engine::disk::{Reached, SimulatedDisk};
use granary_engine::model::{
    DatasetId, DatasetPatch, LicenceId, LicencePatch, NewNode, NewTeam, NewUser, NodeId, NodePatch,
    PermissionLevel, ProjectId, ProjectPatch, SubdescriptorEdit, SubdescriptorId,
    SubdescriptorKind, SubdescriptorRef, TeamId, TeamPatch, UserId, UserPatch,
};
use granary_engine::{Engine, MutationError, RecordKind, SourceAfterMerge, UniqueRule};

use crate::support::{add, dataset, names, options, project, small_segments};

fn user(name: &str) -> NewUser {
    NewUser {
        username: name.into(),
        password_hash: "hash".into(),
        first_name: String::new(),
        last_name: String::new(),
        email: String::new(),
        is_superuser: false,
        is_staff: false,
        is_active: true,
    }
}

fn node(index: i64) -> NewNode {
    NewNode {
        ip: "10.0.0.1".into(),
        index,
        driver_version: None,
        hardware_generation: None,
        gpu_mem: None,
        cpu_mem: 1,
        current_job: None,
    }
}

/// The n-th of a row of changes of every kind, in a store that holds what `project` makes; whether
/// there was one. Primary keys are counted from 1, so they are known beforehand.
async fn change(engine: &Engine, number: usize) -> Result<bool, MutationError> {
    let (held, licence, set) = (ProjectId(1), LicenceId(1), DatasetId(1));
    let (ann, bob, team, empty) = (UserId(1), UserId(2), TeamId(2), TeamId(3));
    let named = |name: &str| NewTeam { name: name.into(), creator: None };
    match number {
        0 => drop(dataset(engine, (held, licence), "set").await?),
        1 => drop(engine.create_user(user("ann")).await?),
        2 => drop(engine.create_user(user("bob")).await?),
        3 => {
            let patch = UserPatch { username: Some("anna".into()), ..UserPatch::default() };
            engine.update_user(ann, patch).await?;
        }
        4 => {
            let patch = UserPatch { is_active: Some(false), ..UserPatch::default() };
            engine.update_user(bob, patch).await?;
        }
        5 => drop(engine.create_team(named("other")).await?),
        6 => {
            engine.add_member(team, ann, PermissionLevel::Read, None).await?;
        }
        7 => {
            engine.add_member(team, bob, PermissionLevel::Read, None).await?;
        }
        8 => {
            engine.update_member(team, ann, PermissionLevel::Admin).await?;
        }
        9 => {
            engine.remove_member(team, bob).await?;
        }
        10 => drop(engine.update_team(team, TeamPatch { name: Some("renamed".into()) }).await?),
        11 => {
            let patch = ProjectPatch { name: Some("moved".into()), team: Some(team) };
            engine.update_project(held, patch).await?;
        }
        12 => drop(engine.destroy_team(team).await?),
        13 => drop(engine.reinstate_team(team).await?),
        14 => drop(engine.create_team(named("empty")).await?),
        15 => drop(engine.hard_delete_team(empty).await?),
        16 => {
            let (kind, edit) = (SubdescriptorKind::Domain, SubdescriptorEdit::Add);
            let data = vec![SubdescriptorRef::Name("Data".into())];
            engine.edit_subdescriptors(licence, kind, edit, data).await?;
        }
        17 => {
            let patch = LicencePatch { name: Some("CC1".into()), url: None };
            engine.update_licence(licence, patch).await?;
        }
        18 => drop(engine.create_node(node(1)).await?),
        19 => drop(engine.create_node(node(2)).await?),
        20 => {
            let patch = NodePatch { index: Some(7), ..NodePatch::default() };
            engine.update_node(NodeId(1), patch).await?;
        }
        21 => drop(engine.delete_node(NodeId(2)).await?),
        22 => drop(engine.destroy_project(held).await?),
        23 => drop(engine.reinstate_project(held).await?),
        24 => drop(engine.hard_delete_dataset(set).await?),
        25 => drop(engine.hard_delete_project(held).await?),
        26 => drop(engine.delete_licence(licence).await?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Every record of a store, in words; when something happened is left out.
fn describe(engine: &Engine) -> Vec<String> {
    let snapshot = engine.snapshot().unwrap();
    let mut lines = Vec::new();
    for user in snapshot.users().unwrap() {
        let user = user.unwrap();
        lines.push(format!("user {} {} {}", user.id, user.username, user.is_active));
        let found = snapshot.user_by_name(&user.username).unwrap();
        assert_eq!(found.map(|found| found.id), Some(user.id));
    }
    for team in snapshot.teams().unwrap() {
        let team = team.unwrap();
        lines.push(format!("team {} {} {}", team.id, team.name, team.deletion_time.is_some()));
        for place in snapshot.memberships(team.id).unwrap() {
            let place = place.unwrap();
            let (user, level) = (place.user, place.permissions);
            lines.push(format!("member {user} {level:?} {}", place.deletion_time.is_some()));
        }
    }
    for project in snapshot.projects().unwrap() {
        let project = project.unwrap();
        let (id, team, name) = (project.id, project.team, &project.name);
        lines.push(format!("project {id} {team} {name} {}", project.deletion_time.is_some()));
    }
    for licence in snapshot.licences().unwrap() {
        let licence = licence.unwrap();
        lines.push(format!("licence {} {} {:?}", licence.id, licence.name, licence.domains));
    }
    for node in snapshot.nodes().unwrap() {
        let node = node.unwrap();
        lines.push(format!("node {} {}", node.id, node.index));
    }
    for set in snapshot.datasets().unwrap() {
        let set = set.unwrap();
        lines.push(format!("dataset {} {}", set.id, set.deletion_time.is_some()));
    }
    lines
}

/// Stops the disk at each of its syncs; the next opening gives the state after the last change
/// that was answered, or after the one that was on its way.
#[tokio::test]
async fn changes_of_records_survive_a_power_cut_in_their_order() {
    let disk = SimulatedDisk::new();
    let engine = Engine::open_on(Arc::new(disk.clone()), &small_segments()).unwrap();
    project(&engine).await.unwrap();
    let mut states = vec![describe(&engine)];
    while change(&engine, states.len() - 1).await.unwrap() {
        states.push(describe(&engine));
    }
    assert_eq!(states.len(), 28);
    assert!(states.windows(2).all(|pair| pair[0] != pair[1]), "each change shows");
    engine.shutdown().await;
    drop(engine);

    let mut begun = 0;
    for sync in 1..=disk.syncs() {
        let disk = SimulatedDisk::new();
        disk.stop_at_sync(sync);
        let Ok(engine) = Engine::open_on(Arc::new(disk.clone()), &small_segments()) else {
            continue;
        };
        let mut answered = None;
        if project(&engine).await.is_ok() {
            let mut count = 0;
            while matches!(change(&engine, count).await, Ok(true)) {
                count += 1;
            }
            answered = Some(count);
        }
        disk.stop_at(disk.operations());
        engine.abandon();
        drop(engine);
        let Some(answered) = answered else {
            continue;
        };
        begun += 1;
        for reached in [Reached::Nothing, Reached::Everything, Reached::Random(sync)] {
            let image = Arc::new(disk.image(reached));
            let engine = Engine::open_on(image, &small_segments()).unwrap();
            let found = describe(&engine);
            let next = states.get(answered + 1).unwrap_or(&states[answered]);
            assert!(found == states[answered] || found == *next, "sync {sync}: {found:?}");
            assert_eq!(engine.check(false).unwrap(), [], "sync {sync}, {reached:?}");
            engine.abandon();
        }
    }
    assert!(begun >= states.len() - 1, "a sync for each change, and {begun} were stopped");
}

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

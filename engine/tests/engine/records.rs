//! A row of changes of users, teams, memberships, projects, licences and nodes, one of each kind,
//! and what a store shows after each of them.

use std::sync::{Arc, OnceLock};

use granary_engine::disk::SimulatedDisk;
use granary_engine::model::{
    AccessTokenId, LicenceId, LicencePatch, NewAccessToken, NewNode, NewProject, NewTeam, NewUser,
    NodeId, NodePatch, PermissionLevel, ProjectId, ProjectPatch, Quota, SubdescriptorEdit,
    SubdescriptorKind, SubdescriptorRef, TeamId, TeamPatch, UserId, UserPatch,
};
use granary_engine::{Engine, MutationError};

use crate::support::{block_on, licence_named, project, small_segments};

/// Changes in the row.
pub const CHANGES: usize = 32;

/// The first change that wants no dataset in the project that [`project`] makes.
pub const FIRST_WITHOUT_DATASETS: usize = 22;

/// The first change of access tokens, which older stores do not have.
pub const FIRST_OF_TOKENS: usize = 28;

/// What [`describe`] gives after none of the changes, after the first, and so on.
pub fn states() -> &'static [Vec<String>] {
    static STATES: OnceLock<Vec<Vec<String>>> = OnceLock::new();
    STATES.get_or_init(|| std::thread::spawn(|| block_on(make_all())).join().unwrap())
}

async fn make_all() -> Vec<Vec<String>> {
    let engine = Engine::open_on(Arc::new(SimulatedDisk::new()), &small_segments()).unwrap();
    project(&engine).await.unwrap();
    let mut states = vec![describe(&engine)];
    for number in 0..CHANGES {
        change(&engine, number).await.unwrap();
        let state = describe(&engine);
        assert_ne!(states.last(), Some(&state), "change {number} shows");
        states.push(state);
    }
    engine.abandon();
    states
}

pub fn user(name: &str) -> NewUser {
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

fn token(user: UserId, team: TeamId) -> NewAccessToken {
    NewAccessToken {
        name: "robot".into(),
        user,
        team,
        level: PermissionLevel::Write,
        secret_hash: [7; 32],
        expiry_time: None,
    }
}

pub fn node(index: i64) -> NewNode {
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

/// Makes the change with this number, all those before it having been made. Primary keys are
/// counted from 1, so they are known beforehand.
pub async fn change(engine: &Engine, number: usize) -> Result<(), MutationError> {
    let (held, licence) = (ProjectId(1), LicenceId(1));
    let (ann, bob, team, empty) = (UserId(1), UserId(2), TeamId(2), TeamId(3));
    let named = |name: &str| NewTeam { name: name.into(), creator: None };
    let second = NewProject { name: "second".into(), team, creator: None };
    let another = licence_named("another");
    match number {
        // One who is no administrator has no tokens but of their teams.
        0 => drop(engine.create_user(NewUser { is_staff: true, ..user("ann") }).await?),
        1 => drop(engine.create_user(user("bob")).await?),
        2 => {
            let patch = UserPatch { username: Some("anna".into()), ..UserPatch::default() };
            engine.update_user(ann, patch).await?;
        }
        3 => {
            let patch = UserPatch { is_active: Some(false), ..UserPatch::default() };
            engine.update_user(bob, patch).await?;
        }
        4 => drop(engine.set_password(ann, "hash of another".into()).await?),
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
        24 => drop(engine.create_project(second).await?),
        25 => drop(engine.hard_delete_project(held).await?),
        26 => drop(engine.delete_licence(licence).await?),
        27 => drop(engine.create_licence(another).await?),
        28 | 29 => drop(engine.create_access_token(token(ann, team)).await?),
        30 => drop(engine.revoke_access_token(AccessTokenId(1)).await?),
        31 => drop(engine.set_quota(team, Quota { files: Some(1_000), bytes: None }).await?),
        _ => panic!("there is no change {number}"),
    }
    Ok(())
}

/// Every record of a store, in words; when something happened is left out.
pub fn describe(engine: &Engine) -> Vec<String> {
    let snapshot = engine.snapshot().unwrap();
    let mut lines = Vec::new();
    for user in snapshot.users().unwrap() {
        let user = user.unwrap();
        let (id, name, hash) = (user.id, &user.username, &user.password_hash);
        lines.push(format!("user {id} {name} {hash} {}", user.is_active));
        let found = snapshot.user_by_name(&user.username).unwrap();
        assert_eq!(found.map(|found| found.id), Some(user.id));
    }
    for team in snapshot.teams().unwrap() {
        let team = team.unwrap();
        lines.push(format!("team {} {} {}", team.id, team.name, team.deletion_time.is_some()));
        // What it holds is compared with its datasets by the check.
        lines.push(format!("may hold {:?}", snapshot.team_quota(team.id).unwrap()));
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
    for token in snapshot.access_tokens().unwrap() {
        let token = token.unwrap();
        let (id, user, team) = (token.id, token.user, token.team);
        lines.push(format!("token {id} {} of {user} in {team} {:?}", token.name, token.level));
    }
    lines
}

//! The changes that a client makes, and which one is next.

use super::{Dataset, World};
use crate::chance::Chance;
use crate::content::Content;

/// Datasets of one client that are there at the same time, deleted ones too.
const DATASETS_MAX: usize = 8;

/// What becomes of the source of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceEnd {
    Stays,
    SoftDeleted,
    HardDeleted,
}

/// What an archive that comes in is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Zip,
    Tar,
    TarGz,
}

/// One change; datasets by the client's own numbers.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create { id: u64, name: String },
    Copy { of: u64, id: u64, new_name: Option<String>, only: Option<Vec<String>> },
    Merge { into: u64, from: u64, end: SourceEnd },
    Describe { at: u64, text: String },
    SoftDelete { at: u64 },
    Reinstate { at: u64 },
    HardDelete { at: u64 },
    Add { at: u64, name: String, content: Content },
    Intake { at: u64, kind: Kind, files: Vec<(String, Content)> },
    Delete { at: u64, name: String },
    DeleteMany { at: u64, names: Vec<String> },
    SetMetadata { at: u64, texts: Vec<(String, String)> },
    Rename { at: u64, from: String, to: String },
    Clear { at: u64 },
    AddShared { name: String, content: Content },
    DeleteShared { name: String },
    CreateUser { name: String },
    NameUser { name: String, first_name: String },
    DeactivateUser { name: String },
    CreateTeam { name: String },
    Join { team: String, level: &'static str },
    Leave { team: String },
    DeleteTeam { team: String },
}

impl Op {
    /// What it is called in the count of what was answered.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Copy { .. } => "copy",
            Self::Merge { .. } => "merge",
            Self::Describe { .. } => "update",
            Self::SoftDelete { .. } => "soft delete",
            Self::Reinstate { .. } => "reinstate",
            Self::HardDelete { .. } => "hard delete",
            Self::Add { content, .. } | Self::AddShared { content, .. } => {
                if content.length > 1 << 20 { "large upload" } else { "upload" }
            }
            Self::Intake { kind: Kind::Zip, .. } => "zip intake",
            Self::Intake { kind: Kind::Tar | Kind::TarGz, .. } => "tar intake",
            Self::Delete { .. } | Self::DeleteShared { .. } => "file delete",
            Self::DeleteMany { .. } => "bulk delete",
            Self::SetMetadata { .. } => "metadata",
            Self::Rename { .. } => "rename",
            Self::Clear { .. } => "clear",
            Self::CreateUser { .. } | Self::NameUser { .. } | Self::DeactivateUser { .. } => "user",
            Self::CreateTeam { .. } | Self::DeleteTeam { .. } => "team",
            Self::Join { .. } | Self::Leave { .. } => "membership",
        }
    }

    /// The dataset whose files it is about.
    pub(crate) fn dataset(&self) -> Option<u64> {
        match self {
            Self::Add { at, .. }
            | Self::Intake { at, .. }
            | Self::Delete { at, .. }
            | Self::DeleteMany { at, .. }
            | Self::SetMetadata { at, .. }
            | Self::Rename { at, .. }
            | Self::Clear { at } => Some(*at),
            _ => None,
        }
    }
}

impl World {
    /// The next change that this world allows.
    pub(crate) fn next(&mut self, chance: &mut Chance) -> Op {
        loop {
            if let Some(op) = try_next(self, chance) {
                return op;
            }
        }
    }
}

fn try_next(world: &mut World, chance: &mut Chance) -> Option<Op> {
    match chance.below(100) {
        0..=2 => create(world),
        3 => describe(world, chance),
        4..=6 => copy(world, chance),
        7..=9 => merge(world, chance),
        10..=15 => end(world, chance),
        16..=19 => records(world, chance),
        20..=29 => shared(world, chance),
        30..=34 => intake(world, chance),
        35..=59 => change_files(world, chance),
        _ => add(world, chance),
    }
}

fn some_dataset(
    world: &World,
    chance: &mut Chance,
    fits: impl Fn(&Dataset) -> bool,
) -> Option<u64> {
    let fitting = world.datasets.iter().filter(|(_, set)| fits(set));
    chance.one_of(fitting.map(|(id, _)| *id))
}

fn is_full(world: &World) -> bool {
    world.datasets.len() >= DATASETS_MAX
}

fn create(world: &mut World) -> Option<Op> {
    if is_full(world) {
        return None;
    }
    let name = world.fresh_name();
    Some(Op::Create { id: world.names, name })
}

fn describe(world: &mut World, chance: &mut Chance) -> Option<Op> {
    let at = some_dataset(world, chance, |_| true)?;
    Some(Op::Describe { at, text: format!("description {}", chance.below(1000)) })
}

fn copy(world: &mut World, chance: &mut Chance) -> Option<Op> {
    if is_full(world) {
        return None;
    }
    // A copy of a deleted one would have a version that depends on who else has the name.
    let of = some_dataset(world, chance, |set| !set.is_deleted)?;
    let name = world.fresh_name();
    let only = chance.percent(30).then(|| {
        let names = world.datasets[&of].files.keys();
        names.filter(|_| chance.percent(50)).cloned().collect()
    });
    Some(Op::Copy { of, id: world.names, new_name: chance.percent(50).then_some(name), only })
}

fn merge(world: &mut World, chance: &mut Chance) -> Option<Op> {
    let into = some_dataset(world, chance, |set| set.files.len() < world.files_max)?;
    let others = world.datasets.keys().filter(|id| **id != into);
    let from = chance.one_of(others.copied())?;
    let ends = [SourceEnd::Stays, SourceEnd::SoftDeleted, SourceEnd::HardDeleted];
    Some(Op::Merge { into, from, end: chance.one_of(ends)? })
}

fn end(world: &mut World, chance: &mut Chance) -> Option<Op> {
    match chance.below(4) {
        0 => some_dataset(world, chance, |set| !set.is_deleted).map(|at| Op::SoftDelete { at }),
        1 => {
            let at = some_dataset(world, chance, |set| set.is_deleted)?;
            let Dataset { name, version, .. } = &world.datasets[&at];
            let mut others = world.datasets.values().filter(|set| !set.is_deleted);
            let taken = others.any(|set| (&set.name, &set.version) == (name, version));
            (!taken).then_some(Op::Reinstate { at })
        }
        _ if world.datasets.len() > DATASETS_MAX / 2 => {
            some_dataset(world, chance, |_| true).map(|at| Op::HardDelete { at })
        }
        _ => None,
    }
}

fn records(world: &mut World, chance: &mut Chance) -> Option<Op> {
    let users = world.users.iter().filter(|(_, user)| user.is_active);
    let user = chance.one_of(users.map(|(name, _)| name.clone()));
    let teams = world.teams.iter().filter(|(_, team)| !team.is_deleted);
    let team = chance.one_of(teams.map(|(name, team)| (name.clone(), team.member)));
    match (chance.below(8), user, team) {
        (0, _, _) if world.users.len() < 8 => Some(Op::CreateUser { name: world.fresh_name() }),
        (1 | 2, Some(name), _) => Some(Op::NameUser { name, first_name: world.fresh_name() }),
        (3, Some(name), _) => Some(Op::DeactivateUser { name }),
        (4, _, _) if world.teams.len() < 16 => Some(Op::CreateTeam { name: world.fresh_name() }),
        (5 | 6, _, Some((team, None))) => {
            Some(Op::Join { team, level: chance.one_of(["R", "X", "W", "A"])? })
        }
        (5 | 6, _, Some((team, Some(_)))) => Some(Op::Leave { team }),
        (7, _, Some((team, _))) if chance.percent(30) => Some(Op::DeleteTeam { team }),
        _ => None,
    }
}

fn shared(world: &mut World, chance: &mut Chance) -> Option<Op> {
    if world.shared.len() > world.files_max || chance.percent(30) {
        let name = chance.one_of(world.shared.keys().cloned())?;
        return Some(Op::DeleteShared { name });
    }
    Some(Op::AddShared { name: world.fresh_name(), content: Content::any(chance) })
}

fn open_dataset(world: &World, chance: &mut Chance) -> Option<u64> {
    some_dataset(world, chance, |set| set.files.len() < world.files_max)
}

fn file_name(world: &mut World, chance: &mut Chance) -> String {
    let directory = chance.below(5);
    format!("{directory}/{}.bin", world.fresh_name())
}

fn add(world: &mut World, chance: &mut Chance) -> Option<Op> {
    let at = open_dataset(world, chance)?;
    Some(Op::Add { at, name: file_name(world, chance), content: Content::any(chance) })
}

fn intake(world: &mut World, chance: &mut Chance) -> Option<Op> {
    let at = open_dataset(world, chance)?;
    let kind = chance.one_of([Kind::Zip, Kind::Tar, Kind::TarGz])?;
    let count = 1 + chance.below(30);
    let files = (0..count).map(|_| (file_name(world, chance), Content::any(chance)));
    Some(Op::Intake { at, kind, files: files.collect() })
}

fn change_files(world: &mut World, chance: &mut Chance) -> Option<Op> {
    let at = some_dataset(world, chance, |set| !set.files.is_empty())?;
    let names: Vec<String> = world.datasets[&at].files.keys().cloned().collect();
    let name = chance.one_of(names.iter().cloned())?;
    match chance.below(20) {
        0 => Some(Op::Clear { at }),
        1..=3 => Some(Op::Rename { at, from: name, to: file_name(world, chance) }),
        4..=5 => {
            let names = names.into_iter().filter(|other| *other == name || chance.percent(20));
            Some(Op::DeleteMany { at, names: names.collect() })
        }
        6..=10 => {
            let text = format!("text {}", chance.below(1000));
            let names = names.into_iter().filter(|other| *other == name || chance.percent(5));
            let texts = names.map(|name| (name, text.clone()));
            Some(Op::SetMetadata { at, texts: texts.collect() })
        }
        _ => Some(Op::Delete { at, name }),
    }
}

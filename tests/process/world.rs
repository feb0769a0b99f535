//! A world is what one client made: datasets, files, users, teams. Nobody else touches it, so
//! what the server shows must be what was answered for, exactly; only of the one change that was
//! under way when the server died it may be either.

mod op;

mod request;

mod seen;

use std::collections::BTreeMap;

use crate::content::Content;

pub(crate) use op::{Kind, Op};
pub(crate) use request::archive;
pub(crate) use seen::Everything;

/// What one client made and was answered for.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    /// What all names of this client begin with.
    pub(crate) prefix: String,
    /// Files of one dataset beyond which no more are added.
    pub(crate) files_max: usize,
    /// Makes names that were never used.
    pub(crate) names: u64,
    /// By a number of the client's own, since an unanswered one's key is not known yet.
    pub(crate) datasets: BTreeMap<u64, Dataset>,
    /// Files in the dataset to which all clients add at once.
    pub(crate) shared: Files,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) teams: BTreeMap<String, Team>,
}

pub(crate) type Files = BTreeMap<String, File>;

#[derive(Debug, Clone)]
pub(crate) struct Dataset {
    /// Not known before an answer tells.
    pub(crate) pk: Option<u64>,
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) description: String,
    pub(crate) is_deleted: bool,
    pub(crate) files: Files,
}

#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) content: Content,
    pub(crate) metadata: String,
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) pk: Option<u64>,
    pub(crate) first_name: String,
    pub(crate) is_active: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Team {
    pub(crate) pk: Option<u64>,
    pub(crate) is_deleted: bool,
    /// Whether the administrator is a member, and with which right.
    pub(crate) member: Option<&'static str>,
}

impl File {
    fn new(content: &Content) -> Self {
        Self { content: content.clone(), metadata: String::new() }
    }
}

impl World {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), files_max: 120, ..Self::default() }
    }

    /// A name that was never used.
    pub(crate) fn fresh_name(&mut self) -> String {
        self.names += 1;
        format!("{}{}", self.prefix, self.names)
    }

    /// All files that some dataset shows, deleted datasets too.
    pub(crate) fn files(&self) -> impl Iterator<Item = (Option<u64>, &String, &File)> {
        let own = self.datasets.values();
        let own = own.flat_map(|set| set.files.iter().map(|(name, file)| (set.pk, name, file)));
        own.chain(self.shared.iter().map(|(name, file)| (None, name, file)))
    }

    /// What the world is after a change that was made. `pk` is the key that the answer told, or
    /// `None` if there was no answer.
    pub(crate) fn apply(&mut self, op: &Op, pk: Option<u64>) {
        match op {
            Op::Create { id, name } => {
                let (version, description) = (1, String::new());
                let (name, files) = (name.clone(), Files::new());
                let made = Dataset { pk, name, version, description, is_deleted: false, files };
                self.datasets.insert(*id, made);
            }
            Op::Copy { of, id, new_name, only } => {
                let copy = self.copy_of(*of, new_name.as_deref(), only.as_deref(), pk);
                self.datasets.insert(*id, copy);
            }
            Op::Merge { into, from, end } => self.apply_merge(*into, *from, *end),
            Op::Describe { at, text } => self.at(*at).description.clone_from(text),
            Op::SoftDelete { at } => self.at(*at).is_deleted = true,
            Op::Reinstate { at } => self.at(*at).is_deleted = false,
            Op::HardDelete { at } => drop(self.datasets.remove(at)),
            Op::CreateUser { name } => {
                let user = User { pk, first_name: String::new(), is_active: true };
                self.users.insert(name.clone(), user);
            }
            Op::NameUser { name, first_name } => {
                self.users.get_mut(name).unwrap().first_name.clone_from(first_name);
            }
            Op::DeactivateUser { name } => self.users.get_mut(name).unwrap().is_active = false,
            Op::CreateTeam { name } => {
                self.teams.insert(name.clone(), Team { pk, ..Team::default() });
            }
            Op::Join { team, level } => self.teams.get_mut(team).unwrap().member = Some(level),
            Op::Leave { team } => self.teams.get_mut(team).unwrap().member = None,
            Op::DeleteTeam { team } => {
                let team = self.teams.get_mut(team).unwrap();
                (team.is_deleted, team.member) = (true, None);
            }
            Op::AddShared { name, content } => {
                self.shared.insert(name.clone(), File::new(content));
            }
            Op::DeleteShared { name } => drop(self.shared.remove(name)),
            Op::Add { .. }
            | Op::Intake { .. }
            | Op::Delete { .. }
            | Op::DeleteMany { .. }
            | Op::SetMetadata { .. }
            | Op::Rename { .. }
            | Op::Clear { .. } => self.apply_to_files(op),
        }
    }

    fn at(&mut self, id: u64) -> &mut Dataset {
        self.datasets.get_mut(&id).unwrap()
    }

    fn apply_to_files(&mut self, op: &Op) {
        let files = &mut self.at(op.dataset().unwrap()).files;
        match op {
            Op::Add { name, content, .. } => {
                files.insert(name.clone(), File::new(content));
            }
            Op::Intake { files: added, .. } => {
                let added = added.iter();
                files.extend(added.map(|(name, content)| (name.clone(), File::new(content))));
            }
            Op::Delete { name, .. } => drop(files.remove(name)),
            Op::DeleteMany { names, .. } => files.retain(|name, _| !names.contains(name)),
            Op::SetMetadata { texts, .. } => {
                for (name, text) in texts {
                    files.get_mut(name).unwrap().metadata.clone_from(text);
                }
            }
            Op::Rename { from, to, .. } => {
                let file = files.remove(from).unwrap();
                files.insert(to.clone(), file);
            }
            Op::Clear { .. } => {
                for file in files.values_mut() {
                    file.metadata.clear();
                }
            }
            other => panic!("{other:?} is not about the files of one dataset"),
        }
    }

    fn copy_of(
        &self,
        of: u64,
        new_name: Option<&str>,
        only: Option<&[String]>,
        pk: Option<u64>,
    ) -> Dataset {
        let mut copy = self.datasets[&of].clone();
        (copy.pk, copy.is_deleted) = (pk, false);
        match new_name {
            Some(name) => (copy.name, copy.version) = (name.to_owned(), 1),
            None => copy.version = self.newest_version(&copy.name) + 1,
        }
        if let Some(only) = only {
            copy.files.retain(|name, _| only.contains(name));
        }
        copy
    }

    fn newest_version(&self, name: &str) -> u64 {
        let active = self.datasets.values().filter(|set| !set.is_deleted && set.name == name);
        active.map(|set| set.version).max().unwrap_or(0)
    }

    /// Names are never used for two contents, so a name that is there already keeps its file.
    fn apply_merge(&mut self, into: u64, from: u64, end: op::SourceEnd) {
        let source = self.datasets[&from].files.clone();
        let target = &mut self.at(into).files;
        for (name, file) in source {
            target.entry(name).or_insert(file);
        }
        match end {
            op::SourceEnd::Stays => {}
            op::SourceEnd::SoftDeleted => self.at(from).is_deleted = true,
            op::SourceEnd::HardDeleted => drop(self.datasets.remove(&from)),
        }
    }
}

//! What a filter can reach from a record: the related records that the caller may retrieve.
//!
//! Lives within one state of the store and for one caller. Related records are remembered, since
//! rows share them.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::rc::Rc;

use granary_engine::model::{Licence, LicenceId, Project, ProjectId, Team, TeamId, UserId};
use granary_engine::{ReadError, Snapshot};

use super::record::{Held, Person, Record};
use super::schema::{Hop, Many};
use crate::http::limits::RELATED_RECORDS_MAX;
use crate::permission::{Action, Object, Principal, Rights};

/// One caller's view of one state of the store.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) rights: Rights<'a>,
    projects: Known<ProjectId, Project>,
    teams: Known<TeamId, Team>,
    licences: Known<LicenceId, Licence>,
    people: Known<UserId, Person>,
    /// What became of conditions on the members of teams, which many rows share: by the condition's
    /// address, which stays while its filter is there.
    judged: HashMap<(usize, TeamId), bool>,
    /// Whose usernames the caller sees in the fields of its teams; found when first asked for.
    fellows: Option<HashSet<UserId>>,
    /// Room for folded texts.
    pub(super) scratch: String,
}

/// Related records that were looked up; `None` for those that the caller may not retrieve.
type Known<K, T> = HashMap<K, Option<Rc<T>>>;

/// One of many things that belong to a record.
#[derive(Debug)]
pub(super) enum Element<'a> {
    File { name: &'a str, handle: &'a str },
    Member(&'a Person),
    Term(&'a str),
}

impl<'a> Scope<'a> {
    /// What a principal sees in a snapshot.
    pub(crate) fn of(snapshot: &'a Snapshot, principal: &'a Principal) -> Self {
        Self {
            snapshot,
            rights: Rights::of(snapshot, principal),
            projects: Known::new(),
            teams: Known::new(),
            licences: Known::new(),
            people: Known::new(),
            judged: HashMap::new(),
            fellows: None,
            scratch: String::new(),
        }
    }

    /// The record at the end of some hops; `None` if there is none that the caller may retrieve.
    ///
    /// # Errors
    /// A record could not be read.
    pub(super) fn follow<'r>(
        &mut self,
        start: &Record<'r>,
        hops: &[Hop],
    ) -> Result<Option<Record<'r>>, ReadError> {
        let mut record = start.clone();
        for hop in hops {
            match self.hop(*hop, &record)? {
                Some(next) => record = next,
                None => return Ok(None),
            }
        }
        Ok(Some(record))
    }

    fn hop<'r>(&mut self, hop: Hop, from: &Record<'r>) -> Result<Option<Record<'r>>, ReadError> {
        Ok(match (hop, from) {
            (Hop::Project, Record::Dataset(it)) => self.project(it.project)?,
            (Hop::Licence, Record::Dataset(it)) => self.licence(it.licence)?,
            (Hop::Team, Record::Project(it)) => self.team(it.team)?,
            (Hop::Creator, Record::Dataset(it)) => self.creator(it.creator)?,
            (Hop::Creator, Record::Project(it)) => self.creator(it.creator)?,
            (Hop::Creator, Record::Team(it)) => self.creator(it.creator)?,
            // Compiling follows the schema, which has no such way.
            _ => None,
        })
    }

    fn project<'r>(&mut self, id: ProjectId) -> Result<Option<Record<'r>>, ReadError> {
        let (rights, snapshot) = (&mut self.rights, self.snapshot);
        let project = known(&mut self.projects, id, || {
            let Some(project) = snapshot.project(id)? else {
                return Ok(None);
            };
            let visible = rights.may(Action::RetrieveProject, Object::Team(project.team))?;
            Ok(visible.then_some(project))
        })?;
        Ok(project.map(|project| Record::Project(Held::Related(project))))
    }

    fn team<'r>(&mut self, id: TeamId) -> Result<Option<Record<'r>>, ReadError> {
        let (rights, snapshot) = (&mut self.rights, self.snapshot);
        let team = known(&mut self.teams, id, || {
            let visible = rights.may(Action::RetrieveTeam, Object::Team(id))?;
            if visible { snapshot.team(id) } else { Ok(None) }
        })?;
        Ok(team.map(|team| Record::Team(Held::Related(team))))
    }

    fn licence<'r>(&mut self, id: LicenceId) -> Result<Option<Record<'r>>, ReadError> {
        let (rights, snapshot) = (&mut self.rights, self.snapshot);
        let licence = known(&mut self.licences, id, || {
            let visible = rights.may(Action::RetrieveLicence, Object::Server)?;
            if visible { snapshot.licence(id) } else { Ok(None) }
        })?;
        Ok(licence.map(|licence| Record::Licence(Held::Related(licence))))
    }

    /// A user's name is visible to who may retrieve the user, and to members of a common team,
    /// whose fields hold it.
    fn creator<'r>(&mut self, id: Option<UserId>) -> Result<Option<Record<'r>>, ReadError> {
        let Some(id) = id else {
            return Ok(None);
        };
        let visible = self.rights.may(Action::RetrieveUser, Object::User(id))?
            || self.fellows()?.contains(&id);
        if !visible {
            return Ok(None);
        }
        Ok(self.person(id)?.map(Record::Person))
    }

    fn person(&mut self, id: UserId) -> Result<Option<Rc<Person>>, ReadError> {
        let snapshot = self.snapshot;
        known(&mut self.people, id, || {
            let user = snapshot.user(id)?;
            Ok(user.map(|user| Person { id: user.id, username: user.username }))
        })
    }

    fn fellows(&mut self) -> Result<&HashSet<UserId>, ReadError> {
        if self.fellows.is_none() {
            let mut fellows = HashSet::new();
            for team in self.snapshot.teams()? {
                let team = team?.id;
                if self.rights.may(Action::RetrieveTeam, Object::Team(team))? {
                    for membership in self.snapshot.memberships(team)? {
                        let membership = membership?;
                        if membership.deletion_time.is_none() {
                            fellows.insert(membership.user);
                        }
                    }
                }
            }
            self.fellows = Some(fellows);
        }
        Ok(self.fellows.get_or_insert_default())
    }

    /// What was found of a condition on a team's members, or `judge` finds: once for a team and state,
    /// however many rows belong to it.
    pub(super) fn judged_once(
        &mut self,
        condition: usize,
        team: TeamId,
        judge: impl FnOnce(&mut Self) -> Result<bool, ReadError>,
    ) -> Result<bool, ReadError> {
        if let Some(found) = self.judged.get(&(condition, team)) {
            return Ok(*found);
        }
        let found = judge(self)?;
        if self.judged.len() >= RELATED_RECORDS_MAX {
            self.judged.clear();
        }
        self.judged.insert((condition, team), found);
        Ok(found)
    }

    /// Whether one of the many things that belong to a record is as wanted. A record that is
    /// visible shows all of them.
    ///
    /// # Errors
    /// One of them could not be read.
    pub(super) fn some(
        &mut self,
        record: &Record<'_>,
        many: Many,
        mut wanted: impl FnMut(&Element<'_>) -> bool,
    ) -> Result<bool, ReadError> {
        let terms = match (many, record) {
            (Many::Files, Record::Dataset(dataset)) => {
                for file in self.snapshot.files(dataset)? {
                    let (name, file) = file?;
                    let handle = file.digest.to_string();
                    if wanted(&Element::File { name: &name, handle: &handle }) {
                        return Ok(true);
                    }
                }
                return Ok(false);
            }
            (Many::Members, Record::Team(team)) => {
                for membership in self.snapshot.memberships(team.id)? {
                    let membership = membership?;
                    if membership.deletion_time.is_none()
                        && let Some(person) = self.person(membership.user)?
                        && wanted(&Element::Member(&person))
                    {
                        return Ok(true);
                    }
                }
                return Ok(false);
            }
            (Many::Permissions, Record::Licence(licence)) => &licence.permissions,
            (Many::Conditions, Record::Licence(licence)) => &licence.conditions,
            (Many::Limitations, Record::Licence(licence)) => &licence.limitations,
            (Many::Domains, Record::Licence(licence)) => &licence.domains,
            // Compiling follows the schema, which has no such things.
            _ => return Ok(false),
        };
        Ok(terms.iter().any(|term| wanted(&Element::Term(term))))
    }
}

/// Looks a record up, once as long as there is room to remember it.
fn known<K: Eq + Hash, T>(
    records: &mut Known<K, T>,
    id: K,
    read: impl FnOnce() -> Result<Option<T>, ReadError>,
) -> Result<Option<Rc<T>>, ReadError> {
    if let Some(record) = records.get(&id) {
        return Ok(record.clone());
    }
    let record = read()?.map(Rc::new);
    if records.len() >= RELATED_RECORDS_MAX {
        records.clear();
    }
    records.insert(id, record.clone());
    Ok(record)
}

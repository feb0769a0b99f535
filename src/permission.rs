//! May this principal do this action to this object?
//!
//! [`allow`] answers with an [`Allowed`], which nothing else can make and without which the
//! handlers do not get at the engine (`AppState::engine`). The rules themselves are one table,
//! `policy.rs`; this module only looks up what the table asks for: memberships, mostly.

mod policy;

mod principal;

use std::collections::HashMap;

use granary_engine::model::{
    AccessToken, AccessTokenId, Dataset, DatasetId, NodeId, PermissionLevel, ProjectId, TeamId,
    UserId,
};
use granary_engine::{ReadError, Snapshot};

pub(crate) use policy::Action;
use policy::{Condition, conditions, is_open_to_tokens};
pub(crate) use principal::{AsOf, Principal, Reach};

/// What an action is done to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Object<'a> {
    /// Nothing in particular.
    Server,
    /// A dataset; its rights are those of the team that owns its project.
    Dataset(&'a Dataset),
    /// A team, or something that this team owns.
    Team(TeamId),
    /// A person.
    User(UserId),
    /// A machine.
    Node(NodeId),
    /// An access token; it is its owner's, and its team's.
    AccessToken(&'a AccessToken),
}

impl Object<'_> {
    /// What it is, to be found in another state.
    fn subject(self) -> Subject {
        match self {
            Self::Server => Subject::Server,
            Self::Dataset(dataset) => Subject::Dataset(dataset.id),
            Self::Team(team) => Subject::Team(team),
            Self::User(user) => Subject::User(user),
            Self::Node(node) => Subject::Node(node),
            Self::AccessToken(token) => Subject::AccessToken(token.id),
        }
    }
}

/// An [`Object`] by its primary key.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Server,
    Dataset(DatasetId),
    Team(TeamId),
    User(UserId),
    Node(NodeId),
    AccessToken(AccessTokenId),
}

/// Proof that an action was permitted. Only this module makes one.
#[derive(Debug)]
#[must_use = "the permission is the way to the engine"]
pub(crate) struct Allowed {
    principal: Principal,
    action: Action,
    subject: Subject,
}

impl Allowed {
    /// Whom it was permitted to.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Permits the same once more, to the same as they are now.
    ///
    /// What is there no longer is not refused: whoever works on it finds that out.
    ///
    /// # Errors
    /// See [`Denied`].
    pub(crate) fn again(&self, snapshot: &Snapshot, principal: &Principal) -> Result<(), Denied> {
        let permits = |object| allow(snapshot, principal, self.action, object).map(drop);
        let unreadable = Denied::Unreadable;
        match self.subject {
            Subject::Server => permits(Object::Server),
            Subject::Team(team) => permits(Object::Team(team)),
            Subject::User(user) => permits(Object::User(user)),
            Subject::Node(node) => permits(Object::Node(node)),
            Subject::Dataset(id) => match snapshot.dataset(id).map_err(unreadable)? {
                Some(dataset) => permits(Object::Dataset(&dataset)),
                None => Ok(()),
            },
            Subject::AccessToken(id) => match snapshot.access_token(id).map_err(unreadable)? {
                Some(token) => permits(Object::AccessToken(&token)),
                None => Ok(()),
            },
        }
    }
}

/// Why there is no proof.
#[derive(Debug)]
pub(crate) enum Denied {
    /// Somebody might be allowed; nobody is logged in.
    NotLoggedIn,
    /// This user is not allowed.
    Forbidden,
    /// The rights could not be read.
    Unreadable(ReadError),
}

/// Permits an action, or says why not.
///
/// # Errors
/// See [`Denied`].
pub(crate) fn allow(
    snapshot: &Snapshot,
    principal: &Principal,
    action: Action,
    object: Object<'_>,
) -> Result<Allowed, Denied> {
    let may = Rights::of(snapshot, principal).may(action, object).map_err(Denied::Unreadable)?;
    match (may, principal) {
        (true, _) => {
            Ok(Allowed { principal: principal.clone(), action, subject: object.subject() })
        }
        (false, Principal::Anonymous) => Err(Denied::NotLoggedIn),
        (false, Principal::User { .. }) => Err(Denied::Forbidden),
    }
}

/// One principal's rights in one state of the store; remembers what it looked up, for lists.
#[derive(Debug)]
pub(crate) struct Rights<'a> {
    snapshot: &'a Snapshot,
    principal: &'a Principal,
    levels: HashMap<TeamId, Option<PermissionLevel>>,
    teams: HashMap<ProjectId, Option<TeamId>>,
}

impl<'a> Rights<'a> {
    /// The rights of a principal as a snapshot shows them.
    pub(crate) fn of(snapshot: &'a Snapshot, principal: &'a Principal) -> Self {
        Self { snapshot, principal, levels: HashMap::new(), teams: HashMap::new() }
    }

    /// Whether the table permits the action; administrators may do everything.
    ///
    /// # Errors
    /// The memberships could not be read.
    pub(crate) fn may(&mut self, action: Action, object: Object<'_>) -> Result<bool, ReadError> {
        if self.principal.is_administrator() {
            return Ok(true);
        }
        let is_reached = self.principal.reach() == Reach::Whole || is_open_to_tokens(action);
        for condition in conditions(action) {
            // What a team permits is cut to the token's level there.
            if (is_reached || !condition.is_of_person()) && self.holds(*condition, object)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn holds(&mut self, condition: Condition, object: Object<'_>) -> Result<bool, ReadError> {
        Ok(match condition {
            Condition::Anyone => true,
            Condition::LoggedIn => self.principal.user_id().is_some(),
            Condition::Oneself => match object {
                Object::User(user) => self.principal.user_id() == Some(user),
                Object::AccessToken(token) => self.principal.user_id() == Some(token.user),
                Object::Server | Object::Dataset(_) | Object::Team(_) | Object::Node(_) => false,
            },
            Condition::Public => match object {
                Object::Dataset(dataset) => dataset.is_public,
                Object::Server
                | Object::Team(_)
                | Object::User(_)
                | Object::Node(_)
                | Object::AccessToken(_) => false,
            },
            Condition::Member(needed) | Condition::MemberInPerson(needed) => {
                self.level(object)? >= Some(needed)
            }
            Condition::MemberWithNode(needed) => {
                self.principal.node().is_some() && self.level(object)? >= Some(needed)
            }
            Condition::OnNode => self.principal.node().is_some(),
            Condition::NodeItself => match object {
                Object::Node(node) => self.principal.node() == Some(node),
                Object::Server
                | Object::Dataset(_)
                | Object::Team(_)
                | Object::User(_)
                | Object::AccessToken(_) => false,
            },
        })
    }

    /// The principal's level in the team that the object belongs to.
    fn level(&mut self, object: Object<'_>) -> Result<Option<PermissionLevel>, ReadError> {
        let team = match object {
            Object::Server | Object::User(_) | Object::Node(_) => None,
            Object::Team(team) => Some(team),
            Object::Dataset(dataset) => self.team_of(dataset.project)?,
            Object::AccessToken(token) => Some(token.team),
        };
        team.map_or(Ok(None), |team| self.level_in(team))
    }

    /// What the principal may do in a team: of an access token, no more than its owner.
    ///
    /// # Errors
    /// The memberships could not be read.
    pub(crate) fn level_in(&mut self, team: TeamId) -> Result<Option<PermissionLevel>, ReadError> {
        let own = self.own_level_in(team)?;
        Ok(match self.principal.reach() {
            Reach::Whole => own,
            Reach::Token { team: within, level, .. } if within == team => own.min(Some(level)),
            Reach::Token { .. } => None,
        })
    }

    /// What the user may do in a team.
    fn own_level_in(&mut self, team: TeamId) -> Result<Option<PermissionLevel>, ReadError> {
        if self.principal.acts_for_administrator() {
            return Ok(Some(PermissionLevel::Admin));
        }
        let Some(user) = self.principal.user_id() else {
            return Ok(None);
        };
        if let Some(level) = self.levels.get(&team) {
            return Ok(*level);
        }
        let membership = self.snapshot.membership(team, user)?;
        let level = membership
            .filter(|membership| membership.deletion_time.is_none())
            .map(|membership| membership.permissions);
        self.levels.insert(team, level);
        Ok(level)
    }

    fn team_of(&mut self, project: ProjectId) -> Result<Option<TeamId>, ReadError> {
        if let Some(team) = self.teams.get(&project) {
            return Ok(*team);
        }
        let team = self.snapshot.project(project)?.map(|project| project.team);
        self.teams.insert(project, team);
        Ok(team)
    }
}

//! Who is asking.

use std::sync::Arc;

use granary_engine::model::{AccessTokenId, NodeId, PermissionLevel, TeamId, User, UserId};

/// Whoever sent a request, as far as it was proved.
#[derive(Debug, Clone)]
pub(crate) enum Principal {
    /// Nobody in particular; a `Node-Id` without a login is nobody's.
    Anonymous,
    /// An active user, perhaps working on a node.
    User {
        /// The user's record, shared since most of the time it is only passed on.
        user: Arc<User>,
        /// The registered node that the request named.
        node: Option<NodeId>,
        /// How much of the user's rights the request may use.
        reach: Reach,
        /// Before what change of rights all this was found.
        as_of: AsOf,
    },
}

/// How many changes there had been, since the server began, of what rights follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AsOf {
    /// Of users, teams, projects, datasets and access tokens ([`granary_engine::Engine::rights_version`]).
    pub(crate) rights: u64,
    /// Of the key that logins' tokens are signed with.
    pub(crate) key: u64,
}

/// How much of a user's rights somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All: the user is logged in.
    Whole,
    /// Those in one team up to a level: an access token was shown. It makes no administrator, and
    /// of what concerns no team it reaches what the policy opens to tokens.
    Token { token: AccessTokenId, team: TeamId, level: PermissionLevel },
}

impl Principal {
    /// The user's primary key.
    pub(crate) fn user_id(&self) -> Option<UserId> {
        match self {
            Self::Anonymous => None,
            Self::User { user, .. } => Some(user.id),
        }
    }

    /// The node that the user works on.
    pub(crate) fn node(&self) -> Option<NodeId> {
        match self {
            Self::Anonymous => None,
            Self::User { node, .. } => *node,
        }
    }

    /// Whether everything is permitted.
    pub(crate) fn is_administrator(&self) -> bool {
        match self {
            Self::Anonymous => false,
            Self::User { user, reach, .. } => user.is_staff && *reach == Reach::Whole,
        }
    }

    /// Whether the user may do everything, whatever of that the request may use.
    pub(super) fn acts_for_administrator(&self) -> bool {
        match self {
            Self::Anonymous => false,
            Self::User { user, .. } => user.is_staff,
        }
    }

    /// How much of the user's rights the request may use.
    pub(super) fn reach(&self) -> Reach {
        match self {
            Self::Anonymous => Reach::Whole,
            Self::User { reach, .. } => *reach,
        }
    }

    /// Before what change of rights it was found who this is; nobody in particular is so for good.
    pub(crate) fn as_of(&self) -> Option<AsOf> {
        match self {
            Self::Anonymous => None,
            Self::User { as_of, .. } => Some(*as_of),
        }
    }

    /// The access token that was shown.
    pub(crate) fn access_token(&self) -> Option<AccessTokenId> {
        match self.reach() {
            Reach::Whole => None,
            Reach::Token { token, .. } => Some(token),
        }
    }
}

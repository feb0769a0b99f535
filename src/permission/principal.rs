//! Who is asking.

use granary_engine::model::{NodeId, User, UserId};

/// Whoever sent a request, as far as it was proved.
#[derive(Debug, Clone)]
pub(crate) enum Principal {
    /// Nobody in particular; a `Node-Id` without a login is nobody's.
    Anonymous,
    /// An active user, perhaps working on a node.
    User {
        /// The user's record, boxed since most of the time it is only passed on.
        user: Box<User>,
        /// The registered node that the request named.
        node: Option<NodeId>,
    },
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
            Self::User { user, .. } => user.is_staff,
        }
    }
}

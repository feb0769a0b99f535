//! `last_login`, `last_seen` and `last_use`: kept in memory, written at most once a minute, so that a read is
//! never a durable write. After a crash up to a minute of them is forgotten, which is their whole
//! durability; where the disk is full, all since it was.

use dashmap::DashMap;

use crate::model::{AccessTokenId, NodeId, Timestamp, UserId};

/// What was seen since the last time it was written, and since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Touches {
    logins: DashMap<UserId, Touch>,
    sightings: DashMap<NodeId, Touch>,
    token_uses: DashMap<AccessTokenId, Touch>,
}

#[derive(Debug, Clone, Copy)]
struct Touch {
    at: Timestamp,
    written: bool,
}

impl Touches {
    /// A user made a request.
    pub(crate) fn touch_login(&self, user: UserId) {
        self.logins.insert(user, Touch { at: Timestamp::now(), written: false });
    }

    /// A node made a request.
    pub(crate) fn touch_node(&self, node: NodeId) {
        self.sightings.insert(node, Touch { at: Timestamp::now(), written: false });
    }

    /// An access token was shown.
    pub(crate) fn touch_access_token(&self, token: AccessTokenId) {
        self.token_uses.insert(token, Touch { at: Timestamp::now(), written: false });
    }

    /// When the token was last shown to this process.
    pub(crate) fn access_token_use(&self, token: AccessTokenId) -> Option<Timestamp> {
        self.token_uses.get(&token).map(|touch| touch.at)
    }

    /// When the user last made a request to this process.
    pub(crate) fn login(&self, user: UserId) -> Option<Timestamp> {
        self.logins.get(&user).map(|touch| touch.at)
    }

    /// When the node last made a request to this process.
    pub(crate) fn sighting(&self, node: NodeId) -> Option<Timestamp> {
        self.sightings.get(&node).map(|touch| touch.at)
    }

    /// What was taken could not be written, and is to be taken again.
    pub(crate) fn take_back(&self, logins: &[(UserId, Timestamp)], nodes: &[(NodeId, Timestamp)]) {
        take_back(&self.logins, logins);
        take_back(&self.sightings, nodes);
    }

    /// As [`Self::take_back`], of access tokens.
    pub(crate) fn take_back_token_uses(&self, uses: &[(AccessTokenId, Timestamp)]) {
        take_back(&self.token_uses, uses);
    }

    /// What is to be written; counts as written from now on.
    pub(crate) fn take(&self) -> (Times<UserId>, Times<NodeId>) {
        (take(&self.logins), take(&self.sightings))
    }

    /// As [`Self::take`], of access tokens.
    pub(crate) fn take_token_uses(&self) -> Times<AccessTokenId> {
        take(&self.token_uses)
    }
}

/// When each was last seen.
type Times<K> = Vec<(K, Timestamp)>;

fn take_back<K: Eq + std::hash::Hash>(touches: &DashMap<K, Touch>, times: &[(K, Timestamp)]) {
    for (id, _) in times {
        if let Some(mut touch) = touches.get_mut(id) {
            touch.written = false;
        }
    }
}

fn take<K: Copy + Eq + std::hash::Hash + Ord>(touches: &DashMap<K, Touch>) -> Times<K> {
    let mut taken = Vec::new();
    for mut touch in touches.iter_mut() {
        if !touch.written {
            touch.written = true;
            taken.push((*touch.key(), touch.at));
        }
    }
    taken.sort_unstable_by_key(|(id, _)| *id);
    taken
}

//! `last_login` and `last_seen`: kept in memory, written at most once a minute, so that a read is
//! never a durable write. After a crash up to a minute of them is forgotten, which is their whole
//! durability.

use dashmap::DashMap;

use crate::model::{NodeId, Timestamp, UserId};

/// What was seen since the last time it was written, and since the start.
#[derive(Debug, Default)]
pub(crate) struct Touches {
    logins: DashMap<UserId, Touch>,
    sightings: DashMap<NodeId, Touch>,
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

    /// When the user last made a request to this process.
    pub(crate) fn login(&self, user: UserId) -> Option<Timestamp> {
        self.logins.get(&user).map(|touch| touch.at)
    }

    /// When the node last made a request to this process.
    pub(crate) fn sighting(&self, node: NodeId) -> Option<Timestamp> {
        self.sightings.get(&node).map(|touch| touch.at)
    }

    /// What is to be written; counts as written from now on.
    pub(crate) fn take(&self) -> (Vec<(UserId, Timestamp)>, Vec<(NodeId, Timestamp)>) {
        (take(&self.logins), take(&self.sightings))
    }
}

fn take<K: Copy + Eq + std::hash::Hash + Ord>(touches: &DashMap<K, Touch>) -> Vec<(K, Timestamp)> {
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
